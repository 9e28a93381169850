//! `POST /oauth/token`: the grants.

use serde::Deserialize;
use serde_json::Value;

use super::answer::{Answer, settle};
use super::asked::Asked;
use super::client::{CLIENT_CREDENTIALS, Client, IMPERSONATION};
use super::client_auth;
use super::issue::{Grant, issue};
use super::state::State;
use super::tokens::Purpose;
use super::user::{User, UserStatus};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The body; fields this endpoint does not know are ignored.
#[derive(Deserialize)]
pub(super) struct TokenRequest {
    grant_type: String,
    pub client_id: Option<String>,
    pub client_secret: Option<String>,
    pub client_assertion: Option<String>,
    pub client_assertion_type: Option<String>,
    scope: Option<String>,
    user_lookup: Option<UserLookup>,
    purpose: Option<String>,
    subject_token: Option<String>,
    subject_token_type: Option<String>,
}

/// Exactly these two fields can be looked up (doc).
#[derive(Deserialize)]
struct UserLookup {
    field: LookupField,
    value: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
enum LookupField {
    Subject,
    UserId,
}

pub(super) fn answer(state: &mut State, asked: &Asked) -> Answer {
    settle(grant(state, asked))
}

fn grant(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let body = asked.object().map_err(|detail| bad(state, detail))?;
    let request = TokenRequest::deserialize(Value::Object(body.clone()))
        .map_err(|error| bad(state, error.to_string()))?;
    match request.grant_type.as_str() {
        IMPERSONATION => impersonate(state, asked, request),
        CLIENT_CREDENTIALS => credentials(state, asked, &request),
        EXCHANGE => exchange(state, asked, &request),
        "refresh_token" => {
            let refusal = &state.world.refusals.bad_token;
            let detail = "no refresh token was ever issued: impersonation gives none, mint again";
            Err(Answer::oauth(&refusal.because(detail)))
        }
        other => {
            let detail = format!("grant_type {other:?} is not one the simulator offers");
            Err(bad(state, detail))
        }
    }
}

/// The user must exist and be active; no refresh token is given (doc).
fn impersonate(state: &mut State, asked: &Asked, request: TokenRequest) -> Result<Answer, Answer> {
    let client = client_auth::authenticate(state, asked, &request)?;
    let scopes = admit(state, &client, IMPERSONATION, request.scope.as_deref())?;
    let lookup = request
        .user_lookup
        .ok_or_else(|| bad(state, "user_lookup is required".to_owned()))?;
    let refusals = &state.world.refusals;
    let user = find_user(state, &lookup).ok_or_else(|| Answer::oauth(&refusals.unknown_user))?;
    if !state.world.impersonable.contains(&user.status) {
        let detail = format!("the user is {}", user.status.name());
        return Err(Answer::oauth(&refusals.disabled_user.because(detail)));
    }
    let user_id = user.id.clone();
    if let Some(most) = state.world.max_tokens_per_user {
        let live = state
            .tokens
            .live(state.now(), |issued| issued.user_id == user_id);
        if live.len() >= most {
            return Err(Answer::oauth(&refusals.too_many_tokens));
        }
    }
    let grant = Grant {
        user_id,
        client_id: client.id,
        scopes,
        purpose: Purpose::Access,
    };
    Ok(issue(state, grant))
}

/// The token of the client's bot, which comes to be with its first token (doc).
fn credentials(state: &mut State, asked: &Asked, request: &TokenRequest) -> Result<Answer, Answer> {
    let client = client_auth::authenticate(state, asked, request)?;
    let scopes = admit(state, &client, CLIENT_CREDENTIALS, request.scope.as_deref())?;
    let known = state
        .world
        .users
        .iter()
        .find(|user| user.client_id.as_ref() == Some(&client.id));
    let user_id = if let Some(bot) = known {
        bot.id.clone()
    } else {
        let bot = User::bot(&client.id, &client.name);
        let id = bot.id.clone();
        state.world.users.push(bot);
        id
    };
    let grant = Grant {
        user_id,
        client_id: client.id,
        scopes,
        purpose: Purpose::Access,
    };
    Ok(issue(state, grant))
}

/// The public exchange of browsers: no client secret, but the page's origin must be listed (code).
fn exchange(state: &mut State, asked: &Asked, request: &TokenRequest) -> Result<Answer, Answer> {
    let client = client_auth::identify(state, asked, request)?;
    let purpose = match request.purpose.as_deref() {
        Some("websocket") => Purpose::WebSocket,
        Some("webresource") => Purpose::WebResource,
        _ => {
            return Err(bad(
                state,
                "purpose must be websocket or webresource".to_owned(),
            ));
        }
    };
    if request.subject_token_type.as_deref() != Some(ACCESS_TOKEN_TYPE) {
        return Err(bad(
            state,
            format!("subject_token_type must be {ACCESS_TOKEN_TYPE}"),
        ));
    }
    let subject = request
        .subject_token
        .as_deref()
        .ok_or_else(|| bad(state, "subject_token is required".to_owned()))?;
    // That the token must be of the same client is not documented, but a page never has another.
    let issued = state
        .tokens
        .find(subject)
        .filter(|issued| issued.lives(state.now()) && issued.purpose == Purpose::Access)
        .filter(|issued| issued.client_id == client.id)
        .ok_or_else(|| Answer::oauth(&state.world.refusals.bad_token))?;
    let grant = Grant {
        user_id: issued.user_id.clone(),
        client_id: client.id,
        scopes: issued.scopes.clone(),
        purpose,
    };
    let mut answer = issue(state, grant);
    if let Some(body) = answer.object() {
        body.insert(
            "issued_token_type".to_owned(),
            Value::from(ACCESS_TOKEN_TYPE),
        );
    }
    Ok(answer)
}

/// The scopes of the token: what was asked for, or all of the client's (doc), once the client holds the
/// grant and its consent is trusted.
fn admit(
    state: &State,
    client: &Client,
    grant: &str,
    requested: Option<&str>,
) -> Result<Vec<String>, Answer> {
    let refusals = &state.world.refusals;
    if !client.grants.iter().any(|held| held == grant) {
        return Err(Answer::oauth(&refusals.grant_not_allowed));
    }
    if !client.trusted {
        return Err(Answer::oauth(&refusals.untrusted));
    }
    let requested: Vec<_> = requested.unwrap_or_default().split_whitespace().collect();
    if requested.is_empty() {
        return Ok(client.scopes.clone());
    }
    if let Some(beyond) = requested.iter().find(|scope| !client.covers(scope)) {
        let detail = format!("the client does not hold {beyond:?}");
        return Err(Answer::oauth(&refusals.bad_scope.because(detail)));
    }
    Ok(requested.into_iter().map(str::to_owned).collect())
}

/// Deleted users are as good as unknown; what a tenant says of them is not documented.
fn find_user<'a>(state: &'a State, lookup: &UserLookup) -> Option<&'a User> {
    let ignores_case = state.world.subject_ignores_case;
    let same = |user: &&User| match lookup.field {
        LookupField::UserId => user.id == lookup.value,
        LookupField::Subject if ignores_case => {
            user.subject.to_lowercase() == lookup.value.to_lowercase()
        }
        LookupField::Subject => user.subject == lookup.value,
    };
    let mut users = state.world.users.iter();
    users.find(|user| user.status != UserStatus::Deleted && same(user))
}

fn bad(state: &State, detail: String) -> Answer {
    Answer::oauth(&state.world.refusals.bad_request.because(detail))
}
