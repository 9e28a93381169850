//! A token as it is answered: JSON, or the bare token.

use axum::http::header::{ACCEPT, CONTENT_TYPE, PRAGMA, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::broker::{Issued, Source};
use crate::tenant::Tenant;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

#[derive(Serialize)]
struct TokenAnswer<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    expires_at: &'a str,
    scope: &'a str,
    tenant_url: &'a str,
    token_id: &'a str,
}

/// qlik-embed's callback wants the bare token. Text has to be asked for by name.
fn wants_text(headers: &HeaderMap) -> bool {
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

/// The answer to whoever sent these headers.
pub(super) fn render(issued: &Issued, tenant: &Tenant, asked: &HeaderMap) -> Response {
    let token = &issued.token;
    let access_token = token.access.secret.expose();
    let (kind, body) = if wants_text(asked) {
        ("text/plain; charset=utf-8", access_token.to_owned())
    } else {
        let answer = TokenAnswer {
            access_token,
            token_type: "Bearer",
            expires_in: token.remaining().as_secs(),
            expires_at: &token.expires_at_text,
            scope: &token.access.scope,
            tenant_url: &tenant.url,
            token_id: &token.access.id,
        };
        (
            "application/json",
            serde_json::to_string(&answer).unwrap_or_default(),
        )
    };
    let timing = match issued.source {
        Source::Shared => "token;desc=\"shared\"",
        Source::Local => "token;desc=\"local\"",
        Source::Minted => "token;desc=\"minted\"",
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        // For readers of RFC 6749, 5.1.
        (PRAGMA, HeaderValue::from_static("no-cache")),
        (VARY, HeaderValue::from_static("Accept")),
        (SERVER_TIMING, HeaderValue::from_static(timing)),
    ];
    (headers, body).into_response()
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
