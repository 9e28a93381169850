//! What there is in the store.

/// The kinds of values and notices. Equal keys of two kinds have two places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A user's token.
    Token,
    /// A user's tokens up to now are ended.
    Tombstone,
    /// A token that the tenant does not accept any more.
    DeadToken,
    /// A handle and whom it stands for.
    Handle,
    /// A session that was logged out.
    EndedSession,
    /// All sessions of a user up to now were logged out.
    EndedUser,
    /// Somebody is minting.
    Claim,
    /// The pace of a tenant.
    Pace,
    /// A sign of life of this link.
    Beat,
}

impl Kind {
    pub(super) const ALL: [Self; 9] = [
        Self::Token,
        Self::Tombstone,
        Self::DeadToken,
        Self::Handle,
        Self::EndedSession,
        Self::EndedUser,
        Self::Claim,
        Self::Pace,
        Self::Beat,
    ];

    pub(super) fn code(self) -> u8 {
        match self {
            Self::Token => 1,
            Self::Tombstone => 2,
            Self::DeadToken => 3,
            Self::Handle => 4,
            Self::EndedSession => 5,
            Self::EndedUser => 6,
            Self::Claim => 7,
            Self::Pace => 8,
            Self::Beat => 9,
        }
    }

    /// Its value begins with a time, eight bytes long, and a later one stays.
    pub(super) fn keeps_latest(self) -> bool {
        matches!(self, Self::EndedUser)
    }

    /// An end must be found under whatever key a replica knows.
    pub(super) fn is_end(self) -> bool {
        matches!(
            self,
            Self::Tombstone | Self::DeadToken | Self::EndedSession | Self::EndedUser
        )
    }
}
