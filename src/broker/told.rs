//! What replicas tell each other of users' tokens.

use serde::{Deserialize, Serialize};

/// What the other replicas are told of a logout.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Farewell {
    pub tenant: String,
    pub user_hash: String,
    pub keys: Vec<[u8; 32]>,
    /// Tokens of addresses that the tenant had before, which are dropped and not revoked.
    #[serde(default)]
    pub elsewhere: Vec<[u8; 32]>,
    /// The tokens that are revoked by whoever tells.
    pub revoked: Vec<String>,
    /// Tokens of this mark are of after the logout.
    pub epoch: Option<[u8; 16]>,
}

/// What they are told of a token that the tenant does not accept.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Dead<'a> {
    pub key: [u8; 32],
    pub id: &'a str,
}
