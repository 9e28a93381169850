//! All that a broker asks while `scripts/bench` measures it: tenants that know everybody, an issuer,
//! a portal and a collector of traces. It costs as little as it can, so that it is not what is
//! measured, and it counts its calls: `GET /calls`.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measuring aid that is started by a script"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use axum_server::accept::NoDelayAcceptor;
use serde_json::{Value, json};

/// As long as a tenant's own tokens are.
const TOKEN_BYTES: usize = 1200;
/// A tenant's tokens live for six hours.
const LIFE_SECONDS: u64 = 6 * 3600;

#[derive(Default)]
struct Upstream {
    /// What `POST /set/delay/{}` and `POST /set/life/{}` change.
    delay_millis: AtomicU64,
    life_seconds: AtomicU64,
    tokens: AtomicU64,
    origins: AtomicU64,
    keys: AtomicU64,
    sessions: AtomicU64,
    traces: AtomicU64,
}

type Shelf = State<Arc<Upstream>>;

fn count(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed)
}

fn read(value: &AtomicU64) -> u64 {
    value.load(Ordering::Relaxed)
}

/// The body is read, so that the connection can be used again.
async fn token(State(upstream): Shelf, _: Bytes) -> Response {
    let number = count(&upstream.tokens);
    let delay = read(&upstream.delay_millis);
    if delay > 0 {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let filling = TOKEN_BYTES - "eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCJ9.".len();
    let body = format!(
        r#"{{"access_token":"eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCJ9.{number:x>filling$}","token_type":"bearer","scope":"user_default","expires_in":{}}}"#,
        read(&upstream.life_seconds),
    );
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

async fn client(State(upstream): Shelf, Path(id): Path<String>) -> Json<Value> {
    count(&upstream.origins);
    let origin = format!("https://{id}.example.com");
    Json(json!({ "clientId": id, "allowedOrigins": [origin] }))
}

/// What the script put there before.
async fn keys(State(upstream): Shelf) -> Response {
    count(&upstream.keys);
    let keys = std::fs::read(std::env::var("UPSTREAM_KEYS").unwrap()).unwrap();
    ([(CONTENT_TYPE, "application/json")], keys).into_response()
}

/// Every session is ann's.
async fn session(State(upstream): Shelf, _: Bytes) -> Json<Value> {
    count(&upstream.sessions);
    Json(json!({ "active": true, "aud": "broker", "sub": "ann" }))
}

async fn traces(State(upstream): Shelf, _: Bytes) {
    count(&upstream.traces);
}

async fn calls(State(upstream): Shelf) -> Json<Value> {
    Json(json!({
        "tokens": read(&upstream.tokens),
        "origins": read(&upstream.origins),
        "keys": read(&upstream.keys),
        "sessions": read(&upstream.sessions),
        "traces": read(&upstream.traces),
    }))
}

async fn set(State(upstream): Shelf, Path((what, value)): Path<(String, u64)>) {
    let place = match what.as_str() {
        "delay" => &upstream.delay_millis,
        "life" => &upstream.life_seconds,
        other => panic!("there is no setting {other}"),
    };
    place.store(value, Ordering::Relaxed);
}

#[tokio::main]
async fn main() {
    // `cargo bench` and `cargo test` start every bench with flags of their own: nothing to do then.
    let Ok(address) = std::env::var("UPSTREAM_LISTEN") else {
        return;
    };
    let listener = std::net::TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    let upstream = Upstream {
        life_seconds: LIFE_SECONDS.into(),
        ..Upstream::default()
    };
    let router = Router::new()
        .route("/oauth/token", post(token))
        .route("/oauth/revoke", post(async |_: Bytes| ()))
        .route("/api/v1/oauth-clients/{id}", get(client))
        .route("/jwks.json", get(keys))
        .route("/introspect", post(session))
        .route("/whoami", get(session))
        .route("/v1/traces", post(traces))
        .route("/calls", get(calls))
        .route("/set/{what}/{value}", post(set))
        .with_state(Arc::new(upstream));
    let server = axum_server::from_tcp(listener).unwrap().http1_only();
    let server = server.acceptor(NoDelayAcceptor::new());
    server.serve(router.into_make_service()).await.unwrap();
}
