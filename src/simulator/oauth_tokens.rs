//! `/api/v1/oauth-tokens`: the live tokens by user, and their end.

use serde_json::{Value, json};

use super::answer::{Answer, settle};
use super::asked::Asked;
use super::clock;
use super::page::{Listing, page};
use super::permission::Caller;
use super::state::State;

/// Other users' tokens take a tenant administrator (doc).
const ADMIN: [&str; 1] = ["admin_classic"];

pub(super) fn list(state: &mut State, asked: &Asked) -> Answer {
    settle(try_list(state, asked))
}

fn try_list(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let caller = Caller::of(state, asked)?;
    let user_id = match asked.query("userId") {
        Some(user_id) if user_id != caller.user_id => {
            Caller::admin(state, asked, &ADMIN)?;
            Some(user_id)
        }
        None if caller.is_admin(&ADMIN) => None,
        _ => Some(caller.user_id.as_str()),
    };
    let tenant = &state.world.tenant_id;
    let live = state.tokens.live(state.now(), |issued| {
        user_id.is_none_or(|user_id| user_id == issued.user_id)
    });
    let items = live.into_iter().map(|issued| -> Value {
        json!({
            "id": issued.id, "tenantId": tenant, "userId": issued.user_id, "clientId": issued.client_id,
            "description": "", "deviceType": "", "lastUsed": clock::iso_millis(issued.last_used),
        })
    });
    let listing = Listing {
        base: state.base(),
        fields: &[],
        sorts: &["userId"],
    };
    let page = page(&listing, asked, None, items.collect())
        .map_err(|detail| Answer::api(400, "OAUTH-TOKENS-1", "Invalid request", detail))?;
    Ok(Answer::json(200, page))
}

pub(super) fn delete(state: &mut State, asked: &Asked) -> Answer {
    settle(try_delete(state, asked))
}

fn try_delete(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let caller = Caller::of(state, asked)?;
    let now = state.now();
    let id = asked.segment(3);
    let live = state.tokens.live(now, |issued| issued.id == id);
    let owner = live.first().map(|issued| issued.user_id.clone());
    let Some(owner) = owner else {
        return Err(Answer::api(404, "OAUTH-TOKENS-2", "Token not found", ""));
    };
    if owner != caller.user_id {
        Caller::admin(state, asked, &ADMIN)?;
    }
    state.tokens.revoke(now, |issued| issued.id == id);
    Ok(Answer::empty(204))
}
