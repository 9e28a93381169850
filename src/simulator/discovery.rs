//! The authorization server's metadata (doc) and key set. The paths of the latter and of `authorize` are
//! not documented.

use serde_json::json;

use super::answer::Answer;
use super::asked::Asked;
use super::client::{CLIENT_CREDENTIALS, IMPERSONATION};
use super::state::State;

pub(super) fn metadata(state: &mut State, _: &Asked) -> Answer {
    let base = state.base();
    let body = json!({
        "issuer": base,
        "authorization_endpoint": format!("{base}/oauth/authorize"),
        "token_endpoint": format!("{base}/oauth/token"),
        "revocation_endpoint": format!("{base}/oauth/revoke"),
        "jwks_uri": format!("{base}/.well-known/jwks.json"),
        "response_types_supported": ["code"],
        "grant_types_supported": [
            CLIENT_CREDENTIALS,
            IMPERSONATION,
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ],
        "token_endpoint_auth_methods_supported":
            ["client_secret_basic", "client_secret_post", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS256", "RS512", "ES384"],
    });
    Answer::json(200, body)
}

pub(super) fn key_set(state: &mut State, _: &Asked) -> Answer {
    Answer::json(200, state.signer.key_set())
}
