//! Traces, as a collector receives them from the program itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use futures_util::future::join_all;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use qlik_token_broker::simulator::{Call, Fault};
use reqwest::Method;

use super::harness::{Broker, EVIL, header, refused, tenant, token};
use super::portal::{Key, Portal};
use super::program::{Program, audit_lines};

const SERVER: i32 = 2;
const CLIENT: i32 = 3;

/// A collector: takes what is sent, or does what it is told instead.
pub struct Collector {
    pub url: String,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    spans: Vec<Span>,
    resource: BTreeMap<String, String>,
    headers: HeaderMap,
    batches: usize,
    refusal: Option<StatusCode>,
}

impl Collector {
    pub async fn start() -> Self {
        let taken = Arc::new(Mutex::new(Taken::default()));
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(Arc::clone(&taken));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, taken }
    }

    /// From now on nothing is taken, with this status.
    pub fn refuse(&self, status: u16) {
        self.taken.lock().unwrap().refusal = Some(StatusCode::from_u16(status).unwrap());
    }

    /// The batches so far, the spans in them, and the authorization of the last one.
    pub fn took(&self) -> (usize, usize, String) {
        let taken = self.taken.lock().unwrap();
        let shown = taken.headers.get("authorization");
        let shown = shown.map_or("", |value| value.to_str().unwrap());
        (taken.batches, taken.spans.len(), shown.to_owned())
    }

    /// The spans so far, once there are so many.
    async fn spans(&self, count: usize) -> Vec<Span> {
        for _ in 0..200 {
            let spans = self.taken.lock().unwrap().spans.clone();
            if spans.len() >= count {
                return spans;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let spans = &self.taken.lock().unwrap().spans;
        panic!("only {} spans came: {spans:?}", spans.len());
    }

    /// What a broker is told of it.
    fn table(&self, sample: f64) -> String {
        let url = &self.url;
        format!("[telemetry]\notlp_endpoint = '{url}'\nsample = {sample:?}\n")
    }
}

async fn take(
    State(taken): State<Arc<Mutex<Taken>>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let mut taken = taken.lock().unwrap();
    for spans in request.resource_spans {
        let resource = spans.resource.unwrap().attributes.into_iter();
        taken.resource = resource
            .map(|it| (it.key, text(it.value.and_then(|it| it.value))))
            .collect();
        taken
            .spans
            .extend(spans.scope_spans.into_iter().flat_map(|it| it.spans));
    }
    taken.headers = headers;
    taken.batches += 1;
    taken.refusal.unwrap_or(StatusCode::OK)
}

fn text(value: Option<any_value::Value>) -> String {
    match value {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

fn attributes(span: &Span) -> BTreeMap<&str, String> {
    let attributes = span.attributes.iter();
    attributes
        .map(|it| (&*it.key, text(it.value.clone().unwrap().value)))
        .collect()
}

fn of_kind(spans: &[Span], kind: i32) -> Vec<&Span> {
    spans.iter().filter(|span| span.kind == kind).collect()
}

fn traceparent(trace: &str, span: &str, is_sampled: bool) -> String {
    format!("00-{trace}-{span}-0{}", u8::from(is_sampled))
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_and_the_calls_made_for_it_are_one_trace() {
    let (tenant, collector) = (tenant().await, Collector::start().await);
    let table =
        collector.table(1.0) + "headers = { authorization = 'Bearer canary-collector-1b2c' }\n";
    let program = Program::start(&tenant, &table).await;
    tenant.on(
        Call::Token,
        Fault::Status {
            status: 503,
            code: None,
            title: None,
        },
    );
    let asked = program.ask_for("ann").header("x-request-id", "the-one");
    let minted = token(asked).await;
    let spans = collector.spans(3).await;
    let (servers, clients) = (of_kind(&spans, SERVER), of_kind(&spans, CLIENT));
    assert_eq!((servers.len(), clients.len()), (1, 2));
    assert_eq!(tenant.calls(Call::Token), 2, "one span for each try");
    let server = servers[0];
    assert_eq!(server.name, "POST /session-token");
    assert_eq!(server.parent_span_id, b"", "it is the first of its trace");
    let expected = [
        ("http.request.method", "POST"),
        ("http.response.status_code", "200"),
        ("http.route", "/session-token"),
        ("qtb.outcome", "ok"),
        ("qtb.request_id", "the-one"),
        ("qtb.tenant", "acme"),
    ];
    let expected = expected.map(|(key, text)| (key, text.to_owned()));
    assert_eq!(attributes(server), BTreeMap::from(expected));
    for (number, client) in clients.iter().enumerate() {
        assert_eq!(client.name, "POST /oauth/token");
        assert_eq!(client.trace_id, server.trace_id);
        assert_eq!(client.parent_span_id, server.span_id);
        let about = attributes(client);
        let (outcome, is_error) = [("failed", true), ("ok", false)][number];
        assert_eq!(about["qtb.tenant"], "acme");
        assert_eq!(about["qtb.outcome"], outcome);
        assert_eq!(about["qtb.try"], (number + 1).to_string());
        assert_eq!(about.contains_key("error.type"), is_error);
        assert!(client.start_time_unix_nano >= server.start_time_unix_nano);
        assert!(client.end_time_unix_nano <= server.end_time_unix_nano);
    }
    {
        let taken = collector.taken.lock().unwrap();
        assert_eq!(taken.resource["service.name"], "qlik-token-broker");
        let authorization = &taken.headers["authorization"];
        assert_eq!(authorization, "Bearer canary-collector-1b2c");
        assert_eq!(taken.headers["content-type"], "application/x-protobuf");
    }
    for request in tenant.requests() {
        let tells = |name: &String| name.starts_with("trace");
        assert!(!request.headers.keys().any(tells), "a tenant is a stranger");
    }
    let shown = format!("{spans:?}");
    for secret in [&*minted.text, "auth0|ann", "canary"] {
        assert!(!shown.contains(secret), "{secret} is in a span");
    }
    let written = program.stop().await;
    assert!(!written.contains("canary"), "{written}");
    let lines = audit_lines(&written);
    let trace_id = hex::encode(&server.trace_id);
    assert_eq!((lines.len(), &lines[0]["trace_id"]), (1, &trace_id.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_about_a_session_is_in_the_trace_and_so_is_a_refusal() {
    let (tenant, collector) = (tenant().await, Collector::start().await);
    let portal = Portal::start(Key::p256()).await;
    let more = collector.table(1.0) + &portal.table();
    let program = Program::start(&tenant, &more).await;
    let session = portal.session("ann");
    token(program.post("/session-token").bearer_auth(&session)).await;
    let evil = program.post("/session-token").header("origin", EVIL);
    refused(evil, 403, "origin_not_allowed").await;
    tenant.on_until_cleared(Call::Token, Fault::WrongSecret);
    refused(program.ask_for("bob"), 502, "tenant_refused_client").await;
    let odd = Method::from_bytes(b"CANARY").unwrap();
    let odd = program.call(odd, "/canary?canary=1").send().await.unwrap();
    assert_eq!(odd.status(), 404);
    let spans = collector.spans(7).await;
    let named = |name: &str| -> Vec<_> { spans.iter().filter(|it| it.name == name).collect() };
    let key_set = named("fetch key set");
    let first = named("POST /session-token")[0];
    assert_eq!((key_set.len(), key_set[0].kind), (1, CLIENT));
    assert_eq!(key_set[0].trace_id, first.trace_id);
    let outcomes: Vec<_> = named("POST /session-token")
        .into_iter()
        .map(|span| {
            let code = span.status.as_ref().unwrap().code;
            (attributes(span)["qtb.outcome"].clone(), code == 2)
        })
        .collect();
    let expected = [
        ("ok".to_owned(), false),
        ("origin_not_allowed".to_owned(), false),
        ("tenant_refused_client".to_owned(), true),
    ];
    assert_eq!(outcomes, expected);
    assert_eq!(named("_OTHER").len(), 1);
    let shown = format!("{spans:?}");
    assert!(!shown.to_lowercase().contains("canary"), "{shown}");
    assert!(!shown.contains(&session));
    program.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c33_trace_context_is_continued_from_trusted_peers_only() {
    let tenant = tenant().await;
    let (near, far) = (Collector::start().await, Collector::start().await);
    let trusting = near.table(0.0) + "trusted_peers = ['127.0.0.0/8']\n";
    let trusting = Program::start(&tenant, &trusting).await;
    let restarting = far.table(1.0) + "trusted_peers = ['10.0.0.0/8', '::1']\n";
    let restarting = format!("{restarting}[server]\ntrusted_proxies = ['127.0.0.0/8']\n");
    let restarting = Program::start(&tenant, &restarting).await;

    let told = traceparent(TRACE, PARENT, true);
    let asked = |program: &Program| program.ask_for("ann").header("traceparent", &told);
    token(asked(&trusting).header("tracestate", "vendor=1")).await;
    let spans = near.spans(2).await;
    let server = of_kind(&spans, SERVER)[0];
    assert_eq!(hex::encode(&server.trace_id), TRACE);
    assert_eq!(hex::encode(&server.parent_span_id), PARENT);
    assert_eq!(server.trace_state, "vendor=1");
    assert_eq!(of_kind(&spans, CLIENT)[0].trace_id, server.trace_id);

    // Their decision holds, and what is no trace context is none.
    let unsampled = traceparent(TRACE, PARENT, false);
    for headers in [
        vec![unsampled.as_str()],
        vec![told.as_str(), told.as_str()],
        vec!["00-00000000000000000000000000000000-00f067aa0ba902b7-01"],
        vec!["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"],
        vec!["nonsense"],
        vec![],
    ] {
        let asked = headers
            .iter()
            .fold(trusting.ask_for("ann"), |asked, value| {
                asked.header("traceparent", *value)
            });
        token(asked).await;
    }

    // Whatever a stranger sends: the trace is another one, and it does not decide.
    for sampled in [&told, &unsampled] {
        let asked = restarting.ask_for("ann").header("traceparent", sampled);
        token(
            asked
                .header("x-forwarded-for", "10.1.2.3")
                .header("tracestate", "canary=1"),
        )
        .await;
    }
    let spans = far.spans(3).await;
    for server in of_kind(&spans, SERVER) {
        assert_ne!(hex::encode(&server.trace_id), TRACE);
        assert_eq!(
            (&*server.parent_span_id, &*server.trace_state),
            (&[][..], "")
        );
    }
    trusting.stop().await;
    restarting.stop().await;
    assert_eq!(
        near.spans(0).await.len(),
        2,
        "none of the others was traced"
    );
    assert_eq!(of_kind(&far.spans(0).await, SERVER).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mint_belongs_to_the_request_that_started_it_and_is_there_once() {
    let (tenant, collector) = (tenant().await, Collector::start().await);
    let program = Program::start(&tenant, &collector.table(1.0)).await;
    tenant.on(Call::Token, Fault::Slow { millis: 200 });
    join_all((0..10).map(|_| token(program.ask_for("ann")))).await;
    assert_eq!(tenant.calls(Call::Token), 1);
    let spans = collector.spans(11).await;
    let (servers, clients) = (of_kind(&spans, SERVER), of_kind(&spans, CLIENT));
    assert_eq!((servers.len(), clients.len()), (10, 1));
    let starter = servers
        .iter()
        .find(|server| server.span_id == clients[0].parent_span_id);
    assert_eq!(starter.unwrap().trace_id, clients[0].trace_id);
    program.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_the_requests_is_traced_and_a_reload_changes_it() {
    let (tenant, collector) = (tenant().await, Collector::start().await);
    let program = Program::start(&tenant, &collector.table(0.0)).await;
    for _ in 0..20 {
        token(program.ask_for("ann")).await;
    }
    let config = std::fs::read_to_string(&program.config.0).unwrap();
    let config = config.replace("sample = 0.0", "sample = 0.5");
    std::fs::write(&program.config.0, config).unwrap();
    let reload = program.http.post(format!("http://{}/reload", program.ops));
    let reload = reload.header("x-broker-request", "1").send().await.unwrap();
    let body: serde_json::Value = reload.json().await.unwrap();
    assert_eq!(body["restart_needed"], serde_json::json!([]), "{body}");
    for _ in 0..200 {
        token(program.ask_for("ann")).await;
    }
    let written = program.stop().await;
    let traced = collector.spans(0).await.len();
    assert!((50..150).contains(&traced), "{traced} of 200");
    let lines = audit_lines(&written);
    let with_trace = lines.iter().filter(|line| line["trace_id"].is_string());
    assert_eq!(with_trace.count(), traced, "and those lines say so");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_sent_when_the_broker_ends() {
    let (tenant, collector) = (tenant().await, Collector::start().await);
    let program = Program::start(&tenant, &collector.table(1.0)).await;
    for _ in 0..50 {
        token(program.ask_for("ann")).await;
    }
    program.stop().await;
    assert_eq!(collector.spans(0).await.len(), 51);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_or_hangs_holds_nobody_up_and_is_told_of_once() {
    let tenant = tenant().await;
    // One port that nobody listens at, and one where nobody answers.
    let hanging = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed_at = closed.local_addr().unwrap();
    drop(closed);
    for address in [closed_at, hanging.local_addr().unwrap()] {
        let table = format!(
            "[server]\nshutdown_grace = '1s'\n[telemetry]\notlp_endpoint = 'http://{address}'\nsample = 1.0\n"
        );
        let program = Program::start(&tenant, &table).await;
        token(program.ask_for("ann")).await;
        let asking = (0..600).map(|_| program.post("/logout").send());
        let started = Instant::now();
        let answers = join_all(asking).await;
        assert!(answers.iter().all(Result::is_ok));
        assert!(started.elapsed() < Duration::from_secs(10));
        let is_closed = address == closed_at;
        if is_closed {
            let counted = "qtb_spans_total{outcome=\"dropped\"}";
            while !program.metrics().await.contains(counted) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let stopping = Instant::now();
        let written = program.stop().await;
        assert!(
            stopping.elapsed() < Duration::from_secs(4),
            "{:?}",
            stopping.elapsed()
        );
        let told = written.matches("the collector takes no traces").count();
        // One that hangs is only known at the end, if at all.
        assert!(told == 1 || !is_closed && told == 0, "{written}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_nothing_is_traced() {
    let tenant = tenant().await;
    let more = "[telemetry]\nsample = 1.0\ntrusted_peers = ['127.0.0.0/8']\n";
    let program = Program::start(&tenant, more).await;
    let told = traceparent(TRACE, PARENT, true);
    let answer = program.ask_for("ann").header("traceparent", told);
    let answer = answer.send().await.unwrap();
    assert_eq!(header(&answer, "traceparent"), "");
    assert!(!program.metrics().await.contains("qtb_spans"));
    let lines = audit_lines(&program.stop().await);
    assert!(lines[0].get("trace_id").is_none());
}

#[tokio::test]
async fn another_collector_needs_a_restart() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let config = std::fs::read_to_string(&broker.file.0).unwrap();
    let told = broker
        .reload(&format!(
            "[telemetry]\notlp_endpoint = 'http://127.0.0.1:9'\n{config}"
        ))
        .await;
    let key = serde_json::json!(["telemetry.otlp_endpoint"]);
    assert_eq!(told["restart_needed"], key);
}
