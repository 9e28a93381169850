//! Traces: a span for each request of the public listener, and one for each call made for it.
//!
//! Whether a request is traced is decided once, before anything is made of it; one that is not costs
//! a comparison. The trace of another goes with the task that works for it, and with the tasks that
//! this one starts. No span holds a user, a token or a session.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::OnceLock;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use ipnet::IpNet;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{
    Span, SpanContext, SpanKind, Status, TraceContextExt, Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span as SdkSpan};
use tracing::Instrument;

/// W3C Trace Context, 3.3.1.5: what has to be passed on at least. More is not.
const TRACE_STATE_BYTES: usize = 512;

/// Where spans go; unset in programs that trace nothing.
static TRACING: OnceLock<Tracing> = OnceLock::new();

struct Tracing {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// Has requests traced from now on; once in a process.
pub(super) fn start(provider: SdkTracerProvider) {
    let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
    // A second one would be dropped, and nobody starts one.
    drop(TRACING.set(Tracing { provider, tracer }));
}

/// Sends the spans that are left, for as long as `patience`. Nothing is traced afterwards.
pub async fn flush(patience: Duration) {
    let Some(Tracing { provider, .. }) = TRACING.get() else {
        return;
    };
    let flushing = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(patience));
    // Spans that nobody takes are lost, which was said when it happened.
    drop(flushing.await);
}

/// Which requests are traced.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// The share of the requests that nobody has decided about, 0 to 1.
    pub share: f64,
    /// Networks of peers whose trace context is continued, and whose decision holds.
    pub trusted_peers: Vec<IpNet>,
}

/// A request as it came in.
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// The pattern of its path, if there is something at this path.
    pub route: Option<&'static str>,
    /// Its id.
    pub request_id: &'a HeaderValue,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// The socket's peer, in canonical form.
    pub peer: IpAddr,
}

impl Sampling {
    /// Begins the span of a request, if it is traced.
    pub fn begin(&self, asked: &Asked<'_>) -> Option<Trace> {
        let Tracing { tracer, .. } = TRACING.get()?;
        let parent = self.parent(asked);
        let is_traced = match &parent {
            Some(parent) => parent.is_sampled(),
            None => fastrand::f64() < self.share,
        };
        if !is_traced {
            return None;
        }
        // A method is any text that somebody sends.
        let method = match asked.method.as_str() {
            known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS" | "PATCH") => known,
            _ => "_OTHER",
        };
        let request_id = asked.request_id.to_str().unwrap_or_default();
        let name = asked.route.map(|route| format!("{method} {route}"));
        let mut attributes = vec![
            KeyValue::new("http.request.method", method.to_owned()),
            KeyValue::new("qtb.request_id", request_id.to_owned()),
        ];
        attributes.extend(asked.route.map(|route| KeyValue::new("http.route", route)));
        let span = tracer
            .span_builder(name.unwrap_or_else(|| method.to_owned()))
            .with_kind(SpanKind::Server)
            .with_attributes(attributes);
        let around = parent.map_or_else(Context::new, |parent| {
            Context::new().with_remote_span_context(parent)
        });
        let span = tracer.build_with_context(span, &around);
        Some(Trace(around.with_span(span)))
    }

    /// The span that a trusted peer names as the cause. Of anybody else it is not looked at.
    fn parent(&self, asked: &Asked<'_>) -> Option<SpanContext> {
        let mut trusted = self.trusted_peers.iter();
        if !trusted.any(|network| network.contains(&asked.peer)) {
            return None;
        }
        let told = TraceContextPropagator::new()
            .extract_with_context(&Context::new(), &Told(asked.headers));
        let span = told.span().span_context().clone();
        span.is_valid().then_some(span)
    }
}

/// What a peer tells of its trace: each header once, and not at any length.
struct Told<'a>(&'a HeaderMap);

impl Extractor for Told<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let mut values = self.0.get_all(key).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return None;
        };
        let value = value.to_str().ok();
        value.filter(|value| value.len() <= TRACE_STATE_BYTES)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// The trace of a request.
#[derive(Clone)]
pub struct Trace(Context);

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trace({})", self.id())
    }
}

impl Trace {
    /// The trace that the current task works for.
    pub fn current() -> Option<Self> {
        let is_traced = Context::map_current(TraceContextExt::has_active_span);
        is_traced.then(|| Self(Context::current()))
    }

    /// Its id, as it is written.
    pub fn id(&self) -> String {
        self.0.span().span_context().trace_id().to_string()
    }

    /// Adds which tenant the request is about.
    pub fn tenant(&self, tenant: &str) {
        let tenant = KeyValue::new("qtb.tenant", tenant.to_owned());
        self.0.span().set_attribute(tenant);
    }

    /// The request was answered with this status: well, or with a problem of this code. What goes on
    /// afterwards has spans of its own.
    pub fn answered(&self, status: u16, problem: Option<&'static str>) {
        let span = self.0.span();
        span.set_attribute(KeyValue::new(
            "http.response.status_code",
            i64::from(status),
        ));
        let outcome = problem.unwrap_or("ok");
        span.set_attribute(KeyValue::new("qtb.outcome", outcome));
        if status >= 500 {
            span.set_attribute(KeyValue::new("error.type", outcome));
            span.set_status(Status::error(""));
        }
        span.end();
    }

    /// Has what is done here belong to this trace.
    pub async fn around<F: Future>(&self, doing: F) -> F::Output {
        let mut doing = pin!(doing);
        poll_fn(|task| {
            let _current = self.0.clone().attach();
            doing.as_mut().poll(task)
        })
        .await
    }
}

/// Has a task that is about to start belong to the trace and the log span of the one that starts it.
pub fn carried<F: Future>(doing: F) -> impl Future<Output = F::Output> {
    // In a box: a task is one anyway, and what follows would hold it twice.
    let (trace, doing) = (Trace::current(), Box::pin(doing.in_current_span()));
    async move {
        match trace {
            None => doing.await,
            Some(trace) => trace.around(doing).await,
        }
    }
}

/// A call that leaves the broker: a span of the trace that it is made for, if there is one. A span
/// without an outcome is one of a call that nobody waited for any longer.
#[derive(Debug)]
pub struct Outgoing(Option<Box<SdkSpan>>);

impl Outgoing {
    /// Begins one; `about` is attributes.
    pub fn begin(name: &'static str, about: &[(&'static str, &str)]) -> Self {
        let traced = Trace::current().zip(TRACING.get());
        Self(traced.map(|(Trace(around), Tracing { tracer, .. })| {
            let about = about.iter();
            let span = tracer
                .span_builder(name)
                .with_kind(SpanKind::Client)
                .with_attributes(about.map(|(key, text)| KeyValue::new(*key, (*text).to_owned())));
            // In a box: a span is large, and calls are held by futures that hold each other.
            Box::new(tracer.build_with_context(span, &around))
        }))
    }

    /// Adds which try of the call it is, from 1.
    pub fn note_try(&mut self, number: u32) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new("qtb.try", i64::from(number)));
        }
    }

    /// It has ended.
    pub fn ended(self, outcome: &'static str, is_error: bool) {
        let Some(mut span) = self.0 else {
            return;
        };
        span.set_attribute(KeyValue::new("qtb.outcome", outcome));
        if is_error {
            span.set_attribute(KeyValue::new("error.type", outcome));
            span.set_status(Status::error(""));
        }
        span.end();
    }
}
