//! Who calls the REST API, and whether they may. Codes of these refusals are not documented.

use super::answer::Answer;
use super::asked::Asked;
use super::state::State;
use super::tokens::Purpose;
use super::user::UserStatus;

/// The bearer of a live access token.
pub(super) struct Caller {
    pub user_id: String,
    /// Whether the user is a tenant administrator; bots are.
    admin: bool,
    scopes: Vec<String>,
}

impl Caller {
    /// The bearer of the request's token, or a 401.
    pub(super) fn of(state: &mut State, asked: &Asked) -> Result<Self, Answer> {
        let now = state.now();
        let token = asked
            .bearer()
            .ok_or_else(|| unauthorized("a bearer token is required"))?;
        let issued = state
            .tokens
            .find_mut(token)
            .filter(|issued| issued.lives(now) && issued.purpose == Purpose::Access)
            .ok_or_else(|| unauthorized("the token does not live"))?;
        issued.last_used = now;
        let user = state
            .world
            .user(&issued.user_id)
            .filter(|user| {
                user.status != UserStatus::Disabled && user.status != UserStatus::Deleted
            })
            .ok_or_else(|| unauthorized("the user of the token may not sign in"))?;
        Ok(Self {
            user_id: user.id.clone(),
            admin: user.is_admin(),
            scopes: issued.scopes.clone(),
        })
    }

    /// The caller, if one of `scopes` is held; scopes only narrow what the user may (doc).
    pub(super) fn with(state: &mut State, asked: &Asked, scopes: &[&str]) -> Result<Self, Answer> {
        let caller = Self::of(state, asked)?;
        if caller.holds(scopes) {
            Ok(caller)
        } else {
            Err(forbidden(scopes))
        }
    }

    /// The caller, if an administrator with one of `scopes`.
    pub(super) fn admin(state: &mut State, asked: &Asked, scopes: &[&str]) -> Result<Self, Answer> {
        let caller = Self::with(state, asked, scopes)?;
        if caller.admin {
            Ok(caller)
        } else {
            Err(forbidden(scopes))
        }
    }

    /// Whether the caller is an administrator with one of `scopes`.
    pub(super) fn is_admin(&self, scopes: &[&str]) -> bool {
        self.admin && self.holds(scopes)
    }

    /// A parent scope implies its children (doc).
    fn holds(&self, wanted: &[&str]) -> bool {
        wanted.iter().any(|wanted| {
            let parent = wanted.split_once(':').map_or(*wanted, |(parent, _)| parent);
            self.scopes
                .iter()
                .any(|held| held == wanted || held == parent)
        })
    }
}

/// The 401 of a missing, revoked or expired token.
pub(super) fn unauthorized(detail: &str) -> Answer {
    Answer::api(401, "HTTP-401", "Unauthorized", detail)
}

fn forbidden(scopes: &[&str]) -> Answer {
    let detail = format!("needs one of the scopes {}", scopes.join(", "));
    Answer::api(403, "HTTP-403", "Forbidden", detail)
}
