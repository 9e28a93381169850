//! The limit that `scripts/bench` measures against: axum answering the same request with the same
//! kind of body, and doing nothing else.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measuring aid that is started by a script"
)]

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE};
use axum::response::IntoResponse;
use axum::routing::post;
use axum_server::accept::NoDelayAcceptor;
use serde::Deserialize;

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed, because the broker parses it as well")]
struct Request {
    user_lookup: Option<Lookup>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed, because the broker parses it as well")]
struct Lookup {
    field: String,
    value: String,
}

async fn answer(State(answer): State<Bytes>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let authorized = headers.get(AUTHORIZATION).or(headers.get(COOKIE)).is_some();
    let parsed = body.is_empty() || serde_json::from_slice::<Request>(&body).is_ok();
    assert!(authorized && parsed);
    ([(CONTENT_TYPE, "application/json")], answer)
}

#[tokio::main]
async fn main() {
    // `cargo bench` and `cargo test` start every bench with flags of their own: nothing to do then.
    let Ok(address) = std::env::var("BARE_LISTEN") else {
        return;
    };
    let listener = std::net::TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    // The very bytes that the broker answered.
    let bytes = std::fs::read(std::env::var("BARE_ANSWER").unwrap()).unwrap();
    let router = axum::Router::new()
        .route("/session-token", post(answer))
        .with_state(Bytes::from(bytes));
    let server = axum_server::from_tcp(listener).unwrap().http1_only();
    let server = server.acceptor(NoDelayAcceptor::new());
    server.serve(router.into_make_service()).await.unwrap();
}
