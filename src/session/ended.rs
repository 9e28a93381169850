//! Sessions that were logged out before their own end.
//!
//! A JWT cannot be taken back, so what ended is remembered: one session until it would have ended by
//! itself, "everything of this user up to now" for as long as the process lives, since nothing bounds
//! how long a JWT may live. Nothing is evicted early. What other replicas are told of it is in
//! `told`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::digest;
use crate::mapping::UserLookup;
use crate::shared::Shared;
use crate::tenant::TenantId;

/// Expired entries are swept when the map has doubled since the last sweep, and not below this.
const SWEEP_FROM: usize = 1024;

/// What is remembered of a session: never the session.
#[derive(Clone, Debug)]
pub struct Mark {
    /// The digest that tells it from others. `None` where a proxy keeps the session: it is the
    /// proxy's to end.
    pub session: Option<[u8; 32]>,
    /// When it ends by itself.
    pub ends: SystemTime,
    /// When it began, or whoever keeps it was asked about it last; [`LONG_AGO`] where nobody knows. What
    /// began before the logout of all of a user's sessions is ended by that.
    pub began: SystemTime,
    /// Whether its keeper is asked about it again and again, so that it may come back after a logout.
    pub is_asked: bool,
}

/// Before every logout, to be safe.
pub const LONG_AGO: SystemTime = SystemTime::UNIX_EPOCH;

/// The digest of a user, whatever the scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserMark([u8; 32]);

impl UserMark {
    /// The mark of a user of a tenant.
    pub fn new(tenant: &TenantId, user: &UserLookup) -> Self {
        let parts = [tenant.as_str(), user.field().as_str(), user.value()];
        Self(digest::of("user", parts))
    }

    pub(super) fn digest(self) -> [u8; 32] {
        self.0
    }

    pub(super) fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ended {
    state: Mutex<State>,
    changes: AtomicU64,
    shared: Option<Arc<Shared>>,
}

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<[u8; 32], SystemTime>,
    sweep_at: usize,
    users: HashMap<UserMark, SystemTime>,
    last_everywhere: Option<SystemTime>,
}

impl Ended {
    /// Nothing has ended yet that is known of here.
    pub fn new(shared: Option<Arc<Shared>>) -> Self {
        Self {
            shared,
            ..Self::default()
        }
    }

    pub(super) fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref()
    }

    /// How many outages of the shared tier are over: what was learnt before is to be learnt again.
    /// Without the tier, or while it is away, nothing can be.
    pub fn outages(&self) -> Option<u64> {
        let shared = self.shared.as_ref().filter(|shared| shared.is_up());
        shared.map(|shared| shared.outages())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Grows with every logout: who has seen this number need not look again.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Ends one session, if it can be told from others.
    pub fn end_session(&self, mark: &Mark, now: SystemTime) {
        if let Some(session) = mark.session {
            self.end_until(session, mark.ends, now);
        }
    }

    pub(super) fn end_until(&self, session: [u8; 32], ends: SystemTime, now: SystemTime) {
        let mut state = self.state();
        if state.sessions.len() >= state.sweep_at.max(SWEEP_FROM) {
            state.sessions.retain(|_, ends| *ends > now);
            state.sweep_at = state.sessions.len() * 2;
        }
        state.sessions.insert(session, ends);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Ends every session of a user that began, or was last asked about, up to now.
    pub fn end_user(&self, user: UserMark, now: SystemTime) {
        let mut state = self.state();
        let last = state.users.entry(user).or_insert(now);
        *last = (*last).max(now);
        state.last_everywhere = state.last_everywhere.max(Some(now));
        drop(state);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Whether all sessions of this user were ended at some time.
    pub(super) fn knows(&self, user: UserMark) -> bool {
        self.state().users.contains_key(&user)
    }

    /// When all sessions of some user were ended last.
    pub fn last_everywhere(&self) -> Option<SystemTime> {
        self.state().last_everywhere
    }

    /// Whether a session was ended, by itself or with all of its user's, where that is known.
    pub fn is_ended(&self, mark: &Mark, user: Option<UserMark>, now: SystemTime) -> bool {
        let state = self.state();
        let with_user = user
            .and_then(|user| state.users.get(&user))
            .is_some_and(|at| mark.began <= *at);
        with_user
            || mark
                .session
                .and_then(|session| state.sessions.get(&session))
                .is_some_and(|ends| *ends > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    use crate::mapping::LookupField;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn user(value: &str) -> UserMark {
        UserMark::new(
            &TenantId::parse("acme").unwrap(),
            &UserLookup::new(LookupField::Subject, value).unwrap(),
        )
    }

    fn mark(session: [u8; 32], ends: u64, began: SystemTime) -> Mark {
        Mark {
            session: Some(session),
            ends: at(ends),
            began,
            is_asked: false,
        }
    }

    #[test]
    fn a_user_s_logout_ends_what_began_up_to_now_and_what_has_no_date() {
        let ended = Ended::default();
        ended.end_user(user("ann"), at(100));
        let is_ended =
            |began, name| ended.is_ended(&mark([1; 32], 1000, began), Some(user(name)), at(200));
        assert!(is_ended(at(100), "ann"));
        assert!(is_ended(LONG_AGO, "ann"));
        assert!(!is_ended(at(101), "ann"));
        assert!(!is_ended(at(100), "bob"));
    }

    #[test]
    fn nothing_is_forgotten_before_its_end_however_many_there_are() {
        let ended = Ended::default();
        let kept = mark([1; 32], 1_000, LONG_AGO);
        ended.end_session(&kept, at(0));
        for other in 0..5_000_u32 {
            let mut session = [9; 32];
            session[..4].copy_from_slice(&other.to_be_bytes());
            let now = at(u64::from(other / 100));
            ended.end_session(&mark(session, 10, LONG_AGO), now);
        }
        assert!(ended.is_ended(&kept, None, at(999)));
        assert!(!ended.is_ended(&kept, None, at(1_000)));
        assert!(
            ended.state().sessions.len() < 4_000,
            "the expired ones were swept"
        );
    }
}
