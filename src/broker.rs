//! From a grant to a token: one mint per user however many ask, tokens kept until shortly before
//! their end, failures remembered for as long as they should be and no longer.
//!
//! Knows nothing of sessions or HTTP. Who may have what was decided before anybody comes here.

pub mod cells;
mod pause;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

use crate::clock;
use crate::expiring::{CellError, Lease, Margins, NotRenewed, Pause};
use crate::mapping::UserLookup;
use crate::qlik::{AccessToken, Liveness, QlikClient, QlikError};
use crate::telemetry::audit::Audit;
use crate::telemetry::metrics;
use crate::tenant::{Grant, Tenant, TenantId};

use cells::{Cells, UserCell, UserKey};
use pause::TenantPause;

/// What a caller is told when the tenant did not answer within the caller's own deadline.
const AFTER_DEADLINE: Duration = Duration::from_secs(1);
/// A seat that is used looks its cell up this often, so that the map sees who is active.
const TOUCH_EVERY: Duration = Duration::from_secs(30);

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
    /// How long a refresh nobody waits for may take.
    pub refresh_timeout: Duration,
}

/// A user's token as it is kept.
#[derive(Debug)]
pub struct UserToken {
    /// What the tenant gave.
    pub access: AccessToken,
    /// When it ends, by the wall clock.
    pub expires_wall: SystemTime,
    expires_at: Instant,
}

impl UserToken {
    /// What is left of its life, by whichever clock is stricter.
    pub fn remaining(&self) -> Duration {
        let by_wall = self
            .expires_wall
            .duration_since(clock::now())
            .unwrap_or_default();
        self.expires_at
            .saturating_duration_since(Instant::now())
            .min(by_wall)
    }
}

/// Where a token came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// This replica's memory.
    Local,
    /// The tenant, while the caller waited.
    Minted,
}

impl Source {
    /// As it is written in headers, metrics and audit lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Minted => "minted",
        }
    }
}

/// A token for a caller.
#[derive(Debug)]
pub struct Issued {
    /// The token.
    pub token: Arc<UserToken>,
    /// Where it came from.
    pub source: Source,
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// The tenant refused or failed, now or a moment ago.
    #[error("{error}")]
    Tenant {
        /// What it said.
        error: QlikError,
        /// When asking again makes sense.
        retry_after: Duration,
    },
    /// The tenant did not answer within the caller's deadline. The mint goes on.
    #[error("the tenant did not answer within the request's deadline")]
    Deadline {
        /// When asking again makes sense.
        retry_after: Duration,
    },
    /// The user was logged out while the caller waited.
    #[error("the session ended while its token was being minted")]
    SessionEnded,
    /// The rejected token is too young, or was examined a moment ago.
    #[error("the rejected token may not be renewed yet")]
    RenewalTooSoon {
        /// When it may be.
        retry_after: Duration,
    },
    /// A bug.
    #[error("minting panicked")]
    Internal,
}

/// What a failed mint leaves behind in its cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MintError {
    error: QlikError,
    /// The rest of the whole tenant's pause, when this user was not even tried.
    tenant_pause: Option<Duration>,
}

impl Pause for MintError {
    fn pause(&self) -> Option<Duration> {
        self.tenant_pause.or_else(|| self.error.pause())
    }
}

/// One tenant with what is needed to mint for it.
#[derive(Debug)]
struct Desk {
    client: QlikClient,
    pause: TenantPause,
    issuing: metrics::Issuing,
}

/// A grant with its place in the cache. Kept with a remembered session, it leads to the token
/// without a look-up.
#[derive(Debug)]
pub struct Seat {
    grant: Grant,
    key: UserKey,
    cell: arc_swap::ArcSwap<UserCell>,
    /// The number of logouts when the cell was last looked up.
    logouts_seen: AtomicU64,
    /// When that was, in milliseconds since the broker started.
    touched: AtomicU64,
}

impl Seat {
    /// Whom the token is for.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }
}

/// See the module.
#[derive(Debug)]
pub struct Broker {
    desks: HashMap<TenantId, Arc<Desk>>,
    cells: Arc<Cells>,
    settings: CacheSettings,
    started: Instant,
    logouts: AtomicU64,
}

impl Broker {
    /// A broker for these tenants.
    pub fn new(
        clients: impl IntoIterator<Item = (TenantId, QlikClient)>,
        settings: CacheSettings,
    ) -> Self {
        let desks = clients.into_iter().map(|(tenant, client)| {
            let issuing = metrics::Issuing::of(tenant.as_str());
            (
                tenant,
                Arc::new(Desk {
                    client,
                    pause: TenantPause::default(),
                    issuing,
                }),
            )
        });
        Self {
            desks: desks.collect(),
            cells: Arc::new(Cells::new(settings.max_users, settings.idle)),
            settings,
            started: Instant::now(),
            logouts: AtomicU64::new(0),
        }
    }

