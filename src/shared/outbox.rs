//! What is to be written when the store is back: logouts above all.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::Write;

/// Logouts of an outage that are kept at most; an hour of a very large portal.
const ROOM: usize = 200_000;

#[derive(Debug, Default)]
pub(super) struct Outbox(Mutex<VecDeque<(Instant, Write)>>);

impl Outbox {
    fn writes(&self) -> MutexGuard<'_, VecDeque<(Instant, Write)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Behind what is there already.
    pub fn add(&self, new: impl Iterator<Item = Write>) {
        let now = Instant::now();
        let mut writes = self.writes();
        writes.extend(new.map(|write| (now, write)));
        let over = writes.len().saturating_sub(ROOM);
        if over > 0 {
            tracing::error!(
                over,
                "too many logouts wait for the shared tier, the oldest are lost"
            );
            writes.drain(..over);
        }
    }

    /// In front of what came meanwhile.
    pub fn put_back(&self, old: impl DoubleEndedIterator<Item = Write>) {
        let now = Instant::now();
        let mut writes = self.writes();
        for write in old.rev() {
            writes.push_front((now, write));
        }
    }

    /// All of it, less what ended meanwhile.
    pub fn take(&self) -> Vec<Write> {
        let writes = std::mem::take(&mut *self.writes());
        let still_to_do = |(since, write): (Instant, Write)| match write {
            Write::Put(kind, key, value, life) => {
                let left = life.checked_sub(since.elapsed())?;
                Some(Write::Put(kind, key, value, left))
            }
            write => Some(write),
        };
        writes.into_iter().filter_map(still_to_do).collect()
    }
}
