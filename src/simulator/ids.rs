//! Identifiers and secrets: a hash chain over one random seed, so that making one can never fail.

use std::fmt::Write as _;

use aws_lc_rs::{digest, rand};

/// A source of unpredictable hex strings.
pub(super) struct Ids {
    seed: [u8; 32],
    drawn: u64,
}

impl Ids {
    pub(super) fn new() -> std::io::Result<Self> {
        let mut seed = [0; 32];
        rand::fill(&mut seed).map_err(|_| std::io::Error::other("no randomness"))?;
        Ok(Self { seed, drawn: 0 })
    }

    /// `length` (at most 64) lower-case hex characters.
    pub(super) fn hex(&mut self, length: usize) -> String {
        self.drawn += 1;
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.seed);
        context.update(&self.drawn.to_be_bytes());
        let mut text = hex(context.finish().as_ref());
        text.truncate(length);
        text
    }

    /// A random identifier in the look of a UUID.
    pub(super) fn uuid(&mut self) -> String {
        let hex = self.hex(32);
        let part = |from, to| hex.get(from..to).unwrap_or_default();
        format!(
            "{}-{}-4{}-a{}-{}",
            part(0, 8),
            part(8, 12),
            part(13, 16),
            part(17, 20),
            part(20, 32)
        )
    }
}

/// The SHA-256 digest of `text`, the key under which tokens are kept.
pub(super) fn digest_of(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (to, from) in bytes
        .iter_mut()
        .zip(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
    {
        *to = *from;
    }
    bytes
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An id of 24 hex characters derived from `text`: stable over runs, so that a demo's links keep working.
pub(super) fn stable_id(text: &str) -> String {
    let mut id = hex(&digest_of(text));
    id.truncate(24);
    id
}
