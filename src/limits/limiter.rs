//! So many calls a minute, and a fifth of them at once.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::clock::TokioClock;

/// The share of a minute's calls that may come at once.
const BURST: u32 = 5;

/// See the module.
#[derive(Debug)]
pub struct Limiter {
    rate: RateLimiter<NotKeyed, InMemoryState, TokioClock, StateInformationMiddleware>,
    clock: TokioClock,
    /// Until when nothing is left, in nanoseconds of the clock.
    used_up_until: AtomicU64,
}

impl Limiter {
    /// Nothing is used up yet.
    pub fn per_minute(calls: NonZeroU32) -> Self {
        let clock = TokioClock::start();
        let rate = RateLimiter::direct_with_clock(quota(calls), clock.clone());
        Self {
            rate: rate.with_middleware(),
            clock,
            used_up_until: AtomicU64::new(0),
        }
    }

    /// One more call. `Err` if that is too many, with how long until there may be one.
    pub fn take(&self) -> Result<(), Duration> {
        let now = self.clock.now();
        match self.rate.check() {
            Ok(state) if state.remaining_burst_capacity() > 0 => Ok(()),
            Ok(state) => {
                // The exact moment would take another call; it is not after this one.
                self.note(now + state.quota().replenish_interval());
                Ok(())
            }
            Err(not_yet) => {
                let wait = not_yet.wait_time_from(now);
                self.note(now + wait);
                Err(wait)
            }
        }
    }

    /// How long until there may be a call; `None` if there may be one now.
    pub fn wait(&self) -> Option<Duration> {
        let until = Duration::from_nanos(self.used_up_until.load(Ordering::Acquire));
        let left = until.checked_sub(self.clock.now())?;
        (!left.is_zero()).then_some(left)
    }

    fn note(&self, until: Duration) {
        let nanos = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        self.used_up_until.store(nanos, Ordering::Release);
    }
}

pub(super) fn quota(per_minute: NonZeroU32) -> Quota {
    let burst = NonZeroU32::new(per_minute.get() / BURST).unwrap_or(NonZeroU32::MIN);
    Quota::per_minute(per_minute).allow_burst(burst)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn limiter(per_minute: u32) -> Limiter {
        Limiter::per_minute(NonZeroU32::new(per_minute).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_fifth_of_a_minute_s_calls_may_come_at_once_and_then_one_at_a_time() {
        for (per_minute, burst) in [(600, 120), (120, 24), (9, 1), (5, 1), (4, 1), (1, 1)] {
            let limiter = limiter(per_minute);
            for call in 0..burst {
                assert_eq!(limiter.wait(), None, "{per_minute}: {call}");
                assert_eq!(limiter.take(), Ok(()), "{per_minute}: {call}");
            }
            let interval = Duration::from_secs(60) / per_minute;
            for _ in 0..3 {
                let wait = limiter.take().unwrap_err();
                assert!(wait <= interval && wait > interval / 2, "{wait:?}");
                assert_eq!(limiter.wait(), Some(wait));
                advance(wait).await;
                assert_eq!(limiter.wait(), None);
                assert_eq!(limiter.take(), Ok(()));
            }
        }
    }

    /// What [`super::super::RESTED`] relies on.
    #[tokio::test(start_paused = true)]
    async fn after_a_minute_a_limiter_is_as_good_as_new() {
        for per_minute in [1, 4, 7, 120, 1_000_000] {
            let limiter = limiter(per_minute);
            for _ in 0..2 {
                let mut calls = 0;
                while limiter.take().is_ok() {
                    calls += 1;
                }
                assert!(calls >= (per_minute / BURST).max(1), "{per_minute}");
                advance(Duration::from_secs(60)).await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_gets_more_than_the_rate_and_a_burst() {
        let limiter = limiter(600);
        let mut taken = 0;
        for _ in 0..60_000 {
            taken += u32::from(limiter.take().is_ok());
            advance(Duration::from_millis(1)).await;
        }
        assert!((700..=721).contains(&taken), "{taken}");
    }
}
