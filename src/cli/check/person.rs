//! A user: whether there is one, and a token to try.

use tokio::time::{Duration, Instant};

use super::fault::Fault;
use super::finding::Findings;
use super::proofs;
use super::tenant::{Desk, Look};
use crate::mapping::{DenyList, Email, LookupField, UserLookup};
use crate::qlik::{AccessToken, Proof, QlikError};

const PATIENCE: Duration = Duration::from_secs(10);

/// Who is looked up, as it was said on the command line.
pub(in crate::cli) enum Person {
    Lookup(UserLookup),
    Email(Email),
}

impl Person {
    /// The user of a lookup. The error names the fault, never the value.
    pub fn by(field: LookupField, value: &str) -> Result<Self, &'static str> {
        let user = UserLookup::new(field, value)?;
        if DenyList::default().refuses(user.value()) {
            return Err("this user is never impersonated");
        }
        Ok(Self::Lookup(user))
    }

    fn option(&self) -> &'static str {
        match self {
            Self::Email(_) => "--email",
            Self::Lookup(user) => match user.field() {
                LookupField::Subject => "--subject",
                LookupField::UserId => "--user-id",
            },
        }
    }
}

/// The user to mint for; `None` if there is none, which is then said.
pub(super) async fn find(
    look: &Look<'_>,
    person: &Person,
    desk: Option<&Desk>,
    found: &mut Findings,
) -> Option<UserLookup> {
    let Some(desk) = desk else {
        if let Person::Lookup(user) = person {
            return Some(user.clone());
        }
        let message = "--email: only a management client can find a user by an address";
        found.add(Fault::NotSeen, &look.path, message);
        return None;
    };
    let deadline = Instant::now() + PATIENCE;
    let asked = match person {
        Person::Lookup(user) => desk.management.user(user, deadline).await,
        Person::Email(email) => match desk.management.user_by_email(email, deadline).await {
            // An address may be taken by somebody who is not active.
            Ok(None) => match desk.management.is_address_taken(email, deadline).await {
                Ok(true) => Err(QlikError::UserDisabled),
                Ok(false) => Ok(None),
                Err(error) => Err(error),
            },
            one_or_none => one_or_none,
        },
    };
    let problem = match asked {
        Ok(Some(user)) if user.is_active => {
            let message = format!(
                "{}: the tenant has one such user, and it is active",
                person.option()
            );
            found.ok(&look.path, message);
            return match person {
                Person::Lookup(user) => Some(user.clone()),
                Person::Email(_) => UserLookup::new(LookupField::UserId, &user.id).ok(),
            };
        }
        Ok(Some(_)) => QlikError::UserDisabled,
        Ok(None) => QlikError::UserUnknown,
        // What may not be asked, or cannot be, a token will tell.
        Err(QlikError::ClientRefused { .. } | QlikError::UserNotAskable) => {
            let message = "the user is not shown to the management client";
            found.add(Fault::NotSeen, format!("{}.management", look.path), message);
            return match person {
                Person::Lookup(user) => Some(user.clone()),
                Person::Email(_) => None,
            };
        }
        Err(error) => error,
    };
    tell(look, person, &problem, found);
    None
}

/// Says what is wrong with the user, or the tenant.
fn tell(look: &Look<'_>, person: &Person, error: &QlikError, found: &mut Findings) {
    let fault = match error {
        QlikError::UserUnknown => Fault::UserUnknown,
        QlikError::UserDisabled => Fault::UserDisabled,
        QlikError::UserAmbiguous => Fault::UserAmbiguous,
        QlikError::UserTokenLimit => Fault::UserTokens,
        QlikError::UserNotAskable => Fault::UserNotAskable,
        _ => Fault::TenantFailed,
    };
    found.add(fault, &look.path, format!("{}: {error}", person.option()));
}

/// Shows that the issuing client gets tokens: by one, where there is a user; otherwise by what the
/// tenant says of nobody. Whether it does.
pub(super) async fn prove(
    look: &Look<'_>,
    user: Option<&UserLookup>,
    is_seen: bool,
    found: &mut Findings,
) -> bool {
    // Of several secrets a token would only show that one is good.
    let proof = &look.config.credential.proof;
    let is_list = matches!(proof, Proof::Secrets(secrets) if secrets.len() > 1);
    if (is_list || user.is_none()) && !proofs::issuing(look, user, found).await {
        return false;
    }
    if let Some(user) = user {
        return mint(look, user, found).await;
    }
    if !is_seen && look.scene.person.is_none() {
        let message = "whether the OAuth client gets tokens for users is not shown without a user";
        found.add(Fault::Unproven, format!("{}.client_id", look.path), message);
    }
    true
}

async fn mint(look: &Look<'_>, user: &UserLookup, found: &mut Findings) -> bool {
    let path = format!("{}.client_id", look.path);
    let client = match look.clients.issuing() {
        Ok(client) => client,
        Err(error) => {
            found.add(Fault::FileUnusable, error.place, error.reason);
            return false;
        }
    };
    let scopes = &look.config.tenant.scopes;
    let minted = async {
        let (turn, deadline) = look.turn().await?;
        client.impersonate(user, scopes, turn, deadline).await
    };
    let token = match minted.await {
        Ok(token) => token,
        Err(error) if error.is_about_the_user() => {
            if let Some(person) = look.scene.person {
                tell(look, person, &error, found);
            }
            return false;
        }
        Err(error) => {
            let key = proofs::place(&look.path, &look.config.credential);
            proofs::refused(&look.path, &key, &look.config.credential, &error, found);
            return false;
        }
    };
    let revoked = async {
        let (turn, deadline) = look.turn().await?;
        client.revoke(&token, turn, deadline).await
    };
    let after = if revoked.await.is_ok() {
        "and was revoked again"
    } else {
        "and could not be revoked"
    };
    let seconds = token.life.as_secs();
    found.ok(path, format!("a token was minted for {seconds} s {after}"));
    life(look, &token, found);
    proofs::granted(&format!("{}.scopes", look.path), scopes, &token, found)
}

/// What a token's life means for the tokens that are kept.
fn life(look: &Look<'_>, token: &AccessToken, found: &mut Findings) {
    let Some(cache) = look.scene.cache else {
        return;
    };
    let seconds = token.life.as_secs();
    if token.life <= cache.min_life {
        let message = format!(
            "tokens of tenant {} live for {seconds} s only",
            look.config.tenant.id
        );
        found.add(Fault::TokenUseless, "cache.min_life", message);
    } else if token.life <= cache.refresh_margin {
        let message = format!(
            "tokens of tenant {} live for {seconds} s only",
            look.config.tenant.id
        );
        found.add(Fault::TokenShort, "cache.refresh_margin", message);
    }
}
