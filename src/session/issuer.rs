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
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// No connection, or no answer.
    #[error("the issuer is out of reach")]
    Unreachable,
    /// It has no such document.
    #[error("the issuer answered with another status than 200")]
    Status,
    /// An answer that was not read to its end.
    #[error("the issuer's answer was cut off or too long")]
    Cut,
    /// What discovery found is no metadata.
    #[error("the issuer's metadata are not usable")]
    Metadata,
    /// The metadata are of another issuer.
    #[error("the issuer's metadata name another issuer")]
    OtherIssuer,
    /// The metadata of an https issuer name a key set that anybody could change in transit.
    #[error("the issuer's metadata name a key set without https")]
    PlainKeySet,
    /// No set of keys that could verify anything.
    #[error("the issuer's key set is not usable")]
    KeySet,
}

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

    /// Fetches the key set once.
    pub async fn fetch(&self) -> Result<KeySet, KeysError> {
        let url = match &self.place {
            Place::KeySet(url) => url.clone(),
            Place::Discovery(issuer) => self.discover(issuer).await?,
        };
        KeySet::parse(&self.get(&url).await?).map_err(|_| KeysError::KeySet)
    }

    async fn discover(&self, issuer: &str) -> Result<String, KeysError> {
        #[derive(Deserialize)]
        struct Metadata {
            issuer: String,
            jwks_uri: String,
        }
        let metadata = self.get(&metadata_url(issuer)).await?;
        let metadata: Metadata =
            serde_json::from_slice(&metadata).map_err(|_| KeysError::Metadata)?;
        if metadata.issuer != issuer {
            return Err(KeysError::OtherIssuer);
        }
        // Whoever can change the metadata in transit must not be able to choose the keys either.
        if issuer.starts_with("https://") && !metadata.jwks_uri.starts_with("https://") {
            return Err(KeysError::PlainKeySet);
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
        let response = sent.map_err(|_| KeysError::Unreachable)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(KeysError::Status);
        }
        read_capped(response, BODY_CAP)
            .await
            .map_err(|_| KeysError::Cut)
    }
}

/// Where an issuer's metadata are.
pub(super) fn metadata_url(issuer: &str) -> String {
    let issuer = issuer.trim_end_matches('/');
    format!("{issuer}/.well-known/openid-configuration")
}