    /// The place of a grant.
    pub fn seat(&self, grant: Grant) -> Seat {
        let logouts = self.logouts.load(Ordering::Acquire);
        let key = UserKey::of(&grant);
        let cell = arc_swap::ArcSwap::new(self.cells.find_or_add(key));
        Seat {
            grant,
            key,
            cell,
            logouts_seen: logouts.into(),
            touched: self.uptime_millis().into(),
        }
    }

    /// The token of a seat. `rejected` is the id of a token that the tenant answered 401 to.
    pub async fn token(
        &self,
        seat: &Seat,
        rejected: Option<&str>,
        deadline: Instant,
    ) -> Result<Issued, BrokerError> {
        let desk = self
            .desks
            .get(&seat.grant.tenant.id)
            .ok_or(BrokerError::Internal)?;
        let cell = self.cell(seat);
        let outcome = match (rejected, cell.fresh()) {
            (None, Some(token)) => Ok(Issued {
                token,
                source: Source::Local,
            }),
            (None, None) => self.get(desk, seat, &cell, deadline).await,
            (Some(rejected), _) => self.replace(desk, seat, &cell, rejected, deadline).await,
        };
        if let Ok(issued) = &outcome {
            match issued.source {
                Source::Local => desk.issuing.local.increment(1),
                Source::Minted => desk.issuing.minted.increment(1),
            }
            desk.issuing
                .life
                .record(issued.token.remaining().as_secs_f64());
        }
        outcome
    }

    async fn get(
        &self,
        desk: &Arc<Desk>,
        seat: &Seat,
        cell: &Arc<UserCell>,
        deadline: Instant,
    ) -> Result<Issued, BrokerError> {
        // Another session of this user may have been logged out a moment ago: this one goes on.
        let renewed = cell.is_retired().then(|| self.look_up(seat, false));
        let cell = renewed.as_ref().unwrap_or(cell);
        let refreshing = cell.live().is_some();
        let mint_deadline = if refreshing {
            Instant::now() + self.settings.refresh_timeout
        } else {
            deadline
        };
        let getting = cell.get(|| self.mint(desk, seat, cell, mint_deadline, refreshing));
        let got = timeout_at(deadline, getting)
            .await
            .map_err(|_| BrokerError::Deadline {
                retry_after: AFTER_DEADLINE,
            })??;
        let source = if got.waited {
            Source::Minted
        } else {
            Source::Local
        };
        Ok(Issued {
            token: got.value,
            source,
        })
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
            let (asked, cell, held) = (Arc::clone(desk), Arc::clone(cell), held.clone());
            let minting = self.mint(desk, seat, &cell, deadline, false);
            async move {
                if asked.client.examine(&held.value().access).await == Liveness::NotKnownDead {
                    return Ok(held);
                }
                cell.discard(held.value());
                minting.await
            }
        });
        let renewed = timeout_at(deadline, renewing)
            .await
            .map_err(|_| BrokerError::Deadline {
                retry_after: AFTER_DEADLINE,
            })?;
        match renewed {
            Ok(token) if token.access.id == rejected => Ok(Issued {
                token,
                source: Source::Local,
            }),
            Ok(token) => Ok(Issued {
                token,
                source: Source::Minted,
            }),
            Err(NotRenewed::TooSoon(retry_after)) => {
                Err(BrokerError::RenewalTooSoon { retry_after })
            }
            Err(NotRenewed::Cell(error)) => match cell.live() {
                Some(lease) => Ok(Issued {
                    token: Arc::clone(lease.value()),
                    source: Source::Local,
                }),
                None => Err(error.into()),
            },
        }
    }

    fn mint(
        &self,
        desk: &Arc<Desk>,
        seat: &Seat,
        cell: &Arc<UserCell>,
        deadline: Instant,
        refreshing: bool,
    ) -> impl Future<Output = Result<Lease<UserToken>, MintError>> + Send + 'static + use<> {
        let (desk, cells, cell) = (Arc::clone(desk), Arc::clone(&self.cells), Arc::clone(cell));
        let (grant, key, margins) = (seat.grant.clone(), seat.key, self.settings.margins);
        async move {
            let minted = desk.mint(&grant, key, deadline).await;
            if refreshing {
                let counter = if minted.is_ok() {
                    &desk.issuing.refreshed
                } else {
                    &desk.issuing.refresh_failed
                };
                counter.increment(1);
            }
            let access = minted.inspect_err(
                |error| tracing::warn!(tenant = %grant.tenant.id, error = %error.error, "no token"),
            )?;
            cells.promote(key, &cell);
            let life = access.life;
            let token = UserToken {
                access,
                expires_wall: clock::now() + life,
                expires_at: Instant::now() + life,
            };
            Ok(Lease::new(Arc::new(token), life, margins, jitter()))
        }
    }

    /// The cell of a seat: looked up again after any logout, and now and then so that the map knows
    /// who is active.
    fn cell(&self, seat: &Seat) -> Arc<UserCell> {
        let same_logouts =
            seat.logouts_seen.load(Ordering::Acquire) == self.logouts.load(Ordering::Acquire);
        let touched = self
            .uptime_millis()
            .saturating_sub(seat.touched.load(Ordering::Relaxed));
        if same_logouts && Duration::from_millis(touched) < TOUCH_EVERY {
            return seat.cell.load_full();
        }
        self.look_up(seat, same_logouts)
    }

    /// A cell that had to leave for lack of room may come back (`may_return`), but not after a
    /// logout: it could be the very one that was to end.
    fn look_up(&self, seat: &Seat, may_return: bool) -> Arc<UserCell> {
        let logouts = self.logouts.load(Ordering::Acquire);
        let cell = match self.cells.find(seat.key) {
            Some(cell) => cell,
            None if may_return => {
                let cell = seat.cell.load_full();
                self.cells.promote(seat.key, &cell);
                cell
            }
            None => self.cells.find_or_add(seat.key),
        };
        seat.cell.store(Arc::clone(&cell));
        seat.logouts_seen.store(logouts, Ordering::Release);
        seat.touched.store(self.uptime_millis(), Ordering::Relaxed);
        cell
    }

    fn uptime_millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Ends the cached tokens of a user, all scopes. They are gone when this returns; revoking them
    /// at the tenant, and what a mint in flight still brings, follows in the background.
    pub fn logout(&self, tenant: &Tenant, user: &UserLookup, audit: &Arc<Audit>) {
        let Some(desk) = self.desks.get(&tenant.id) else {
            return;
        };
        let ended: Vec<_> = tenant
            .scope_sets()
            .flat_map(|scopes| self.cells.end(UserKey::new(tenant, user, scopes)))
            .collect();
        self.logouts.fetch_add(1, Ordering::Release);
        if !self.settings.revoke_on_logout || ended.is_empty() {
            return;
        }
        let (desk, audit, tenant) = (Arc::clone(desk), Arc::clone(audit), tenant.id.clone());
        let hash = audit.user(tenant.as_str(), user.field().as_str(), user.value());
        let revoking = async move {
            for (cell, held) in ended {
                for token in held.into_iter().chain(cell.orphan().await) {
                    desk.revoke(&token, &audit, &tenant, &hash).await;
                }
            }
        };
        tokio::spawn(revoking.in_current_span());
    }

    /// Users with a cached token.
    pub fn cached_users(&self) -> u64 {
        self.cells.len()
    }

    /// The tenants that cannot mint at the moment, and why.
    pub fn troubles(&self) -> Vec<(TenantId, &'static str)> {
        let trouble =
            |(id, desk): (&TenantId, &Arc<Desk>)| Some((id.clone(), desk.pause.reason()?));
        let mut troubles: Vec<_> = self.desks.iter().filter_map(trouble).collect();
        troubles.sort();
        troubles
    }
}

