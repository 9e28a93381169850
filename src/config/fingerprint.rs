//! Whether a table is still the same, so that a reload can keep what was made of it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Config, files};
use crate::digest::Parts;
use crate::secret::read_file;

/// The digest of a table, of what else decides what is made of it, and of the files it names.
pub type Fingerprint = [u8; 32];

/// How a tenant's clients prove themselves: they take new secrets without being made anew.
const PROOFS: [&str; 3] = ["client_secret", "client_secrets", "private_key"];

/// The fingerprints of all tables.
pub struct Fingerprints {
    sessions: Vec<Fingerprint>,
    tenants: BTreeMap<String, Fingerprint>,
}

impl Fingerprints {
    /// To be called before the tables are read: a file that changes in between then differs from its
    /// fingerprint at the next look.
    pub fn of(value: &Value) -> Self {
        let all = |name: &str| value[name].as_object().into_iter().flatten();
        let upstream = text(&value["upstream"]);
        // A key without `tenants` holds the only one.
        let mut names = all("tenants").map(|(name, _)| name.as_str());
        let only = names.next().filter(|_| names.next().is_none());
        let only = only.unwrap_or_default();
        let sessions = value["session"].as_array().into_iter().flatten();
        let sessions = sessions.map(|table| fingerprint("session", only, table, &upstream));
        let tenants = all("tenants").map(|(name, table)| {
            let table = without_proofs(table);
            (name.clone(), fingerprint("tenant", name, &table, &upstream))
        });
        Self {
            sessions: sessions.collect(),
            tenants: tenants.collect(),
        }
    }

    /// Notes them in the configuration that was made of the same tables.
    pub fn note(mut self, config: &mut Config) {
        for (table, fingerprint) in config.sessions.iter_mut().zip(self.sessions) {
            table.fingerprint = fingerprint;
        }
        for (id, tenant) in &mut config.tenants {
            tenant.fingerprint = self.tenants.remove(id.as_str()).unwrap_or_default();
        }
    }
}

fn fingerprint(kind: &str, tenant: &str, table: &Value, upstream: &[u8]) -> Fingerprint {
    let mut parts = Parts::of(kind);
    parts.add(tenant.as_bytes());
    parts.add(upstream);
    parts.add(&text(table));
    for file in files::named(table) {
        match read_file(&file) {
            Ok(content) => parts.add(&content),
            Err(_) => parts.add(b"unreadable"),
        }
    }
    parts.digest()
}

/// Keys are in order in it, whatever the order in the files.
fn text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn without_proofs(table: &Value) -> Value {
    let mut table = table.clone();
    for client in ["", "/management", "/service"] {
        if let Some(Value::Object(keys)) = table.pointer_mut(client) {
            keys.retain(|key, _| !PROOFS.contains(&key.as_str()));
        }
    }
    table
}
