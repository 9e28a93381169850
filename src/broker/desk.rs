//! One tenant with what is needed to mint and revoke for it.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::{Duration, Instant};

use super::cells::{Cells, UserCell, UserKey};
use super::error::{BrokerError, MintError};
use super::health::Trouble;
use super::issued::{Issued, UserToken};
use super::pause::TenantPause;
use super::seat::Seat;
use super::tier::{Epoch, Next, Tier, Wanted};
use super::{AFTER_DEADLINE, CacheSettings, KEPT_FOR, RETURN_WITHIN, TenantClients};
use crate::budget::{Granted, Ticket, Turn};
use crate::directory::{Prepared, Standing};
use crate::expiring::{Lease, Margins};
use crate::mapping::{Profile, UserLookup};
use crate::qlik::{AccessToken, QlikError};
use crate::telemetry::metrics::Issuing;
use crate::tenant::{Grant, Tenant};

/// Who waited longer than this for a turn looks again whether it is needed.
const A_WHILE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Desk {
    pub clients: TenantClients,
    /// The tenant as it was configured before, where its tokens have other keys than now.
    pub former: Vec<Arc<Tenant>>,
    pub pause: Arc<TenantPause>,
    /// Requests that may still come in to wait for a mint.
    pub waiting: Arc<Semaphore>,
    max_waiting: usize,
    /// How long asking the tenant may take, once it is our turn.
    pub patience: Duration,
    pub issuing: Issuing,
    pub cells: Arc<Cells>,
    /// The tokens of the other replicas.
    pub tier: Option<Arc<Tier>>,
    pub margins: Margins,
}

impl Desk {
    /// Where there was one `before`, it is known who waits, which tokens may be there, and, for the same
    /// clients, that they are refused.
    pub fn new(
        clients: TenantClients,
        settings: &CacheSettings,
        (cells, tier): (&Arc<Cells>, Option<&Arc<Tier>>),
        before: Option<&Self>,
    ) -> Self {
        let same_clients =
            before.filter(|before| Arc::ptr_eq(&before.clients.issuing, &clients.issuing));
        let same_bound = before.filter(|before| before.max_waiting == settings.max_waiting);
        clients.expect_throttling();
        Self {
            former: before.map_or_else(Vec::new, |before| before.former(&clients.tenant)),
            pause: same_clients.map_or_else(Arc::default, |before| Arc::clone(&before.pause)),
            waiting: same_bound.map_or_else(
                || Arc::new(Semaphore::new(settings.max_waiting)),
                |before| Arc::clone(&before.waiting),
            ),
            max_waiting: settings.max_waiting,
            patience: settings.refresh_timeout,
            issuing: Issuing::of(clients.tenant.id.as_str()),
            cells: Arc::clone(cells),
            tier: tier.cloned(),
            margins: settings.margins,
            clients,
        }
    }

