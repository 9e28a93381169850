//! Tokens as they are kept and handed out.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::cells::UserCell;
use crate::clock;
use crate::expiring::Got;
use crate::qlik::AccessToken;

/// A user's token as it is kept.
#[derive(Debug)]
pub struct UserToken {
    /// What the tenant gave.
    pub access: AccessToken,
    /// The digest of the groups that the user was put into before.
    pub(super) groups: Option<[u8; 32]>,
    /// When it ends, as the API writes times: RFC 3339 with milliseconds.
    pub expires_at_text: String,
    expires_wall: SystemTime,
    expires_at: Instant,
}

impl UserToken {
    /// A token that was received just now.
    pub(super) fn received(access: AccessToken, groups: Option<[u8; 32]>) -> Self {
        let life = access.life;
        let expires_wall = clock::now() + life;
        let text = jiff::Timestamp::try_from(expires_wall).map(|time| format!("{time:.3}"));
        Self {
            access,
            groups,
            expires_at_text: text.unwrap_or_default(),
            expires_wall,
            expires_at: Instant::now() + life,
        }
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
}

/// Where a token came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// This replica's memory.
    Local,
    /// The tenant, while the caller waited.
    Minted,
}

impl Source {
    /// As it is written in headers, metrics and audit lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Minted => "minted",
        }
    }
}

/// A token for a caller.
#[derive(Debug)]
pub struct Issued {
    /// The token.
    pub token: Arc<UserToken>,
    /// Where it came from.
    pub source: Source,
}

impl Issued {
    /// What a cell holds, as long as it lives: better than any error.
    pub(super) fn live(cell: &UserCell) -> Option<Self> {
        Some(Self::local(cell.live()?.value().clone()))
    }

    pub(super) fn local(token: Arc<UserToken>) -> Self {
        Self {
            token,
            source: Source::Local,
        }
    }

    pub(super) fn minted(token: Arc<UserToken>) -> Self {
        Self {
            token,
            source: Source::Minted,
        }
    }
}

impl From<Got<UserToken>> for Issued {
    fn from(got: Got<UserToken>) -> Self {
        if got.waited {
            Self::minted(got.value)
        } else {
            Self::local(got.value)
        }
    }
}
