//! The memory of the last failure: how long the upstream is left alone, and what those hear who
//! ask meanwhile.

use std::time::Duration;

use tokio::time::Instant;

use super::CellError;

/// First pause after a failure that names none of its own.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The pause doubles with each failure, up to this.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Errors that know how long to leave the upstream alone.
pub trait Pause {
    /// The pause asked for, if the error names one; the cell's own backoff otherwise.
    fn pause(&self) -> Option<Duration>;
}

#[derive(Debug)]
pub(super) struct Flight<E> {
    failure: Option<(Option<E>, Instant)>,
    failures_in_a_row: u32,
    pub last_renewal: Option<Instant>,
}

impl<E> Default for Flight<E> {
    fn default() -> Self {
        Self {
            failure: None,
            failures_in_a_row: 0,
            last_renewal: None,
        }
    }
}

impl<E> Flight<E> {
    /// A load succeeded: all is forgotten.
    pub fn forget(&mut self) {
        self.failure = None;
        self.failures_in_a_row = 0;
    }
}

impl<E: Pause + Clone> Flight<E> {
    pub fn remember(&mut self, error: Option<E>) -> CellError<E> {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures_in_a_row.min(10));
        let asked_for = error.as_ref().and_then(Pause::pause);
        let pause = asked_for.unwrap_or(doubled.min(LONGEST_PAUSE));
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.failure = Some((error.clone(), Instant::now() + pause));
        Self::describe(error, pause)
    }

    pub fn paused(&self) -> Option<CellError<E>> {
        let (_, until) = self.failure.as_ref()?;
        (*until > Instant::now()).then(|| self.last_failure())?
    }

    /// How the last load failed, if it did, whether or not its pause is over.
    pub fn last_failure(&self) -> Option<CellError<E>> {
        let (error, until) = self.failure.as_ref()?;
        let left = until.saturating_duration_since(Instant::now());
        Some(Self::describe(error.clone(), left))
    }

    fn describe(error: Option<E>, retry_after: Duration) -> CellError<E> {
        error.map_or(CellError::Panicked, |error| CellError::Failed {
            error,
            retry_after,
        })
    }
}
