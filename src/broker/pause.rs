//! When a whole tenant is left alone: while it refuses our client.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::cells::UserKey;
use crate::qlik::QlikError;

/// Long enough to be seen on `/readyz`, short enough that a repaired client is found soon.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct TenantPause(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    pause: Option<(QlikError, Instant)>,
    /// The last user for whom the client was refused without a mint since. A second one makes it
    /// the client's fault; one alone may be an odd user.
    refused_for: Option<UserKey>,
}

impl TenantPause {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the tenant is left alone at the moment, and for how long.
    pub fn current(&self) -> Option<(QlikError, Duration)> {
        let (error, until) = self.state().pause.clone()?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some((error, left))
    }

    /// The tenant is asked again at once.
    pub fn forget(&self) {
        *self.state() = State::default();
    }

    /// Learns from how a mint went.
    pub fn note(&self, user: UserKey, error: Option<&QlikError>) {
        let mut state = self.state();
        match error {
            None => state.refused_for = None,
            Some(QlikError::ClientRefused { certain, .. }) => {
                let first = state.refused_for.replace(user);
                if *certain || first.is_some_and(|first| first != user) {
                    let until = Instant::now() + REFUSED_PAUSE;
                    state.pause = error.cloned().map(|error| (error, until));
                }
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::{LookupField, UserLookup};
    use crate::tenant::{ScopeSet, Tenant, TenantId};

    fn user(value: &str) -> UserKey {
        let scopes = ScopeSet::parse("user_default").unwrap();
        let tenant = Tenant {
            id: TenantId::parse("acme").unwrap(),
            url: "https://acme.example".into(),
            client_id: "c".into(),
            scopes: scopes.clone(),
            optional_scopes: Vec::new(),
            allowed_origins: Vec::new(),
            client_origins: arc_swap::ArcSwapOption::empty(),
            provision: None,
        };
        UserKey::new(
            &tenant,
            &UserLookup::new(LookupField::Subject, value).unwrap(),
            &scopes,
        )
    }

    fn refused(certain: bool) -> QlikError {
        QlikError::ClientRefused {
            status: 401,
            code: None,
            certain,
        }
    }

    #[test]
    fn one_odd_user_never_stops_a_tenant() {
        let pause = TenantPause::default();
        for _ in 0..5 {
            pause.note(user("odd"), Some(&refused(false)));
            pause.note(user("odd"), Some(&QlikError::UserUnknown));
        }
        assert_eq!(pause.current(), None);
        pause.note(user("good"), None);
        pause.note(user("other"), Some(&refused(false)));
        assert_eq!(
            pause.current(),
            None,
            "a mint lies between the two refusals"
        );
    }

    #[test]
    fn a_second_user_or_a_known_code_pauses_it() {
        let pause = TenantPause::default();
        pause.note(user("one"), Some(&refused(false)));
        pause.note(user("two"), Some(&refused(false)));
        assert!(pause.current().is_some());
        let pause = TenantPause::default();
        pause.note(user("one"), Some(&refused(true)));
        assert!(pause.current().is_some());
    }
}
