//! The calls of browser sessions: a clock reading for each that called of late.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};

use super::RESTED;
use super::limiter::quota;
use crate::clock::TokioClock;
use crate::kept::Kept;

/// The first half of a session's digest, which is more than enough to count by.
type Session = [u8; 16];

/// See the module.
#[derive(Debug)]
pub(super) struct Sessions {
    per_minute: NonZeroU32,
    rate: RateLimiter<Session, Callers, TokioClock, NoOpMiddleware<Duration>>,
    clock: TokioClock,
}

/// Who called within the last minute.
#[derive(Debug)]
struct Callers(Kept<Session, InMemoryState>);

impl StateStore for Callers {
    type Key = Session;

    fn measure_and_replace<T, F, E>(&self, session: &Session, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let take = |state: &InMemoryState| state.measure_and_replace(&NotKeyed::NonKey, decide);
        self.0
            .look_or_insert_with(*session, InMemoryState::default, take)
    }
}

impl Sessions {
    /// Nobody called yet. `most` bounds the sessions that are counted.
    pub fn new(per_minute: NonZeroU32, most: u64) -> Self {
        let clock = TokioClock::start();
        let callers = Callers(Kept::new(most, RESTED));
        Self {
            per_minute,
            rate: RateLimiter::new(quota(per_minute), callers, clock.clone()),
            clock,
        }
    }

    pub fn per_minute(&self) -> NonZeroU32 {
        self.per_minute
    }

    /// One more call. `Err` if that is too many, with how long until there may be one.
    pub fn take(&self, digest: [u8; 32]) -> Result<(), Duration> {
        let mut session = Session::default();
        session.copy_from_slice(&digest[..16]);
        let taken = self.rate.check_key(&session);
        taken.map_err(|not_yet| not_yet.wait_time_from(self.clock.now()))
    }
}
