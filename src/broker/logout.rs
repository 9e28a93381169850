//! The end of a user's tokens: at once here and on the other replicas, and as soon as may be at the
//! tenant.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::time::{Duration, Instant};

use super::Broker;
use super::cells::{Ended, UserCell, UserKey};
use super::desk::Desk;
use super::issued::UserToken;
use super::seat::{Seat, Seats};
use super::told::{Dead, Farewell};
use crate::budget::{Ticket, Turn};
use crate::mapping::UserLookup;
use crate::qlik::QlikError;
use crate::shared::{Kind, Notice};
use crate::telemetry::audit::Audit;
use crate::telemetry::traces::carried;
use crate::tenant::{Grant, ScopeSet, Tenant, TenantId};

/// How long a revocation waits for its turn: callers go first, and nobody waits for it.
const REVOKE_PATIENCE: Duration = Duration::from_secs(600);

/// Tokens that are to be revoked.
struct Revocations {
    desk: Arc<Desk>,
    audit: Arc<Audit>,
    tenant: TenantId,
    user_hash: String,
    /// By their ids: those that somebody has taken on.
    known: HashSet<String>,
}

impl Broker {
    /// Ends the cached tokens of a user, all scopes, and what the seat that ends still holds. They are
    /// gone when this returns, from the shared tier too where that is in reach; revoking them at the
    /// tenant, and what a mint in flight still brings, follows in the background.
    pub async fn logout(&self, tenant: &Tenant, user: &UserLookup, seat: Option<&Seat>) {
        let Some(desk) = self.desks.get(&tenant.id) else {
            return;
        };
        let configured = || std::iter::once(tenant).chain(desk.former.iter().map(|it| &**it));
        let keys_of = |is_here: bool| -> Vec<_> {
            let tenants = configured().filter(|it| (it.url == tenant.url) == is_here);
            tenants
                .flat_map(|tenant| tenant.scope_sets().map(move |scopes| (tenant, scopes)))
                .map(|(tenant, scopes)| UserKey::new(tenant, user, scopes))
                .collect()
        };
        let (keys, elsewhere) = (keys_of(true), keys_of(false));
        let ended = end(&self.seats, desk, &keys, seat);
        drop(end(&self.seats, desk, &elsewhere, None));
        let (seats, desk_of_user) = (Arc::clone(&self.seats), Arc::clone(desk));
        let mut revocations = self.revocations_of(desk, tenant, user);
        let tier = self.tier.clone();
        let (mut held, mut cells) = parted(ended);
        let persons: HashSet<_> = configured().map(|it| UserKey::person(it, user)).collect();
        let revokes = self.settings.revoke_on_logout;
        let (told, is_told) = tokio::sync::oneshot::channel();
        // In a task: whoever logs out may hang up.
        let ending = async move {
            if let Some(tier) = tier {
                let mut farewell = Farewell {
                    tenant: revocations.tenant.as_str().to_owned(),
                    user_hash: revocations.user_hash.clone(),
                    keys: keys.iter().copied().map(UserKey::digest).collect(),
                    elsewhere: elsewhere.into_iter().map(UserKey::digest).collect(),
                    revoked: held
                        .iter()
                        .map(|token| token.access.id.to_string())
                        .collect(),
                    epoch: None,
                };
                held.extend(
                    tier.end(persons, &mut farewell)
                        .await
                        .into_iter()
                        .map(Arc::new),
                );
                // Another session may have taken the token from there before the mark was left.
                let again = end_older(&seats, &desk_of_user, &keys, farewell.epoch);
                let (held_again, cells_again) = parted(again);
                held.extend(held_again);
                cells.extend(cells_again);
            }
            // Nobody listens any more where the request is over.
            let _ = told.send(());
            if revokes {
                revocations.make(held, cells).await;
            }
        };
        self.revocations.spawn(carried(ending));
        let _ = is_told.await;
    }

    /// Does what another replica told of.
    pub fn heed(&self, notice: &Notice) {
        match notice.kind {
            Kind::Tombstone => {
                if let Ok(farewell) = serde_json::from_slice::<Farewell>(&notice.body) {
                    self.heed_logout(farewell);
                }
            }
            Kind::DeadToken => {
                if let Ok(Dead { key, id }) = serde_json::from_slice(&notice.body) {
                    let (cells, key) = (&self.seats.cells, UserKey::from_digest(key));
                    let cell = cells.find(key);
                    let held = cell.as_ref().and_then(|cell| cell.live());
                    if let (Some(cell), Some(held)) = (cell, held)
                        && held.value().access.id == id
                    {
                        cells.discard(key, &cell, held.value());
                    }
                }
            }
            _ => {}
        }
    }

    fn heed_logout(&self, farewell: Farewell) {
        let found = TenantId::parse(&farewell.tenant);
        let desk = found.and_then(|tenant| self.desks.get_key_value(&tenant));
        let of = |keys: Vec<_>| -> Vec<_> { keys.into_iter().map(UserKey::from_digest).collect() };
        let (keys, elsewhere) = (of(farewell.keys), of(farewell.elsewhere));
        let Some((tenant, desk)) = desk else {
            // The tenant may be configured again while its tokens live.
            drop(self.seats.end(keys.into_iter(), None));
            return;
        };
        drop(end(&self.seats, desk, &elsewhere, None));
        let (held, cells) = parted(end_older(&self.seats, desk, &keys, farewell.epoch));
        let mut revocations = Revocations {
            desk: Arc::clone(desk),
            audit: Arc::clone(&self.audit),
            tenant: tenant.clone(),
            user_hash: farewell.user_hash,
            known: farewell.revoked.into_iter().collect(),
        };
        if self.settings.revoke_on_logout {
            self.revocations
                .spawn(async move { revocations.make(held, cells).await });
        }
    }

