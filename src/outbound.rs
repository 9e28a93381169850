//! HTTP clients for calls that leave the broker: to tenants and to issuers of key sets.
//!
//! One place decides about redirects (never followed), certificates (always verified), proxies
//! (none unless configured) and how much of an answer is read.

mod look;

use std::cell::OnceCell;
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Proxy as ReqwestProxy, Response};

use crate::secret::Secret;

pub use crate::tls::PeerFault;
pub use look::{Answered, Trouble, look, look_by_post, resolve};
pub use reqwest::Client as HttpClient;

/// A TCP and TLS handshake across continents takes well under a second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// One try of one call, body included.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than the idle timeout of common load balancers, so that they do not hang up first.
const POOL_IDLE: Duration = Duration::from_secs(50);
/// Connections that are kept for one host. Unless they are configured otherwise, a portal is asked by 64
/// at a time, and a tenant's budget lets a hundred mints out at once.
const POOL_PER_HOST: usize = 128;

/// Which proxy outgoing calls take.
#[derive(Clone, Debug, Default)]
pub enum Proxy {
    /// None, whatever the environment says.
    #[default]
    None,
    /// What `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say.
    Environment,
    /// This one, for all calls. Its URL may hold a password.
    Url(Secret),
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The CA file is not a list of PEM certificates.
    #[error("the CA file holds no usable PEM certificate")]
    CaFile,
    /// The proxy's URL is not one.
    #[error("the proxy URL is not usable")]
    Proxy,
    /// The TLS library refused to start.
    #[error("the TLS client could not be set up")]
    Tls,
}

/// Clients that leave by one proxy. All that trust nobody but the system's roots are the same one: to
/// make one takes milliseconds and a hundred kilobytes, and there may be a tenant for each customer.
#[derive(Debug)]
pub struct Outgoing<'a> {
    proxy: &'a Proxy,
    usual: OnceCell<Client>,
}

impl<'a> Outgoing<'a> {
    /// None is made before it is asked for.
    pub fn by(proxy: &'a Proxy) -> Self {
        Self {
            proxy,
            usual: OnceCell::new(),
        }
    }

    /// As [`client`] makes it.
    pub fn client(&self, ca_pem: Option<&[u8]>) -> Result<Client, ClientError> {
        if ca_pem.is_some() {
            return client(self.proxy, ca_pem);
        }
        if let Some(usual) = self.usual.get() {
            return Ok(usual.clone());
        }
        let made = client(self.proxy, None)?;
        Ok(self.usual.get_or_init(|| made).clone())
    }
}

/// Builds a client that trusts the system's roots and, in addition, those of `ca_pem`.
pub fn client(proxy: &Proxy, ca_pem: Option<&[u8]>) -> Result<Client, ClientError> {
    make(ca_pem, || builder(proxy))
}

fn make(
    ca_pem: Option<&[u8]>,
    builder: impl Fn() -> Result<ClientBuilder, ClientError>,
) -> Result<Client, ClientError> {
    let extra = match ca_pem {
        Some(pem) => Certificate::from_pem_bundle(pem).map_err(|_| ClientError::CaFile)?,
        None => Vec::new(),
    };
    if ca_pem.is_some() && extra.is_empty() {
        return Err(ClientError::CaFile);
    }
    if let Ok(client) = builder()?.tls_certs_merge(extra.clone()).build() {
        return Ok(client);
    }
    // A container without a CA bundle: Mozilla's roots, compiled in, stand for the system's.
    let built_in = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .filter_map(|der| Certificate::from_der(der).ok());
    builder()?
        .tls_certs_only(built_in.chain(extra))
        .build()
        .map_err(|_| ClientError::Tls)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that makes HTTP clients"
)]
fn builder(proxy: &Proxy) -> Result<ClientBuilder, ClientError> {
    let builder = Client::builder()
        .user_agent(concat!("qlik-token-broker/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_PER_HOST);
    Ok(match proxy {
        Proxy::None => builder.no_proxy(),
        Proxy::Environment => builder,
        Proxy::Url(url) => {
            builder.proxy(ReqwestProxy::all(url.expose()).map_err(|_| ClientError::Proxy)?)
        }
    })
}

/// Why an answer's body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The connection broke or the time ran out.
    Cut,
    /// It is longer than it may be.
    TooLong,
}

/// Reads a body of at most `cap` bytes.
pub async fn read_capped(mut response: Response, cap: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| BodyError::Cut)? {
        if body.len() + chunk.len() > cap {
            return Err(BodyError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
