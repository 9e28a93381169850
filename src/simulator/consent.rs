//! `/api/v1/oauth-clients/{id}/connection-configs/me`: the consent method, `required` until set (doc).

use super::answer::{Answer, settle};
use super::asked::Asked;
use super::json_patch::Operation;
use super::oauth_clients::{ADMIN, invalid, named, named_mut};
use super::permission::Caller;
use super::state::State;

pub(super) fn read(state: &mut State, asked: &Asked) -> Answer {
    settle(try_read(state, asked))
}

fn try_read(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    Caller::admin(state, asked, &ADMIN)?;
    Ok(Answer::json(200, named(state, asked)?.connection_config()))
}

pub(super) fn patch(state: &mut State, asked: &Asked) -> Answer {
    settle(try_patch(state, asked))
}

fn try_patch(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    Caller::admin(state, asked, &ADMIN)?;
    let mut trusted = named(state, asked)?.trusted;
    for operation in Operation::list(asked, &["replace"]).map_err(invalid)? {
        if operation.path != "/consentMethod" {
            return Err(invalid("only /consentMethod can be patched"));
        }
        trusted = match operation.value.as_str() {
            Some("trusted") => true,
            Some("required") => false,
            _ => return Err(invalid("consentMethod must be trusted or required")),
        };
    }
    named_mut(state, asked)?.trusted = trusted;
    Ok(Answer::empty(204))
}

pub(super) fn delete(state: &mut State, asked: &Asked) -> Answer {
    settle(try_delete(state, asked))
}

fn try_delete(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    Caller::admin(state, asked, &ADMIN)?;
    named_mut(state, asked)?.trusted = false;
    Ok(Answer::empty(204))
}
