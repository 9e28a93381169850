//! Client authentication at the token endpoint: a secret in the body, in the Basic header, or an assertion.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::answer::Answer;
use super::asked::Asked;
use super::assertion;
use super::client::{Client, ClientSecret};
use super::clock;
use super::ids::digest_of;
use super::state::State;
use super::token::TokenRequest;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The client of the request, with its credentials verified: exactly one method may be used (inferred).
pub(super) fn authenticate(
    state: &mut State,
    asked: &Asked,
    request: &TokenRequest,
) -> Result<Client, Answer> {
    let client = identify(state, asked, request)?;
    let refusals = &state.world.refusals;
    let basic = basic(asked).map(|(_, secret)| secret);
    match (&basic, &request.client_secret, &request.client_assertion) {
        (Some(secret), None, None) | (None, Some(secret), None) => {
            if !holds_secret(state, &client, secret) {
                return Err(Answer::oauth(&refusals.wrong_secret));
            }
        }
        (None, None, Some(jwt)) => {
            if request.client_assertion_type.as_deref() != Some(ASSERTION_TYPE) {
                let detail = format!("client_assertion_type must be {ASSERTION_TYPE}");
                return Err(Answer::oauth(&refusals.bad_request.because(detail)));
            }
            let refusal = refusals.bad_assertion.clone();
            assertion::accept(state, &client, jwt)
                .map_err(|detail| Answer::oauth(&refusal.because(detail)))?;
        }
        (None, None, None) => {
            let detail = "no client credentials";
            return Err(Answer::oauth(&refusals.unknown_client.because(detail)));
        }
        _ => {
            let detail = "more than one method of client authentication";
            return Err(Answer::oauth(&refusals.bad_request.because(detail)));
        }
    }
    Ok(client)
}

/// The client of the request, once the page's origin is allowed: an `Origin` the client does not list is
/// refused with `OAUTH-29` (field); servers send none.
pub(super) fn identify(
    state: &State,
    asked: &Asked,
    request: &TokenRequest,
) -> Result<Client, Answer> {
    let refusals = &state.world.refusals;
    let basic = basic(asked).map(|(id, _)| id);
    let id = match (&basic, &request.client_id) {
        (Some(header), Some(body)) if header != body => {
            let detail = "client_id differs from the Authorization header";
            return Err(Answer::oauth(&refusals.bad_request.because(detail)));
        }
        (Some(id), _) | (None, Some(id)) => id,
        (None, None) => {
            let detail = "client_id is required";
            return Err(Answer::oauth(&refusals.bad_request.because(detail)));
        }
    };
    let client = state
        .world
        .client(id)
        .ok_or_else(|| Answer::oauth(&refusals.unknown_client))?;
    if let Some(origin) = asked.origin()
        && !client.origins.iter().any(|listed| listed == origin)
    {
        return Err(Answer::oauth(&refusals.foreign_origin));
    }
    Ok(client.clone())
}

/// Id and secret of the Basic header.
pub(super) fn basic(asked: &Asked) -> Option<(String, String)> {
    let (scheme, credentials) = asked.header("authorization")?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

/// Every one of the client's secrets works (doc), a new one perhaps after a moment (unknown).
fn holds_secret(state: &State, client: &Client, secret: &str) -> bool {
    let given = digest_of(secret);
    let same = |known: &str| verify_slices_are_equal(&digest_of(known), &given).is_ok();
    let (now, delay) = (state.now(), state.world.secret_delay);
    let works =
        |known: &ClientSecret| delay.is_zero() || clock::after(known.created_at, delay) <= now;
    let mut secrets = client.secrets.iter();
    client.allows("client_secret") && secrets.any(|known| works(known) && same(&known.value))
}
