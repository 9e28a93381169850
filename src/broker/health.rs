//! How the broker is, for those who operate it.

use std::time::Duration;

use super::{Broker, TenantClients};
use crate::qlik::QlikError;
use crate::telemetry::metrics::{self, UpstreamCall};
use crate::tenant::TenantId;

/// Why a tenant is left alone.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// `client_refused` or `throttled`.
    pub reason: &'static str,
    /// What the tenant said to our client, where it refused that.
    pub error: Option<QlikError>,
    /// For how long it is left alone.
    pub left: Duration,
}

impl Trouble {
    pub(super) fn refused((error, left): (QlikError, Duration)) -> Self {
        Self {
            reason: "client_refused",
            error: Some(error),
            left,
        }
    }

    pub(super) fn throttled(left: Duration) -> Option<Self> {
        let trouble = Self {
            reason: "throttled",
            error: None,
            left,
        };
        (!left.is_zero()).then_some(trouble)
    }
}

/// How one tenant stands.
#[derive(Debug)]
pub struct Standing<'a> {
    /// The tenant and its clients.
    pub clients: &'a TenantClients,
    /// Why it cannot be asked for tokens at the moment.
    pub trouble: Option<Trouble>,
    /// Callers who wait for a turn.
    pub waiting: usize,
    /// Calls that it could be sent at once.
    pub available: u32,
}

impl TenantClients {
    /// Counts from the start on, from nothing, what the tenant may throttle.
    pub(super) fn expect_throttling(&self) {
        const ALWAYS: [UpstreamCall; 2] = [UpstreamCall::Token, UpstreamCall::Revoke];
        const OF_DIRECTORY: [UpstreamCall; 4] = [
            UpstreamCall::Users,
            UpstreamCall::UserCreate,
            UpstreamCall::UserPatch,
            UpstreamCall::OauthClient,
        ];
        let tenant = self.tenant.id.as_str();
        metrics::may_throttle(tenant, &ALWAYS);
        if self.directory.is_some() {
            metrics::may_throttle(tenant, &OF_DIRECTORY);
        }
    }
}

impl Broker {
    /// Users with a cached token that lives. However many they are, only those who leave are looked at.
    pub fn cached_users(&self) -> u64 {
        self.seats.cells.live()
    }

    /// Notes how the budgets stand.
    pub fn measure(&self) {
        for (tenant, desk) in &self.desks {
            let (waiting, available) = desk.clients.budget.level();
            metrics::budget(tenant.as_str(), waiting, available);
        }
    }

    /// The tenants that cannot mint at the moment, and why.
    pub fn troubles(&self) -> Vec<(TenantId, &'static str)> {
        let desks = self.desks.iter();
        let troubles = desks.filter_map(|(id, desk)| Some((id.clone(), desk.trouble()?.reason)));
        let mut troubles: Vec<_> = troubles.collect();
        troubles.sort();
        troubles
    }

    /// How each tenant stands, in no order.
    pub fn standings(&self) -> impl Iterator<Item = Standing<'_>> {
        self.desks.values().map(|desk| {
            let (waiting, available) = desk.clients.budget.level();
            Standing {
                clients: &desk.clients,
                trouble: desk.trouble(),
                waiting,
                available,
            }
        })
    }
}
