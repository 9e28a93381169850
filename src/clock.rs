//! The wall clock, in one place. Rules take `now` as an argument; only the edges ask here.

use std::time::SystemTime;

/// The time of day. Freshness is measured on tokio's `Instant` instead, which never jumps.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]
pub fn now() -> SystemTime {
    SystemTime::now()
}
