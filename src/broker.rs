//! From a grant to a token: one mint per user however many ask, tokens kept until shortly before
//! their end, failures remembered for as long as they should be and no longer.
//!
//! Knows nothing of sessions or HTTP. Who may have what was decided before anybody comes here.

mod cells;
mod census;
mod desk;
mod error;
mod health;
mod issued;
mod logout;
mod pause;
mod seat;
mod service;
pub(crate) mod tier;
mod told;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use crate::budget::{Budget, Turn};
use crate::directory::Directory;
use crate::expiring::{CellError, Lease, Margins, NotRenewed};
use crate::mapping::Profile;
use crate::qlik::{Liveness, QlikClient};
use crate::shared::Shared;
use crate::telemetry::audit::Audit;
use crate::tenant::{Grant, Tenant, TenantId};

use cells::{Cells, UserCell, UserKey};
use desk::Desk;
use seat::Seats;
use tier::Tier;

pub use error::{BrokerError, MintError};
pub use health::{Standing, Trouble};
pub use issued::{Issued, Source, UserToken};
pub use seat::Seat;
pub use service::Service;
/// What a caller is told when the tenant did not answer within the caller's own deadline.
const AFTER_DEADLINE: Duration = Duration::from_secs(1);

/// A place in the queue is kept for this long after the last one who wanted it left …
const KEPT_FOR: Duration = Duration::from_secs(60);
/// … so nobody is told to come back later than this.
const RETURN_WITHIN: Duration = Duration::from_secs(45);

/// How the broker caches.
#[derive(Clone, Copy, Debug)]
pub struct CacheSettings {
    /// Users whose tokens are kept; the least recently seen leave first.
    pub max_users: u64,
    /// A user not seen for this long leaves.
    pub idle: Duration,
    /// When tokens are refreshed and when they stop being good.
    pub margins: Margins,
    /// A rejected token younger than this is not examined, let alone renewed.
    pub renewal_pause: Duration,
    /// Whether a logout revokes the user's tokens at the tenant.
    pub revoke_on_logout: bool,
    /// How long asking a tenant may take, once it is asked.
    pub refresh_timeout: Duration,
    /// Requests that wait for a mint at a time, per tenant.
    pub max_waiting: usize,
}

/// One tenant and its OAuth clients.
#[derive(Clone, Debug)]
pub struct TenantClients {
    /// The tenant itself.
    pub tenant: Arc<Tenant>,
    /// The turns at asking it.
    pub budget: Arc<Budget>,
    /// Issues the users' tokens.
    pub issuing: Arc<QlikClient>,
    /// Looks users up.
    pub directory: Option<Arc<Directory>>,
    /// Has tokens of its own.
    pub service: Option<Arc<Service>>,
}

/// See the module.
#[derive(Debug)]
pub struct Broker {
    desks: HashMap<TenantId, Arc<Desk>>,
    seats: Arc<Seats>,
    settings: CacheSettings,
    tier: Option<Arc<Tier>>,
    audit: Arc<Audit>,
    /// What follows logouts in the background.
    revocations: TaskTracker,
}

impl Broker {
    /// A broker for these tenants. What the `previous` one knows of users and tenants stays known: cached
    /// tokens, mints in flight, and tenants that are left alone.
    pub fn new(
        tenants: impl IntoIterator<Item = TenantClients>,
        settings: CacheSettings,
        shared: Option<Arc<Shared>>,
        audit: Arc<Audit>,
        previous: Option<&Self>,
    ) -> Self {
        let tier = shared.map(|shared| Arc::new(Tier { shared }));
        let CacheSettings {
            max_users,
            idle,
            renewal_pause,
            ..
        } = settings;
        let seats = previous.map_or_else(
            || Arc::new(Seats::new(Cells::new(max_users, idle, renewal_pause), idle)),
            |previous| Arc::clone(&previous.seats),
        );
        let desk = |clients: TenantClients| {
            let id = clients.tenant.id.clone();
            let before = previous.and_then(|previous| previous.desks.get(&id));
            let before = before.map(|desk| &**desk);
            let around = (&seats.cells, tier.as_ref());
            (id, Arc::new(Desk::new(clients, &settings, around, before)))
        };
        Self {
            desks: tenants.into_iter().map(desk).collect(),
            revocations: previous
                .map_or_else(TaskTracker::new, |previous| previous.revocations.clone()),
            seats,
            settings,
            tier,
            audit,
        }
    }

