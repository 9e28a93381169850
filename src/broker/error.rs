//! Why there is no token.

use std::time::Duration;

use crate::expiring::{CellError, Pause};
use crate::qlik::QlikError;

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// The tenant refused or failed, now or a moment ago.
    #[error("{error}")]
    Tenant {
        /// What it said.
        error: QlikError,
        /// When asking again makes sense.
        retry_after: Duration,
    },
    /// The tenant did not answer within the caller's deadline. The mint goes on.
    #[error("the tenant did not answer within the request's deadline")]
    Deadline {
        /// When asking again makes sense.
        retry_after: Duration,
    },
    /// The tenant's budget is used up, and it is not the user's turn yet. The place is kept.
    #[error("the tenant's budget is used up")]
    Queued {
        /// When asking again makes sense.
        retry_after: Duration,
    },
    /// The user was logged out while the caller waited.
    #[error("the session ended while its token was being minted")]
    SessionEnded,
    /// The rejected token is too young, or was examined a moment ago.
    #[error("the rejected token may not be renewed yet")]
    RenewalTooSoon {
        /// When it may be.
        retry_after: Duration,
    },
    /// A bug.
    #[error("minting panicked")]
    Internal,
}

/// What a failed mint leaves behind in its cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MintError {
    pub(super) error: QlikError,
    /// The rest of the whole tenant's pause, when this user was not even tried.
    pub(super) tenant_pause: Option<Duration>,
}

impl Pause for MintError {
    fn pause(&self) -> Option<Duration> {
        self.tenant_pause.or_else(|| self.error.pause())
    }
}

impl From<CellError<MintError>> for BrokerError {
    fn from(error: CellError<MintError>) -> Self {
        match error {
            CellError::Failed { error, retry_after } => Self::Tenant {
                retry_after: match &error.error {
                    // A turn that did not come is forgotten at once, but not over.
                    QlikError::Throttled { retry_after: left }
                        if error.tenant_pause == Some(Duration::ZERO) =>
                    {
                        *left
                    }
                    _ => retry_after,
                },
                error: error.error,
            },
            CellError::Panicked => Self::Internal,
            CellError::Retired => Self::SessionEnded,
        }
    }
}
