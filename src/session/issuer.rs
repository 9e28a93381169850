//! Fetching an issuer's key set, directly or by way of its metadata.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use reqwest::header::ACCEPT;
use serde::Deserialize;

use super::key_set::KeySet;
use crate::expiring::{ExpiringCell, Lease, Pause};
use crate::outbound::read_capped;
use crate::telemetry::traces::Outgoing;

/// Key sets of large issuers are 20 kB.
const BODY_CAP: usize = 256 * 1024;
/// How long keys are trusted whose issuer is out of reach.
const KEEP: Duration = Duration::from_secs(24 * 3600);

/// Why an issuer's keys are not at hand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeysError(&'static str);

impl Pause for KeysError {
    fn pause(&self) -> Option<Duration> {
        None
    }
}

/// The keys of one issuer.
pub(super) type KeysCell = ExpiringCell<KeySet, KeysError>;

/// Where a key set is fetched.
#[derive(Debug)]
pub(super) struct Issuer {
    pub http: Client,
    pub place: Place,
    pub refresh: Duration,
}

#[derive(Debug)]
pub(super) enum Place {
    KeySet(String),
    /// The issuer itself, whose metadata name the key set (`OpenID` Connect Discovery 1.0, 4).
    Discovery(String),
}

impl Issuer {
    /// The load of the cell. Remembers what is held: see below.
    pub fn load(
        self: &Arc<Self>,
        cell: &Arc<KeysCell>,
    ) -> impl Future<Output = Result<Lease<KeySet>, KeysError>> + Send + 'static + use<> {
        let (from, held) = (
            Arc::clone(self),
            cell.live().map(|lease| Arc::clone(lease.value())),
        );
        async move {
            let asking = Outgoing::begin("fetch key set", &[]);
            let fetched = from.fetch().await;
            asking.ended(
                if fetched.is_ok() { "ok" } else { "failed" },
                fetched.is_err(),
            );
            let fetched = fetched.inspect_err(|error| tracing::warn!(%error, "no key set"))?;
            // An unchanged set keeps its identity, so that sessions verified with it stay verified.
            let keys = match held {
                Some(held) if held.digest == fetched.digest => held,
                _ => Arc::new(fetched),
            };
            Ok(Lease::renewed_every(
                keys,
                from.refresh,
                KEEP.max(from.refresh * 2),
            ))
        }
    }

    async fn fetch(&self) -> Result<KeySet, KeysError> {
        let url = match &self.place {
            Place::KeySet(url) => url.clone(),
            Place::Discovery(issuer) => self.discover(issuer).await?,
        };
        KeySet::parse(&self.get(&url).await?)
            .map_err(|_| KeysError("the issuer's key set is not usable"))
    }

    async fn discover(&self, issuer: &str) -> Result<String, KeysError> {
        #[derive(Deserialize)]
        struct Metadata {
            issuer: String,
            jwks_uri: String,
        }
        let url = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let metadata: Metadata = serde_json::from_slice(&self.get(&url).await?)
            .map_err(|_| KeysError("the issuer's metadata are not usable"))?;
        if metadata.issuer != issuer {
            return Err(KeysError("the issuer's metadata name another issuer"));
        }
        // Whoever can change the metadata in transit must not be able to choose the keys either.
        if issuer.starts_with("https://") && !metadata.jwks_uri.starts_with("https://") {
            return Err(KeysError(
                "the issuer's metadata name a key set without https",
            ));
        }
        Ok(metadata.jwks_uri)
    }

    async fn get(&self, url: &str) -> Result<Vec<u8>, KeysError> {
        let sent = self
            .http
            .get(url)
            .header(ACCEPT, "application/json")
            .send()
            .await;
        let response = sent.map_err(|_| KeysError("the issuer is out of reach"))?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(KeysError(
                "the issuer answered with another status than 200",
            ));
        }
        read_capped(response, BODY_CAP)
            .await
            .map_err(|_| KeysError("the issuer's answer was cut off or too long"))
    }
}
