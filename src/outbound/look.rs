//! A look at an address, for `check`: who answers there, or why nobody does.

use std::error::Error as StdError;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use reqwest::RequestBuilder;
use reqwest::header::{ACCEPT, AGE, DATE, HeaderMap};
use reqwest::tls::TlsInfo;
use tokio::time::timeout;

use super::{ClientError, HttpClient, Proxy, builder, make, read_capped};
use crate::clock;
use crate::tls::{self, PeerFault};

/// A resolver that has to ask others takes well under a second.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);
/// More than any answer that is looked at.
const BODY_CAP: usize = 256 * 1024;

/// Why nobody answers at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The name has no address.
    #[error("the name does not resolve")]
    Name,
    /// No connection.
    #[error("no connection")]
    NoConnection,
    /// A connection, and no answer in time.
    #[error("no answer in time")]
    Late,
    /// The answer was cut off, is too long, or is none of HTTP.
    #[error("the answer broke off")]
    Broken,
    /// The certificate, or what else TLS is about.
    #[error("{}", said(*.0))]
    Tls(PeerFault),
    /// No client could be made to look with.
    #[error("no client could be made: the CA file or the proxy is not usable")]
    NoClient,
}

fn said(fault: PeerFault) -> &'static str {
    match fault {
        PeerFault::Expired => "the certificate has expired",
        PeerFault::NotYetValid => "the certificate is not valid yet",
        PeerFault::Untrusted => "the certificate is signed by no authority that is trusted here",
        PeerFault::OtherName => "the certificate is for another host",
        PeerFault::Unusable => "the certificate cannot be used",
        PeerFault::Protocol => "no safe TLS is spoken there",
    }
}

/// Who answered.
#[derive(Debug)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// How far the clock of who answered is ahead of ours, in seconds; `None` where no time was told.
    pub clock_ahead: Option<i64>,
    /// When the certificate ends; `None` without TLS.
    pub certificate_ends: Option<SystemTime>,
}

/// The addresses of a name.
pub async fn resolve(host: &str) -> Result<Vec<IpAddr>, Trouble> {
    let found = timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((host, 0))).await;
    let found = found.map_err(|_| Trouble::Name)?;
    let addresses: Vec<_> = found
        .map_err(|_| Trouble::Name)?
        .map(|address| address.ip())
        .collect();
    if addresses.is_empty() {
        return Err(Trouble::Name);
    }
    Ok(addresses)
}

/// Gets an address once, on a connection of its own.
pub async fn look(proxy: &Proxy, ca_pem: Option<&[u8]>, url: &str) -> Result<Answered, Trouble> {
    let client = looking(proxy, ca_pem)?;
    ask(client.get(url).header(ACCEPT, "application/json")).await
}

/// Posts something to an address once, on a connection of its own, and without a proxy.
pub async fn look_by_post(
    url: &str,
    headers: HeaderMap,
    body: Vec<u8>,
) -> Result<Answered, Trouble> {
    let client = looking(&Proxy::None, None)?;
    ask(client.post(url).headers(headers).body(body)).await
}

fn looking(proxy: &Proxy, ca_pem: Option<&[u8]>) -> Result<HttpClient, Trouble> {
    let looking = || Ok::<_, ClientError>(builder(proxy)?.tls_info(true));
    make(ca_pem, looking).map_err(|_| Trouble::NoClient)
}

async fn ask(request: RequestBuilder) -> Result<Answered, Trouble> {
    let asked = clock::now();
    let response = request.send().await.map_err(|error| Trouble::of(&error))?;
    let headers = response.headers();
    // What a cache kept tells the time of then.
    let is_fresh = !headers.contains_key(AGE);
    let date = headers.get(DATE).filter(|_| is_fresh);
    let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let info = response.extensions().get::<TlsInfo>();
    let certificate_ends = info.and_then(|info| tls::ends(info.peer_certificate()?));
    let clock_ahead = date.map(|date| ahead(date, asked, clock::now()));
    Ok(Answered {
        status: response.status().as_u16(),
        body: read_capped(response, BODY_CAP)
            .await
            .map_err(|_| Trouble::Broken)?,
        clock_ahead,
        certificate_ends,
    })
}

/// How far a clock is ahead that told the time between `from` and `until`, at whole seconds.
fn ahead(told: SystemTime, from: SystemTime, until: SystemTime) -> i64 {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let since =
        |later: SystemTime, earlier| seconds(later.duration_since(earlier).unwrap_or_default());
    let told_until = told + Duration::from_secs(1);
    since(told, until) - since(from, told_until)
}

impl Trouble {
    fn of(error: &reqwest::Error) -> Self {
        if let Some(fault) = PeerFault::behind(error) {
            return Self::Tls(fault);
        }
        match error {
            error if is_about_a_name(error) => Self::Name,
            error if error.is_timeout() => Self::Late,
            error if error.is_connect() => Self::NoConnection,
            _ => Self::Broken,
        }
    }
}

/// The HTTP library has no type for it.
fn is_about_a_name(error: &reqwest::Error) -> bool {
    let causes = std::iter::successors(error.source(), |&error: &&dyn StdError| error.source());
    let mut words = causes.map(ToString::to_string);
    words.any(|words| words.starts_with("dns error"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn a_clock_is_ahead_by_what_the_question_cannot_explain() {
        let at = |millis| {
            UNIX_EPOCH + Duration::from_secs(1_700_000_000) + Duration::from_millis(millis)
        };
        assert_eq!(
            ahead(at(5000), at(5200), at(5300)),
            0,
            "it tells no more than seconds"
        );
        assert_eq!(ahead(at(5000), at(4000), at(9000)), 0, "a slow answer");
        assert_eq!(ahead(at(65_000), at(4900), at(5000)), 60);
        assert_eq!(ahead(at(5000), at(66_000), at(66_100)), -60);
    }
}
