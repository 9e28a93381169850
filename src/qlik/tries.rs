//! How often a call is tried.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::{Instant, sleep, timeout_at};

use super::error::QlikError;
use crate::budget::Granted;

/// Tries in all for a transient failure.
const TRIES: usize = 3;
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// The tries of one call: one more after a transient failure, each with a turn of its own.
pub(super) struct Tries {
    pub turn: Granted,
    pub deadline: Instant,
    made: u32,
    delays: ExponentialBackoff,
}

impl Tries {
    pub fn new(turn: Granted, deadline: Instant) -> Self {
        let delays = backoff().build();
        Self {
            turn,
            deadline,
            made: 0,
            delays,
        }
    }

    /// The number of the try that is made now, from 1.
    pub fn next(&mut self) -> u32 {
        self.made += 1;
        self.made
    }

    /// Returns when there is another try to be made, or with the error when there is none.
    pub async fn after(&mut self, error: QlikError) -> Result<(), QlikError> {
        if let QlikError::Throttled { retry_after } = error {
            self.turn.throttled(retry_after);
        }
        let Some(delay) = self.delays.next().filter(|_| error.is_transient()) else {
            return Err(error);
        };
        sleep(delay).await;
        if self.turn.again(self.deadline).await {
            Ok(())
        } else {
            Err(error)
        }
    }
}

/// Gives up at the deadline.
pub(super) async fn within<T>(
    deadline: Instant,
    calling: impl Future<Output = Result<T, QlikError>>,
) -> Result<T, QlikError> {
    let late = QlikError::Unreachable("no answer within the deadline");
    timeout_at(deadline, calling).await.unwrap_or(Err(late))
}

/// Between the tries of a transient failure.
pub(super) fn backoff() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_BACKOFF)
        .with_max_times(TRIES - 1)
        .with_jitter()
}
