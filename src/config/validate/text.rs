//! Texts that have a form of their own: durations, addresses, URLs, secrets, files.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use http::HeaderName;
use humantime::{format_duration, parse_duration};
use ipnet::IpNet;
use url::{Host, Url};

use super::super::problem::Report;
use super::Reported;
use crate::secret::{Secret, SecretError, SecretSource, read_file};

pub const SECOND: Duration = Duration::from_secs(1);
pub const HOUR: Duration = Duration::from_secs(3600);
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// A duration within these limits.
pub fn duration(
    report: &mut Report,
    path: &str,
    text: &str,
    range: &RangeInclusive<Duration>,
) -> Option<Duration> {
    let Ok(duration) = parse_duration(text) else {
        report.refuse(
            path,
            "is not a duration",
            r#"write it like "90s", "10m" or "8h""#,
        );
        return None;
    };
    if duration < *range.start() {
        report.refuse(
            path,
            "is too short",
            format!("write {} or more", format_duration(*range.start())),
        );
    } else if duration > *range.end() {
        report.refuse(
            path,
            "is too long",
            format!("write {} or less", format_duration(*range.end())),
        );
    }
    range.contains(&duration).then_some(duration)
}

/// An address to listen on.
pub fn listen(report: &mut Report, path: &str, text: &str) -> Option<SocketAddr> {
    let address = text.parse();
    let remedy = r#"write it like "127.0.0.1:8080", or "0.0.0.0:8080" for all networks"#;
    address
        .map_err(|_| report.refuse(path, "is not an IP address with a port", remedy))
        .ok()
}

/// Networks; a bare address stands for itself.
pub fn networks(report: &mut Report, path: &str, texts: &[String]) -> Option<Vec<IpNet>> {
    let mut parse = |(index, text): (usize, &String)| {
        let network = text
            .parse::<IpNet>()
            .or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into()));
        let mut refuse = |message: &str, remedy: &str| {
            report.refuse(format!("{path}[{index}]"), message, remedy);
        };
        let remedy = r#"write it like "10.0.0.0/8""#;
        let network = network
            .map_err(|_| refuse("is not a network", remedy))
            .ok()?;
        // Peers are compared in canonical form, which such a network would never match.
        if matches!(network, IpNet::V6(six) if six.addr().to_ipv4_mapped().is_some()) {
            refuse("is an IPv4 network in the form of IPv6", remedy);
            return None;
        }
        Some(network)
    };
    let parsed: Vec<Option<IpNet>> = texts.iter().enumerate().map(&mut parse).collect();
    parsed.into_iter().collect()
}

/// A URL: https, or http on a loopback host, or http where `allow_http` (the key, and whether it is
/// set) says so. Without a user, which would be a secret in a place that is shown.
pub fn url(report: &mut Report, path: &str, text: &str, allow_http: (&str, bool)) -> Option<Url> {
    let url = Url::parse(text).ok().filter(Url::has_host);
    let Some(url) = url else {
        report.refuse(
            path,
            "is not a URL",
            "write it like https://host.example.com",
        );
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        report.refuse(
            path,
            "must not hold a user or a password",
            "remove what stands before the @",
        );
        return None;
    }
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" if allow_http.1 => {
            report.warn(
                path,
                "is plain http, so that tokens and keys can be read on the way",
                "use https",
            );
        }
        _ => {
            let remedy = format!(
                "use https, or set {} = true where the network can be trusted",
                allow_http.0
            );
            report.refuse(path, "must be https", remedy);
            return None;
        }
    }
    Some(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A secret as it is now.
pub fn secret(report: &mut Report, path: &str, source: &SecretSource) -> Option<Secret> {
    let remedy = |error: &SecretError| match error {
        SecretError::Unreadable { .. } => "check that it exists and that the broker may read it",
        SecretError::TooLarge(_) => "name the file that holds the secret and nothing else",
        SecretError::Empty(_) => "put the secret there",
        SecretError::NotSet(_) => "set it in the broker's environment",
        SecretError::NotAKey(_) => "write a private key in PKCS#8 PEM there",
    };
    source
        .read()
        .map_err(|error| report.refuse(path, error.to_string(), remedy(&error)))
        .ok()
}

/// The content of a file that is no secret.
pub fn file(report: &mut Report, path: &str, file: &str) -> Option<Vec<u8>> {
    let content = read_file(Path::new(file));
    let remedy = "check that it exists and that the broker may read it";
    content
        .map(|content| content.to_vec())
        .map_err(|error| report.refuse(path, format!("cannot be read: {error}"), remedy))
        .ok()
}

/// A cookie's name, if there is one.
pub fn cookie(
    report: &mut Report,
    path: &str,
    name: Option<String>,
) -> Result<Option<String>, Reported> {
    match name {
        // RFC 6265, 4.1.1: the name is a token, as that of a header is.
        Some(name) if HeaderName::from_bytes(name.as_bytes()).is_err() => {
            report.refuse(path, "is not the name of a cookie", "write its name only");
            Err(Reported)
        }
        name => Ok(name),
    }
}

/// A header's name (RFC 9110, 5.1).
pub fn header(report: &mut Report, path: &str, name: &str) -> Option<HeaderName> {
    let parsed = name.parse::<HeaderName>();
    parsed
        .map_err(|_| report.refuse(path, "is not the name of a header", "write its name only"))
        .ok()
}
