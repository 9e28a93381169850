//! `api_key`: a back end that shows a key and names the user itself.
//!
//! A key reads `qtb_<id>_<43 base64url characters>`. The id finds the entry, the digest of the
//! whole key proves it; the broker never knows the key.

use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::back_end::BackEnd;
use super::{Caller, Outcome, SessionError};
use crate::secret::Secret;

const PREFIX: &str = "qtb_";
/// 256 random bits, as base64url.
const SECRET_BYTES: usize = 32;
const SECRET_CHARS: usize = 43;

/// One entry of `keys = […]`. Only the digest of the key is known to the broker.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// Whom it proves; the id is part of the key itself.
    pub back_end: Arc<BackEnd>,
    /// SHA-256 of the whole key string.
    pub digest: [u8; 32],
    /// When it stops being accepted.
    pub expires: Option<SystemTime>,
}

/// A table of keys.
#[derive(Debug)]
pub struct ApiKeys(Vec<ApiKey>);

/// A new key, and what the configuration needs of it.
#[derive(Debug)]
pub struct NewKey {
    /// The key: shown once, kept nowhere.
    pub key: Secret,
    /// Its hex digest, for `sha256 = "…"`.
    pub sha256: String,
}

/// Whether a key may have this id: `[a-z0-9-]{1,32}`.
pub fn is_id(id: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=32).contains(&id.len()) && id.bytes().all(allowed)
}

/// Makes a key. `None` if the id is not one, or the machine gives no randomness.
pub fn make(id: &str) -> Option<NewKey> {
    let mut random = [0; SECRET_BYTES];
    aws_lc_rs::rand::fill(&mut random)
        .ok()
        .filter(|()| is_id(id))?;
    let key = format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(random));
    let key = Secret::new(key);
    let sha256 = digest_of(&key);
    Some(NewKey { key, sha256 })
}

/// What the configuration holds of a key.
pub fn digest_of(key: &Secret) -> String {
    hex::encode(digest(&SHA256, key.expose().as_bytes()))
}

impl ApiKeys {
    /// The entries of a table.
    pub fn new(keys: impl IntoIterator<Item = ApiKey>) -> Self {
        Self(keys.into_iter().collect())
    }

    pub(super) fn authenticate(&self, token: &str, now: SystemTime) -> Outcome {
        let Some((id, secret)) = token
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('_'))
        else {
            return Outcome::NotMine("");
        };
        let presented = digest(&SHA256, token.as_bytes());
        let Some(key) = self.0.iter().find(|key| key.back_end.id == id) else {
            return Outcome::NotMine("there is no API key of this id");
        };
        let proven = verify_slices_are_equal(presented.as_ref(), &key.digest).is_ok();
        if !proven || secret.len() != SECRET_CHARS {
            return Outcome::Refused(SessionError::Invalid("unknown API key"));
        }
        if key.expires.is_some_and(|expires| now >= expires) {
            return Outcome::Refused(SessionError::KeyExpired);
        }
        Outcome::Proven(Caller::BackEnd(Arc::clone(&key.back_end)))
    }
}
