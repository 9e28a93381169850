//! The keys of one session table: static ones, or an issuer's key set that is kept fresh.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{AlgorithmFamily, DecodingKey};
use reqwest::Client;

use super::SessionError;
use super::issuer::{Issuer, KeysCell, KeysError, Place};
use super::jwt::{Algorithm, KeySource};
use super::key_set::KeySet;
use crate::expiring::{CellError, NotRenewed};

/// An unknown `kid` makes the broker look for new keys this often at the most: anybody can invent
/// a `kid`.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The keys of one session table.
#[derive(Debug)]
pub(super) enum Keys {
    Static(Arc<KeySet>),
    Fetched {
        cell: Arc<KeysCell>,
        from: Arc<Issuer>,
    },
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
                // A hit looks this up, and shall not have a large future.
                if let Some(keys) = cell.fresh() {
                    return Ok((keys, false));
                }
                let got = Box::pin(cell.get(|| from.load(cell))).await;
                let got = got.map_err(|error| out_of_reach(&error))?;
                Ok((got.value, got.waited))
            }
        }
    }

    /// Fetches the keys anew where they are fetched, and gives them to nobody else.
    pub async fn look(&self) -> Result<Arc<KeySet>, KeysError> {
        match self {
            Self::Static(keys) => Ok(Arc::clone(keys)),
            Self::Fetched { from, .. } => from.fetch().await.map(Arc::new),
        }
    }

    /// Looks for keys that are newer than `known`, no oftener than [`LOOK_AGAIN`] (or than the set is
    /// refreshed anyway). Callers with
    /// known keys are not held up meanwhile.
    pub async fn look_again(&self, known: &Arc<KeySet>) -> Result<Arc<KeySet>, SessionError> {
        match self {
            Self::Static(keys) => Ok(Arc::clone(keys)),
            Self::Fetched { cell, from } => {
                match cell
                    .renew(LOOK_AGAIN.min(from.refresh), || from.load(cell))
                    .await
                {
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

    /// Whether some key fits the algorithm; not known of keys that are yet to be fetched.
    pub fn may_verify(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Static(keys) => keys.fits(algorithm),
            Self::Fetched { .. } => true,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expiring::Lease;
    use crate::outbound::{self, Proxy};
    use futures_util::future::join_all;
    use tokio::time::advance;

    const KEY_SET: &[u8] = br#"{"keys": [{"kty": "EC", "crv": "P-256", "kid": "k1",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x0_NuFm5fQ3NdHf2sdwHvAsCdlfNz9JKBkDYOW0SHH0"}]}"#;

    #[tokio::test(start_paused = true)]
    async fn an_issuer_out_of_reach_is_no_verdict_for_anybody_who_waited() {
        let nobody_listens = Place::KeySet("http://127.0.0.1:1/jwks".into());
        let from = Arc::new(Issuer {
            http: outbound::client(&Proxy::None, None).unwrap(),
            place: nobody_listens,
            refresh: 10 * LOOK_AGAIN,
        });
        let (known, cell) = (Arc::new(KeySet::parse(KEY_SET).unwrap()), Arc::default());
        let lease = Lease::fixed(Arc::clone(&known), 100 * LOOK_AGAIN);
        let keys = Keys::Fetched {
            cell: Arc::clone(&cell),
            from,
        };
        cell.get(|| async { Ok(lease) }).await.unwrap();
        advance(LOOK_AGAIN).await;
        let looks = join_all((0..10).map(|_| keys.look_again(&known))).await;
        assert!(looks.iter().all(Result::is_err), "{looks:?}");
    }
}
