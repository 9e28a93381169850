//! The listener with `[server.tls]`: hands on the names that a client's certificate proves, and
//! takes new certificates without a restart.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::middleware::AddExtension;
use axum_server::accept::{Accept, NoDelayAcceptor};
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tower_layer::Layer;

use crate::tls::{TlsError, TlsSources, names};
use crate::watch::Watch;

/// The names in the certificate that a connection's client proved; empty without one.
#[derive(Clone, Debug, Default)]
pub struct ClientNames(pub(super) Arc<[String]>);

/// Accepts TLS connections.
#[derive(Clone, Debug)]
pub struct TlsAcceptor(RustlsAcceptor<NoDelayAcceptor>);

impl<S: Send + 'static> Accept<TcpStream, S> for TlsAcceptor {
    type Stream = TlsStream<TcpStream>;
    type Service = AddExtension<S, ClientNames>;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let accepting = self.0.accept(stream, service);
        Box::pin(async move {
            let (stream, service) = accepting.await?;
            let shown = stream.get_ref().1.peer_certificates();
            let proven = shown.and_then(<[_]>::first).map(names).unwrap_or_default();
            let service = Extension(ClientNames(proven.into())).layer(service);
            Ok((stream, service))
        })
    }
}

/// What the listener serves with, kept fresh.
#[derive(Debug)]
pub struct Tls {
    config: RustlsConfig,
    sources: TlsSources,
    watch: Watch,
}

impl Tls {
    /// Reads the certificates.
    pub fn open(sources: TlsSources) -> Result<Self, TlsError> {
        // The first look comes first: what changes while the files are read is seen as a change.
        let watch = Watch::new(sources.files());
        let config = RustlsConfig::from_config(sources.load()?);
        Ok(Self {
            config,
            sources,
            watch,
        })
    }

    /// For the listener; whatever is read later reaches it.
    pub fn acceptor(&self) -> TlsAcceptor {
        let inner = RustlsAcceptor::new(self.config.clone());
        TlsAcceptor(inner.acceptor(NoDelayAcceptor::new()))
    }

    /// Reads the certificates again whenever their files change, which is looked for `every` so
    /// often. What does not fit together is left alone: the old ones go on, and the log says why.
    pub async fn renew(mut self, every: Duration) {
        loop {
            self.watch.changed(every).await;
            match self.sources.load() {
                Ok(loaded) => {
                    self.config.reload_from_config(loaded);
                    tracing::info!("the listener has a new certificate");
                }
                Err(error) => tracing::error!(%error, "the old certificate is kept"),
            }
        }
    }
}
