//! `[telemetry]`: where traces go, and whose trace context is believed.

use std::collections::BTreeMap;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use url::Url;

use super::super::problem::{Report, join};
use super::super::{Telemetry, raw};
use super::Reported;
use super::text;
use crate::secret::Secret;
use crate::telemetry::export::Collector;
use crate::telemetry::traces::Sampling;

const ENDPOINT: &str = "telemetry.otlp_endpoint";
/// Below the endpoint (OTLP 1.5, OTLP/HTTP request).
const TRACES: &str = "v1/traces";
/// What the client says itself.
const TAKEN: [HeaderName; 5] = [
    CONNECTION,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    HOST,
    TRANSFER_ENCODING,
];

pub fn telemetry(report: &mut Report, raw: &raw::Telemetry) -> Option<Telemetry> {
    let endpoint = raw.otlp_endpoint.as_deref();
    let url = endpoint.map_or(Ok(None), |text| traces_url(report, text).map(Some));
    let headers = headers(report, &raw.headers);
    let trusted_peers = trusted_peers(report, &raw.trusted_peers);
    let headers = headers.ok()?;
    Some(Telemetry {
        collector: url.ok()?.map(|url| Collector { url, headers }),
        sampling: Sampling {
            share: raw.sample,
            trusted_peers: trusted_peers?,
        },
    })
}

/// Plain http is usual here: what is sent names no user and holds no token.
fn traces_url(report: &mut Report, text: &str) -> Result<String, Reported> {
    let url = Url::parse(text).ok().filter(Url::has_host);
    let fault = match &url {
        Some(url) if !url.username().is_empty() || url.password().is_some() => Some((
            "must not hold a user or a password",
            "use `headers` for what the collector wants to be shown",
        )),
        Some(url) if url.query().is_some() || url.fragment().is_some() => Some((
            "must not hold a query or a fragment",
            "remove what follows the path",
        )),
        Some(url) if url.path().trim_end_matches('/').ends_with(TRACES) => Some((
            "is the address for traces alone",
            "remove the v1/traces at its end",
        )),
        Some(url) if matches!(url.scheme(), "http" | "https") => None,
        _ => Some((
            "is not a URL of http or https",
            "write it like http://collector:4318",
        )),
    };
    match (url, fault) {
        (Some(url), None) => Ok(format!("{}/{TRACES}", url.as_str().trim_end_matches('/'))),
        (_, fault) => {
            let (message, remedy) = fault.unwrap_or_default();
            report.refuse(ENDPOINT, message, remedy);
            Err(Reported)
        }
    }
}

fn headers(
    report: &mut Report,
    raw: &BTreeMap<String, raw::Secret>,
) -> Result<Vec<(HeaderName, Secret)>, Reported> {
    let mut headers = Vec::new();
    for (name, source) in raw {
        let path = join("telemetry.headers", name);
        let parsed = text::header(report, &path, name);
        let is_taken = parsed.as_ref().is_some_and(|name| TAKEN.contains(name));
        if is_taken {
            report.refuse(&path, "is set by the broker itself", "remove it");
        }
        let secret = text::secret(report, &path, &source.0);
        if let (Some(name), Some(secret), false) = (parsed, secret, is_taken) {
            if HeaderValue::from_str(secret.expose()).is_ok() {
                headers.push((name, secret));
            } else {
                report.refuse(&path, "cannot be sent in a header", "put it in one line");
            }
        }
    }
    if headers.len() == raw.len() {
        Ok(headers)
    } else {
        Err(Reported)
    }
}

fn trusted_peers(report: &mut Report, texts: &[String]) -> Option<Vec<IpNet>> {
    let path = "telemetry.trusted_peers";
    let networks = text::networks(report, path, texts)?;
    if let Some(index) = networks.iter().position(|it| it.prefix_len() == 0) {
        let remedy = "name the networks of your proxies and back ends";
        report.refuse(format!("{path}[{index}]"), "is everybody", remedy);
        return None;
    }
    Some(networks)
}
