//! SHA-256 over several texts, for cache keys: equal digests mean equal texts, one by one.

use aws_lc_rs::digest::{Context, SHA256};

/// A digest that is being made.
pub struct Parts(Context);

impl Parts {
    /// Nothing yet. `kind` keeps digests of different things apart.
    pub fn of(kind: &str) -> Self {
        let mut parts = Self(Context::new(&SHA256));
        parts.add(kind.as_bytes());
        parts
    }

    /// Adds a part. The length goes first: no part can pretend to be itself and its neighbour.
    pub fn add(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    /// The digest.
    pub fn digest(self) -> [u8; 32] {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.0.finish().as_ref());
        digest
    }
}

/// The digest of these parts.
pub fn of<'a>(kind: &str, parts: impl IntoIterator<Item = &'a str>) -> [u8; 32] {
    let mut all = Parts::of(kind);
    for part in parts {
        all.add(part.as_bytes());
    }
    all.digest()
}
