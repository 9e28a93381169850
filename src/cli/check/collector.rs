//! `[telemetry]`: the collector of traces.

use super::fault::Fault;
use super::finding::Findings;
use crate::telemetry::export::{self, Collector};

/// Sends the collector no spans at all, as the broker sends it some.
pub(super) async fn check(collector: &Collector, found: &mut Findings) {
    let key = "telemetry.otlp_endpoint";
    match export::probe(collector).await {
        Ok(200..=299) => found.ok(key, "the collector takes traces"),
        Ok(status) => {
            let message = format!("what answers takes no traces: status {status}");
            found.add(Fault::CollectorRefused, key, message);
        }
        Err(trouble) => found.add(Fault::CollectorUnreachable, key, trouble.to_string()),
    }
}
