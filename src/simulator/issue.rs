//! The issuing of a token: signed, booked, answered.

use serde_json::json;

use super::answer::Answer;
use super::clock;
use super::state::State;
use super::tokens::{Issued, Purpose};

/// What a granted request leads to.
pub(super) struct Grant {
    pub user_id: String,
    pub client_id: String,
    pub scopes: Vec<String>,
    pub purpose: Purpose,
}

/// The success answer (doc). `expires_in` is in every worked example, though not in the reference.
pub(super) fn issue(state: &mut State, grant: Grant) -> Answer {
    let (purpose, life) = match grant.purpose {
        Purpose::Access => ("accessToken", state.world.token_life),
        Purpose::WebSocket => ("websocket", state.world.exchange_token_life),
        Purpose::WebResource => ("webresource", state.world.exchange_token_life),
    };
    let now = state.now();
    let expires = clock::after(now, life);
    let life_seconds = i64::try_from(life.as_secs()).unwrap_or(i64::MAX);
    let (id, jti) = (state.ids.hex(24), state.ids.uuid());
    let signed = state
        .signer
        .token(purpose, &jti, &state.base(), now, life_seconds);
    let Ok(token) = signed else {
        return Answer::api(500, "HTTP-500", "Internal error", "signing failed");
    };
    let scope = grant.scopes.join(" ");
    let issued = Issued {
        id,
        user_id: grant.user_id,
        client_id: grant.client_id,
        scopes: grant.scopes,
        purpose: grant.purpose,
        expires,
        last_used: now,
        revoked: false,
    };
    state.tokens.add(&token, issued, now);
    let body = json!({
        "access_token": token,
        "token_type": "bearer",
        "scope": scope,
        "expires_at": clock::iso_millis(expires),
        "expires_in": life_seconds,
    });
    Answer::json(200, body).with("cache-control", "no-store")
}
