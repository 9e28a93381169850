//! `/api/v1/oauth-clients/{id}/client-secrets`: up to five secrets per client (doc).

use serde_json::json;

use super::answer::{Answer, settle};
use super::asked::Asked;
use super::client::MAX_SECRETS;
use super::clock;
use super::oauth_clients::{ADMIN, invalid, named, named_mut, new_secret, refuse};
use super::permission::Caller;
use super::state::State;

pub(super) fn add(state: &mut State, asked: &Asked) -> Answer {
    settle(try_add(state, asked))
}

fn try_add(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let caller = Caller::admin(state, asked, &ADMIN)?;
    let client = named(state, asked)?.clone();
    if !client.allows("client_secret") {
        return Err(invalid("the client does not allow client_secret"));
    }
    if client.secrets.len() >= MAX_SECRETS {
        let detail = format!("a client has at most {MAX_SECRETS} secrets");
        return Err(refuse(409, "OAUTH-CLIENTS-3", "Too many secrets", detail));
    }
    let secret = new_secret(state, &client);
    let answer = json!({
        "clientId": client.id,
        "clientSecret": secret.value,
        "hint": secret.hint,
        "createdAt": clock::iso_nanos(secret.created_at),
        "createdBy": caller.user_id,
    });
    named_mut(state, asked)?.secrets.push(secret);
    Ok(Answer::json(201, answer))
}

pub(super) fn delete(state: &mut State, asked: &Asked) -> Answer {
    settle(try_delete(state, asked))
}

fn try_delete(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    Caller::admin(state, asked, &ADMIN)?;
    let hint = asked.segment(5);
    let secrets = &mut named_mut(state, asked)?.secrets;
    let before = secrets.len();
    secrets.retain(|secret| secret.hint != hint);
    if secrets.len() == before {
        return Err(refuse(404, "OAUTH-CLIENTS-4", "Secret not found", ""));
    }
    Ok(Answer::empty(204))
}
