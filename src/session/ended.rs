//! Sessions that were logged out before their own end.
//!
//! A JWT cannot be taken back, so what ended is remembered: one JWT until it would have expired,
//! "everything of this user up to now" for as long as the process lives, since nothing bounds how
//! long a JWT may live. Nothing is evicted early.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use aws_lc_rs::digest::{Context, SHA256};

use crate::mapping::UserLookup;
use crate::tenant::TenantId;

/// Expired entries are swept when the map has doubled since the last sweep, and not below this.
const SWEEP_FROM: usize = 1024;

/// What is remembered of a JWT: never the JWT.
#[derive(Clone, Debug)]
pub struct Mark {
    /// SHA-256 of the signing input. Not of the whole JWT: an ECDSA signature can be rewritten into
    /// another valid one, the signed part cannot.
    pub signing_input: [u8; 32],
    /// `iat`, if it has one.
    pub issued_at: Option<SystemTime>,
}

/// The digest of a user, whatever the scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserMark([u8; 32]);

impl UserMark {
    /// The mark of a user of a tenant.
    pub fn new(tenant: &TenantId, user: &UserLookup) -> Self {
        let mut context = Context::new(&SHA256);
        for part in [tenant.as_str(), user.field().as_str(), user.value()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut mark = [0; 32];
        mark.copy_from_slice(context.finish().as_ref());
        Self(mark)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ended {
    state: Mutex<State>,
    changes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    jwts: HashMap<[u8; 32], SystemTime>,
    sweep_at: usize,
    users: HashMap<UserMark, SystemTime>,
}

impl Ended {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Grows with every logout: who has seen this number need not look again.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Ends one JWT, which would have lived until `until`.
    pub fn end_session(&self, mark: &Mark, until: SystemTime, now: SystemTime) {
        let mut state = self.state();
        if state.jwts.len() >= state.sweep_at.max(SWEEP_FROM) {
            state.jwts.retain(|_, until| *until > now);
            state.sweep_at = state.jwts.len() * 2;
        }
        state.jwts.insert(mark.signing_input, until);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Ends every JWT of a user that was issued up to now.
    pub fn end_user(&self, user: UserMark, now: SystemTime) {
        self.state().users.insert(user, now);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Whether a JWT was ended, by itself or with all of its user's.
    pub fn is_ended(&self, mark: &Mark, user: UserMark) -> bool {
        let state = self.state();
        let with_user = state
            .users
            .get(&user)
            .is_some_and(|at| mark.issued_at.is_none_or(|issued| issued <= *at));
        with_user || state.jwts.contains_key(&mark.signing_input)
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

    fn mark(id: u8, issued_at: Option<u64>) -> Mark {
        Mark {
            signing_input: [id; 32],
            issued_at: issued_at.map(at),
        }
    }

    #[test]
    fn a_user_s_logout_ends_what_was_issued_up_to_now_and_what_has_no_date() {
        let ended = Ended::default();
        ended.end_user(user("ann"), at(100));
        assert!(ended.is_ended(&mark(1, Some(100)), user("ann")));
        assert!(ended.is_ended(&mark(1, None), user("ann")));
        assert!(!ended.is_ended(&mark(1, Some(101)), user("ann")));
        assert!(!ended.is_ended(&mark(1, Some(100)), user("bob")));
    }

    #[test]
    fn nothing_is_forgotten_before_its_end_however_many_there_are() {
        let ended = Ended::default();
        ended.end_session(&mark(1, None), at(1_000), at(0));
        for other in 0..5_000_u32 {
            let mut signing_input = [9; 32];
            signing_input[..4].copy_from_slice(&other.to_be_bytes());
            ended.end_session(
                &Mark {
                    signing_input,
                    issued_at: None,
                },
                at(10),
                at(u64::from(other / 100)),
            );
        }
        assert!(ended.is_ended(&mark(1, None), user("ann")));
        assert!(
            ended.state().jwts.len() < 4_000,
            "the expired ones were swept"
        );
    }
}
