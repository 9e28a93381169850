//! The tenant's signing key: ES384 access tokens and the key set to check them with.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

/// A key made at start; a restarted simulator no longer knows its old tokens anyway.
pub(super) struct Signer {
    key: EcdsaKeyPair,
    key_id: String,
}

/// The header, in the order seen in the field: tokens begin with `{"alg":"ES384","typ":` (doc).
#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    kid: &'a str,
}

/// The whole payload of an access token (doc): who it is for cannot be read from it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Claims<'a> {
    sub_type: &'a str,
    purpose: &'a str,
    jti: &'a str,
    iat: i64,
    exp: i64,
    aud: &'a str,
    iss: &'a str,
}

impl Signer {
    pub(super) fn new(key_id: String) -> std::io::Result<Self> {
        let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING)
            .map_err(|Unspecified| std::io::Error::other("no signing key"))?;
        Ok(Self { key, key_id })
    }

    /// A signed token.
    pub(super) fn token(
        &self,
        purpose: &str,
        jti: &str,
        audience: &str,
        issued: Timestamp,
        life_seconds: i64,
    ) -> Result<String, Unspecified> {
        let header = Header {
            alg: "ES384",
            typ: "JWT",
            kid: &self.key_id,
        };
        let claims = Claims {
            sub_type: "user",
            purpose,
            jti,
            iat: issued.as_second(),
            exp: issued.as_second().saturating_add(life_seconds),
            aud: audience,
            iss: "qlik.api",
        };
        let signed = format!("{}.{}", part(&header)?, part(&claims)?);
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The public half as a JWK set.
    pub(super) fn key_set(&self) -> Value {
        // An uncompressed point: one byte of form, then both coordinates.
        let point = self.key.public_key().as_ref();
        let half = |from, to| URL_SAFE_NO_PAD.encode(point.get(from..to).unwrap_or_default());
        json!({ "keys": [{
            "kty": "EC", "crv": "P-384", "alg": "ES384", "use": "sig", "kid": self.key_id,
            "x": half(1, 49), "y": half(49, 97),
        }] })
    }
}

fn part(value: &impl Serialize) -> Result<String, Unspecified> {
    serde_json::to_vec(value)
        .map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
        .map_err(|_| Unspecified)
}
