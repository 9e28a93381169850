//! The clocks, in one place: the time of day, for which rules take `now` as an argument and only the
//! edges ask here; and the clock of rates.

use std::time::{Duration, SystemTime};

use governor::clock::Clock;
use tokio::time::Instant;

/// The time of day. Freshness is measured on tokio's `Instant` instead, which never jumps.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// governor on tokio's clock, which tests can stop.
#[derive(Clone, Debug)]
pub struct TokioClock(Instant);

impl TokioClock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}
