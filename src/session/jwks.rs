//! The keys that JWTs are verified with: from a file, a PEM, a shared secret, or an issuer's key
//! set (RFC 7517) that is fetched and refreshed.
//!
//! Keys come from configured places only. What a JWT's header says about keys (`jku`, `x5u`,
//! `jwk`) is never looked at.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{AlgorithmFamily, DecodingKey};
use reqwest::Client;
use reqwest::header::ACCEPT;
use serde::Deserialize;

use super::SessionError;
use super::jwt::{Algorithm, KeySource};
use crate::expiring::{CellError, ExpiringCell, Lease, NotRenewed, Pause};
use crate::outbound::read_capped;

/// Key sets of large issuers are 20 kB.
const BODY_CAP: usize = 256 * 1024;
/// An unknown `kid` makes the broker look for new keys this often at the most: anybody can invent
/// a `kid`.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How long keys are trusted whose issuer is out of reach.
const KEEP: Duration = Duration::from_secs(24 * 3600);

/// A set of verification keys.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<VerificationKey>,
    /// Tells whether a fetched set is the one that is held.
    digest: [u8; 32],
}

struct VerificationKey {
    kid: Option<String>,
    algorithm: Option<KeyAlgorithm>,
    /// P-256 does not verify ES384, which the family alone would not tell.
    curve: Option<EllipticCurve>,
    key: DecodingKey,
}

impl std::fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerificationKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// What a look for a key came to.
#[derive(Debug)]
pub(super) enum Found<'a> {
    Key(&'a DecodingKey),
    /// The set has several keys, and the JWT does not say which.
    Ambiguous,
    /// No key of that name.
    Unknown,
    /// The key is not one for this algorithm.
    Unfit,
}

impl KeySet {
    /// Parses a key set. Keys that cannot verify (symmetric ones, or `use` other than `sig`) are
    /// left out; the error says what is wrong with the rest.
    pub fn parse(json: &[u8]) -> Result<Self, &'static str> {
        let set: LenientSet =
            serde_json::from_slice(json).map_err(|_| "is not a JSON Web Key Set")?;
        let jwks = set
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let keys: Vec<_> = jwks.filter_map(VerificationKey::of).collect();
        if keys.is_empty() {
            return Err("has no key that can verify a signature");
        }
        Ok(Self {
            keys,
            digest: sha256(json),
        })
    }

    /// One key without a name.
    fn single(key: DecodingKey) -> Self {
        Self {
            keys: vec![VerificationKey {
                kid: None,
                algorithm: None,
                curve: None,
                key,
            }],
            digest: [0; 32],
        }
    }

    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Found<'_> {
        let found = match (self.keys.as_slice(), kid) {
            // A single key without a name is the one, whatever the JWT calls it.
            ([only], kid) if only.kid.is_none() || kid.is_none() => only,
            (_, None) => return Found::Ambiguous,
            (keys, Some(kid)) => match keys.iter().find(|key| key.kid.as_deref() == Some(kid)) {
                Some(key) => key,
                None => return Found::Unknown,
            },
        };
        if found.fits(algorithm) {
            Found::Key(&found.key)
        } else {
            Found::Unfit
        }
    }
}

/// One key that this library cannot read must not hide the others.
#[derive(Deserialize)]
struct LenientSet {
    keys: Vec<serde_json::Value>,
}

