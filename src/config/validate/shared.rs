//! `[shared]`: the second tier for several replicas.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::problem::Report;
use super::super::{Server, raw};
use super::tenant::{all_of, authority};
use super::text;
use crate::secret::{Secret, Zeroizing};
use crate::shared::{EncryptionKey, SharedSettings};

/// The id goes with every value that the key sealed.
const LONGEST_ID: usize = 32;
const MAKE_KEY: &str = "make one with `openssl rand -base64 32`";

pub fn shared(report: &mut Report, raw: &raw::Shared) -> Option<SharedSettings> {
    let keys = all_of(&raw.encryption_keys, |index, key| {
        encryption_key(report, &format!("shared.encryption_keys[{index}]"), key)
    });
    for (index, key) in raw.encryption_keys.iter().enumerate() {
        let earlier = &raw.encryption_keys[..index];
        if earlier.iter().any(|other| other.id == key.id) {
            let path = format!("shared.encryption_keys[{index}].id");
            report.refuse(path, "is there twice", "name each key differently");
            return None;
        }
    }
    let password = match &raw.password {
        Some(source) => text::secret(report, "shared.password", &source.0).map(Some),
        None => Some(None),
    };
    let ca_pem = match &raw.ca_file {
        Some(file) => authority(report, "shared.ca_file", file).map(Some),
        None => Some(None),
    };
    let settings = SharedSettings {
        url: Secret::new(raw.url.as_str()),
        username: raw.username.clone(),
        password: password?,
        ca_pem: ca_pem?,
        encryption_keys: keys?,
    };
    let remedy = "write redis://host:6379, rediss://…, redis-cluster://host:7000?node=host:7001 \
                  or redis-sentinel://host:26379?sentinelServiceName=name&node=host:26380";
    settings
        .check()
        .map_err(|error| report.refuse("shared.url", error.to_string(), remedy))
        .ok()?;
    Some(settings)
}

/// What several replicas cannot do without it.
pub fn warn_of_none(report: &mut Report, server: &Server, handles: bool, is_absent: bool) {
    if server.replicas.get() == 1 || !is_absent {
        return;
    }
    let message = if handles {
        "without [shared], a handle is known to one replica only, and so is a logout"
    } else {
        "without [shared], a logout reaches one replica only"
    };
    let remedy = "add [shared], or see to it that a user always comes to the same replica";
    report.warn("server.replicas", message, remedy);
}

fn encryption_key(
    report: &mut Report,
    path: &str,
    raw: &raw::EncryptionKey,
) -> Option<EncryptionKey> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if raw.id.is_empty() || raw.id.len() > LONGEST_ID || !raw.id.chars().all(allowed) {
        let message = "is not 1 to 32 letters, digits, dots, dashes and underscores";
        report.refuse(format!("{path}.id"), message, "name it like k1");
        return None;
    }
    let path = format!("{path}.key");
    let text = text::secret(report, &path, &raw.key.0)?;
    let bytes = STANDARD.decode(text.expose()).map(Zeroizing::new).ok();
    let Some(key) = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok()) else {
        report.refuse(path, "is not 32 bytes in base64", MAKE_KEY);
        return None;
    };
    Some(EncryptionKey {
        id: raw.id.clone(),
        key: Zeroizing::new(key),
    })
}
