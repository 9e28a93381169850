//! `/api/v1/oauth-clients`: list, create, read, patch, delete, publish.

use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, settle};
use super::asked::Asked;
use super::client::{Client, ClientSecret};
use super::filter::Field;
use super::new_client::NewClient;
use super::page::{Listing, page};
use super::permission::Caller;
use super::state::State;
use super::{client_patch, clock};

/// Managing clients takes an administrator.
pub(super) const ADMIN: [&str; 1] = ["admin_classic"];

/// What may be filtered on (doc).
const FIELDS: [Field; 5] = [
    field("clientId"),
    field("clientName"),
    field("appType"),
    field("tenantId"),
    field("createdByType"),
];

const SORTS: [&str; 6] = [
    "clientId",
    "clientName",
    "appType",
    "tenantId",
    "createdAt",
    "updatedAt",
];

const fn field(name: &'static str) -> Field {
    Field {
        name,
        path: name,
        contains: false,
    }
}

pub(super) fn list(state: &mut State, asked: &Asked) -> Answer {
    settle(try_list(state, asked))
}

fn try_list(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let caller = Caller::with(state, asked, &["admin_classic", "user_default"])?;
    let admin = caller.is_admin(&ADMIN);
    let tenant = &state.world.tenant_id;
    let items = state.world.clients.iter().map(|client| {
        if admin {
            client.resource(tenant)
        } else {
            client.reduced()
        }
    });
    let listing = Listing {
        base: state.base(),
        fields: &FIELDS,
        sorts: &SORTS,
    };
    let page = page(&listing, asked, asked.query("filter"), items.collect()).map_err(invalid)?;
    Ok(Answer::json(200, page))
}

pub(super) fn create(state: &mut State, asked: &Asked) -> Answer {
    settle(try_create(state, asked))
}

fn try_create(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let caller = Caller::admin(state, asked, &ADMIN)?;
    let new = NewClient::deserialize(asked.json().map_err(invalid)?)
        .map_err(|error| invalid(error.to_string()))?;
    new.check(state.world.origins_at_creation)
        .map_err(invalid)?;
    let mut client = new.client(state.ids.hex(32), state.now());
    client.owner_id = caller.user_id;
    let secret = (client.app_type == "web" && client.allows("client_secret"))
        .then(|| new_secret(state, &client));
    client.secrets.extend(secret.clone());
    let answer = creation_answer(&client, secret.as_ref());
    state.world.clients.push(client);
    Ok(Answer::json(201, answer))
}

/// The keys of the documented example, and those of the request's optional parts.
fn creation_answer(client: &Client, secret: Option<&ClientSecret>) -> Value {
    let mut answer = client.reduced();
    answer["allowedGrantTypes"] = json!(client.grants);
    answer["allowedScopes"] = json!(client.scopes);
    answer["redirectUris"] = json!(client.redirect_uris);
    answer["ownerId"] = json!(client.owner_id);
    answer["createdAt"] = json!(clock::iso_nanos(client.created_at));
    if let Some(secret) = secret {
        answer["clientSecret"] = json!(secret.value);
        answer["clientSecretHint"] = json!(secret.hint);
    }
    if !client.origins.is_empty() {
        answer["allowedOrigins"] = json!(client.origins);
    }
    if !client.public_keys.is_empty() {
        answer["allowedAuthMethods"] = json!(client.auth_methods);
        answer["publicKeys"] = json!(client.public_keys);
    }
    answer
}

/// A fresh secret of 64 hex characters whose hint is unique on the client.
pub(super) fn new_secret(state: &mut State, client: &Client) -> ClientSecret {
    loop {
        let secret = ClientSecret::new(state.ids.hex(64), state.now());
        if client.secrets.iter().all(|known| known.hint != secret.hint) {
            return secret;
        }
    }
}

pub(super) fn read(state: &mut State, asked: &Asked) -> Answer {
    settle(try_read(state, asked))
}

fn try_read(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    let caller = Caller::with(state, asked, &["admin_classic", "user_default"])?;
    let client = named(state, asked)?;
    let resource = if caller.is_admin(&ADMIN) {
        client.resource(&state.world.tenant_id)
    } else {
        client.reduced()
    };
    Ok(Answer::json(200, resource))
}

pub(super) fn patch(state: &mut State, asked: &Asked) -> Answer {
    settle(client_patch::patch(state, asked))
}

pub(super) fn delete(state: &mut State, asked: &Asked) -> Answer {
    settle(try_delete(state, asked))
}

/// The client's bot stays (doc); its tokens live on until they expire (doc, of the organisation's API).
fn try_delete(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    Caller::admin(state, asked, &ADMIN)?;
    let id = named(state, asked)?.id.clone();
    state.world.clients.retain(|client| client.id != id);
    Ok(Answer::empty(204))
}

pub(super) fn publish(state: &mut State, asked: &Asked) -> Answer {
    settle(try_publish(state, asked))
}

fn try_publish(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    Caller::admin(state, asked, &ADMIN)?;
    let now = state.now();
    named_mut(state, asked)?.published_at = Some(now);
    Ok(Answer::json(
        201,
        json!({ "publishedAt": clock::iso_nanos(now) }),
    ))
}

/// The client of the path, or a 404.
pub(super) fn named<'a>(state: &'a State, asked: &Asked) -> Result<&'a Client, Answer> {
    state.world.client(asked.segment(3)).ok_or_else(not_found)
}

/// The client of the path to change, or a 404.
pub(super) fn named_mut<'a>(state: &'a mut State, asked: &Asked) -> Result<&'a mut Client, Answer> {
    state
        .world
        .client_mut(asked.segment(3))
        .ok_or_else(not_found)
}

/// Errors of these endpoints carry no `status` inside (code); their codes are unknown.
pub(super) fn refuse(status: u16, code: &str, title: &str, detail: impl Into<String>) -> Answer {
    let error = json!({ "code": code, "title": title, "detail": detail.into() });
    Answer::json(status, json!({ "errors": [error] }))
}

pub(super) fn invalid(detail: impl Into<String>) -> Answer {
    refuse(400, "OAUTH-CLIENTS-1", "Invalid request", detail)
}

fn not_found() -> Answer {
    refuse(404, "OAUTH-CLIENTS-2", "OAuth client not found", "")
}
