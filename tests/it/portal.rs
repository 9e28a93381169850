//! A portal with an identity provider: signs JWTs, publishes keys, counts who asks for them.
//! Signs with the crypto library itself, not with the JWT library that the broker verifies with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use aws_lc_rs::{hmac, rsa};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

pub const AUDIENCE: &str = "broker";

/// A private key of the portal.
pub enum Key {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
}

impl Key {
    pub fn rsa() -> Self {
        Self::Rsa(Box::new(rsa::KeyPair::generate(KeySize::Rsa2048).unwrap()))
    }

    pub fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
        }
    }

    pub fn jwk(&self, kid: &str) -> Value {
        let base64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Rsa(key) => {
                let public = key.public_key();
                let (n, e) = (public.modulus(), public.exponent());
                json!({"kty": "RSA", "kid": kid, "alg": "RS256", "use": "sig",
                       "n": base64(n.big_endian_without_leading_zero()), "e": base64(e.big_endian_without_leading_zero())})
            }
            Self::P256(key) => {
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "alg": "ES256", "use": "sig",
                       "x": base64(&point[1..33]), "y": base64(&point[33..])})
            }
        }
    }

    pub fn public_pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = match self {
            Self::Rsa(key) => key.public_key().as_der().unwrap(),
            Self::P256(key) => key.public_key().as_der().unwrap(),
        };
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(der.as_ref())
        )
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Self::P256(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
        }
    }

    /// A JWT of any header and claims.
    pub fn jwt(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

pub fn part(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

/// A JWT signed with a shared secret.
pub fn hmac_jwt(secret: &[u8], header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", part(header), part(claims));
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, secret),
        signed.as_bytes(),
    );
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// A portal whose key set can be changed, broken and counted.
pub struct Portal {
    pub url: String,
    pub key: Key,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    keys: Mutex<BTreeMap<String, Value>>,
    answer: Mutex<Option<(StatusCode, String)>>,
    metadata_issuer: Mutex<String>,
    fetches: AtomicUsize,
}

impl Portal {
    /// A portal with one key, named `k1`.
    pub async fn start(key: Key) -> Self {
        let shared = Arc::new(Shared::default());
        shared
            .keys
            .lock()
            .unwrap()
            .insert("k1".into(), key.jwk("k1"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let url = format!("http://{address}");
        shared.metadata_issuer.lock().unwrap().clone_from(&url);
        let router = Router::new()
            .route("/jwks", get(jwks))
            .route("/.well-known/openid-configuration", get(metadata))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, key, shared }
    }

    /// How often the key set was fetched.
    pub fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::SeqCst)
    }

    pub fn publish(&self, kid: &str, key: &Key) {
        self.shared
            .keys
            .lock()
            .unwrap()
            .insert(kid.into(), key.jwk(kid));
    }

    pub fn withdraw(&self, kid: &str) {
        self.shared.keys.lock().unwrap().remove(kid);
    }

    /// From now on the key set is answered like this; `None` heals it.
    pub fn answer(&self, answer: Option<(StatusCode, String)>) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    pub fn claim_issuer(&self, issuer: &str) {
        *self.shared.metadata_issuer.lock().unwrap() = issuer.into();
    }

    /// The claims of a good session.
    pub fn claims(&self, user: &str) -> Value {
        json!({"iss": self.url, "aud": AUDIENCE, "sub": user, "iat": now(), "exp": now() + 3600})
    }

    pub fn header(&self) -> Value {
        json!({"alg": self.key.algorithm(), "typ": "JWT", "kid": "k1"})
    }

    /// A good session.
    pub fn session(&self, user: &str) -> String {
        self.session_with(user, &json!({}))
    }

    /// A session whose claims differ from a good one's; `null` takes a claim out.
    pub fn session_with(&self, user: &str, changes: &Value) -> String {
        let mut claims = self.claims(user);
        merge(&mut claims, changes);
        self.key.jwt(&self.header(), &claims)
    }

    /// A session table that fetches this portal's keys.
    pub fn table(&self) -> String {
        self.table_with(&format!("jwks_url = '{}/jwks'", self.url))
    }

    /// A session table with these keys or further lines.
    pub fn table_with(&self, lines: &str) -> String {
        let (issuer, algorithm) = (&self.url, self.key.algorithm());
        format!(
            "[[session]]\ntype = 'jwt'\nissuer = '{issuer}'\naudience = '{AUDIENCE}'\nalgorithms = ['{algorithm}']\n\
             user = [{{ field = 'subject', value = 'auth0|{{sub}}' }}]\n{lines}\n"
        )
    }
}

/// Sets the members of `changes` in `json`; `null` takes one out.
pub fn merge(json: &mut Value, changes: &Value) {
    let object = json.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            object.remove(name);
        } else {
            object.insert(name.clone(), value.clone());
        }
    }
}

async fn jwks(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    shared.fetches.fetch_add(1, Ordering::SeqCst);
    if let Some(answer) = shared.answer.lock().unwrap().clone() {
        return answer;
    }
    let keys: Vec<Value> = shared.keys.lock().unwrap().values().cloned().collect();
    (StatusCode::OK, json!({"keys": keys}).to_string())
}

async fn metadata(State(shared): State<Arc<Shared>>) -> String {
    let issuer = shared.metadata_issuer.lock().unwrap().clone();
    json!({"issuer": issuer, "jwks_uri": format!("{issuer}/jwks")}).to_string()
}
