//! The samples of the last hour.

use std::collections::VecDeque;
use std::time::Duration;

use super::busy::Busy;
use super::sample::Sample;

/// How often a sample is taken.
pub const EVERY: Duration = Duration::from_secs(15);
/// Samples of a minute, over which everything is counted: a single sample would be noise.
const MINUTE: usize = 4;
/// Samples of what is drawn.
pub const HOUR: usize = 60 * MINUTE;

/// See the module. Bounded.
#[derive(Debug, Default)]
pub struct History {
    samples: VecDeque<Sample>,
    busy: Busy,
}

/// Two samples, and what happened between them.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// The first.
    pub from: &'a Sample,
    /// The last.
    pub to: &'a Sample,
}

impl History {
    /// The newest sample, with all its tenants.
    pub fn push(&mut self, mut sample: Sample) {
        self.busy.keep_the_busiest(&mut sample);
        // The oldest point that is drawn looks back a minute as well.
        if self.samples.len() > HOUR + MINUTE {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The newest sample.
    pub fn latest(&self) -> Option<&Sample> {
        self.samples.back()
    }

    /// Each point of the last hour with the minute before it, the oldest first; the newest is now.
    pub fn minutes(&self) -> impl Iterator<Item = Span<'_>> {
        let drawn = self.samples.len().saturating_sub(HOUR + 1)..self.samples.len();
        drawn.map(|index| Span {
            from: &self.samples[index.saturating_sub(MINUTE)],
            to: &self.samples[index],
        })
    }

    /// The budget of a tenant, where it was among the busiest.
    pub fn available(&self, tenant: &str) -> Vec<Option<f64>> {
        let points = self
            .minutes()
            .map(|span| Some(span.to.tenant(tenant)?.available));
        points.collect()
    }

    /// The lowest budget among all other tenants.
    pub fn others(&self) -> Vec<Option<f64>> {
        let points = self.minutes().map(|span| span.to.others);
        points
            .map(|others| others.map(|(lowest, _)| lowest))
            .collect()
    }

    /// Tokens handed out for a tenant in the last hour, if it is among the busiest.
    pub fn issued(&self, tenant: &str) -> Option<u64> {
        Some(self.latest()?.tenant(tenant)?.issued)
    }

    /// The last minute.
    pub fn minute(&self) -> Option<Span<'_>> {
        self.last(MINUTE)
    }

    /// The last hour.
    pub fn hour(&self) -> Option<Span<'_>> {
        self.last(HOUR)
    }

    fn last(&self, samples: usize) -> Option<Span<'_>> {
        let to = self.samples.back()?;
        let from = self
            .samples
            .get(self.samples.len().saturating_sub(samples + 1))?;
        Some(Span { from, to })
    }
}

impl Span<'_> {
    /// Requests by how they ended.
    pub fn requests(&self) -> [u64; 4] {
        grown(self.from.requests, self.to.requests)
    }

    /// Tokens by source.
    pub fn issued(&self) -> [u64; 3] {
        grown(self.from.issued, self.to.issued)
    }

    /// Operations of the shared tier.
    pub fn shared(&self) -> [u64; 2] {
        grown(self.from.shared, self.to.shared)
    }

    /// How long so much of the answers took at the most, in seconds.
    pub fn seconds(&self, share: f64) -> Option<f64> {
        self.to.seconds.since(&self.from.seconds).quantile(share)
    }

    /// Tokens handed out by their remaining life: more than 3 h, up to that, up to 1 h, up to 10 min.
    pub fn lives(&self) -> [u64; 4] {
        let life = self.to.life.since(&self.from.life);
        let [ten, hour, three] = [600.0, 3600.0, 10_800.0].map(|bound| life.up_to(bound));
        [
            life.count().saturating_sub(three),
            three.saturating_sub(hour),
            hour.saturating_sub(ten),
            ten,
        ]
    }
}

/// Counters only grow.
fn grown<const N: usize>(from: [u64; N], to: [u64; N]) -> [u64; N] {
    std::array::from_fn(|index| to[index].saturating_sub(from[index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(ok: u64) -> Sample {
        Sample {
            requests: [ok, 0, 0, 0],
            ..Sample::default()
        }
    }

    #[test]
    fn what_happened_before_the_first_sample_is_nobodys() {
        let mut history = History::default();
        assert!(history.hour().is_none() && history.minutes().next().is_none());
        history.push(sample(1000));
        assert_eq!(history.hour().unwrap().requests()[0], 0);
        history.push(sample(1007));
        assert_eq!(history.minute().unwrap().requests()[0], 7);
    }

    #[test]
    fn it_holds_an_hour_and_counts_by_the_minute() {
        let mut history = History::default();
        for tick in 0..10_000 {
            history.push(sample(tick * 10));
        }
        assert_eq!(history.samples.len(), HOUR + MINUTE + 1);
        let minutes: Vec<_> = history.minutes().map(|span| span.requests()[0]).collect();
        assert_eq!(minutes, [40; HOUR + 1]);
        assert_eq!(history.hour().unwrap().requests()[0], 2400);
    }
}
