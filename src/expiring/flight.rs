//! One load at a time, and the memory of the last failure: how long the upstream is left alone, and
//! what those hear who ask meanwhile.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

use super::{CellError, ExpiringCell};

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

    fn is_forgotten(&self) -> bool {
        self.failure.is_none() && self.last_renewal.is_none()
    }
}

/// Where the loads of a cell wait for each other.
pub(super) type Runway<E> = Mutex<Flight<E>>;

/// The one who may load. The last one takes the runway away, if there is nothing to remember and
/// nobody else has it in hand; else the next one does.
pub(super) struct Flying<T, E> {
    cell: Arc<ExpiringCell<T, E>>,
    flight: OwnedMutexGuard<Flight<E>>,
}

impl<T, E> Flying<T, E> {
    /// Once the others have landed.
    pub async fn after_others(cell: &Arc<ExpiringCell<T, E>>, runway: Arc<Runway<E>>) -> Self {
        let (cell, flight) = (Arc::clone(cell), runway.lock_owned().await);
        Self { cell, flight }
    }

    /// `None` if there are others.
    pub fn alone(cell: &Arc<ExpiringCell<T, E>>, runway: Arc<Runway<E>>) -> Option<Self> {
        let flight = runway.try_lock_owned().ok()?;
        let cell = Arc::clone(cell);
        Some(Self { cell, flight })
    }

    pub fn cell(&self) -> &Arc<ExpiringCell<T, E>> {
        &self.cell
    }
}

impl<T, E> Drop for Flying<T, E> {
    fn drop(&mut self) {
        let mut held = self.cell.held();
        // The cell's own and this one's: whoever wants one too has to wait for the lock on the cell.
        let is_last = |runway: &mut Arc<_>| Arc::strong_count(runway) == 2;
        if self.flight.is_forgotten() {
            held.runway.take_if(is_last);
        }
    }
}

impl<T, E> Deref for Flying<T, E> {
    type Target = Flight<E>;

    fn deref(&self) -> &Flight<E> {
        &self.flight
    }
}

impl<T, E> DerefMut for Flying<T, E> {
    fn deref_mut(&mut self) -> &mut Flight<E> {
        &mut self.flight
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
