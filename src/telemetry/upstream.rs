//! A call to a tenant while it is under way: counted when it is answered, and a span of the trace
//! that it is made for.

use tokio::time::Instant;

use crate::telemetry::metrics::{self, UpstreamCall};
use crate::telemetry::traces::Outgoing;

/// See the module.
#[derive(Debug)]
pub struct Asking<'a> {
    tenant: &'a str,
    call: UpstreamCall,
    since: Instant,
    span: Outgoing,
}

impl<'a> Asking<'a> {
    /// The call is made now, for the so manieth time from 1.
    pub fn begin(tenant: &'a str, call: UpstreamCall, number: u32) -> Self {
        let mut span = Outgoing::begin(call.route(), &[("qtb.tenant", tenant)]);
        span.note_try(number);
        Self {
            tenant,
            call,
            since: Instant::now(),
            span,
        }
    }

    /// It was answered, or cannot be any more.
    pub fn answered(self, outcome: &'static str) {
        metrics::upstream(self.tenant, self.call, outcome, self.since.elapsed());
        // That a token is dead is what was asked.
        let is_error = !matches!(outcome, "ok" | "dead");
        self.span.ended(outcome, is_error);
    }
}
