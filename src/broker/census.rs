//! How many users have a token that lives, without a look at each of them: counted by the second in
//! which the tokens end.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// See the module. It holds as many seconds as the longest life has, and no more numbers than tokens.
#[derive(Debug)]
pub(super) struct Census {
    started: Instant,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    by_end: BTreeMap<u64, u64>,
    all: u64,
}

/// A place in the count: the second after which it does not count any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Until(u64);

impl Until {
    /// It counts for nothing.
    pub const NOW: Self = Self(0);
}

impl Census {
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            counts: Mutex::default(),
        }
    }

    /// The second in which a token ends.
    pub fn until(&self, end: Instant) -> Until {
        let end = end.saturating_duration_since(self.started);
        Until(end.as_secs() + u64::from(end.subsec_nanos() > 0))
    }

    /// One more that ends then.
    pub fn add(&self, Until(end): Until) {
        self.with(|counts| {
            *counts.by_end.entry(end).or_default() += 1;
            counts.all += 1;
        });
    }

    /// One less. What has ended was taken out already.
    pub fn remove(&self, Until(end): Until) {
        self.with(|counts| {
            let Some(count) = counts.by_end.get_mut(&end) else {
                return;
            };
            *count -= 1;
            if *count == 0 {
                counts.by_end.remove(&end);
            }
            counts.all -= 1;
        });
    }

    /// How many there are that have not ended.
    pub fn count(&self) -> u64 {
        self.with(|counts| counts.all)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Counts) -> T) -> T {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.started.elapsed().as_secs();
        while let Some(first) = counts.by_end.first_entry().filter(|it| *it.key() <= now) {
            let ended = first.remove();
            counts.all -= ended;
        }
        act(&mut counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Duration, advance};

    #[tokio::test(start_paused = true)]
    async fn each_counts_until_it_ends_or_is_taken_out() {
        let census = Census::new();
        let after = |millis| census.until(Instant::now() + Duration::from_millis(millis));
        let (one, two, three) = (after(1500), after(1700), after(60_000));
        for until in [one, two, three, Until::NOW] {
            census.add(until);
        }
        assert_eq!(census.count(), 3);
        census.remove(two);
        assert_eq!(census.count(), 2);
        advance(Duration::from_secs(2)).await;
        assert_eq!(census.count(), 1);
        census.remove(one);
        assert_eq!(census.count(), 1, "it had ended before");
        census.remove(three);
        assert_eq!(census.count(), 0);
        assert!(census.counts.lock().unwrap().by_end.is_empty());
    }
}
