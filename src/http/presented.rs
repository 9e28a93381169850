//! From a request's headers to what it presents as its session.

use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::{HeaderMap, HeaderValue};

use super::frame::Exchange;
use super::problem::{Code, Problem};
use crate::session::{Authorization, Presented};

/// Reads `Authorization` and the cookies. Two `Authorization` headers are refused: a proxy in front
/// may have judged the other one.
pub(super) fn presented<'a>(
    exchange: &'a Exchange,
    headers: &'a HeaderMap,
) -> Result<Presented<'a>, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let authorization = match (values.next(), values.next()) {
        (None, _) => Authorization::Absent,
        (Some(value), None) => text(value).map_or(Authorization::Other, authorization),
        (Some(_), Some(_)) => {
            return Err(Problem::new(
                Code::RequestInvalid,
                "There are two Authorization headers.",
            ));
        }
    };
    let cookies = match authorization {
        Authorization::Absent => cookies(headers),
        _ => Vec::new(),
    };
    Ok(Presented {
        authorization,
        cookies,
        headers,
        peer: exchange.peer,
        certificate: &exchange.names.0,
    })
}

/// `Bearer` in any case (RFC 9110, 11.1), one space, and a token.
fn authorization(value: &str) -> Authorization<'_> {
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            match token.trim_start_matches(' ') {
                // One token and nothing else (RFC 6750, 2.1): what follows could be a key of ours.
                token if token.is_empty() || holds_more(token) => Authorization::Other,
                token => Authorization::Bearer(token),
            }
        }
        _ => Authorization::Other,
    }
}

/// What `HeaderValue::to_str` says, many bytes at a time: control characters are in no header value.
fn text(value: &HeaderValue) -> Option<&str> {
    let text = std::str::from_utf8(value.as_bytes()).ok();
    text.filter(|text| text.is_ascii())
}

/// Whether there is a character that ends a token. Without an early end, which vector instructions
/// have none of: a JWT is long.
fn holds_more(token: &str) -> bool {
    let ends = |byte: u8| matches!(byte, b' ' | b'\t' | b'"' | b',');
    token.bytes().fold(false, |any, byte| any | ends(byte))
}

/// Cookies may come in several headers. One that is no text is left out alone: whoever can plant a
/// cookie must not be able to hide the others.
fn cookies(headers: &HeaderMap) -> Vec<(&str, &str)> {
    let values = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let pairs = values.flat_map(|value| value.split(|byte| *byte == b';'));
    let texts = pairs.filter_map(|pair| std::str::from_utf8(pair).ok());
    texts
        .filter_map(|pair| pair.trim().split_once('='))
        .collect()
}
