//! What anybody may read and keep: the browser helper, and the pages that explain problems.

use std::borrow::Cow;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::headers::Public;

const FIVE_MINUTES: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// A public answer with a strong validator (RFC 9110, 8.8.3), or 304 to who has it already.
pub(super) fn answer(asked: &HeaderMap, kind: &'static str, body: Cow<'static, str>) -> Response {
    let tag = format!(
        "\"{}\"",
        &hex::encode(digest(&SHA256, body.as_bytes()))[..32]
    );
    let known = asked
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let unchanged = known
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().trim_start_matches("W/") == tag);
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        body.into_response()
    };
    response.extensions_mut().insert(Public);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, FIVE_MINUTES);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.extend(HeaderValue::from_str(&tag).ok().map(|tag| (ETAG, tag)));
    response
}