impl VerificationKey {
    fn of(jwk: Jwk) -> Option<Self> {
        if jwk
            .common
            .public_key_use
            .as_ref()
            .is_some_and(|usage| *usage != PublicKeyUse::Signature)
        {
            return None;
        }
        let curve = match &jwk.algorithm {
            AlgorithmParameters::OctetKey(_) => return None,
            AlgorithmParameters::EllipticCurve(parameters) => Some(parameters.curve.clone()),
            _ => None,
        };
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self {
            kid: jwk.common.key_id,
            algorithm: jwk.common.key_algorithm,
            curve,
            key,
        })
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        let jose = algorithm.jose();
        let curve_fits = match (algorithm, &self.curve) {
            (Algorithm::Es256, Some(curve)) => *curve == EllipticCurve::P256,
            (Algorithm::Es384, Some(curve)) => *curve == EllipticCurve::P384,
            _ => true,
        };
        let named = self.algorithm.as_ref().map(ToString::to_string);
        self.key.family() == jose.family()
            && curve_fits
            && named.is_none_or(|named| named == algorithm.as_str())
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// Why an issuer's keys are not at hand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeysError(&'static str);

impl Pause for KeysError {
    fn pause(&self) -> Option<Duration> {
        None
    }
}

type KeysCell = ExpiringCell<KeySet, KeysError>;

/// The keys of one session table.
#[derive(Debug)]
pub(super) enum Keys {
    Static(Arc<KeySet>),
    Fetched {
        cell: Arc<KeysCell>,
        from: Arc<Issuer>,
    },
}

/// Where a key set is fetched.
#[derive(Debug)]
pub(super) struct Issuer {
    http: Client,
    place: Place,
    refresh: Duration,
}

#[derive(Debug)]
enum Place {
    KeySet(String),
    /// The issuer itself, whose metadata name the key set (`OpenID` Connect Discovery 1.0, 4).
    Discovery(String),
}

impl Keys {
    /// Parses static keys; fetches nothing. The error never shows a key.
    pub fn new(
        source: &KeySource,
        family: AlgorithmFamily,
        issuer: &str,
        refresh: Duration,
        http: Client,
    ) -> Result<Self, &'static str> {
        let fetched = |place| Self::Fetched {
            cell: Arc::default(),
            from: Arc::new(Issuer {
                http,
                place,
                refresh,
            }),
        };
        Ok(match source {
            KeySource::JwksUrl(url) => fetched(Place::KeySet(url.clone())),
            KeySource::Discovery => fetched(Place::Discovery(issuer.to_owned())),
            KeySource::JwksFile(json) => Self::Static(Arc::new(KeySet::parse(json.as_bytes())?)),
            KeySource::Hmac(secret) => Self::Static(Arc::new(KeySet::single(
                DecodingKey::from_secret(secret.expose().as_bytes()),
            ))),
            KeySource::PublicKey(pem) => {
                let pem = pem.as_bytes();
                let key = match family {
                    AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(pem),
                    AlgorithmFamily::Ec => DecodingKey::from_ec_pem(pem),
                    _ => DecodingKey::from_ed_pem(pem),
                };
                let key = key.map_err(|_| "is not a PEM public key that fits `algorithms`")?;
                Self::Static(Arc::new(KeySet::single(key)))
            }
        })
    }

    /// The keys as they are known now, fetched first if there are none, and whether that happened.
    pub async fn current(&self) -> Result<(Arc<KeySet>, bool), SessionError> {
        match self {
            Self::Static(keys) => Ok((Arc::clone(keys), true)),
            Self::Fetched { cell, from } => {
                let got = cell
                    .get(|| from.load(cell))
                    .await
                    .map_err(|error| out_of_reach(&error))?;
                Ok((got.value, got.waited))
            }
        }
    }

    /// Looks for keys that are newer than `known`, no oftener than [`LOOK_AGAIN`]. Callers with
    /// known keys are not held up meanwhile.
    pub async fn look_again(&self, known: &Arc<KeySet>) -> Result<Arc<KeySet>, SessionError> {
        match self {
            Self::Static(keys) => Ok(Arc::clone(keys)),
            Self::Fetched { cell, from } => {
                match cell.renew(LOOK_AGAIN, || from.load(cell)).await {
                    Ok(keys) => Ok(keys),
                    // Somebody else's look may have brought them while this caller was verifying.
                    Err(NotRenewed::TooSoon(retry_after)) => match cell.fresh() {
                        Some(keys) if !Arc::ptr_eq(&keys, known) => Ok(keys),
                        _ => Err(SessionError::Unavailable {
                            why: "new signing keys were looked for a moment ago",
                            retry_after,
                        }),
                    },
                    Err(NotRenewed::Cell(error)) => Err(out_of_reach(&error)),
                }
            }
        }
    }

    pub fn can_change(&self) -> bool {
        matches!(self, Self::Fetched { .. })
    }
}

fn out_of_reach(error: &CellError<KeysError>) -> SessionError {
    let retry_after = match error {
        CellError::Failed { retry_after, .. } => *retry_after,
        _ => Duration::from_secs(1),
    };
    SessionError::Unavailable {
        why: "the issuer's key set is out of reach",
        retry_after,
    }
}

impl Issuer {
    fn load(
        self: &Arc<Self>,
        cell: &Arc<KeysCell>,
    ) -> impl Future<Output = Result<Lease<KeySet>, KeysError>> + Send + 'static + use<> {
        let (from, held) = (
            Arc::clone(self),
            cell.live().map(|lease| Arc::clone(lease.value())),
        );
        async move {
            let fetched = from
                .fetch()
                .await
                .inspect_err(|error| tracing::warn!(%error, "no key set"))?;
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
