//! When a whole tenant is left alone: while it throttles us, and while it refuses our client.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

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

impl State {
    /// A shorter pause never cuts a longer one short.
    fn leave_alone(&mut self, error: &QlikError, pause: Duration) {
        let until = Instant::now() + pause;
        if self
            .pause
            .as_ref()
            .is_none_or(|(_, current)| *current < until)
        {
            self.pause = Some((error.clone(), until));
        }
    }
}

impl TenantPause {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when the tenant may be called. A throttle that ends before `deadline` is waited out.
    pub async fn wait(&self, deadline: Instant) -> Result<(), (QlikError, Duration)> {
        loop {
            let Some((error, until)) = self.current() else {
                return Ok(());
            };
            if !matches!(error, QlikError::Throttled { .. }) || until >= deadline {
                return Err((error, until.saturating_duration_since(Instant::now())));
            }
            sleep_until(until).await;
        }
    }

    fn current(&self) -> Option<(QlikError, Instant)> {
        self.state()
            .pause
            .clone()
            .filter(|(_, until)| *until > Instant::now())
    }

    /// Learns from how a mint went.
    pub fn note(&self, user: UserKey, error: Option<&QlikError>) {
        let mut state = self.state();
        let pause = match error {
            None => {
                state.refused_for = None;
                return;
            }
            Some(QlikError::Throttled { retry_after }) => *retry_after,
            Some(QlikError::ClientRefused { certain, .. }) => {
                let second = state
                    .refused_for
                    .replace(user)
                    .is_some_and(|first| first != user);
                if !certain && !second {
                    return;
                }
                REFUSED_PAUSE
            }
            Some(_) => return,
        };
        if let Some(error) = error {
            state.leave_alone(error, pause);
        }
    }

    /// Learns from a call that was no mint.
    pub fn note_throttle(&self, error: &QlikError) {
        if let QlikError::Throttled { retry_after } = error {
            self.state().leave_alone(error, *retry_after);
        }
    }

    /// How long the tenant still throttles us.
    pub fn throttle_left(&self) -> Duration {
        match self.current() {
            Some((QlikError::Throttled { .. }, until)) => {
                until.saturating_duration_since(Instant::now())
            }
            _ => Duration::ZERO,
        }
    }

    /// Why the tenant is left alone at the moment, if it is.
    pub fn reason(&self) -> Option<&'static str> {
        self.current().map(|(error, _)| match error {
            QlikError::Throttled { .. } => "throttled",
            _ => "client_refused",
        })
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
            client_origins: arc_swap::ArcSwap::default(),
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
        assert_eq!(pause.reason(), None);
        pause.note(user("good"), None);
        pause.note(user("other"), Some(&refused(false)));
        assert_eq!(pause.reason(), None, "a mint lies between the two refusals");
    }

    #[test]
    fn a_second_user_or_a_known_code_pauses_it() {
        let pause = TenantPause::default();
        pause.note(user("one"), Some(&refused(false)));
        pause.note(user("two"), Some(&refused(false)));
        assert_eq!(pause.reason(), Some("client_refused"));
        let pause = TenantPause::default();
        pause.note(user("one"), Some(&refused(true)));
        assert_eq!(pause.reason(), Some("client_refused"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttle_is_waited_out_only_within_the_deadline() {
        let pause = TenantPause::default();
        let throttled = QlikError::Throttled {
            retry_after: Duration::from_secs(13),
        };
        pause.note(user("one"), Some(&throttled));
        pause.note(user("two"), Some(&refused(true)));
        let started = Instant::now();
        let error = pause.wait(started + Duration::from_secs(10)).await;
        assert_eq!(error, Err((throttled, Duration::from_secs(13))));
        assert_eq!(started.elapsed(), Duration::ZERO, "refused at once");
        assert_eq!(pause.wait(started + Duration::from_secs(20)).await, Ok(()));
        assert_eq!(started.elapsed(), Duration::from_secs(13));
    }
}
