//! What became of a call that must not be made twice, when its answer got lost.

use tokio::time::{Duration, sleep};

use super::AdminError;
use crate::qlik::QlikError;

/// How often such a call is made.
pub const TRIES: usize = 3;

/// When the tenant is looked at, each so long after the one before. It may be at work for a while on a
/// call that nobody waits for any more: twice the time that a call has.
const LOOKS: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_millis(1500),
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(3),
];

/// Looks for what a call made that ended in this error, until it is there. `None` says that another try
/// is due.
pub async fn found<T, E>(
    error: &AdminError,
    look: impl AsyncFn() -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    let looks = if is_answered(error) { 1 } else { LOOKS.len() };
    for pause in LOOKS.into_iter().take(looks) {
        sleep(pause).await;
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Whether the tenant has done what it will do. What stands in front of it answers 502 and 504 while it
/// may still be at work.
fn is_answered(error: &AdminError) -> bool {
    match error {
        AdminError::Call(QlikError::Unreachable(_)) => false,
        AdminError::Call(QlikError::Failed { status }) => !matches!(status, 502 | 504),
        _ => true,
    }
}
