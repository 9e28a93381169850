//! Whole requests: each gets an answer in shape, and none gets what it has no credential for.
//!
//! An input is a method and a path on the first line, headers, an empty line, and a body.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, AUTHORIZATION, CONTENT_TYPE, ORIGIN, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use axum::http::request;
use axum::http::response::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;

use super::first_line;
use super::front::Front;

/// Its digest is configured, and allows everything.
const KEY: &str = "qtb_portal_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const SECRET_PART: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const PAGE: &str = "https://portal.acme.test";
const SESSIONS: &str = "
[[session]]
type = 'api_key'
keys = [{ id = 'portal', sha256 = 'SHA256', allow = ['token', 'sessions', 'logout', 'service_token'] }]
[[session]]
type = 'handle'
cookie = 'sid'
[[session]]
type = 'jwt'
issuer = 'https://hmac.test'
audience = 'broker'
algorithms = ['HS256']
hmac_secret = 'a secret of at least thirty-two bytes'
cookie = 'jwt'
user = [{ field = 'subject', value = 'auth0|{sub}' }]
[[session]]
type = 'trusted_header'
header = 'X-User'
from = ['0.0.0.0/32']
user = [{ field = 'subject', value = '{sub}' }]
";

thread_local! {
    static FRONT: Front = Front::new(&SESSIONS.replace("SHA256", &sha256(KEY)));
}

fn sha256(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let hex = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    hex.collect()
}

pub fn run(data: &[u8]) -> bool {
    let Some(request) = parse(data) else {
        return false;
    };
    let (asked, body) = request.into_parts();
    let request = Request::from_parts(asked.clone(), body);
    let (head, body) = FRONT.with(|front| front.ask(request));
    check_head(&asked, &head);
    check_body(&asked, &head, &body);
    !head.status.is_client_error() && !head.status.is_server_error()
}

fn parse(data: &[u8]) -> Option<Request<Body>> {
    let (line, mut rest) = first_line(data);
    let (method, path) = line.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(path);
    loop {
        let (line, after) = first_line(rest);
        rest = after;
        let Some((name, value)) = line.split_once(": ") else {
            break;
        };
        request = request.header(name, value);
    }
    request.body(Body::from(rest.to_vec())).ok()
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// What every answer carries, and what only some may.
fn check_head(asked: &request::Parts, head: &Parts) {
    let (status, headers) = (head.status.as_u16(), &head.headers);
    let path = asked.uri.path();
    for name in [
        "x-content-type-options",
        "referrer-policy",
        "content-security-policy",
    ] {
        assert_eq!(headers.get_all(name).iter().count(), 1, "{status} {name}");
    }
    let id = only(headers, &HeaderName::from_static("x-request-id")).unwrap();
    assert!((1..=64).contains(&id.len()));
    let is_harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    assert!(id.as_bytes().iter().all(is_harmless));
    let is_page = only(&asked.headers, &ORIGIN).is_some_and(|origin| origin == PAGE);
    match only(headers, &ACCESS_CONTROL_ALLOW_ORIGIN) {
        None => assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN)),
        Some(origin) if origin == "*" => {
            assert!(path.starts_with("/problems/") && status < 400);
        }
        Some(origin) => assert!(origin == PAGE && is_page),
    }
    let shows_key = only(&asked.headers, &AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.ends_with(KEY));
    match status {
        201 => assert!(shows_key, "a session without a key"),
        204 if asked.method == Method::OPTIONS => assert!(is_page),
        204 => assert!(asked.method == Method::POST && path == "/logout"),
        401 => assert!(headers.contains_key(WWW_AUTHENTICATE)),
        405 => assert!(headers.contains_key(ALLOW)),
        429 | 503 => assert!(headers.contains_key(RETRY_AFTER)),
        200 => assert!(path == "/healthz" || path.starts_with("/problems/")),
        400 | 403 | 404 | 413 | 415 | 431 | 502 => {}
        _ => panic!("{status}"),
    }
}

/// A problem document says what the head says, and nothing of what was shown.
fn check_body(asked: &request::Parts, head: &Parts, body: &[u8]) {
    let text = std::str::from_utf8(body).unwrap();
    assert!(!text.contains(SECRET_PART), "a key is told");
    let has_shape = head.status.is_client_error() || head.status.is_server_error();
    if !has_shape || head.status == 431 || asked.method == Method::HEAD {
        return;
    }
    assert_eq!(head.headers[CONTENT_TYPE], "application/problem+json");
    let problem: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(problem["status"], head.status.as_u16());
    for name in ["type", "title", "code", "detail", "request_id"] {
        assert!(problem[name].is_string(), "{name}");
    }
}
