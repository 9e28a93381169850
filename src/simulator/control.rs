//! `/_simulator/`: the strings behind the scene, open to every origin so that a demo page can pull them.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::Answer;
use super::asked::Asked;
use super::call::Call;
use super::fault::Fault;
use super::faults::Scripted;
use super::settings::{self, Settings};
use super::state::State;
use super::user::{User, UserStatus};

const INDEX: [(&str, &str); 11] = [
    ("GET /_simulator/calls", "counters per call"),
    (
        "GET /_simulator/requests",
        "the latest requests, secrets redacted; ?after=N for those with a higher number",
    ),
    (
        "POST /_simulator/faults",
        "{call, fault: {type, ...}, times?, seconds?}; without either until cleared",
    ),
    ("DELETE /_simulator/faults", "clears all faults"),
    (
        "POST /_simulator/reset",
        "forgets counters, log, faults and rate windows",
    ),
    ("GET /_simulator/users", "the users"),
    (
        "POST /_simulator/users",
        "{subject, email?, name?, status?, roles?} adds a user",
    ),
    (
        "PATCH /_simulator/users/{id}",
        "{status} changes a user, by id or subject",
    ),
    (
        "POST /_simulator/revoke-user",
        "{userId} or {subject} ends all live tokens of a user",
    ),
    ("GET /_simulator/settings", "the settings"),
    ("PATCH /_simulator/settings", "changes the settings given"),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    call: Call,
    fault: Value,
    /// How often it applies, and for how long; until cleared when both are left out.
    times: Option<u32>,
    seconds: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    subject: String,
    #[serde(default)]
    email: String,
    name: Option<String>,
    status: Option<UserStatus>,
    #[serde(default)]
    roles: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserChange {
    status: UserStatus,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
enum Whose {
    UserId(String),
    Subject(String),
}

/// Whether `path` is of the control interface.
pub(super) fn owns(path: &str) -> bool {
    path == "/_simulator" || path.starts_with("/_simulator/")
}

pub(super) fn answer(state: &mut State, asked: &Asked) -> Answer {
    let segments = asked.segments();
    let result = match (asked.method.as_str(), segments.get(1..).unwrap_or_default()) {
        ("OPTIONS", _) => Ok(Answer::empty(204)),
        ("GET", []) => Ok(index()),
        ("GET", ["calls"]) => Ok(Answer::json(200, json!(state.log.counts()))),
        ("GET", ["requests"]) => requests(state, asked),
        ("POST", ["faults"]) => script(state, asked),
        ("DELETE", ["faults"]) => {
            state.faults.clear();
            Ok(Answer::empty(204))
        }
        ("POST", ["reset"]) => {
            state.reset();
            Ok(Answer::empty(204))
        }
        ("GET", ["users"]) => Ok(users(state)),
        ("POST", ["users"]) => add_user(state, asked),
        ("PATCH", ["users", id]) => change_user(state, asked, id),
        ("POST", ["revoke-user"]) => revoke_user(state, asked),
        ("GET", ["settings"]) => Ok(Answer::json(200, settings::shown(&mut state.world))),
        ("PATCH", ["settings"]) => change_settings(state, asked),
        _ => Err((404, "no such control; see GET /_simulator/".to_owned())),
    };
    let answer =
        result.unwrap_or_else(|(status, error)| Answer::json(status, json!({ "error": error })));
    answer
        .with("access-control-allow-origin", "*")
        .with(
            "access-control-allow-methods",
            "GET, POST, PATCH, DELETE, OPTIONS",
        )
        .with("access-control-allow-headers", "content-type, accept")
}

/// The status and text of an error.
type Refused = (u16, String);

fn index() -> Answer {
    let index: serde_json::Map<_, _> = INDEX
        .iter()
        .map(|(call, what)| ((*call).to_owned(), json!(what)))
        .collect();
    Answer::json(200, Value::Object(index))
}

fn requests(state: &State, asked: &Asked) -> Result<Answer, Refused> {
    let after = asked.query("after").unwrap_or("0").parse();
    let after = after.map_err(|_| (400, "after must be the number of a request".to_owned()))?;
    Ok(Answer::json(200, json!(state.log.records_after(after))))
}

fn script(state: &mut State, asked: &Asked) -> Result<Answer, Refused> {
    let script: Script = read(asked)?;
    let fault = Fault::parse(&script.fault).map_err(|error| (400, error))?;
    let life = script.seconds.map(u64::from).map(Duration::from_secs);
    let scripted = Scripted {
        fault,
        times: script.times,
        until: life.map(|life| Instant::now() + life),
    };
    state.faults.push(script.call, scripted);
    Ok(Answer::empty(204))
}

fn users(state: &State) -> Answer {
    let base = state.base();
    let users = state.world.users.iter();
    let users: Vec<_> = users
        .map(|user| user.resource(&state.world.tenant_id, &base))
        .collect();
    Answer::json(200, json!(users))
}

fn add_user(state: &mut State, asked: &Asked) -> Result<Answer, Refused> {
    let new: NewUser = read(asked)?;
    if state
        .world
        .users
        .iter()
        .any(|user| user.subject == new.subject)
    {
        return Err((409, format!("subject {:?} exists", new.subject)));
    }
    let mut user = User::new(new.subject, new.email);
    user.name = new.name.unwrap_or(user.name);
    user.status = new.status.unwrap_or(user.status);
    user.roles = new.roles;
    let resource = user.resource(&state.world.tenant_id, &state.base());
    state.world.users.push(user);
    Ok(Answer::json(201, resource))
}

fn change_user(state: &mut State, asked: &Asked, id: &str) -> Result<Answer, Refused> {
    let change: UserChange = read(asked)?;
    let found = state.world.find_user(id).map(|user| user.id.clone());
    let user = found.and_then(|id| state.world.user_mut(&id));
    let user = user.ok_or_else(|| (404, format!("no user {id:?}")))?;
    user.status = change.status;
    Ok(Answer::empty(204))
}

fn revoke_user(state: &mut State, asked: &Asked) -> Result<Answer, Refused> {
    let (Whose::UserId(who) | Whose::Subject(who)) = read(asked)?;
    let revoked = state
        .revoke_user(&who)
        .ok_or_else(|| (404, format!("no user {who:?}")))?;
    Ok(Answer::json(200, json!({ "revoked": revoked })))
}

fn change_settings(state: &mut State, asked: &Asked) -> Result<Answer, Refused> {
    let settings: Settings = read(asked)?;
    settings
        .apply(&mut state.world)
        .map_err(|error| (400, error))?;
    Ok(Answer::json(200, settings::shown(&mut state.world)))
}

/// The body as `T`; the error names what is allowed.
fn read<'a, T: Deserialize<'a>>(asked: &'a Asked) -> Result<T, Refused> {
    let body = asked.json().map_err(|error| (400, error))?;
    T::deserialize(body).map_err(|error| (400, error.to_string()))
}
