//! What holds for every request and every answer: the hosts, the defence against forged requests,
//! the fixed headers.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};

use super::Surroundings;

struct Frame {
    hosts: [String; 2],
    policy: HeaderValue,
}

/// The names under which a portal on this port is opened; the first one is told to people.
pub(super) fn hosts(port: u16) -> [String; 2] {
    ["localhost", "127.0.0.1"].map(|host| format!("{host}:{port}"))
}

pub(super) fn around(routes: Router, surroundings: &Surroundings<'_>) -> Router {
    let Surroundings { broker, tenant, .. } = surroundings;
    // What docs/security.md recommends: scripts from here and from the broker, calls to here, the
    // broker and the tenant, and nothing else.
    let policy = format!(
        "default-src 'none'; script-src 'self' {broker}; connect-src 'self' {broker} {tenant}; \
         style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    let state = Frame {
        hosts: hosts(surroundings.port),
        policy: HeaderValue::from_str(&policy)
            .unwrap_or(HeaderValue::from_static("default-src 'none'")),
    };
    routes.layer(from_fn_with_state(Arc::new(state), frame))
}

async fn frame(State(state): State<Arc<Frame>>, request: Request, next: Next) -> Response {
    let mut response = match refusal(&state, &request) {
        Some(why) => (StatusCode::FORBIDDEN, why).into_response(),
        None => next.run(request).await,
    };
    let fixed = [
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (CONTENT_SECURITY_POLICY, state.policy.clone()),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        // Not `no-referrer`, with which browsers send forms with the origin `null`.
        (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("same-origin"),
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin"),
        ),
    ];
    response.headers_mut().extend(fixed);
    response
}

fn refusal(state: &Frame, request: &Request) -> Option<&'static str> {
    let headers = request.headers();
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    // A name that somebody else points at this machine would be an origin of theirs.
    if !host.is_some_and(|host| state.hosts.iter().any(|ours| ours == host)) {
        return Some("This portal has another name.");
    }
    let only_reads = matches!(*request.method(), Method::GET | Method::HEAD);
    // Browsers send the origin along with every POST.
    let is_proven = headers.contains_key(ORIGIN) && is_own_page(headers);
    if !only_reads && !is_proven {
        return Some("This is for the portal's own pages.");
    }
    None
}

/// Whether nothing speaks against a page of the portal having sent this.
pub(super) fn is_own_page(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let own = format!("http://{}", host.unwrap_or_default());
    let all_are =
        |name: &str, wanted: &str| headers.get_all(name).iter().all(|value| value == wanted);
    all_are("origin", &own) && all_are("sec-fetch-site", "same-origin")
}