impl Desk {
    async fn mint(
        &self,
        grant: &Grant,
        key: UserKey,
        deadline: Instant,
    ) -> Result<AccessToken, MintError> {
        if let Err((error, left)) = self.pause.wait(deadline).await {
            return Err(MintError {
                error,
                tenant_pause: Some(left),
            });
        }
        let minted = self
            .client
            .impersonate(&grant.user, &grant.scopes, deadline)
            .await;
        self.pause.note(key, minted.as_ref().err());
        minted.map_err(|error| MintError {
            error,
            tenant_pause: None,
        })
    }

    async fn revoke(&self, token: &UserToken, audit: &Audit, tenant: &TenantId, user: &str) {
        let outcome = match self.client.revoke(&token.access).await {
            Ok(()) => "ok",
            Err(error) => {
                tracing::warn!(%tenant, %error, "a token could not be revoked");
                "failed"
            }
        };
        audit.revocation(tenant.as_str(), user, &token.access.id, outcome);
    }
}

impl From<CellError<MintError>> for BrokerError {
    fn from(error: CellError<MintError>) -> Self {
        match error {
            CellError::Failed { error, retry_after } => Self::Tenant {
                error: error.error,
                retry_after,
            },
            CellError::Panicked => Self::Internal,
            CellError::Retired => Self::SessionEnded,
        }
    }
}

/// Spreads refreshes; needs no secrecy.
fn jitter() -> f64 {
    let mut random = [0; 4];
    let drawn = aws_lc_rs::rand::fill(&mut random);
    drawn.map_or(0.5, |()| {
        f64::from(u32::from_ne_bytes(random)) / f64::from(u32::MAX)
    })
}
