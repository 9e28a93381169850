//! How the broker proves itself to a tenant: a client secret, or a private key JWT (RFC 7523).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::key_pair::KeyPair;
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
    /// As JOSE and the configuration write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs512 => "RS512",
            Self::Es384 => "ES384",
        }
    }

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
        /// The `kid` under which the public key is registered on the client; its thumbprint (RFC 7638)
        /// when `None`, so that it changes along with the key.
        kid: Option<String>,
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

/// A secret or private key as it was read, and how a request is proven with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    secret: Secret,
    /// Set for a private key: the `kid`, and which signature.
    signs: Option<(String, AssertionAlgorithm)>,
}

impl Proof {
    fn sources(&self) -> &[SecretSource] {
        match self {
            Self::Secrets(sources) => sources,
            Self::PrivateKey { pem, .. } => std::slice::from_ref(pem),
        }
    }

    fn key(&self, source: &SecretSource) -> Result<Arc<Key>, SecretError> {
        let secret = source.read()?;
        let signs = match self {
            Self::Secrets(_) => None,
            Self::PrivateKey { kid, algorithm, .. } => {
                let kid = match kid {
                    Some(kid) => kid.clone(),
                    None => KeyPair::read(*algorithm, secret.clone())?.kid().to_owned(),
                };
                Some((kid, *algorithm))
            }
        };
        Ok(Arc::new(Key { secret, signs }))
    }

    /// What its sources hold now, in order; `None` for one that cannot be read.
    fn read(&self) -> Vec<Option<Arc<Key>>> {
        let sources = self.sources().iter();
        sources.map(|source| self.key(source).ok()).collect()
    }
}

/// A credential in use: which of its keys is current, and how to prove a request with it.
#[derive(Debug)]
pub(super) struct Prover {
    client_id: String,
    token_url: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    proof: Arc<Proof>,
    /// What the sources held when they were looked at last.
    read: Vec<Option<Arc<Key>>>,
    current: Arc<Key>,
    /// What was current before the sources changed: a tenant may not know the new key yet.
    spare: Option<Arc<Key>>,
    /// Which one is current, counted from 1, and since when.
    generation: u32,
    since: Instant,
}

impl State {
    /// Another key is current from now on. Returns the former one.
    fn change(&mut self, key: &Arc<Key>) -> Arc<Key> {
        self.generation += 1;
        self.since = Instant::now();
        std::mem::replace(&mut self.current, Arc::clone(key))
    }
}

/// Which secret or private key a client uses.
#[derive(Clone, Copy, Debug)]
pub struct InUse {
    /// Its place in the list, from 1; 0 when it is not listed any more.
    pub place: usize,
    /// The how manieth since the process started, from 1.
    pub generation: u32,
    /// Since when.
    pub since: Instant,
}

