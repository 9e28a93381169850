//! The kinds of session beside keys and JWTs.

use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use super::super::problem::Report;
use super::super::{SessionKind, raw};
use super::tenant::all_of;
use super::text::{self, HOUR, SECOND};
use crate::session::handle::HandleRules;
use crate::session::introspection::IntrospectionRules;
use crate::session::portal_check::PortalCheckRules;
use crate::session::trusted_header::TrustedHeaderRules;

/// A handle that lives longer is a password.
const LONGEST_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// Headers that a page cannot choose, that speak of the connection, or that hold a credential of
/// another kind.
const NEVER_FORWARDED: [&str; 22] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "cookie2",
    "date",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-broker-request",
    "x-forwarded-for",
];

pub fn handle(report: &mut Report, path: &str, raw: raw::HandleSession) -> Option<SessionKind> {
    let mut duration = |key: &str, text: &str, most| {
        text::duration(report, &format!("{path}.{key}"), text, &(SECOND..=most))
    };
    let ttl = duration("ttl", &raw.ttl, LONGEST_TTL);
    let idle = duration("idle", &raw.idle, LONGEST_TTL);
    let cookie = text::cookie(report, &format!("{path}.cookie"), raw.cookie);
    Some(SessionKind::Handle(HandleRules {
        cookie: cookie.ok()?,
        ttl: ttl?,
        idle: idle?,
    }))
}

pub fn introspection(
    report: &mut Report,
    path: &str,
    raw: raw::IntrospectionSession,
) -> Option<SessionKind> {
    let allow_http = format!("{path}.allow_http");
    let allow_http = (allow_http.as_str(), raw.allow_http);
    let url = text::url(report, &format!("{path}.url"), &raw.url, allow_http);
    let secret = format!("{path}.client_secret");
    let secret = text::secret(report, &secret, &raw.client_secret.0);
    let cache = format!("{path}.cache");
    let cache = text::duration(report, &cache, &raw.cache, &(Duration::ZERO..=HOUR));
    let cookie = text::cookie(report, &format!("{path}.cookie"), raw.cookie);
    let scope = format!("{path}.required_scope");
    if raw
        .required_scope
        .as_deref()
        .is_some_and(|scope| scope.is_empty() || scope.contains(' '))
    {
        report.refuse(scope, "is not one scope", "name a single scope");
        return None;
    }
    secret?;
    Some(SessionKind::Introspection(IntrospectionRules {
        url: url.map(|_| raw.url)?,
        client_id: raw.client_id,
        client_secret: raw.client_secret.0,
        audience: (raw.audience != "*").then_some(raw.audience),
        issuer: raw.issuer,
        required_scope: raw.required_scope,
        cookie: cookie.ok()?,
        cache: cache?,
    }))
}

pub fn portal_check(
    report: &mut Report,
    path: &str,
    raw: raw::PortalCheckSession,
) -> Option<SessionKind> {
    let allow_http = format!("{path}.allow_http");
    let allow_http = (allow_http.as_str(), raw.allow_http);
    let url = text::url(report, &format!("{path}.url"), &raw.url, allow_http);
    let mut duration = |key: &str, text: &str| {
        let path = format!("{path}.{key}");
        text::duration(report, &path, text, &(Duration::ZERO..=HOUR))
    };
    let cache = duration("cache", &raw.cache);
    let negative_cache = duration("negative_cache", &raw.negative_cache);
    let cookies = all_of(&raw.cookies, |index, name| {
        let path = format!("{path}.cookies[{index}]");
        text::cookie(report, &path, Some(name.clone())).ok()?
    });
    let forward_headers = all_of(&raw.forward_headers, |index, name| {
        let path = format!("{path}.forward_headers[{index}]");
        let name = text::header(report, &path, name)?;
        if NEVER_FORWARDED.contains(&name.as_str()) || name.as_str().starts_with("sec-") {
            let message = "is a header that is never forwarded";
            report.refuse(path, message, "forward headers of your own");
            return None;
        }
        Some(name)
    });
    Some(SessionKind::PortalCheck(PortalCheckRules {
        url: url.map(|_| raw.url)?,
        cookies: cookies?,
        forward_headers: forward_headers?,
        cache: cache?,
        negative_cache: negative_cache?,
        max_in_flight: raw.max_in_flight,
    }))
}

pub fn trusted_header(
    report: &mut Report,
    path: &str,
    raw: &raw::TrustedHeaderSession,
) -> Option<SessionKind> {
    let header = identity_header(report, &format!("{path}.header"), &raw.header);
    let from_path = format!("{path}.from");
    let from = text::networks(report, &from_path, &raw.from);
    let everybody = |network: &IpNet| network.prefix_len() == 0;
    for (index, _) in from
        .iter()
        .flatten()
        .enumerate()
        .filter(|(_, net)| everybody(net))
    {
        let path = format!("{from_path}[{index}]");
        let message = "believes everybody, so that anybody could be anyone";
        report.refuse(path, message, "name the proxy's own network");
    }
    let from = from.filter(|networks| !networks.iter().any(everybody));
    let shared_secret = match &raw.shared_secret {
        None => Some(None),
        Some(secret) => {
            let path = format!("{path}.shared_secret");
            let name = identity_header(report, &format!("{path}.header"), &secret.header);
            let value = text::secret(report, &format!("{path}.value"), &secret.value.0);
            name.zip(value).map(Some)
        }
    };
    let mut headers = Some(Vec::new());
    for (claim, name) in &raw.headers {
        let path = format!("{path}.headers.{claim}");
        if claim == "sub" {
            let remedy = "leave it out: `header` becomes the claim sub";
            report.refuse(&path, "is set by `header`", remedy);
        }
        let name = identity_header(report, &path, name).filter(|_| claim != "sub");
        headers = headers.zip(name).map(|(mut headers, name)| {
            headers.push((claim.clone(), name));
            headers
        });
    }
    if let (Some(header), Some(Some((secret, _)))) = (&header, &shared_secret) {
        let claims = headers.iter().flatten().map(|(_, name)| name);
        if claims.chain([header]).any(|name| name == secret) {
            let message = "is an identity header, too, so that the secret would become a claim";
            let path = format!("{path}.shared_secret.header");
            report.refuse(path, message, "give the secret a header of its own");
            return None;
        }
    }
    if raw.shared_secret.is_none() {
        let message = "is not set, so that whoever gets into the proxy's network can be anyone";
        report.warn(
            format!("{path}.shared_secret"),
            message,
            "add a shared secret",
        );
    }
    Some(SessionKind::TrustedHeader(TrustedHeaderRules {
        header: header?,
        from: from?,
        shared_secret: shared_secret?,
        headers: headers?,
    }))
}

/// Headers that browsers set by themselves, or that say something else already.
fn identity_header(report: &mut Report, path: &str, name: &str) -> Option<HeaderName> {
    const TAKEN: [&str; 5] = [
        "authorization",
        "cookie",
        "host",
        "origin",
        "x-broker-request",
    ];
    let name = text::header(report, path, name)?;
    if TAKEN.contains(&name.as_str()) {
        let remedy = "use a header that only the proxy sets, such as X-Auth-Request-User";
        report.refuse(path, "has a meaning of its own", remedy);
        return None;
    }
    Some(name)
}
