//! What is told to a tenant of a user that it does not know yet.

use std::collections::BTreeSet;

use super::Template;
use crate::identity::Claims;

/// Longest text of a profile, in characters.
const MAX_CHARS: usize = 255;

/// The names of a user's groups, in order.
pub type Groups = BTreeSet<String>;

/// `provision_users`: how a profile is made of claims.
#[derive(Clone, Debug)]
pub struct ProfileRules {
    /// The subject.
    pub subject: Template,
    /// The name to show.
    pub name: Template,
    /// The e-mail address.
    pub email: Option<Template>,
    /// The claim that lists the groups.
    pub groups: Option<String>,
}

/// A user as it would be created.
#[derive(Clone, PartialEq, Eq)]
pub struct Profile {
    /// The identity provider's id of the user.
    pub subject: String,
    /// The name to show.
    pub name: String,
    /// The e-mail address, if the claims hold it.
    pub email: Option<String>,
    /// The groups, if the claims list them: a user without is in none.
    pub groups: Option<Groups>,
}

/// Personal data.
impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Profile(…)")
    }
}

impl ProfileRules {
    /// The profile that verified claims give; `None` if they lack the subject or the name.
    pub fn profile(&self, claims: &Claims) -> Option<Profile> {
        let text = |template: &Template| template.render(claims).ok().filter(|text| is_text(text));
        let groups = self.groups.as_ref().and_then(|path| claims.list(path));
        // An address that is not the person's own must not become theirs in the tenant.
        let email = self
            .email
            .as_ref()
            .filter(|_| !claims.denies("email_verified"));
        Some(Profile {
            subject: text(&self.subject)?,
            name: text(&self.name)?,
            email: email.and_then(text),
            groups: groups.map(|names| {
                let named = names.into_iter().filter(|name| is_text(name));
                named.map(str::to_owned).collect()
            }),
        })
    }
}

fn is_text(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= MAX_CHARS && !text.chars().any(char::is_control)
}
