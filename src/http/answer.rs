//! A token as it is answered: JSON, or the bare token.

use axum::http::header::{ACCEPT, CONTENT_TYPE, PRAGMA, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;

use super::headers::MOST;
use crate::broker::{Issued, Source};
use crate::json::Object;
use crate::tenant::Tenant;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// What is around the texts of an answer: names, times and ids.
const AROUND: usize = 256;

/// qlik-embed's callback wants the bare token. Text has to be asked for by name.
fn wants_text(headers: &HeaderMap) -> bool {
    if !headers.contains_key(ACCEPT) {
        return false;
    }
    let quality = |wanted: &str| {
        let ranges = headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        let mut named = ranges.filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            parts
                .next()
                .filter(|essence| essence.eq_ignore_ascii_case(wanted))?;
            Some(
                parts
                    .find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok())
                    .unwrap_or(1.0),
            )
        });
        named.next().unwrap_or(0.0)
    };
    let text = quality("text/plain");
    text > 0.0 && text > quality("application/json")
}

/// RFC 6749, 5.1, and what a page wants to know beside it.
fn json(issued: &Issued, tenant_url: &str) -> Vec<u8> {
    let token = &issued.token;
    let access = &token.access;
    let (access_token, scope) = (access.secret.expose(), &access.scope);
    let texts = access_token.len() + scope.len() + tenant_url.len();
    let mut answer = Object::with_capacity(texts + AROUND);
    answer.text("access_token", access_token);
    answer.text("token_type", "Bearer");
    answer.number("expires_in", issued.left.as_secs());
    answer.text("expires_at", &token.expires_at_text);
    answer.text("scope", scope);
    answer.text("tenant_url", tenant_url);
    answer.text("token_id", &access.id);
    answer.end()
}

/// The answer to whoever sent these headers.
pub(super) fn render(issued: &Issued, tenant: &Tenant, asked: &HeaderMap) -> Response {
    let token = &issued.token;
    let (kind, body) = if wants_text(asked) {
        let text = token.access.secret.expose();
        ("text/plain; charset=utf-8", text.as_bytes().to_vec())
    } else {
        ("application/json", json(issued, &tenant.url))
    };
    let timing = match issued.source {
        Source::Shared => "token;desc=\"shared\"",
        Source::Local => "token;desc=\"local\"",
        Source::Minted => "token;desc=\"minted\"",
    };
    let mut headers = HeaderMap::with_capacity(MOST);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // For readers of RFC 6749, 5.1.
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(VARY, HeaderValue::from_static("Accept, Origin"));
    headers.insert(SERVER_TIMING, HeaderValue::from_static(timing));
    let mut response = Response::new(body.into());
    *response.headers_mut() = headers;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_sent_only_to_those_who_ask_for_it() {
        for (accept, text) in [
            ("text/plain", true),
            ("text/plain, */*", true),
            ("TEXT/PLAIN;q=0.9, application/json;q=0.5", true),
            ("application/json, text/plain", false),
            ("application/json, text/plain, */*", false),
            ("text/plain;q=0", false),
            ("*/*", false),
            ("text/html", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(wants_text(&headers), text, "{accept}");
        }
    }
}
