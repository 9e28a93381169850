//! The simulator's only look at the wall clock, which can be shifted to play a tenant whose clock is off.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// The tenant's idea of the present: the real time moved by `skew_seconds`.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the simulator that reads the clock"
)]
pub(super) fn now(skew_seconds: i64) -> SystemTime {
    let real = SystemTime::now();
    let shift = Duration::from_secs(skew_seconds.unsigned_abs());
    let shifted = if skew_seconds < 0 {
        real.checked_sub(shift)
    } else {
        real.checked_add(shift)
    };
    shifted.unwrap_or(real)
}

/// [`now`] as a calendar instant.
pub(super) fn timestamp(skew_seconds: i64) -> Timestamp {
    Timestamp::try_from(now(skew_seconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// `then` plus `life`, capped at the end of the calendar.
pub(super) fn after(then: Timestamp, life: Duration) -> Timestamp {
    jiff::SignedDuration::try_from(life)
        .ok()
        .and_then(|life| then.checked_add(life).ok())
        .unwrap_or(Timestamp::MAX)
}

/// ISO 8601 with milliseconds and `Z`, the form of `expires_at` (doc).
pub(super) fn iso_millis(instant: Timestamp) -> String {
    format!("{instant:.3}")
}

/// ISO 8601 with nanoseconds and `Z`, the form of an OAuth client's `createdAt` (doc).
pub(super) fn iso_nanos(instant: Timestamp) -> String {
    format!("{instant:.9}")
}

/// The form of the header `Date` (RFC 9110, 5.6.7).
pub(super) fn http_date(instant: Timestamp) -> String {
    httpdate::fmt_http_date(instant.into())
}
