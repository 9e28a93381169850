//! Spans on their way to the collector: OTLP over HTTP, in batches of a bounded queue.
//!
//! What the collector does not take is dropped. No request waits for it or fails with it, and the
//! export itself is not traced.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter,
};
use prost::Message;
use tokio::runtime::Handle;
use tokio::time::Instant;
use uuid::Uuid;

use crate::outbound::{self, ClientError, HttpClient, Proxy, Trouble, read_capped};
use crate::secret::Secret;
use crate::telemetry::metrics;

/// Spans that wait to be sent; one more is dropped.
const QUEUE: usize = 4096;
const BATCH: usize = 512;
/// A batch that is not full goes after this time.
const DELAY: Duration = Duration::from_secs(1);
/// An answer holds no more than a sentence; it is read so that the connection can be used again.
const BODY_CAP: usize = 64 * 1024;
/// How often the log is told that the collector is away.
const SILENCE: Duration = Duration::from_secs(60);

/// Where spans are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// The address for traces, such as `http://collector:4318/v1/traces`.
    pub url: String,
    /// What it wants to be shown.
    pub headers: Vec<(HeaderName, Secret)>,
}

/// Has requests traced, and their spans sent there; once in a process, and on its runtime.
pub fn start(collector: &Collector) -> Result<(), ClientError> {
    let exporter = Exporter {
        http: outbound::client(&Proxy::None, None)?,
        url: collector.url.clone(),
        headers: headers(collector),
        resource: ResourceAttributesWithSchema::default(),
        runtime: Handle::current(),
        dropped: Mutex::default(),
    };
    // All is said here: the library's own defaults would come from the environment.
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(DELAY)
        .build();
    let batches = BatchSpanProcessor::builder(exporter)
        .with_batch_config(config)
        .build();
    let resource = Resource::builder_empty().with_attributes([
        KeyValue::new("service.name", env!("CARGO_PKG_NAME")),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", Uuid::new_v4().to_string()),
    ]);
    let provider = SdkTracerProvider::builder()
        .with_span_processor(batches)
        // Spans are only made for what is traced.
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(resource.build())
        .build();
    super::traces::start(provider);
    Ok(())
}

/// Sends the collector an empty batch: the status that it answers, or why it does not.
pub async fn probe(collector: &Collector) -> Result<u16, Trouble> {
    let nothing = ExportTraceServiceRequest::default().encode_to_vec();
    let answered = outbound::look_by_post(&collector.url, headers(collector), nothing).await?;
    Ok(answered.status)
}

fn headers(collector: &Collector) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, secret) in &collector.headers {
        // The configuration was refused if it is none.
        if let Ok(mut value) = HeaderValue::from_str(secret.expose()) {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    let kind = HeaderValue::from_static("application/x-protobuf");
    headers.insert(CONTENT_TYPE, kind);
    headers
}

struct Exporter {
    http: HttpClient,
    url: String,
    headers: HeaderMap,
    resource: ResourceAttributesWithSchema,
    /// The batches come from a thread of their own, which has none.
    runtime: Handle,
    /// Since it was told of last, and when that was.
    dropped: Mutex<(usize, Option<Instant>)>,
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exporter")
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let request = ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(batch, &self.resource),
        };
        let sending = self
            .http
            .post(&self.url)
            .headers(self.headers.clone())
            .body(request.encode_to_vec());
        let sending = async move {
            let answer = sending.send().await.ok()?;
            let is_taken = answer.status().is_success();
            drop(read_capped(answer, BODY_CAP).await);
            is_taken.then_some(())
        };
        let sent = self.runtime.spawn(sending).await;
        let is_taken = matches!(sent, Ok(Some(())));
        metrics::spans(count, is_taken);
        if is_taken {
            return Ok(());
        }
        self.tell_dropped(count);
        Err(OTelSdkError::InternalFailure(String::new()))
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}

impl Exporter {
    fn tell_dropped(&self, count: usize) {
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        let (spans, told) = &mut *dropped;
        *spans += count;
        if told.is_none_or(|told| told.elapsed() > SILENCE) {
            tracing::warn!(spans, "the collector takes no traces, they are dropped");
            *dropped = (0, Some(Instant::now()));
        }
    }
}
