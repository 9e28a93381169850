//! Why a cell gives no value.

use std::time::Duration;

/// Why a cell gave no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CellError<E> {
    /// The load failed, now or within the pause that still lasts.
    #[error("{error}")]
    Failed {
        /// What the load said.
        error: E,
        /// How much of the pause is left.
        retry_after: Duration,
    },
    /// The load panicked: a bug.
    #[error("the load panicked")]
    Panicked,
    /// The cell was retired: its owner is not to get a value any more.
    #[error("the cell was retired")]
    Retired,
}

/// Why [`ExpiringCell::renew`](super::ExpiringCell::renew) did not renew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotRenewed<E> {
    /// The value is younger than asked for, or was examined a moment ago. Ask again after this.
    TooSoon(Duration),
    /// It was tried.
    Cell(CellError<E>),
}
