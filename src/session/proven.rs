//! Who is calling, once that is proven.

use std::sync::Arc;
use std::time::SystemTime;

use super::back_end::BackEnd;
use super::ended::Mark;
use super::handle::{Handle, HandleGrant};
use super::key_set::KeySet;
use crate::identity::Claims;

/// A caller whose credential was verified.
#[derive(Debug)]
pub enum Caller {
    /// A back end, which names the user itself.
    BackEnd(Arc<BackEnd>),
    /// A person's session.
    Person(Box<Person>),
}

/// A verified session of a person.
#[derive(Debug)]
pub struct Person {
    /// Which table verified it.
    pub table: u16,
    /// Who it is.
    pub who: Who,
    /// Whether the browser or a proxy added the credential by itself: then the request needs a
    /// defence against cross-site forgery.
    pub ambient: bool,
    /// What a logout needs to remember to end it.
    pub mark: Mark,
    /// How long the verification holds.
    pub validity: Validity,
}

/// Who a verified session is of.
#[derive(Debug)]
pub enum Who {
    /// What is known of the person; the table's rules make a user of it.
    Claims(Claims),
    /// The user that a back end named.
    Named(Arc<HandleGrant>),
}

/// How long a verified session stays verified.
#[derive(Clone, Debug)]
pub struct Validity {
    /// The end of it, leeway included.
    pub until: SystemTime,
    /// What else it hangs on.
    pub bond: Bond,
}

/// What a verification hangs on beside the time.
#[derive(Clone, Debug)]
pub enum Bond {
    /// Nothing.
    None,
    /// The key set it was verified with, which can change.
    Keys(Arc<KeySet>),
    /// A handle, which ends when it is not shown for long.
    Handle(Arc<Handle>),
}
