//! How the broker proves itself to a tenant: a client secret, or a private key JWT (RFC 7523).

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::secret::{Secret, SecretError, SecretSource};

/// The tenant allows 5 minutes; one is plenty, and a leaked assertion is soon worthless.
const ASSERTION_SECONDS: u64 = 60;
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The algorithms that Qlik Cloud accepts for a client assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionAlgorithm {
    /// RSA of at least 2048 bits with SHA-256.
    Rs256,
    /// RSA of at least 2048 bits with SHA-512.
    Rs512,
    /// ECDSA on P-384 with SHA-384.
    Es384,
}

impl AssertionAlgorithm {
    fn jose(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Rs512 => Algorithm::RS512,
            Self::Es384 => Algorithm::ES384,
        }
    }
}

/// An OAuth client of a tenant and its proof.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The client's id. Not a secret.
    pub client_id: String,
    /// What proves that we are this client.
    pub proof: Proof,
}

/// Exactly one kind of proof.
#[derive(Clone, Debug)]
pub enum Proof {
    /// Client secrets, tried in order; the one that worked is kept until it is refused.
    Secrets(Vec<SecretSource>),
    /// Private key JWT, the setting to prefer: nothing that is sent can be used again.
    PrivateKey {
        /// The `kid` under which the public key is registered on the client.
        kid: String,
        /// Which signature.
        algorithm: AssertionAlgorithm,
        /// The private key: PEM, PKCS#8 (or PKCS#1 for RSA).
        pem: SecretSource,
    },
}

/// Whether `pem` is a private key that can sign by `algorithm`. The error never shows the key.
pub fn check_private_key(algorithm: AssertionAlgorithm, pem: &str) -> Result<(), String> {
    sign(algorithm, "check", pem, &json!({})).map(drop)
}

/// A credential in use: which of its secrets is current, and how to prove a request with it.
#[derive(Debug)]
pub(super) struct Prover {
    credential: Credential,
    token_url: String,
    current: ArcSwap<Secret>,
}

impl Prover {
    pub fn new(credential: Credential, token_url: String) -> Result<Self, SecretError> {
        let mut sources = sources(&credential.proof).iter();
        let first = sources.next().map_or(
            Err(SecretError::Empty("the list of secrets".into())),
            SecretSource::read,
        )?;
        Ok(Self {
            credential,
            token_url,
            current: ArcSwap::from_pointee(first),
        })
    }

    pub fn client_id(&self) -> &str {
        &self.credential.client_id
    }

    pub fn current(&self) -> Arc<Secret> {
        self.current.load_full()
    }

    /// Remembers the secret that the tenant just accepted.
    pub fn keep(&self, secret: Arc<Secret>) {
        if !Arc::ptr_eq(&secret, &self.current.load()) {
            self.current.store(secret);
        }
    }

    /// The next secret to try after these were refused. Read anew: a rotated file is the usual
    /// reason for a refusal.
    pub fn next_after(&self, refused: &[Arc<Secret>]) -> Option<Arc<Secret>> {
        let readable = sources(&self.credential.proof)
            .iter()
            .filter_map(|source| source.read().ok());
        let mut untried =
            readable.filter(|secret| !refused.iter().any(|tried| tried.matches(secret.expose())));
        untried.next().map(Arc::new)
    }

    /// Adds the client's proof to a token request. Called once per try, so that every assertion
    /// has a `jti` of its own.
    pub fn prove(
        &self,
        request: &mut Map<String, Value>,
        secret: &Secret,
        now: SystemTime,
    ) -> Result<(), String> {
        let id = self.client_id();
        request.insert("client_id".into(), id.into());
        match &self.credential.proof {
            Proof::Secrets(_) => {
                request.insert("client_secret".into(), secret.expose().into());
            }
            Proof::PrivateKey { kid, algorithm, .. } => {
                let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let claims = json!({
                    "iss": id, "sub": id, "aud": self.token_url,
                    "jti": Uuid::new_v4().to_string(), "iat": now, "exp": now + ASSERTION_SECONDS,
                });
                let assertion = sign(*algorithm, kid, secret.expose(), &claims)?;
                request.insert("client_assertion_type".into(), ASSERTION_TYPE.into());
                request.insert("client_assertion".into(), assertion.into());
            }
        }
        Ok(())
    }
}

fn sources(proof: &Proof) -> &[SecretSource] {
    match proof {
        Proof::Secrets(sources) => sources,
        Proof::PrivateKey { pem, .. } => std::slice::from_ref(pem),
    }
}

fn sign(
    algorithm: AssertionAlgorithm,
    kid: &str,
    pem: &str,
    claims: &Value,
) -> Result<String, String> {
    let key = match algorithm {
        AssertionAlgorithm::Rs256 | AssertionAlgorithm::Rs512 => {
            EncodingKey::from_rsa_pem(pem.as_bytes())
        }
        AssertionAlgorithm::Es384 => EncodingKey::from_ec_pem(pem.as_bytes()),
    };
    let needed = match algorithm {
        AssertionAlgorithm::Es384 => "an EC private key on P-384 in PKCS#8 PEM",
        _ => "an RSA private key of at least 2048 bits in PEM",
    };
    let header = Header {
        kid: Some(kid.into()),
        ..Header::new(algorithm.jose())
    };
    let signed = key.and_then(|key| jsonwebtoken::encode(&header, claims, &key));
    signed.map_err(|_| format!("is not {needed}"))
}
