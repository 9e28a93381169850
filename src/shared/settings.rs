//! `[shared]`, once it is checked.

use super::link;
use super::seal::EncryptionKey;
use crate::secret::Secret;

/// How the store is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedSettings {
    /// `redis://`, `rediss://`, `redis-cluster://`, `redis-sentinel://` and their kin.
    pub url: Secret,
    /// The user to log in as.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// The authority of a private CA: the content of a PEM file.
    pub ca_pem: Option<Vec<u8>>,
    /// The first is used for what is new, all open. Never empty.
    pub encryption_keys: Vec<EncryptionKey>,
}

impl SharedSettings {
    /// Whether a store can be meant. Calls nobody.
    pub fn check(&self) -> Result<(), SettingsError> {
        link::config(self).map(drop)
    }
}

/// What is wrong with the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(pub(super) &'static str);
