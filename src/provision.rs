//! Sets a tenant up for the broker: an OAuth client that issues the users' tokens, one that manages
//! users, and the files by which the broker proves that it is them.
//!
//! First it looks ([`look`]) and says what it would change, then it does that ([`apply()`]). Both may
//! be repeated at any time: what is as it should be is left alone.

mod apply;
mod change;
mod files;
mod plan;
mod secrets;
mod table;

use std::path::Path;

use crate::qlik::admin::AdminError;
use crate::tenant::{Origin, ScopeSet, TenantId};

pub use apply::{Done, DoneClient, apply};
pub use change::Change;
pub use files::Folder;
pub use plan::{Part, Plan, Purpose, look};
pub(crate) use secrets::{Before, add_secret};
pub use table::write_key;

/// What a tenant should have.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The name of its table in the configuration, and of its files.
    pub tenant: TenantId,
    /// Its address, without a slash at its end.
    pub url: String,
    /// The authority of a private CA, for the table.
    pub ca_file: Option<String>,
    /// The name of the OAuth client that issues tokens.
    pub issuing: String,
    /// The name of the OAuth client that manages users.
    pub management: String,
    /// What the users' tokens may do.
    pub scopes: ScopeSet,
    /// What the managing client may do.
    pub management_scopes: ScopeSet,
    /// The pages that use the tokens. Empty: those of the OAuth client are left as they are.
    pub origins: Vec<Origin>,
    /// Whether the clients prove themselves with a private key instead of a secret.
    pub private_key: bool,
    /// Whether the pages may also frame the tenant.
    pub csp: bool,
}

/// Why a tenant is not set up, and what to do. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {remedy}")]
pub struct Failure {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl Failure {
    /// A message and its remedy.
    pub fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// Two commands would replace each other's files.
    pub(crate) fn at_work_in(folder: &Path) -> Self {
        let message = format!("another command is at work in {}", folder.display());
        Self::new(message, "wait until it has ended")
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        let remedy = match error.status() {
            Some(401) => "check that the management token is of this tenant and has not expired",
            Some(403) => {
                "use the token of a tenant administrator, or of a client with the scope admin_classic"
            }
            Some(_) => "set this up in the tenant's console, then run the command again",
            None => {
                "check the URL and the way there, then run the command again: it goes on where it stopped"
            }
        };
        Self::new(error.to_string(), remedy)
    }
}
