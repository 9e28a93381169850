//! A user, as a tenant is asked for it.

use std::fmt;
use std::sync::Arc;

/// Longest value that is looked up, in characters. Subjects and user ids are far shorter.
const MAX_VALUE_CHARS: usize = 255;

/// What the tenant finds a user by. `user_lookup.field` has these two values and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LookupField {
    /// The identity provider's id of the user, unique per tenant.
    Subject,
    /// Qlik's own id of the user.
    UserId,
}

impl LookupField {
    /// As it is written upstream and in our own API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::UserId => "userId",
        }
    }

    /// The inverse of [`LookupField::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "subject" => Some(Self::Subject),
            "userId" => Some(Self::UserId),
            _ => None,
        }
    }
}

/// A user, as the tenant is asked for it: 1 to 255 characters, none of them a control character.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UserLookup {
    field: LookupField,
    value: Arc<str>,
}

impl UserLookup {
    /// Checks length and characters. The error names the fault, never the value.
    pub fn new(field: LookupField, value: &str) -> Result<Self, &'static str> {
        if value.is_empty() {
            return Err("the value is empty");
        }
        if value.chars().count() > MAX_VALUE_CHARS {
            return Err("the value is longer than 255 characters");
        }
        if value.chars().any(char::is_control) {
            return Err("the value holds a control character");
        }
        Ok(Self {
            field,
            value: value.into(),
        })
    }

    /// What it is looked up by.
    pub fn field(&self) -> LookupField {
        self.field
    }

    /// The value looked up.
    pub fn value(&self) -> &str {
        &self.value
    }
}

/// Users are personal data: logs and errors carry the audit hash instead.
impl fmt::Debug for UserLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserLookup({}=…)", self.field.as_str())
    }
}
