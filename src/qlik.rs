//! The client of a Qlik Cloud tenant: what is sent, what is accepted, what an error means.
//!
//! Knows nothing of sessions, caches or our own HTTP API.

pub mod admin;
pub(crate) mod answer;
pub mod credential;
pub mod error;
pub mod key_pair;
pub mod management;
mod oauth_clients;
mod rest;
mod revoke;
pub mod token;
mod trial;
mod tries;
pub(crate) mod users;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use compact_str::CompactString;

use crate::secret::Secret;

pub use credential::{AssertionAlgorithm, Credential, Proof};
pub use error::QlikError;
pub use management::Management;
pub use revoke::Liveness;
pub use token::{CLIENT_CREDENTIALS, IMPERSONATION, QlikClient, Role};
pub use trial::{Asks, Trial};
pub use users::User;

/// Long enough to be unique, short enough for a log line: 132 of SHA-256's bits.
const TOKEN_ID_CHARS: usize = 22;

/// An access token as the tenant gave it. Opaque: nothing is read out of it.
#[derive(Debug)]
pub struct AccessToken {
    /// The token itself.
    pub secret: Secret,
    /// See [`token_id`].
    pub id: CompactString,
    /// What the tenant says it granted, or what was asked for when it says nothing.
    pub scope: Arc<str>,
    /// How long it lives, counted from when it was received.
    pub life: Duration,
}

impl AccessToken {
    /// A token that was kept elsewhere: one that a tenant gave for `life`.
    pub fn kept(secret: Secret, scope: Arc<str>, life: Duration) -> Self {
        let id = token_id(secret.expose());
        Self {
            secret,
            id,
            scope,
            life: life.min(answer::LONGEST_LIFE),
        }
    }
}

/// `base64url(SHA-256(access_token))`, first 22 characters: names a token without giving it away.
pub fn token_id(access_token: &str) -> CompactString {
    let id = URL_SAFE_NO_PAD.encode(digest(&SHA256, access_token.as_bytes()));
    CompactString::new(&id[..TOKEN_ID_CHARS])
}
