//! `/api/v1/users`: list, filter, create, read.

use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, settle};
use super::asked::Asked;
use super::filter::Field;
use super::page::{Listing, page};
use super::permission::Caller;
use super::state::State;
use super::user::{User, UserStatus};
use super::user_patch;

/// Reading other users; `user_default` is enough in the official sample.
const READ: [&str; 4] = [
    "admin_classic",
    "admin.users",
    "admin.users:read",
    "user_default",
];
/// Creating and changing users (doc).
const WRITE: [&str; 2] = ["admin_classic", "admin.users"];

/// What may be filtered on (doc).
const FIELDS: [Field; 11] = [
    field("id", "id", false),
    field("subject", "subject", true),
    field("name", "name", true),
    field("email", "email", true),
    field("status", "status", false),
    field("clientId", "clientId", false),
    field("assignedRoles.id", "assignedRoles.id", false),
    field("assignedRoles.name", "assignedRoles.name", false),
    field("assignedGroups.id", "assignedGroups.id", false),
    field(
        "assignedGroupsAssignedRoles.name",
        "assignedGroups.assignedRoles.name",
        false,
    ),
    field("assignedScopes", "assignedScopes", false),
];

const SORTS: [&str; 6] = ["id", "subject", "name", "email", "status", "createdAt"];

const fn field(name: &'static str, path: &'static str, contains: bool) -> Field {
    Field {
        name,
        path,
        contains,
    }
}

/// The body of a creation; roles are given by name or id.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewUser {
    subject: String,
    name: Option<String>,
    email: Option<String>,
    picture: Option<String>,
    status: Option<UserStatus>,
    #[serde(default)]
    assigned_roles: Vec<Value>,
    assigned_groups: Option<Value>,
}

pub(super) fn list(state: &mut State, asked: &Asked) -> Answer {
    settle(hits(state, asked, asked.query("filter")))
}

pub(super) fn filter(state: &mut State, asked: &Asked) -> Answer {
    if let Err(detail) = asked.json() {
        return invalid(detail);
    }
    settle(hits(state, asked, asked.text("filter")))
}

fn hits(state: &mut State, asked: &Asked, filter: Option<&str>) -> Result<Answer, Answer> {
    Caller::with(state, asked, &READ)?;
    let base = state.base();
    let users = state
        .world
        .users
        .iter()
        .filter(|user| user.status != UserStatus::Deleted);
    let items = users
        .map(|user| user.resource(&state.world.tenant_id, &base))
        .collect();
    let listing = Listing {
        base,
        fields: &FIELDS,
        sorts: &SORTS,
    };
    let mut page = page(&listing, asked, filter, items).map_err(invalid)?;
    if let Some(Value::Array(items)) = page.get_mut("data") {
        for item in items {
            narrow(item, asked);
        }
    }
    Ok(Answer::json(200, page))
}

pub(super) fn create(state: &mut State, asked: &Asked) -> Answer {
    settle(try_create(state, asked))
}

fn try_create(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    Caller::admin(state, asked, &WRITE)?;
    let new = NewUser::deserialize(asked.json().map_err(invalid)?)
        .map_err(|error| invalid(error.to_string()))?;
    if new.subject.is_empty() {
        return Err(invalid("subject is empty"));
    }
    if new.assigned_groups.is_some() {
        return Err(invalid("assignedGroups cannot be set at creation"));
    }
    let status = new.status.unwrap_or(UserStatus::Invited);
    if !matches!(status, UserStatus::Active | UserStatus::Invited) {
        return Err(invalid("status must be active or invited"));
    }
    if state
        .world
        .users
        .iter()
        .any(|user| user.subject == new.subject)
    {
        return Err(Answer::api(409, "USERS-6", "User already exists", ""));
    }
    let mut user = User::new(new.subject, new.email.unwrap_or_default());
    user.id = state.ids.hex(24);
    user.status = status;
    user.picture = new.picture;
    user.name = new.name.unwrap_or(user.name);
    user.roles = new.assigned_roles.iter().filter_map(role_name).collect();
    user.created_at = state.now();
    user.updated_at = user.created_at;
    let resource = user.resource(&state.world.tenant_id, &state.base());
    state.world.users.push(user);
    Ok(Answer::json(201, resource))
}

/// A role given as `{name}` or `{id}`; an id stands for itself.
pub(super) fn role_name(role: &Value) -> Option<String> {
    let name = role.get("name").or_else(|| role.get("id"))?;
    name.as_str().map(str::to_owned)
}

/// A redirect to the user (code); its status is unknown, and it can be switched off.
pub(super) fn me(state: &mut State, asked: &Asked) -> Answer {
    let caller = match Caller::of(state, asked) {
        Ok(caller) => caller,
        Err(refusal) => return refusal,
    };
    if !state.world.users_me_redirects {
        return show(state, asked, &caller.user_id);
    }
    let mark = if asked.raw_query.is_empty() { "" } else { "?" };
    let target = format!("/api/v1/users/{}{mark}{}", caller.user_id, asked.raw_query);
    Answer::empty(307).with("location", target)
}

pub(super) fn read(state: &mut State, asked: &Asked) -> Answer {
    let id = asked.segment(3);
    match Caller::of(state, asked) {
        Err(refusal) => return refusal,
        Ok(caller) if caller.user_id == id => {}
        Ok(_) => {
            if let Err(refusal) = Caller::with(state, asked, &READ) {
                return refusal;
            }
        }
    }
    show(state, asked, id)
}

fn show(state: &State, asked: &Asked, id: &str) -> Answer {
    let Some(user) = state.world.user(id) else {
        return not_found();
    };
    let mut resource = user.resource(&state.world.tenant_id, &state.base());
    narrow(&mut resource, asked);
    Answer::json(200, resource)
}

pub(super) fn patch(state: &mut State, asked: &Asked) -> Answer {
    settle(try_patch(state, asked))
}

fn try_patch(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    Caller::admin(state, asked, &WRITE)?;
    let now = state.now();
    let id = asked.segment(3);
    let mut user = state.world.user(id).cloned().ok_or_else(not_found)?;
    user_patch::apply(state, &mut user, asked).map_err(invalid)?;
    user.updated_at = now;
    if let Some(place) = state.world.user_mut(id) {
        *place = user;
    }
    Ok(Answer::empty(204))
}

/// Keeps only the keys that `fields` names.
fn narrow(resource: &mut Value, asked: &Asked) {
    if let (Some(fields), Value::Object(resource)) = (asked.query("fields"), resource) {
        resource.retain(|key, _| fields.split(',').any(|field| field.trim() == key));
    }
}

fn invalid(detail: impl Into<String>) -> Answer {
    Answer::api(400, "USERS-1", "Invalid request", detail)
}

fn not_found() -> Answer {
    let mut answer = Answer::api(404, "USERS-7", "User not found", "");
    if let Some(body) = answer.object() {
        body["errors"][0]["source"] = json!({ "parameter": "userId" });
    }
    answer
}