    /// A client of the tenant has another secret: that the old one was refused says nothing any more.
    pub fn forgive(&self, tenant: &TenantId) {
        if let Some(desk) = self.desks.get(tenant) {
            desk.pause.forget();
        }
    }

    /// The place of a grant. `source` is a key or a session table: sources take turns at minting.
    /// `profile` is what the session tells of the user, where users are to be created.
    pub fn seat(&self, grant: Grant, source: &Arc<str>, profile: Option<Arc<Profile>>) -> Seat {
        self.seats.seat(grant, source, profile)
    }

    /// The token of a seat, if nothing has to be done for it: the whole of a hit.
    pub fn fresh(&self, seat: &Seat) -> Option<Issued> {
        let desk = self.desks.get(&seat.grant().tenant.id)?;
        let token = self.seats.cell(seat).fresh()?;
        let is_current = self.tier.as_ref().is_none_or(|it| it.is_current(&token));
        let issued = Issued::local((is_current && seat.takes(&token)).then_some(token)?);
        desk.issuing.issued(Source::Local, issued.left);
        Some(issued)
    }

    /// The token of a seat. `rejected` is the id of a token that the tenant answered 401 to.
    pub async fn token(
        &self,
        seat: &Seat,
        rejected: Option<&str>,
        deadline: Instant,
    ) -> Result<Issued, BrokerError> {
        let desk = self.desks.get(&seat.grant().tenant.id);
        let desk = desk.ok_or(BrokerError::Internal)?;
        let cell = self.looked_at_again(desk, seat).await;
        let Ok(_waiting) = desk.waiting.try_acquire() else {
            // Only the refresh of a live token is put off.
            let retry_after = RETURN_WITHIN;
            return Issued::live(&cell).ok_or(BrokerError::Queued { retry_after });
        };
        let issued = match rejected {
            None => self.get(desk, seat, &cell, deadline).await?,
            Some(rejected) => self.replace(desk, seat, &cell, rejected, deadline).await?,
        };
        // One that was minted for this seat has its groups.
        seat.takes(&issued.token);
        desk.issuing.issued(issued.source, issued.left);
        Ok(issued)
    }

    /// The cell of a seat. What it holds from before an outage of the shared tier may have been ended
    /// by another replica meanwhile.
    async fn looked_at_again(&self, desk: &Arc<Desk>, seat: &Seat) -> Arc<UserCell> {
        let cell = self.seats.cell(seat);
        let (Some(tier), Some(held)) = (&self.tier, cell.live()) else {
            return cell;
        };
        let token = held.value();
        let person = UserKey::person(&seat.grant().tenant, &seat.grant().user);
        if tier.is_current(token) || tier.still_good(seat.key, person, token).await {
            return cell;
        }
        self.end_late(desk, seat, &cell);
        self.seats.look_up(seat)
    }

    async fn get(
        &self,
        desk: &Arc<Desk>,
        seat: &Seat,
        cell: &Arc<UserCell>,
        deadline: Instant,
    ) -> Result<Issued, BrokerError> {
        // Another session of this user may have been logged out a moment ago: this one goes on.
        let renewed = cell.is_retired().then(|| self.seats.look_up(seat));
        let cell = renewed.as_ref().unwrap_or(cell);
        if let Some(held) = cell.live().filter(|held| !seat.takes(held.value())) {
            return self.regroup(desk, seat, cell, &held, deadline).await;
        }
        // Who logs out and in all the time gets what others leave.
        let can_wait = cell.live().is_some() || self.seats.cells.ended_recently(seat.key).is_some();
        let turn = if can_wait {
            Turn::Later
        } else {
            Turn::Caller(Arc::clone(&seat.source))
        };
        let getting = cell.get(|| desk.mint(seat, cell, turn, deadline));
        match timeout_at(deadline, getting).await {
            Ok(got) => Ok(got.map(Issued::from)?),
            Err(_) => desk.live_or_late(seat, cell),
        }
    }

