//! The TLS side of the public listener: its certificate, and the authority of its clients. And of the
//! shared tier, where that has a private authority. And what is wrong with those of others.

mod peer;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use webpki::EndEntityCert;

use crate::secret::{Secret, SecretSource};

pub use peer::{PeerFault, ends};

/// `[server.tls]`: where the PEM texts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSources {
    /// The certificate chain.
    pub certificate: SecretSource,
    /// Its private key.
    pub key: SecretSource,
    /// The authority whose client certificates are accepted.
    pub client_ca: Option<SecretSource>,
}

/// What is wrong with `[server.tls]`. Never shows a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    /// The key of the table.
    pub key: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server.tls.{} {}", self.key, self.reason)
    }
}

impl TlsSources {
    /// The listener's configuration, from what the sources hold now.
    pub fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let (chain, key) = (self.chain()?, self.key()?);
        let builder = ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ));
        let fault = |key, reason: &str| TlsError {
            key,
            reason: reason.into(),
        };
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(|_| fault("certificate", "cannot be served by this TLS library"))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(authority) => builder.with_client_cert_verifier(clients(authority)?),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|_| fault("key", "is not the private key of the certificate"))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// The files to watch.
    pub fn files(&self) -> Vec<PathBuf> {
        let sources = [&self.certificate, &self.key];
        let sources = sources.into_iter().chain(&self.client_ca);
        sources
            .filter_map(|source| match source {
                SecretSource::File(path) => Some(path.clone()),
                _ => None,
            })
            .collect()
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        certificates("certificate", &self.certificate)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let pem = read("key", &self.key)?;
        PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).map_err(|_| TlsError {
            key: "key",
            reason: "holds no private key in PEM".into(),
        })
    }
}

/// Browsers have no certificate, so a client without one is let in, and with a wrong one is not.
fn clients(authority: &SecretSource) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let unusable = || TlsError {
        key: "client_ca",
        reason: "holds no usable certificate of an authority".into(),
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("client_ca", authority)? {
        roots.add(certificate).map_err(|_| unusable())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|_| unusable())
}

/// A client that believes this authority and no other.
pub fn client(authority: &[u8]) -> Result<ClientConfig, &'static str> {
    let found = CertificateDer::pem_slice_iter(authority);
    let found: Vec<_> = found.collect::<Result<_, _>>().unwrap_or_default();
    let mut roots = RootCertStore::empty();
    if found.is_empty() || roots.add_parsable_certificates(found).0 == 0 {
        return Err("holds no usable certificate of an authority");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| "cannot be served by this TLS library")?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn certificates(
    key: &'static str,
    source: &SecretSource,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(key, source)?;
    let found = CertificateDer::pem_slice_iter(pem.expose().as_bytes());
    let found: Vec<_> = found.collect::<Result<_, _>>().unwrap_or_default();
    if found.is_empty() {
        let reason = "holds no certificate in PEM".into();
        return Err(TlsError { key, reason });
    }
    Ok(found)
}

fn read(key: &'static str, source: &SecretSource) -> Result<Secret, TlsError> {
    source.read().map_err(|error| TlsError {
        key,
        reason: format!("cannot be read: {error}"),
    })
}

/// The names in a certificate's `subjectAltName` (RFC 5280, 4.2.1.6): DNS names and URIs.
pub fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = EndEntityCert::try_from(certificate) else {
        return Vec::new();
    };
    // A URI has a scheme, and no DNS name has a colon: neither is taken for the other.
    let uris = parsed.valid_uri_names().filter(|uri| uri.contains(':'));
    let names = parsed.valid_dns_names().chain(uris);
    names.map(str::to_owned).collect()
}
