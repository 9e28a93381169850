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
    /// The profile that verified claims give; `None` if they lack the subject or the name. A claim of
    /// groups that cannot be read is an error: whoever lost a group would keep it.
    pub fn profile(&self, claims: &Claims) -> Result<Option<Profile>, &'static str> {
        let text = |template: &Template| template.render(claims).ok().filter(|text| is_text(text));
        let (Some(subject), Some(name)) = (text(&self.subject), text(&self.name)) else {
            return Ok(None);
        };
        // An address that is not the person's own must not become theirs in the tenant.
        let email = self
            .email
            .as_ref()
            .filter(|_| !claims.denies("email_verified"));
        Ok(Some(Profile {
            subject,
            name,
            email: email.and_then(text),
            groups: self
                .groups
                .as_ref()
                .map_or(Ok(None), |path| groups(claims, path))?,
        }))
    }
}

fn groups(claims: &Claims, path: &str) -> Result<Option<Groups>, &'static str> {
    if !claims.holds(path) {
        return Ok(None);
    }
    let names = claims.list(path).unwrap_or_else(|| vec![""]);
    if !names.iter().all(|name| is_text(name)) {
        return Err("the claim of groups is no list of their names");
    }
    Ok(Some(names.into_iter().map(str::to_owned).collect()))
}

fn is_text(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= MAX_CHARS && !text.chars().any(char::is_control)
}