    /// The load of a user's cell. It owns all it needs: the caller may leave meanwhile.
    pub fn mint(
        self: &Arc<Self>,
        seat: &Seat,
        cell: &Arc<UserCell>,
        turn: Turn,
        deadline: Instant,
    ) -> impl Future<Output = Result<Lease<UserToken>, MintError>> + Send + 'static + use<> {
        let (desk, cell) = (Arc::clone(self), Arc::clone(cell));
        let (grant, profile) = (seat.grant().clone(), seat.profile().cloned());
        let wanted = Wanted {
            key: seat.key,
            person: UserKey::person(&grant.tenant, &grant.user),
            instead_of: cell.live().map(|held| Arc::clone(held.value())),
            groups: seat.groups().cloned(),
            margins: self.margins,
        };
        async move {
            let renews = wanted.instead_of.is_some();
            // In a box: a load is handed on several times before it runs.
            let fetching = Box::pin(desk.fetch(&grant, profile, &wanted, turn, deadline));
            let fetched = fetching.await;
            if renews {
                desk.issuing.refreshed(fetched.is_ok());
            }
            let token = fetched.inspect_err(
                |error| tracing::warn!(tenant = %grant.tenant.id, error = %error.error, "no token"),
            )?;
            desk.cells.promote(wanted.key, &cell, token.ends());
            let (left, life) = (token.usable(), token.access.life);
            Ok(Lease::resumed(
                Arc::new(token),
                left,
                life,
                desk.margins,
                jitter(),
            ))
        }
    }

    /// The token that another replica has, or else a new one.
    async fn fetch(
        &self,
        grant: &Grant,
        profile: Option<Arc<Profile>>,
        wanted: &Wanted,
        turn: Turn,
        deadline: Instant,
    ) -> Result<UserToken, MintError> {
        let (mut epoch, mut claim) = (Epoch::Start, None);
        // Counted before every look: what is told after it is then looked at again.
        let mut outages = self.outages();
        if let Some(tier) = &self.tier {
            match Box::pin(tier.wait_or_claim(wanted)).await {
                Next::Take(token) => return Ok(token),
                Next::Mint(seen, claimed) => (epoch, claim) = (seen, claimed),
            }
        }
        let asked = Instant::now();
        let (turn, deadline) = self.take_turn(turn, wanted.key, deadline).await?;
        // Nobody waits long for a claim: another replica may have been faster meanwhile.
        let outages_now = self.outages();
        if let Some(tier) = &self.tier
            && asked.elapsed() > A_WHILE
            && let Ok((seen, found)) = Box::pin(tier.look(wanted)).await
        {
            if let Some(token) = found {
                return Ok(token);
            }
            (epoch, outages) = (seen, outages_now);
        }
        let held = wanted.instead_of.as_ref();
        let knows_groups = held.is_some_and(|held| held.groups == wanted.groups);
        let profile = profile.filter(|_| !knows_groups);
        let (access, prepared) = self.ask(grant, profile.as_ref(), turn, deadline).await?;
        let groups = wanted.groups.clone();
        let groups = groups.filter(|_| knows_groups || prepared);
        let token = UserToken::minted(access, groups, epoch);
        token.see(outages);
        if let Some(tier) = &self.tier {
            tier.store(wanted.key, &token, claim);
        }
        Ok(token)
    }

    fn outages(&self) -> u64 {
        let tier = self.tier.as_ref();
        tier.map_or(0, |tier| tier.shared.outages())
    }

    /// Waits until the tenant may be asked. Returns until when that may take: who waited long for its
    /// turn has as much time from then on as anybody.
    async fn take_turn(
        &self,
        turn: Turn,
        user: UserKey,
        deadline: Instant,
    ) -> Result<(Granted, Instant), MintError> {
        let paused = |error, left| MintError {
            error,
            tenant_pause: Some(left),
        };
        if let Some((error, left)) = self.pause.current() {
            return Err(paused(error, left));
        }
        let retry_after = self.clients.budget.throttle_left();
        if Instant::now() + retry_after >= deadline {
            return Err(paused(QlikError::Throttled { retry_after }, retry_after));
        }
        let ticket = Ticket {
            turn,
            user: Some(user.digest()),
            until: deadline + KEPT_FOR,
        };
        let turn = self
            .clients
            .budget
            .turn(ticket)
            .await
            .map_err(|retry_after| {
                // Its place is gone, and the next one who asks gets a new one.
                paused(QlikError::Throttled { retry_after }, Duration::ZERO)
            })?;
        Ok((turn, deadline.max(Instant::now() + self.patience)))
    }

    /// Why the tenant is left alone at the moment, if it is.
    pub fn trouble(&self) -> Option<Trouble> {
        let refused = self.pause.current().map(Trouble::refused);
        refused.or_else(|| Trouble::throttled(self.clients.budget.throttle_left()))
    }

    /// Time is up: a token with little life left is still better than an error. Who stands in the
    /// queue keeps the place for a while, and is told when to come back.
    pub fn live_or_late(&self, seat: &Seat, cell: &UserCell) -> Result<Issued, BrokerError> {
        if let Some(issued) = Issued::live(cell) {
            return Ok(issued);
        }
        // Whose tokens were ended a moment ago goes on waiting for what others leave.
        if let Some(left) = self.cells.ended_recently(seat.key) {
            let retry_after = left.min(RETURN_WITHIN);
            return Err(BrokerError::Queued { retry_after });
        }
        let kept = Instant::now() + KEPT_FOR;
        Err(
            match self
                .clients
                .budget
                .keep(seat.key.digest(), &seat.source, kept)
            {
                Some(wait) => BrokerError::Queued {
                    retry_after: wait.min(RETURN_WITHIN),
                },
                None => BrokerError::Deadline {
                    retry_after: AFTER_DEADLINE,
                },
            },
        )
    }

    /// A token, and whether the user was put into the groups of its profile before.
    async fn ask(
        &self,
        grant: &Grant,
        profile: Option<&Arc<Profile>>,
        turn: Granted,
        deadline: Instant,
    ) -> Result<(AccessToken, bool), MintError> {
        let failed = |error| MintError {
            error,
            tenant_pause: None,
        };
        let prepared = match (&self.clients.directory, profile) {
            (Some(directory), Some(profile)) => {
                let half = half_way(deadline);
                Box::pin(directory.prepare(&grant.user, profile, half)).await
            }
            _ => Ok(Prepared::NotFound),
        };
        let prepared = prepared.map_err(failed)?;
        let asking = self
            .clients
            .issuing
            .impersonate(&grant.user, &grant.scopes, turn, deadline);
        let minted = match (asking.await, &prepared) {
            // It may only have to be created, which may succeed in a moment.
            (Err(QlikError::UserUnknown), Prepared::NotAsked(error)) => Err(error.clone()),
            (Err(error), _) => Err(Box::pin(self.explain(error, &grant.user, deadline)).await),
            (minted, _) => minted,
        };
        // One user is one user, whatever the scopes.
        let user = UserKey::person(&grant.tenant, &grant.user);
        self.pause.note(user, minted.as_ref().err());
        let minted = minted.map_err(failed)?;
        Ok((minted, matches!(prepared, Prepared::Done)))
    }

    /// The statuses and codes of a refusal are hardly documented: who is meant, the user or our
    /// client, is asked of the management client, where there is one.
    async fn explain(&self, error: QlikError, user: &UserLookup, deadline: Instant) -> QlikError {
        let Some(directory) = &self.clients.directory else {
            return error;
        };
        let may_be_the_user = matches!(
            error,
            QlikError::UserUnknown
                | QlikError::UserDisabled
                | QlikError::ClientRefused { certain: false, .. }
        );
        if !may_be_the_user {
            return error;
        }
        let standing = directory.standing(user, half_way(deadline)).await;
        match (standing, error) {
            (Standing::NotKnown, error) => error,
            (Standing::Absent, _) => QlikError::UserUnknown,
            (Standing::Inactive, _) => QlikError::UserDisabled,
            (Standing::Active, QlikError::UserDisabled) => QlikError::UserTokenLimit,
            (Standing::Active, QlikError::UserUnknown) => QlikError::ClientRefused {
                status: 400,
                code: None,
                certain: false,
            },
            (Standing::Active, error) => error,
        }
    }
}

/// Nobody who is asked on the way may take all the time there is for a token.
fn half_way(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / 2
}

/// Spreads refreshes; needs no secrecy.
fn jitter() -> f64 {
    let mut random = [0; 4];
    let drawn = aws_lc_rs::rand::fill(&mut random);
    drawn.map_or(0.5, |()| {
        f64::from(u32::from_ne_bytes(random)) / f64::from(u32::MAX)
    })
}
