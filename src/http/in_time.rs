//! Deadlines that cost nothing where they are not needed.

use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::task::Poll;

use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

/// `timeout_at` that makes no timer for what is ready at once. Nor for what is ready when the connection
/// was looked at once more: a body that came with its head is there by then.
pub(super) async fn in_time<F: Future>(deadline: Instant, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut once_more = true;
    let soon = poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending if mem::take(&mut once_more) => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
        Poll::Pending => Poll::Ready(None),
    });
    match soon.await {
        Some(outcome) => Ok(outcome),
        None => timeout_at(deadline, future).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use std::time::Duration;
    use tokio::task::yield_now;
    use tokio::time::sleep;

    const SOON: Duration = Duration::from_millis(10);

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_time_is_taken_and_nothing_is_waited_for_any_longer() {
        let started = Instant::now();
        let deadline = started + SOON;
        assert_eq!(in_time(deadline, ready(1)).await, Ok(1));
        assert_eq!(in_time(deadline, async { yield_now().await }).await, Ok(()));
        assert_eq!(started.elapsed(), Duration::ZERO);
        assert_eq!(in_time(deadline, sleep(SOON / 2)).await, Ok(()));
        assert_eq!(started.elapsed(), SOON / 2);
        assert!(in_time(deadline, pending::<()>()).await.is_err());
        assert_eq!(started.elapsed(), SOON);
    }
}