impl Prover {
    pub fn new(credential: Credential, token_url: String) -> Result<Self, SecretError> {
        let Credential { client_id, proof } = credential;
        let none = || SecretError::Empty("the list of secrets".into());
        let first = proof.sources().first().ok_or_else(none)?;
        let state = State {
            current: proof.key(first)?,
            read: proof.read(),
            proof: Arc::new(proof),
            spare: None,
            generation: 1,
            since: Instant::now(),
        };
        Ok(Self {
            client_id,
            token_url,
            state: Mutex::new(state),
        })
    }

    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Whether both prove the same client of the same tenant.
    pub fn is_of_same(&self, other: &Self) -> bool {
        (&self.client_id, &self.token_url) == (&other.client_id, &other.token_url)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn current(&self) -> Arc<Key> {
        Arc::clone(&self.state().current)
    }

    /// The next key to try after these were refused, if there is one: what is current meanwhile, what
    /// the sources hold, read anew, and the spare.
    pub fn next_after(&self, refused: &[Arc<Key>]) -> Option<Arc<Key>> {
        let (proof, current, spare) = {
            let state = self.state();
            let current = Arc::clone(&state.current);
            (Arc::clone(&state.proof), current, state.spare.clone())
        };
        let read = proof.read().into_iter().flatten();
        let mut keys = std::iter::once(current).chain(read).chain(spare);
        keys.find(|key| !refused.contains(key))
    }

    /// Remembers the key that the tenant accepted after it had refused these.
    pub fn keep(&self, accepted: &Arc<Key>, refused: &[Arc<Key>]) {
        let proof = {
            let mut state = self.state();
            if !refused.contains(&state.current) {
                return;
            }
            state.change(accepted);
            if state.read.iter().flatten().any(|key| key == accepted) {
                return;
            }
            Arc::clone(&state.proof)
        };
        // It was put there since the last look. What else was is for the next one.
        let read = proof.read();
        let mut state = self.state();
        let place = read.iter().position(|key| key.as_ref() == Some(accepted));
        if Arc::ptr_eq(&state.proof, &proof)
            && let Some(place) = place
        {
            state.read[place] = Some(Arc::clone(accepted));
        }
    }

    /// Looks at what the sources hold now, which may be others than before. The first key that was not
    /// there at the last look is tried first from now on, and what was current until now is kept for
    /// when it is refused. Whether anything changed.
    pub fn renew(&self, proof: &Proof) -> bool {
        let read = proof.read();
        let mut state = self.state();
        state.proof = Arc::new(proof.clone());
        if read == state.read {
            return false;
        }
        let mut keys = read.iter().flatten();
        let is_new = |key: &&Arc<Key>| !state.read.iter().flatten().any(|known| known == *key);
        let next = keys.clone().find(is_new).or_else(|| {
            let is_listed = keys.clone().any(|key| *key == state.current);
            keys.next().filter(|_| !is_listed)
        });
        if let Some(next) = next.filter(|next| **next != state.current).cloned() {
            state.spare = Some(state.change(&next));
        }
        state.read = read;
        true
    }

    /// Which key is in use, as far as the sources were read; a file is not looked at.
    pub fn in_use(&self) -> InUse {
        let state = self.state();
        let mut read = state.read.iter();
        let place = read.position(|key| key.as_ref() == Some(&state.current));
        InUse {
            place: place.map_or(0, |place| place + 1),
            generation: state.generation,
            since: state.since,
        }
    }

    /// Adds the client's proof to a token request. Called once per try, so that every assertion
    /// has a `jti` of its own.
    pub fn prove(
        &self,
        request: &mut Map<String, Value>,
        key: &Key,
        now: SystemTime,
    ) -> Result<(), String> {
        let id = &self.client_id;
        request.insert("client_id".into(), id.as_str().into());
        let Some((kid, algorithm)) = &key.signs else {
            request.insert("client_secret".into(), key.secret.expose().into());
            return Ok(());
        };
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = json!({
            "iss": id, "sub": id, "aud": self.token_url,
            "jti": Uuid::new_v4().to_string(), "iat": now, "exp": now + ASSERTION_SECONDS,
        });
        let assertion = sign(*algorithm, kid, key.secret.expose(), &claims)?;
        request.insert("client_assertion_type".into(), ASSERTION_TYPE.into());
        request.insert("client_assertion".into(), assertion.into());
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(texts: &[&str]) -> Proof {
        let source = |text: &&str| SecretSource::Value(Secret::new(*text));
        Proof::Secrets(texts.iter().map(source).collect())
    }

    fn prover(proof: Proof) -> Prover {
        let client_id = "broker".into();
        let credential = Credential { client_id, proof };
        Prover::new(credential, "https://acme.example/oauth/token".into()).unwrap()
    }

    /// What a request tries when all that it tries is refused.
    fn tried(prover: &Prover) -> Vec<String> {
        let mut tried = vec![prover.current()];
        while let Some(next) = prover.next_after(&tried) {
            tried.push(next);
        }
        let texts = tried.iter().map(|key| key.secret.expose().to_owned());
        texts.collect()
    }

    #[test]
    fn what_was_current_is_tried_once_after_the_new_one() {
        let prover = prover(secrets(&["old"]));
        assert!(!prover.renew(&secrets(&["old"])));
        assert!(prover.renew(&secrets(&["new"])));
        assert_eq!(tried(&prover), ["new", "old"]);
        assert!(prover.renew(&secrets(&["newer"])));
        assert_eq!(tried(&prover), ["newer", "new"]);
        // Back again.
        assert!(prover.renew(&secrets(&["new"])));
        assert_eq!(tried(&prover), ["new", "newer"]);
    }

    /// The tenant knows one of two new ones already: the other is still seen at the next look.
    #[test]
    fn what_was_put_there_meanwhile_has_its_place() {
        let folder = std::env::temp_dir().join(Uuid::new_v4().to_string());
        std::fs::create_dir(&folder).unwrap();
        let files = ["first", "second"].map(|name| folder.join(name));
        let write = |texts: [&str; 2]| {
            for (file, text) in files.iter().zip(texts) {
                std::fs::write(file, text).unwrap();
            }
        };
        write(["old", "spare"]);
        let list = || Proof::Secrets(files.iter().cloned().map(SecretSource::File).collect());
        let prover = prover(list());
        write(["new", "newer"]);
        let refused = [
            prover.current(),
            prover.next_after(&[prover.current()]).unwrap(),
        ];
        let works = prover.next_after(&refused).unwrap();
        prover.keep(&works, &refused);
        assert_eq!((works.secret.expose(), prover.in_use().place), ("newer", 2));
        assert!(prover.renew(&list()));
        assert_eq!(tried(&prover)[0], "new");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_list_that_stays_the_same_keeps_the_one_that_worked() {
        let list = || secrets(&["new", "old"]);
        let prover = prover(list());
        assert_eq!((tried(&prover).len(), prover.in_use().place), (2, 1));
        let refused = [prover.current()];
        let works = prover.next_after(&refused).unwrap();
        prover.keep(&works, &refused);
        assert!(!prover.renew(&list()));
        assert_eq!(
            (tried(&prover), prover.in_use().place),
            (vec!["old".into(), "new".into()], 2)
        );
        assert!(prover.renew(&secrets(&["old", "new"])), "another order");
        assert_eq!((tried(&prover).len(), prover.in_use().place), (2, 1));
        assert!(prover.renew(&secrets(&["new"])), "it is taken out");
        assert_eq!(tried(&prover), ["new", "old"]);
        prover.keep(&works, &[prover.current()]);
        assert_eq!(prover.in_use().place, 0, "the spare is in use");
        assert!(prover.renew(&secrets(&["newest", "new"])));
        assert_eq!(tried(&prover), ["newest", "new", "old"]);
    }

    #[test]
    fn one_that_worked_a_while_ago_does_not_displace_a_newer_one() {
        let prover = prover(secrets(&["stale", "old"]));
        let refused = [prover.current()];
        let works = prover.next_after(&refused).unwrap();
        prover.renew(&secrets(&["new"]));
        prover.keep(&works, &refused);
        assert_eq!(tried(&prover)[0], "new");
    }

    #[test]
    fn a_secret_may_be_replaced_by_a_private_key() {
        let prover = prover(secrets(&["old"]));
        let pem = SecretSource::Value(Secret::new("pem"));
        let (kid, algorithm) = (Some("k1".into()), AssertionAlgorithm::Es384);
        assert!(prover.renew(&Proof::PrivateKey {
            kid,
            algorithm,
            pem: pem.clone()
        }));
        assert_eq!(tried(&prover), ["pem", "old"]);
        let kid = Some("k2".into());
        assert!(prover.renew(&Proof::PrivateKey {
            kid,
            algorithm,
            pem
        }));
        assert_eq!(
            tried(&prover),
            ["pem", "pem"],
            "under another kid it is another"
        );
        let mut request = Map::new();
        let spare = prover.next_after(&[prover.current()]).unwrap();
        assert!(
            prover
                .prove(&mut request, &spare, SystemTime::UNIX_EPOCH)
                .is_err()
        );
    }
}
