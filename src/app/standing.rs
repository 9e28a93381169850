//! How each tenant stands, for those who operate the broker.

use std::sync::Arc;
use std::time::Duration;

use super::App;
use super::origins::OVERDUE;
use crate::broker::{TenantClients, Trouble};
use crate::qlik::credential::InUse;
use crate::tenant::{Origin, Tenant, TenantId};

/// One tenant, at one moment.
#[derive(Debug)]
pub struct Standing {
    /// The tenant itself.
    pub tenant: Arc<Tenant>,
    /// Why it cannot be asked for tokens, if that is so.
    pub trouble: Option<Trouble>,
    /// Callers who wait for a turn.
    pub waiting: usize,
    /// Calls that it could be sent at once.
    pub available: u32,
    /// The secret or key in use of each of its clients: `issuing`, `management`, `service`.
    pub secrets: Vec<(&'static str, InUse)>,
    /// Whether the pages that its OAuth client allows are read.
    pub follows_client: bool,
}

impl App {
    /// How all tenants stand, in no order. Asks nobody, and reads no file.
    pub fn standings(&self) -> Vec<Standing> {
        let standings = self.broker.standings();
        let standings = standings.map(|standing| Standing {
            tenant: Arc::clone(&standing.clients.tenant),
            trouble: standing.trouble,
            waiting: standing.waiting,
            available: standing.available,
            secrets: secrets(standing.clients),
            follows_client: self.follows_client(&standing.clients.tenant.id),
        });
        standings.collect()
    }

    fn follows_client(&self, tenant: &TenantId) -> bool {
        let served = self.tenants.get(tenant);
        served.is_some_and(|served| served.origins_from_client)
    }
}

fn secrets(clients: &TenantClients) -> Vec<(&'static str, InUse)> {
    let management = clients.directory.as_ref();
    let management = management.map(|directory| directory.management().client());
    let service = clients.service.as_ref().map(|service| service.client());
    let all = [
        ("issuing", Some(&*clients.issuing)),
        ("management", management),
        ("service", service),
    ];
    let all = all.into_iter();
    all.filter_map(|(name, client)| Some((name, client?.secret_in_use())))
        .collect()
}

impl Standing {
    /// The operator's name of it.
    pub fn id(&self) -> &str {
        self.tenant.id.as_str()
    }

    /// Whether it cannot be asked for this reason: `client_refused` or `throttled`.
    pub fn is_in(&self, reason: &str) -> bool {
        self.trouble
            .as_ref()
            .is_some_and(|trouble| trouble.reason == reason)
    }

    /// For how long it still throttles us, if it does.
    pub fn throttled(&self) -> Option<Duration> {
        let trouble = self.trouble.as_ref();
        let throttled = trouble.filter(|trouble| trouble.reason == "throttled");
        throttled.map(|trouble| trouble.left)
    }

    /// What it said to our client, if it refuses that.
    pub fn refusal(&self) -> Option<String> {
        let error = self.trouble.as_ref()?.error.as_ref()?;
        Some(error.to_string())
    }

    /// Whether all who wait have to, since the budget is used up.
    pub fn is_used_up(&self) -> bool {
        self.waiting > 0 && self.available == 0
    }

    /// Whether a client uses a secret that is not listed any more.
    pub fn is_on_old_secret(&self) -> bool {
        self.secrets.iter().any(|(_, secret)| secret.place == 0)
    }

    /// How long ago the list of its OAuth client was last read, if it ever was.
    pub fn list_age(&self) -> Option<Duration> {
        let at_client = self.tenant.client_origins.load();
        at_client.as_ref().map(|listed| listed.read.elapsed())
    }

    /// Whether that list should be known, and is not, or not as it is now.
    pub fn is_list_overdue(&self) -> bool {
        self.follows_client && self.list_age().is_none_or(|age| age > OVERDUE)
    }

    /// Pages that are configured here and that the OAuth client did not allow when its list was last
    /// read. `None` where it never was.
    pub fn only_here(&self) -> Option<Vec<&str>> {
        let at_client = self.tenant.client_origins.load();
        let at_client = &at_client.as_ref()?.list;
        let here = self.tenant.allowed_origins.iter();
        let only = here.filter(|origin| !at_client.contains(origin));
        Some(only.map(Origin::as_str).collect())
    }

    /// Pages that the OAuth client allowed then and that are not configured here. `None` as above.
    pub fn only_at_client(&self) -> Option<Vec<String>> {
        let at_client = self.tenant.client_origins.load();
        let here = &self.tenant.allowed_origins;
        let only = at_client.as_ref()?.list.iter();
        let only = only.filter(|origin| !here.contains(origin));
        Some(only.map(|origin| origin.as_str().to_owned()).collect())
    }

    /// How much attention it needs: the most first.
    pub fn rank(&self) -> u8 {
        match self {
            _ if self.trouble.is_some() => 0,
            _ if self.is_used_up() => 1,
            _ if self.is_on_old_secret() => 2,
            _ if self.only_here().is_some_and(|pages| !pages.is_empty()) => 3,
            _ if self.is_list_overdue() => 3,
            _ => 4,
        }
    }
}
