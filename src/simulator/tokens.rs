//! The tokens a tenant has issued and which of them live.

use std::collections::HashMap;

use jiff::Timestamp;

use super::ids::digest_of;

/// Dead tokens are swept after this many more have been issued, so that a long run keeps a bounded book.
const SWEEP_EVERY: usize = 1024;

/// A token in the book; the token itself is not kept.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    /// The id in the tokens API; the token itself does not carry it (doc).
    pub id: String,
    pub user_id: String,
    pub client_id: String,
    pub scopes: Vec<String>,
    pub purpose: Purpose,
    pub expires: Timestamp,
    pub last_used: Timestamp,
    pub revoked: bool,
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// REST calls.
    Access,
    /// The engine's WebSocket.
    WebSocket,
    /// Images and scripts of a page.
    WebResource,
}

/// The book of tokens, by digest.
#[derive(Default)]
pub(super) struct Tokens {
    by_digest: HashMap<[u8; 32], Issued>,
    since_sweep: usize,
}

impl Issued {
    pub(super) fn lives(&self, now: Timestamp) -> bool {
        !self.revoked && now < self.expires
    }
}

impl Tokens {
    pub(super) fn add(&mut self, token: &str, issued: Issued, now: Timestamp) {
        self.since_sweep += 1;
        if self.since_sweep > SWEEP_EVERY {
            self.since_sweep = 0;
            self.by_digest.retain(|_, issued| issued.lives(now));
        }
        self.by_digest.insert(digest_of(token), issued);
    }

    pub(super) fn find(&self, token: &str) -> Option<&Issued> {
        self.by_digest.get(&digest_of(token))
    }

    pub(super) fn find_mut(&mut self, token: &str) -> Option<&mut Issued> {
        self.by_digest.get_mut(&digest_of(token))
    }

    /// The live access tokens `which` selects, in a stable order.
    pub(super) fn live(&self, now: Timestamp, which: impl Fn(&Issued) -> bool) -> Vec<&Issued> {
        let mut live: Vec<_> = self
            .by_digest
            .values()
            .filter(|issued| {
                issued.purpose == Purpose::Access && issued.lives(now) && which(issued)
            })
            .collect();
        live.sort_by(|one, other| one.id.cmp(&other.id));
        live
    }

    /// Ends the tokens `which` selects and says how many lived.
    pub(super) fn revoke(&mut self, now: Timestamp, which: impl Fn(&Issued) -> bool) -> usize {
        let mut ended = 0;
        for issued in self.by_digest.values_mut().filter(|issued| which(issued)) {
            ended += usize::from(issued.lives(now));
            issued.revoked = true;
        }
        ended
    }
}
