//! Which tenants were the busiest of the last hour, and how busy.
//!
//! What a tenant got since the process started says little of today. So all counts are kept as they were
//! every five minutes, for an hour: of ten thousand tenants a few megabytes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::sample::{Sample, TenantSample};

/// Tenants that are looked at one by one.
pub const TENANTS: usize = 20;
/// Samples from one mark to the next: five minutes.
const STEP: usize = 20;
/// Marks that are kept: the oldest is an hour old at the most, and five minutes less at the least.
const MARKS: usize = 12;

/// See the module.
#[derive(Debug, Default)]
pub struct Busy {
    /// The counts of all tenants, the oldest first. Names are shared from one mark to the next.
    marks: VecDeque<HashMap<Arc<str>, u64>>,
    /// Samples since the last mark.
    since: usize,
}

impl Busy {
    /// Of all tenants in a sample the busiest are left, with what they got in the last hour, and of the
    /// others the lowest budget.
    pub fn keep_the_busiest(&mut self, sample: &mut Sample) {
        let tenants = &mut sample.tenants;
        if self.marks.is_empty() || self.since == STEP {
            self.mark(tenants);
        }
        self.since += 1;
        if let Some(before) = self.marks.front() {
            for tenant in tenants.iter_mut() {
                // Who was not there before has got nothing before.
                let before = before.get(tenant.id.as_str()).copied().unwrap_or(0);
                tenant.issued = tenant.issued.saturating_sub(before);
            }
        }
        tenants.sort_by(|a, b| b.issued.cmp(&a.issued).then_with(|| a.id.cmp(&b.id)));
        let rest = tenants.split_off(tenants.len().min(TENANTS));
        let lowest = rest.iter().map(|tenant| tenant.available);
        let lowest = lowest.min_by(f64::total_cmp);
        sample.others = lowest.map(|lowest| (lowest, rest.len()));
    }

    fn mark(&mut self, tenants: &[TenantSample]) {
        self.since = 0;
        if self.marks.len() == MARKS {
            self.marks.pop_front();
        }
        let last = self.marks.back();
        let counts = tenants.iter().map(|tenant| {
            let known = last.and_then(|last| last.get_key_value(tenant.id.as_str()));
            let id = known.map_or_else(|| tenant.id.as_str().into(), |(id, _)| Arc::clone(id));
            (id, tenant.issued)
        });
        let counts = counts.collect();
        self.marks.push_back(counts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(counts: &[(&str, u64)]) -> Sample {
        let tenants = counts.iter().map(|(id, issued)| TenantSample {
            id: (*id).to_owned(),
            issued: *issued,
            available: 100.0,
        });
        Sample {
            tenants: tenants.collect(),
            ..Sample::default()
        }
    }

    fn busiest(busy: &mut Busy, counts: &[(&str, u64)]) -> Vec<(String, u64)> {
        let mut sample = sample(counts);
        busy.keep_the_busiest(&mut sample);
        let tenants = sample.tenants.into_iter();
        tenants.map(|tenant| (tenant.id, tenant.issued)).collect()
    }

    #[test]
    fn the_busiest_are_those_of_the_last_hour() {
        let mut busy = Busy::default();
        let named = |counts: [(&str, u64); 2]| counts.map(|(id, count)| (id.to_owned(), count));
        let first = busiest(&mut busy, &[("old", 1_000_000), ("new", 0)]);
        assert_eq!(
            first,
            named([("new", 0), ("old", 0)]),
            "what was before is nobody's"
        );
        let now = busiest(&mut busy, &[("old", 1_000_010), ("new", 0)]);
        assert_eq!(now, named([("old", 10), ("new", 0)]));
        for _ in 0..STEP * MARKS {
            busiest(&mut busy, &[("old", 1_000_010), ("new", 7)]);
        }
        let later = busiest(&mut busy, &[("old", 1_000_010), ("new", 8)]);
        assert_eq!(later, named([("new", 1), ("old", 0)]));
        let come = busiest(&mut busy, &[("old", 1_000_010), ("come", 3)]);
        assert_eq!(come, named([("come", 3), ("old", 0)]));
        assert_eq!(busy.marks.len(), MARKS);
    }

    #[test]
    fn of_ten_thousand_tenants_the_busiest_are_kept_and_the_others_as_one() {
        let ids: Vec<_> = (0..10_000).map(|tenant| format!("t{tenant}")).collect();
        let at = |factor: u64| {
            let counts = ids.iter().zip(0u64..);
            let counts: Vec<_> = counts.map(|(id, n)| (id.as_str(), factor * n)).collect();
            sample(&counts)
        };
        let mut busy = Busy::default();
        busy.keep_the_busiest(&mut at(1));
        let mut now = at(2);
        busy.keep_the_busiest(&mut now);
        assert_eq!(now.tenants.len(), TENANTS);
        assert_eq!(
            (now.tenants[0].id.as_str(), now.tenants[0].issued),
            ("t9999", 9999)
        );
        assert_eq!(now.others, Some((100.0, 10_000 - TENANTS)));
    }
}
