//! Who may read on this listener: not the page of a name that was made to resolve to it (DNS rebinding),
//! which the operator's own browser would run as if it came from here.
//!
//! Such a page cannot change the `Host` that is sent. What Prometheus and Kubernetes send is an address, or
//! a name of the operator's that may have dots, too. So what they read is refused by a name with a dot to
//! browsers alone, which say that they are some: a page can change what some of these headers say, and send
//! none of them away. `Sec-Fetch-Site` is of no help: a rebound page is of the same site, and over plain HTTP
//! it is not sent at all.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::extract::Request;
use axum::http::header::{ACCEPT_LANGUAGE, COOKIE, HOST, HeaderName, ORIGIN, REFERER, USER_AGENT};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;

use super::answer;

/// What is told to who calls by another name.
pub(super) const CALL_IT_SO: &str =
    "Call it by an IP address, as localhost, or by a name without a dot.";
/// Browsers send the first with all that they ask for (Fetch standard, 4.6), the others often.
const OF_BROWSERS: [HeaderName; 5] = [
    ACCEPT_LANGUAGE,
    HeaderName::from_static("sec-fetch-site"),
    ORIGIN,
    REFERER,
    COOKIE,
];

/// Lets programs read, and of browsers those that call by a name that no page has.
pub(super) async fn no_foreign_page(request: Request, next: Next) -> Response {
    let headers = request.headers();
    if is_browser(headers) && !is_named_directly(request.uri(), headers) {
        return refused();
    }
    next.run(request).await
}

/// The refusal of who calls by another name.
pub(super) fn refused() -> Response {
    answer(
        StatusCode::FORBIDDEN,
        "text/plain",
        format!("{CALL_IT_SO}\n"),
    )
}

fn is_browser(headers: &HeaderMap) -> bool {
    let calls_itself_one = |agent: &[u8]| agent.starts_with(b"Mozilla/");
    let mut agents = headers.get_all(USER_AGENT).iter();
    OF_BROWSERS.iter().any(|name| headers.contains_key(name))
        || agents.any(|agent| calls_itself_one(agent.as_bytes()))
}

/// Whether the request names a host that cannot be a page's own: a public name would have a dot.
pub(super) fn is_named_directly(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let named = uri.authority().map(Authority::as_str);
    let mut all = [host.to_str().ok(), Some(named.unwrap_or("localhost"))].into_iter();
    all.all(|host| host.is_some_and(is_direct))
}

fn is_direct(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let six = rest.split_once(']');
        return six.is_some_and(|(six, port)| is_port(port) && six.parse::<Ipv6Addr>().is_ok());
    }
    let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
    let is_label = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    is_port(port) && (is_label(name) || name.parse::<Ipv4Addr>().is_ok())
}

/// Nothing, or a colon and digits.
fn is_port(text: &str) -> bool {
    let digits = text.strip_prefix(':');
    text.is_empty() || digits.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_page_could_have_is_none_of_ours() {
        for direct in [
            "127.0.0.1:9090",
            "10.1.2.3",
            "[::1]:9090",
            "[fe80::1]",
            "localhost",
            "localhost:9090",
            "broker:9090",
            "broker_1",
        ] {
            assert!(is_direct(direct), "{direct}");
        }
        for other in [
            "evil.test",
            "evil.test:9090",
            "broker.ns.svc",
            "localhost.",
            "127.0.0.1.evil.test",
            "",
            ":9090",
            "[::1",
            "[evil.test]",
            "[::1]x",
            "a@b",
            "user:pw@localhost",
            "localhost:90x",
            "127.0.0.1:80:80",
            "::1",
        ] {
            assert!(!is_direct(other), "{other}");
        }
    }
}
