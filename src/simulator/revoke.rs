//! `POST /oauth/revoke` (doc): client authentication is not in its schema, so none is asked for.

use super::answer::Answer;
use super::asked::Asked;
use super::state::State;

pub(super) fn answer(state: &mut State, asked: &Asked) -> Answer {
    let refusals = &state.world.refusals;
    if let Err(detail) = asked.object() {
        return Answer::oauth(&refusals.bad_request.because(detail));
    }
    let Some(token) = asked.text("token") else {
        return Answer::oauth(&refusals.bad_request.because("token is required"));
    };
    let hint = asked.text("token_type_hint").unwrap_or("access_token");
    if !["access_token", "refresh_token"].contains(&hint) {
        let detail = "token_type_hint must be access_token or refresh_token";
        return Answer::oauth(&refusals.bad_request.because(detail));
    }
    match state.tokens.find_mut(token) {
        Some(issued) => {
            issued.revoked = true;
            Answer::empty(200)
        }
        // RFC 7009 would answer 200; whether the tenant does is unknown.
        None if refusals.unknown_token.status == 200 => Answer::empty(200),
        None => Answer::oauth(&refusals.unknown_token),
    }
}
