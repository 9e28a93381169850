//! What is read.

use std::time::Duration;

use crate::secret::Zeroizing;

/// What stands in a place.
#[derive(Debug)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// What one of the replicas wrote, and how long it still stands there.
    Value(Zeroizing<Vec<u8>>, Duration),
    /// Something that none of us wrote, or by a key that is gone.
    Garbled,
}

impl Found {
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Value(one, _), Self::Value(other, _)) if one == other)
    }

    pub(super) fn time(&self) -> u64 {
        match self {
            Self::Value(value, _) => time(value),
            Self::Nothing | Self::Garbled => 0,
        }
    }
}

/// The time that the value of an end begins with.
pub(super) fn time(value: &[u8]) -> u64 {
    let bytes = value.first_chunk::<8>();
    bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
