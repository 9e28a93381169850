//! The tenant itself and the smaller resources: groups, content security policy entries, spaces.

use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, settle};
use super::asked::Asked;
use super::filter::Field;
use super::json_patch::Operation;
use super::page::{Listing, page};
use super::permission::Caller;
use super::state::State;
use super::user::Group;

const GROUP_READ: [&str; 4] = [
    "admin_classic",
    "admin.groups",
    "admin.groups:read",
    "user_default",
];
const GROUP_WRITE: [&str; 2] = ["admin_classic", "admin.groups"];
const CSP: [&str; 1] = ["admin_classic"];
const SPACES: [&str; 4] = [
    "user_default",
    "spaces:read",
    "admin.spaces:read",
    "admin_classic",
];

const GROUP_FIELDS: [Field; 2] = [
    Field {
        name: "id",
        path: "id",
        contains: false,
    },
    Field {
        name: "name",
        path: "name",
        contains: true,
    },
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewGroup {
    name: String,
    /// `idp` unless said otherwise (doc).
    provider_type: Option<String>,
}

pub(super) fn greeting(state: &mut State, _: &Asked) -> Answer {
    let base = state.base();
    let text = format!(
        "Qlik Cloud tenant simulator\nThis is no real tenant. Token endpoint: {base}/oauth/token. Control: {base}/_simulator/\n"
    );
    Answer::text(200, "text/plain; charset=utf-8", text)
}

/// `tenants/me`, or the tenant by its id.
pub(super) fn read(state: &mut State, asked: &Asked) -> Answer {
    if let Err(refusal) = Caller::of(state, asked) {
        return refusal;
    }
    let world = &state.world;
    if ![world.tenant_id.as_str(), "me"].contains(&asked.segment(3)) {
        return Answer::api(404, "TENANTS-404", "Tenant not found", "");
    }
    let resource = json!({
        "id": world.tenant_id,
        "name": world.tenant_name,
        "hostnames": state.hostnames(),
        "status": "active",
        "datacenter": "simulated",
        "links": { "self": { "href": format!("{}/api/v1/tenants/{}", state.base(), world.tenant_id) } },
    });
    Answer::json(200, resource)
}

pub(super) fn groups(state: &mut State, asked: &Asked) -> Answer {
    settle(list_groups(state, asked))
}

fn list_groups(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    Caller::with(state, asked, &GROUP_READ)?;
    let tenant = &state.world.tenant_id;
    let items = state
        .world
        .groups
        .iter()
        .map(|group| group.resource(tenant));
    let listing = Listing {
        base: state.base(),
        fields: &GROUP_FIELDS,
        sorts: &["name"],
    };
    let page = page(&listing, asked, asked.query("filter"), items.collect()).map_err(invalid)?;
    Ok(Answer::json(200, page))
}

pub(super) fn create_group(state: &mut State, asked: &Asked) -> Answer {
    settle(try_create_group(state, asked))
}

fn try_create_group(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    Caller::admin(state, asked, &GROUP_WRITE)?;
    let new = NewGroup::deserialize(asked.json().map_err(invalid)?)
        .map_err(|error| invalid(error.to_string()))?;
    let group = Group {
        id: state.ids.hex(24),
        name: new.name,
        provider_type: new.provider_type.unwrap_or_else(|| "idp".to_owned()),
    };
    if !["idp", "custom"].contains(&group.provider_type.as_str()) {
        return Err(invalid("providerType must be idp or custom"));
    }
    let same =
        |known: &Group| known.name == group.name && known.provider_type == group.provider_type;
    if state.world.groups.iter().any(same) {
        return Err(Answer::api(409, "GROUPS-409", "Group already exists", ""));
    }
    let resource = group.resource(&state.world.tenant_id);
    state.world.groups.push(group);
    Ok(Answer::json(201, resource))
}

pub(super) fn group_settings(state: &mut State, asked: &Asked) -> Answer {
    if let Err(refusal) = Caller::with(state, asked, &GROUP_READ) {
        return refusal;
    }
    let settings = state.world.group_settings;
    let body = json!({
        "tenantId": state.world.tenant_id,
        "autoCreateGroups": settings.auto_create,
        "syncIdpGroups": settings.sync_idp,
    });
    Answer::json(200, body)
}

pub(super) fn patch_group_settings(state: &mut State, asked: &Asked) -> Answer {
    settle(try_patch_group_settings(state, asked))
}

fn try_patch_group_settings(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    Caller::admin(state, asked, &GROUP_WRITE)?;
    let mut settings = state.world.group_settings;
    for operation in Operation::list(asked, &["replace"]).map_err(invalid)? {
        let flag = operation.flag().map_err(invalid)?;
        match operation.path.as_str() {
            "/autoCreateGroups" => settings.auto_create = flag,
            "/syncIdpGroups" => settings.sync_idp = flag,
            other => return Err(invalid(format!("path {other:?} cannot be patched"))),
        }
    }
    state.world.group_settings = settings;
    Ok(Answer::empty(204))
}

pub(super) fn csp_origins(state: &mut State, asked: &Asked) -> Answer {
    if let Err(refusal) = Caller::admin(state, asked, &CSP) {
        return refusal;
    }
    plain_list(state, asked, state.world.csp_origins.clone())
}

pub(super) fn create_csp_origin(state: &mut State, asked: &Asked) -> Answer {
    settle(try_create_csp_origin(state, asked))
}

/// An entry is kept as given, with an id; only `origin` is required (code).
fn try_create_csp_origin(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    Caller::admin(state, asked, &CSP)?;
    let mut entry = asked.json().map_err(invalid)?.clone();
    if entry.get("origin").and_then(Value::as_str).is_none() {
        return Err(invalid("origin is required"));
    }
    entry["id"] = json!(state.ids.hex(24));
    state.world.csp_origins.push(entry.clone());
    Ok(Answer::json(201, entry))
}

pub(super) fn spaces(state: &mut State, asked: &Asked) -> Answer {
    if let Err(refusal) = Caller::with(state, asked, &SPACES) {
        return refusal;
    }
    plain_list(state, asked, state.world.spaces.clone())
}

fn plain_list(state: &State, asked: &Asked, items: Vec<Value>) -> Answer {
    let listing = Listing {
        base: state.base(),
        fields: &[],
        sorts: &["name", "origin"],
    };
    match page(&listing, asked, None, items) {
        Ok(page) => Answer::json(200, page),
        Err(detail) => invalid(detail),
    }
}

fn invalid(detail: impl Into<String>) -> Answer {
    Answer::api(400, "HTTP-400", "Invalid request", detail)
}
