//! A set of verification keys (RFC 7517), and which of them a JWT is verified with.
//!
//! What a JWT's header says about keys (`jku`, `x5u`, `jwk`) is never looked at; of a `kid` only
//! whether a key of ours has that name.

use aws_lc_rs::digest::{SHA256, digest};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{AlgorithmFamily, DecodingKey};
use serde::Deserialize;

use super::jwt::Algorithm;

/// A set of verification keys.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<VerificationKey>,
    /// Tells whether a fetched set is the one that is held.
    pub(super) digest: [u8; 32],
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
    pub(super) fn single(key: DecodingKey) -> Self {
        // An uncompressed point is a byte and two coordinates: its length tells the curve.
        let curve = match (key.family(), key.try_get_as_bytes().map(<[u8]>::len)) {
            (AlgorithmFamily::Ec, Ok(65)) => Some(EllipticCurve::P256),
            (AlgorithmFamily::Ec, Ok(97)) => Some(EllipticCurve::P384),
            (AlgorithmFamily::Ec, _) => Some(EllipticCurve::P521),
            _ => None,
        };
        let key = VerificationKey {
            kid: None,
            algorithm: None,
            curve,
            key,
        };
        Self {
            keys: vec![key],
            digest: [0; 32],
        }
    }

    /// Whether any of the keys is one for this algorithm.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.fits(algorithm))
    }

    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Found<'_> {
        let found = match (self.keys.as_slice(), kid) {
            // A single key without a name is the one, whatever the JWT calls it.
            ([only], kid) if only.kid.is_none() || kid.is_none() => only,
            (_, None) => return Found::Ambiguous,
            (keys, Some(kid)) => {
                let mut named = keys
                    .iter()
                    .filter(|key| key.kid.as_deref() == Some(kid))
                    .peekable();
                let Some(first) = named.peek().copied() else {
                    return Found::Unknown;
                };
                // Nothing forbids two keys of one name for two algorithms (RFC 7517, 4.5).
                named.find(|key| key.fits(algorithm)).unwrap_or(first)
            }
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