    /// Ends a token that another replica ended while the shared tier was out of reach.
    pub(super) fn end_late(&self, desk: &Arc<Desk>, seat: &Seat, cell: &Arc<UserCell>) {
        let Grant { tenant, user, .. } = seat.grant();
        // This cell, and not one that somebody put in its place meanwhile.
        let (held, cells) = parted(vec![self.seats.cells.end_this(seat.key, cell)]);
        let mut revocations = self.revocations_of(desk, tenant, user);
        if self.settings.revoke_on_logout {
            self.revocations
                .spawn(async move { revocations.make(held, cells).await });
        }
    }

    fn revocations_of(&self, desk: &Arc<Desk>, tenant: &Tenant, user: &UserLookup) -> Revocations {
        let (id, field) = (tenant.id.as_str(), user.field().as_str());
        Revocations {
            desk: Arc::clone(desk),
            audit: Arc::clone(&self.audit),
            tenant: tenant.id.clone(),
            user_hash: self.audit.user(id, field, user.value()).into(),
            known: HashSet::new(),
        }
    }

    /// Starts what has to be done even if nobody waits for it any more.
    pub fn see_through(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        self.revocations.spawn(work)
    }

    /// Waits for the revocations that follow logouts: a process that ends before would leave those
    /// tokens alive for hours.
    pub async fn settle(&self) {
        self.revocations.close();
        self.revocations.wait().await;
    }
}

fn end(seats: &Seats, desk: &Desk, keys: &[UserKey], seat: Option<&Seat>) -> Vec<Ended> {
    let ended = seats.end(keys.iter().copied(), seat);
    // Ended first: a mint that still waits for its turn then knows why it gets none.
    for key in keys {
        desk.clients.budget.leave(key.digest());
    }
    ended
}

/// What was minted after the logout is for another session of the same user, and stays.
fn end_older(seats: &Seats, desk: &Desk, keys: &[UserKey], mark: Option<[u8; 16]>) -> Vec<Ended> {
    let is_older = |key: &UserKey| {
        let cell = seats.cells.find(*key);
        let held = cell.and_then(|cell| cell.live());
        held.is_none_or(|held| !held.value().is_of(mark))
    };
    let keys: Vec<_> = keys.iter().copied().filter(is_older).collect();
    end(seats, desk, &keys, None)
}

type Cells = Vec<Arc<UserCell>>;

fn parted(ended: Vec<Ended>) -> (Vec<Arc<UserToken>>, Cells) {
    let (cells, held): (Cells, Vec<_>) = ended.into_iter().unzip();
    (held.into_iter().flatten().collect(), cells)
}

impl Revocations {
    /// What is in a page already goes first; a mint in flight may take its time.
    async fn make(&mut self, held: Vec<Arc<UserToken>>, cells: Cells) {
        for token in held {
            self.one(&token).await;
        }
        for cell in cells {
            if let Some(token) = cell.orphan().await {
                self.one(&token).await;
            }
        }
    }

    async fn one(&mut self, token: &UserToken) {
        if self.known.insert(token.access.id.to_string()) {
            self.desk
                .revoke(token, &self.audit, &self.tenant, &self.user_hash)
                .await;
        }
    }
}

impl Desk {
    /// What a logout must not forget when the tenant is configured as `now`. What another address gave
    /// is nobody else's to see, so that it is dropped and not revoked.
    pub fn former(&self, now: &Arc<Tenant>) -> Vec<Arc<Tenant>> {
        let then = &self.clients.tenant;
        let mut former = self.former.clone();
        let is_known = |scopes: &ScopeSet| {
            let mut known = former.iter().chain([now]);
            known.any(|known| {
                (&known.url, &known.client_id) == (&then.url, &then.client_id)
                    && known.scope_set(scopes).is_some()
            })
        };
        if !then.scope_sets().all(is_known) {
            former.push(Arc::clone(then));
        }
        former
    }

    async fn revoke(&self, token: &UserToken, audit: &Audit, tenant: &TenantId, user: &str) {
        // Revoking shares the tier of minting.
        let until = Instant::now() + REVOKE_PATIENCE;
        let outcome = async {
            let ticket = Ticket {
                turn: Turn::Later,
                user: None,
                until,
            };
            let turn = self.clients.budget.turn(ticket).await;
            let turn = turn.map_err(|retry_after| QlikError::Throttled { retry_after })?;
            let deadline = Instant::now() + self.patience;
            self.clients
                .issuing
                .revoke(&token.access, turn, deadline)
                .await
        };
        let outcome = match outcome.await {
            Ok(()) => "ok",
            Err(error) => {
                tracing::warn!(%tenant, %error, "a token could not be revoked");
                "failed"
            }
        };
        audit.revocation(tenant.as_str(), user, &token.access.id, outcome);
    }
}
