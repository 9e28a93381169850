//! One look at the metrics: what a scraper would read at that moment, as far as the page shows it.

use std::collections::HashMap;
use std::io::{self, Write};

use crate::telemetry::metrics::{
    BUDGET_AVAILABLE, REQUEST_SECONDS, REQUESTS, SHARED_OPERATIONS, TOKEN_LIFE, TOKENS_ISSUED,
};

/// The routes that are for somebody; probes and files would drown them.
const ROUTES: [&str; 4] = ["/session-token", "/sessions", "/service-token", "/logout"];
/// The route whose answers are timed.
const TIMED: &str = "/session-token";
const SOURCES: [&str; 3] = ["local", "shared", "minted"];

/// Counts since the process started, and gauges.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Requests: answered, refused, told to wait, failed.
    pub requests: [u64; 4],
    /// How long answers took.
    pub seconds: Histogram,
    /// Tokens handed out: from memory, from the shared tier, minted.
    pub issued: [u64; 3],
    /// The remaining life of those tokens.
    pub life: Histogram,
    /// Operations of the shared tier: done, failed.
    pub shared: [u64; 2],
    /// The tenants: all that are served, of which the history keeps the busiest, the busiest first.
    pub tenants: Vec<TenantSample>,
    /// The lowest budget among the others, and how many they are.
    pub others: Option<(f64, usize)>,
}

impl Sample {
    /// A tenant, if it is among the busiest.
    pub fn tenant(&self, id: &str) -> Option<&TenantSample> {
        self.tenants.iter().find(|tenant| tenant.id == id)
    }
}

/// What is known of one tenant.
#[derive(Clone, Debug, Default)]
pub struct TenantSample {
    /// Its id.
    pub id: String,
    /// Tokens handed out since the process started; of what is kept, in the hour before.
    pub issued: u64,
    /// Calls that it could be sent at once.
    pub available: f64,
}

/// A histogram as it is exposed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram(Vec<Bucket>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    /// The highest value in it; the last one's is infinite.
    bound: f64,
    /// Values up to there.
    count: u64,
}

impl Histogram {
    fn add(&mut self, bound: f64, count: u64) {
        match self.0.iter_mut().find(|bucket| bucket.bound >= bound) {
            Some(bucket) => bucket.count += count,
            None => self.0.push(Bucket { bound, count }),
        }
    }

    /// What came since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |bound| earlier.up_to(bound);
        let later = self.0.iter().map(|&Bucket { bound, count }| Bucket {
            bound,
            count: count.saturating_sub(before(bound)),
        });
        Self(later.collect())
    }

    /// Values up to `bound`, which has to be one of the histogram's.
    pub fn up_to(&self, bound: f64) -> u64 {
        let bucket = self.0.iter().find(|bucket| bucket.bound >= bound);
        bucket.map_or(0, |bucket| bucket.count)
    }

    /// All values.
    pub fn count(&self) -> u64 {
        self.0.last().map_or(0, |bucket| bucket.count)
    }

    /// The value that this share of all values does not exceed, by the arithmetic of Prometheus'
    /// `histogram_quantile`: in a straight line within a bucket.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let all = self.count();
        let rank = share * all as f64;
        let index = self
            .0
            .iter()
            .position(|bucket| bucket.count as f64 >= rank)?;
        let Bucket { bound, count } = self.0[index];
        let (from, below) = match index.checked_sub(1) {
            Some(before) => (self.0[before].bound, self.0[before].count),
            None => (0.0, 0),
        };
        if all == 0 || bound.is_infinite() {
            return (all > 0).then_some(from);
        }
        let within = (rank - below as f64) / (count - below).max(1) as f64;
        Some(from + (bound - from) * within)
    }
}

/// Reads an exposition while it is written, without ever holding the whole of it: with ten thousand
/// tenants it has 23 MB.
#[derive(Default)]
pub struct Reader {
    sample: Sample,
    tenants: HashMap<String, (u64, Option<f64>)>,
    /// The beginning of a line whose end has not come yet.
    rest: Vec<u8>,
}

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(bytes.len());
        };
        let rest = self.rest.split_off(end + 1);
        let lines = std::mem::replace(&mut self.rest, rest);
        for line in lines.split(|byte| *byte == b'\n') {
            if let Ok(line) = std::str::from_utf8(line) {
                self.line(line);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Reader {
    /// What was read.
    pub fn finish(self) -> Sample {
        let tenants = self.tenants.into_iter();
        // The budget of a tenant that is not served any more is no number.
        let served = tenants.filter_map(|(id, (issued, available))| {
            let available = available.filter(|available| available.is_finite())?;
            Some(TenantSample {
                id,
                issued,
                available,
            })
        });
        Sample {
            tenants: served.collect(),
            ..self.sample
        }
    }

    /// `name{label="value",…} number`. Values that could hold a quote are in no line that is looked at.
    fn line(&mut self, line: &str) {
        let Some((name, rest)) = line.split_once('{') else {
            return;
        };
        let Some((labels, number)) = rest.rsplit_once("} ") else {
            return;
        };
        let count = || number.parse().unwrap_or_default();
        let sample = &mut self.sample;
        if name == REQUESTS {
            if let (Some(route), Some(outcome)) = (label(labels, "route"), label(labels, "outcome"))
                && ROUTES.contains(&route)
            {
                sample.requests[ending(outcome)] += count();
            }
        } else if name == TOKENS_ISSUED {
            if let (Some(tenant), Some(source)) = (label(labels, "tenant"), label(labels, "source"))
                && let Some(index) = SOURCES.iter().position(|known| *known == source)
            {
                sample.issued[index] += count();
                self.tenant(tenant).0 += count();
            }
        } else if name == BUDGET_AVAILABLE {
            if let Some(tenant) = label(labels, "tenant") {
                self.tenant(tenant).1 = number.parse().ok();
            }
        } else if name == SHARED_OPERATIONS {
            let failed = label(labels, "outcome") != Some("ok");
            sample.shared[usize::from(failed)] += count();
        } else if let Some(name) = name.strip_suffix("_bucket") {
            let bound = label(labels, "le").and_then(|bound| bound.parse().ok());
            let Some(bound) = bound else {
                return;
            };
            if name == REQUEST_SECONDS && label(labels, "route") == Some(TIMED) {
                sample.seconds.add(bound, count());
            } else if name == TOKEN_LIFE {
                sample.life.add(bound, count());
            }
        }
    }

    fn tenant(&mut self, id: &str) -> &mut (u64, Option<f64>) {
        self.tenants.entry(id.to_owned()).or_default()
    }
}

fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(known, _)| *known == name)?;
    value.strip_prefix('"')?.strip_suffix('"')
}

