//! The headers of every answer, and the id that one of them carries.

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use uuid::Uuid;

use super::frame::Exchange;
use super::problem::{Code, Problem};

/// More than any answer has: a map of headers that grows is filled anew.
pub(super) const MOST: usize = 20;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");
/// A year (RFC 6797, 6.1). Whether subdomains are served over TLS is not ours to say.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Marks an answer as public: it keeps its own caching, and any page may read it.
#[derive(Clone, Copy)]
pub(super) struct Public;

/// The headers of every answer.
pub(super) fn finish(exchange: &Exchange, problem: Option<&Problem>, response: &mut Response) {
    let is_public = response.extensions().get::<Public>().is_some();
    let headers = response.headers_mut();
    headers.reserve(12);
    if is_public {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(
            CROSS_ORIGIN_RESOURCE_POLICY,
            HeaderValue::from_static("cross-origin"),
        );
    } else {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // What hangs on more says so itself.
        headers
            .entry(VARY)
            .or_insert(HeaderValue::from_static("Origin"));
        if problem.is_none_or(|problem| problem.code != Code::OriginNotAllowed) {
            exchange.origin.open(&exchange.app, headers);
        }
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
    if exchange.app.server.tls.is_some() {
        headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
    }
    headers.insert(REQUEST_ID, exchange.request_id.clone());
}

/// The caller's id if it is harmless, a new one otherwise.
pub(super) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let harmless = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=64).contains(&bytes.len())
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    let given = headers.get(REQUEST_ID).filter(harmless).cloned();
    given.unwrap_or_else(|| {
        let mut buffer = Uuid::encode_buffer();
        HeaderValue::from_str(Uuid::new_v4().simple().encode_lower(&mut buffer))
            .unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}
