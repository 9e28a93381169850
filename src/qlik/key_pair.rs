//! Key pairs for private key JWT: made, or read again from the PEM that was written before.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::AssertionAlgorithm;
use crate::secret::{Secret, SecretError, Zeroizing};

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// A private key and what the tenant is told of it.
#[derive(Debug)]
pub struct KeyPair {
    /// The private key: PKCS#8 as PEM.
    pub pem: Secret,
    /// The public key, a JWK. Its `kid` is its thumbprint (RFC 7638) until somebody sets another.
    pub jwk: Value,
}

/// Why there is no key pair. Never shows the key.
#[derive(Debug, thiserror::Error)]
pub enum KeyPairError {
    /// The machine gives no randomness.
    #[error("no key could be generated")]
    NotGenerated,
    /// The text is no private key of the kind that [`KeyPair::read`] takes.
    #[error("it holds no private key of its algorithm in PKCS#8 PEM")]
    NotReadable,
}

impl From<KeyPairError> for SecretError {
    fn from(error: KeyPairError) -> Self {
        Self::NotAKey(error.to_string())
    }
}

impl KeyPair {
    /// A new one. RSA has 4096 bits, as the tenant's documentation advises.
    pub fn generate(algorithm: AssertionAlgorithm) -> Result<Self, KeyPairError> {
        match algorithm {
            AssertionAlgorithm::Es384 => {
                let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING);
                let key = key.map_err(|_| KeyPairError::NotGenerated)?;
                let der = key.to_pkcs8v1().map_err(|_| KeyPairError::NotGenerated)?;
                Self::elliptic(&key, pem(der.as_ref())).ok_or(KeyPairError::NotGenerated)
            }
            AssertionAlgorithm::Rs256 | AssertionAlgorithm::Rs512 => {
                let key = RsaKeyPair::generate(KeySize::Rsa4096);
                let key = key.map_err(|_| KeyPairError::NotGenerated)?;
                let der: Result<Pkcs8V1Der<'static>, _> = key.as_der();
                let der = der.map_err(|_| KeyPairError::NotGenerated)?;
                Ok(Self::rsa(&key, algorithm, pem(der.as_ref())))
            }
        }
    }

    /// The pair of a private key that was generated before: PKCS#8.
    pub fn read(algorithm: AssertionAlgorithm, pem: Secret) -> Result<Self, KeyPairError> {
        let text = pem.expose().trim();
        let base64 = text.strip_prefix(BEGIN);
        let base64 = base64.and_then(|text| text.strip_suffix(END));
        let base64 = base64.ok_or(KeyPairError::NotReadable)?;
        let base64: Zeroizing<String> =
            Zeroizing::new(base64.split_ascii_whitespace().collect::<String>());
        let der = STANDARD.decode(base64.as_bytes()).map(Zeroizing::new);
        let der = der.map_err(|_| KeyPairError::NotReadable)?;
        match algorithm {
            AssertionAlgorithm::Es384 => {
                let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &der);
                let key = key.map_err(|_| KeyPairError::NotReadable)?;
                Self::elliptic(&key, pem).ok_or(KeyPairError::NotReadable)
            }
            AssertionAlgorithm::Rs256 | AssertionAlgorithm::Rs512 => {
                let key = RsaKeyPair::from_pkcs8(&der).map_err(|_| KeyPairError::NotReadable)?;
                Ok(Self::rsa(&key, algorithm, pem))
            }
        }
    }

    /// The id of the public key.
    pub fn kid(&self) -> &str {
        self.jwk["kid"].as_str().unwrap_or_default()
    }

    fn elliptic(key: &EcdsaKeyPair, pem: Secret) -> Option<Self> {
        let point = key.public_key().as_ref();
        let (x, y) = point.get(1..)?.split_at_checked(48)?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let kid = thumbprint(&format!(
            r#"{{"crv":"P-384","kty":"EC","x":"{x}","y":"{y}"}}"#
        ));
        let jwk = json!({"kty": "EC", "crv": "P-384", "x": x, "y": y, "kid": kid, "use": "sig", "alg": "ES384"});
        Some(Self { pem, jwk })
    }

    fn rsa(key: &RsaKeyPair, algorithm: AssertionAlgorithm, pem: Secret) -> Self {
        let public = key.public_key();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let n = number(public.modulus().big_endian_without_leading_zero());
        let e = number(public.exponent().big_endian_without_leading_zero());
        let kid = thumbprint(&format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#));
        let alg = algorithm.as_str();
        let jwk = json!({"kty": "RSA", "n": n, "e": e, "kid": kid, "use": "sig", "alg": alg});
        Self { pem, jwk }
    }
}

/// RFC 7638: the required members in the order of their names, without white space.
fn thumbprint(members: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes()))
}

fn pem(der: &[u8]) -> Secret {
    let base64 = Zeroizing::new(STANDARD.encode(der));
    // As long as it gets, so that no part is left behind where it grows.
    let mut text = String::with_capacity(base64.len() * 2 + 128);
    text.push_str(BEGIN);
    text.push('\n');
    for line in base64.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str(END);
    text.push('\n');
    Secret::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_written_is_the_same_key_when_read() {
        for algorithm in [AssertionAlgorithm::Es384, AssertionAlgorithm::Rs512] {
            let made = KeyPair::generate(algorithm).unwrap();
            let read = KeyPair::read(algorithm, Secret::new(made.pem.expose())).unwrap();
            assert_eq!(made.jwk, read.jwk);
            assert_eq!(made.kid().len(), 43);
            assert_eq!(made.jwk["alg"], algorithm.as_str());
            assert!(!format!("{made:?}").contains("PRIVATE"));
        }
        for text in [
            "",
            BEGIN,
            "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----",
        ] {
            assert!(
                KeyPair::read(AssertionAlgorithm::Es384, Secret::new(text)).is_err(),
                "{text}"
            );
        }
    }
}