/// The place among [`Sample::requests`] of an outcome.
fn ending(outcome: &str) -> usize {
    match outcome {
        "ok" => 0,
        "rate_limited" | "renewal_too_soon" | "tenant_throttled" | "overloaded" => 2,
        "tenant_unavailable"
        | "tenant_refused_client"
        | "tenant_malformed"
        | "session_service_unavailable"
        | "internal" => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Code;

    fn read(text: &str, piece: usize) -> Sample {
        let mut reader = Reader::default();
        for piece in text.as_bytes().chunks(piece) {
            reader.write_all(piece).unwrap();
        }
        reader.finish()
    }

    #[test]
    fn every_code_of_the_api_has_its_place() {
        for code in Code::ALL {
            let waits = matches!(code, Code::TenantThrottled | Code::Overloaded);
            let expected = match code.status().as_u16() {
                429 => 2,
                500.. if !waits => 3,
                500.. => 2,
                _ => 1,
            };
            assert_eq!(ending(code.as_str()), expected, "{}", code.as_str());
        }
        assert_eq!(ending("ok"), 0);
    }

    #[test]
    fn an_exposition_is_read_in_whatever_pieces_it_comes() {
        let text = "# HELP qtb_requests_total x\n# TYPE qtb_requests_total counter\n\
            qtb_requests_total{route=\"/session-token\",outcome=\"ok\"} 7\n\
            qtb_requests_total{route=\"/logout\",outcome=\"ok\"} 1\n\
            qtb_requests_total{route=\"/healthz\",outcome=\"ok\"} 99\n\
            qtb_requests_total{route=\"/session-token\",outcome=\"tenant_throttled\"} 2\n\n\
            qtb_tokens_issued_total{tenant=\"acme\",source=\"minted\"} 3\n\
            qtb_tokens_issued_total{tenant=\"acme\",source=\"local\"} 4\n\
            qtb_tokens_issued_total{tenant=\"gone\",source=\"local\"} 5\n\
            qtb_budget_available{tenant=\"acme\"} 97\n\
            qtb_budget_available{tenant=\"gone\"} NaN\n\
            qtb_request_seconds_bucket{route=\"/session-token\",le=\"0.001\"} 4\n\
            qtb_request_seconds_bucket{route=\"/session-token\",le=\"+Inf\"} 8\n\
            qtb_request_seconds_count{route=\"/session-token\"} 8\n\
            qtb_token_life_seconds_bucket{tenant=\"acme\",le=\"600\"} 1\n\
            qtb_token_life_seconds_bucket{tenant=\"gone\",le=\"600\"} 2\n\
            qtb_shared_operations_total{operation=\"get\",outcome=\"failed\"} 6\n\
            qtb_config_generation 1\n";
        for piece in [1, 7, 4096] {
            let sample = read(text, piece);
            assert_eq!(sample.requests, [8, 0, 2, 0]);
            assert_eq!(sample.issued, [9, 0, 3]);
            assert_eq!((sample.seconds.count(), sample.life.up_to(600.0)), (8, 3));
            assert_eq!(sample.shared, [0, 6]);
            let tenants = sample.tenants.iter();
            let tenants: Vec<_> = tenants
                .map(|tenant| (tenant.id.as_str(), tenant.issued, tenant.available))
                .collect();
            assert_eq!(tenants, [("acme", 7, 97.0)]);
            assert_eq!(sample.others, None);
        }
    }

    #[test]
    fn quantiles_are_those_of_prometheus() {
        let mut histogram = Histogram::default();
        for (bound, count) in [(0.1, 50), (0.5, 90), (1.0, 100), (f64::INFINITY, 100)] {
            histogram.add(bound, count);
        }
        let close = |share: f64, expected: f64| {
            let value = histogram.quantile(share).unwrap();
            assert!((value - expected).abs() < 1e-9, "{share}: {value}");
        };
        close(0.5, 0.1);
        close(0.25, 0.05);
        close(0.95, 0.75);
        let none = histogram.since(&histogram);
        assert_eq!((none.count(), none.quantile(0.5)), (0, None));
        let mut beyond = Histogram::default();
        beyond.add(10.0, 0);
        beyond.add(f64::INFINITY, 4);
        assert_eq!(beyond.quantile(0.99), Some(10.0), "no more is known");
    }
}