    /// The session names other groups than the held token was minted under: the tenant may see them
    /// in new tokens only.
    async fn regroup(
        &self,
        desk: &Arc<Desk>,
        seat: &Seat,
        cell: &Arc<UserCell>,
        held: &Lease<UserToken>,
        deadline: Instant,
    ) -> Result<Issued, BrokerError> {
        let pause = self.settings.renewal_pause;
        let renewing = cell.renew(pause, || desk.mint(seat, cell, Turn::Later, deadline));
        match timeout_at(deadline, renewing).await {
            Err(_) => desk.live_or_late(seat, cell),
            Ok(Ok(token)) => Ok(Issued::fetched(token)),
            // Until the pause is over the groups are those of a moment ago.
            Ok(Err(NotRenewed::TooSoon(_))) => Ok(Issued::local(Arc::clone(held.value()))),
            Ok(Err(NotRenewed::Cell(error))) => live_or(cell, error),
        }
    }

    /// A page says that the tenant answered 401 to a token. Nobody is believed: the tenant is asked
    /// itself, at most once per `renewal_pause`, so that rejecting good tokens burns no mints.
    async fn replace(
        &self,
        desk: &Arc<Desk>,
        seat: &Seat,
        cell: &Arc<UserCell>,
        rejected: &str,
        deadline: Instant,
    ) -> Result<Issued, BrokerError> {
        let held = match cell.live() {
            Some(lease) if lease.value().access.id == rejected => lease,
            _ => return self.get(desk, seat, cell, deadline).await,
        };
        let renewing = cell.renew(self.settings.renewal_pause, || {
            let (asked, cell, key) = (Arc::clone(desk), Arc::clone(cell), seat.key);
            let minting = desk.mint(seat, &cell, Turn::Later, deadline);
            async move {
                let token = Arc::clone(held.value());
                if asked.clients.issuing.examine(&token.access).await == Liveness::NotKnownDead {
                    return Ok(held);
                }
                asked.cells.discard(key, &cell, &token);
                if let Some(tier) = &asked.tier {
                    tier.bury(key, &token).await;
                }
                minting.await
            }
        });
        match timeout_at(deadline, renewing).await {
            Err(_) => desk.live_or_late(seat, cell),
            Ok(Ok(token)) if token.access.id == rejected => Ok(Issued::local(token)),
            Ok(Ok(token)) => Ok(Issued::fetched(token)),
            Ok(Err(NotRenewed::TooSoon(retry_after))) => {
                Err(BrokerError::RenewalTooSoon { retry_after })
            }
            Ok(Err(NotRenewed::Cell(error))) => live_or(cell, error),
        }
    }

    /// A token of the tenant's service client itself. `None` if the tenant has none.
    pub async fn service_token(
        &self,
        tenant: &TenantId,
        deadline: Instant,
    ) -> Option<Result<Issued, BrokerError>> {
        let desk = self.desks.get(tenant)?;
        let service = desk.clients.service.as_ref()?;
        let issued = service.token(desk.margins, deadline).await;
        if let Ok(issued) = &issued {
            desk.issuing.issued(issued.source, issued.left);
        }
        Some(issued)
    }
}

/// A failed renewal never takes a live token away.
fn live_or(cell: &UserCell, error: CellError<MintError>) -> Result<Issued, BrokerError> {
    Issued::live(cell).ok_or_else(|| error.into())
}
