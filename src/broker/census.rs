//! How many users have a token that lives, without a look at each of them: counted by the second in
//! which the tokens end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

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

/// One that counts, until its end or until this is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    census: Arc<Census>,
    end: u64,
}

impl Counted {
    /// The second in which it ends, see [`Census::second_of`].
    pub fn end(&self) -> u64 {
        self.end
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.census.remove(self.end);
    }
}

impl Census {
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            counts: Mutex::default(),
        }
    }

    /// The second in which a token ends.
    pub fn second_of(&self, end: Instant) -> u64 {
        let end = end.saturating_duration_since(self.started);
        end.as_secs() + u64::from(end.subsec_nanos() > 0)
    }

    /// One more that ends then.
    pub fn count_until(self: &Arc<Self>, end: Instant) -> Counted {
        let end = self.second_of(end);
        self.with(|counts| {
            *counts.by_end.entry(end).or_default() += 1;
            counts.all += 1;
        });
        let census = Arc::clone(self);
        Counted { census, end }
    }

    /// One less. What has ended was taken out already.
    fn remove(&self, end: u64) {
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
        let census = Arc::new(Census::new());
        let after = |millis| census.count_until(Instant::now() + Duration::from_millis(millis));
        let [one, two, three] = [1500, 1700, 60_000].map(after);
        assert_eq!(census.count(), 3);
        drop(two);
        assert_eq!(census.count(), 2);
        advance(Duration::from_secs(2)).await;
        assert_eq!(census.count(), 1);
        drop(one);
        assert_eq!(census.count(), 1, "it had ended before");
        drop(three);
        assert_eq!(census.count(), 0);
        assert!(census.counts.lock().unwrap().by_end.is_empty());
    }
}
