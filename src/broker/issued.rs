//! Tokens as they are kept and handed out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use compact_str::{CompactString, format_compact};
use tokio::time::Instant;

use super::cells::UserCell;
use super::tier::Epoch;
use crate::clock;
use crate::expiring::Got;
use crate::qlik::AccessToken;
pub use crate::telemetry::metrics::TokenSource as Source;

/// Answers count whole seconds: a token with less than one left would be one that has none.
const LEAST_LEFT: Duration = Duration::from_secs(1);

/// The digest of the groups that a user was or is to be put into.
pub(super) type Groups = Arc<[u8; 32]>;

/// A user's token as it is kept.
#[derive(Debug)]
pub struct UserToken {
    /// What the tenant gave.
    pub access: AccessToken,
    /// Which the user was put into before.
    pub(super) groups: Option<Groups>,
    /// Where this replica has it from.
    source: Source,
    /// The user's last logout when its mint began.
    epoch: Epoch,
    /// The outages of the shared tier when it was last seen to be good there.
    seen_after: AtomicU64,
    /// When it ends, as the API writes times: RFC 3339 with milliseconds.
    pub expires_at_text: CompactString,
    expires_wall: SystemTime,
    expires_at: Instant,
}

impl UserToken {
    /// A token that the tenant gave just now.
    pub(super) fn minted(access: AccessToken, groups: Option<Groups>, epoch: Epoch) -> Self {
        let left = access.life;
        Self::new(access, left, groups, epoch, Source::Minted)
    }

    /// A token that another replica put where this one found it.
    pub(super) fn shared(
        access: AccessToken,
        left: Duration,
        groups: Option<Groups>,
        epoch: Epoch,
    ) -> Self {
        Self::new(access, left, groups, epoch, Source::Shared)
    }

    fn new(
        access: AccessToken,
        left: Duration,
        groups: Option<Groups>,
        epoch: Epoch,
        source: Source,
    ) -> Self {
        let expires_wall = clock::now() + left;
        let text = jiff::Timestamp::try_from(expires_wall).map(|time| format_compact!("{time:.3}"));
        Self {
            access,
            groups,
            source,
            epoch,
            seen_after: AtomicU64::new(0),
            expires_at_text: text.unwrap_or_default(),
            expires_wall,
            expires_at: Instant::now() + left,
        }
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether it was minted after the logout of this mark.
    pub(super) fn is_of(&self, mark: Option<[u8; 16]>) -> bool {
        mark.is_some_and(|mark| self.epoch == Epoch::Mark(mark))
    }

    /// When this replica got it, by the wall clock.
    pub(super) fn received_at(&self) -> SystemTime {
        self.expires_wall - self.access.life
    }

    /// It was seen to be good after so many outages of the shared tier.
    pub(super) fn see(&self, outages: u64) {
        self.seen_after.store(outages, Ordering::Release);
    }

    pub(super) fn is_seen_after(&self, outages: u64) -> bool {
        self.seen_after.load(Ordering::Acquire) == outages
    }

    /// What is left of its life, by whichever clock is stricter.
    pub fn remaining(&self) -> Duration {
        let by_wall = self
            .expires_wall
            .duration_since(clock::now())
            .unwrap_or_default();
        self.expires_at
            .saturating_duration_since(Instant::now())
            .min(by_wall)
    }

    /// When it may not be handed out any more, by the clock that cannot be set.
    pub(super) fn ends(&self) -> Instant {
        self.expires_at
            .checked_sub(LEAST_LEFT)
            .unwrap_or(self.expires_at)
    }

    /// How long it may still be handed out.
    pub(super) fn usable(&self) -> Duration {
        self.remaining().saturating_sub(LEAST_LEFT)
    }
}

/// A token for a caller.
#[derive(Debug)]
pub struct Issued {
    /// The token.
    pub token: Arc<UserToken>,
    /// Where it came from.
    pub source: Source,
    /// What is left of its life.
    pub left: Duration,
}

impl Issued {
    /// What a cell holds, as long as it lives: better than any error.
    pub(super) fn live(cell: &UserCell) -> Option<Self> {
        Some(Self::local(cell.live()?.value().clone()))
    }

    pub(super) fn local(token: Arc<UserToken>) -> Self {
        Self::of(token, Source::Local)
    }

    /// A token that the caller waited for.
    pub(super) fn fetched(token: Arc<UserToken>) -> Self {
        let source = token.source;
        Self::of(token, source)
    }

    fn of(token: Arc<UserToken>, source: Source) -> Self {
        let left = token.remaining();
        Self {
            token,
            source,
            left,
        }
    }
}

impl From<Got<UserToken>> for Issued {
    fn from(got: Got<UserToken>) -> Self {
        if got.waited {
            Self::fetched(got.value)
        } else {
            Self::local(got.value)
        }
    }
}
