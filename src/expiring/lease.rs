//! A value and the times that decide about it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::clock;

/// When a value stops being good enough, as a share of its life.
#[derive(Clone, Copy, Debug)]
pub struct Margins {
    /// Refresh ahead this long before the end, or in the last half of a shorter life.
    pub refresh: Duration,
    /// With less life than this, or than a tenth of a short life, a value is only handed out when
    /// nothing better can be had.
    pub min_life: Duration,
}

impl Margins {
    /// How near its end a value of so long a `life` is only good for want of a better one.
    pub fn spare(self, life: Duration) -> Duration {
        self.min_life.min(life / 10)
    }
}

/// A value and the times that decide about it.
#[derive(Debug)]
pub struct Lease<T> {
    pub(super) value: Arc<T>,
    pub(super) obtained_at: Instant,
    pub(super) refresh_at: Instant,
    pub(super) spare_from: Instant,
    pub(super) expires_at: Instant,
    /// The same end by the wall clock: tokio's clock stands still while a machine sleeps.
    expires_wall: SystemTime,
}

impl<T> Clone for Lease<T> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            ..*self
        }
    }
}

impl<T> Lease<T> {
    /// A lease of `life` from now on. `jitter`, from 0 to 1, shrinks the refresh margin by up to a
    /// half, so that values loaded together are not refreshed together.
    pub fn new(value: Arc<T>, life: Duration, margins: Margins, jitter: f64) -> Self {
        Self::resumed(value, life, life, margins, jitter)
    }

    /// The same of a value that has been alive for a while: `left` is what is left of its life.
    pub fn resumed(
        value: Arc<T>,
        left: Duration,
        life: Duration,
        margins: Margins,
        jitter: f64,
    ) -> Self {
        let now = Instant::now();
        let margin = margins.refresh.min(life / 2);
        let margin = margin.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0);
        Self {
            value,
            obtained_at: now,
            refresh_at: now + left.saturating_sub(margin),
            spare_from: now + left.saturating_sub(margins.spare(life)),
            expires_at: now + left,
            expires_wall: clock::now() + left,
        }
    }

    /// A lease of `life` that is not refreshed ahead. With no life at all the value is for those who
    /// wait for it now, and for nobody after them.
    pub fn fixed(value: Arc<T>, life: Duration) -> Self {
        Self::renewed_every(value, life, life)
    }

    /// A lease that is refreshed `every` so often, and lives on for `life` while that fails.
    pub fn renewed_every(value: Arc<T>, every: Duration, life: Duration) -> Self {
        let now = Instant::now();
        let (expires_at, expires_wall) = (now + life, clock::now() + life);
        Self {
            value,
            obtained_at: now,
            refresh_at: now + every,
            spare_from: expires_at,
            expires_at,
            expires_wall,
        }
    }

    /// The value, whatever its age.
    pub fn value(&self) -> &Arc<T> {
        &self.value
    }

    pub(super) fn is_momentary(&self) -> bool {
        self.expires_at == self.obtained_at
    }

    pub(super) fn is_live(&self, now: Instant) -> bool {
        now < self.expires_at && clock::now() < self.expires_wall
    }
}

/// A value, and whether this caller had to wait for it.
#[derive(Debug)]
pub struct Got<T> {
    /// The value.
    pub value: Arc<T>,
    /// Whether a load happened while this caller waited.
    pub waited: bool,
}

impl<T> Got<T> {
    pub(super) fn held(value: Arc<T>) -> Self {
        let waited = false;
        Self { value, waited }
    }

    pub(super) fn awaited(value: Arc<T>) -> Self {
        let waited = true;
        Self { value, waited }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c48_a_value_lives_only_while_both_clocks_say_so() {
        let hour = Duration::from_secs(3600);
        let (now, wall) = (Instant::now(), clock::now());
        let lease = |expires_at, expires_wall| Lease {
            expires_at,
            expires_wall,
            ..Lease::fixed(Arc::new(()), hour)
        };
        let (later, later_wall) = (now + hour, wall + hour);
        assert!(lease(later, later_wall).is_live(now));
        assert!(
            !lease(later, wall - hour).is_live(now),
            "the wall clock ran ahead"
        );
        assert!(
            !lease(now, later_wall + hour).is_live(now),
            "it was set back"
        );
    }
}
