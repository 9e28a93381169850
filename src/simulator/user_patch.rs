//! The patch of a user: all operations or none. A partial success (207) can only be scripted as a fault.

use serde::Deserialize;
use serde_json::Value;

use super::asked::Asked;
use super::json_patch::Operation;
use super::state::State;
use super::user::{Group, User, UserStatus};
use super::users::role_name;

/// `set` and `unset` are deprecated but taken (doc).
const OPS: [&str; 6] = ["replace", "add", "remove-value", "renew", "set", "unset"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AssignedGroup {
    name: String,
    #[serde(default = "idp")]
    provider_type: String,
}

fn idp() -> String {
    "idp".to_owned()
}

/// Applies the patch of the request to `user`; the error says what is wrong.
pub(super) fn apply(state: &mut State, user: &mut User, asked: &Asked) -> Result<(), String> {
    for operation in Operation::list(asked, &OPS)? {
        apply_one(state, user, &operation)?;
    }
    Ok(())
}

fn apply_one(state: &mut State, user: &mut User, operation: &Operation) -> Result<(), String> {
    match operation.path.as_str() {
        "/name" => user.name = operation.text()?,
        "/preferredLocale" => user.locale = Some(operation.text()?),
        "/preferredZoneinfo" => user.zoneinfo = Some(operation.text()?),
        "/inviteExpiry" => {}
        "/status" => {
            let status = operation.text()?;
            user.status = UserStatus::named(&status)
                .filter(|status| *status != UserStatus::Provisioned)
                .ok_or_else(|| format!("status {status:?} cannot be set"))?;
        }
        "/assignedRoles" | "/roles" => {
            let roles = values(operation).filter_map(role_name).collect();
            change(&mut user.roles, roles, &operation.op);
        }
        "/assignedGroups" => {
            let mut groups = Vec::new();
            for value in values(operation) {
                groups.push(assigned(state, value)?);
            }
            change(&mut user.groups, groups, &operation.op);
        }
        other => return Err(format!("path {other:?} cannot be patched")),
    }
    Ok(())
}

/// A value is one item or a list of them.
fn values(operation: &Operation) -> impl Iterator<Item = &Value> {
    match &operation.value {
        Value::Array(values) => values.iter(),
        one => std::slice::from_ref(one).iter(),
    }
}

fn change<T: PartialEq>(held: &mut Vec<T>, given: Vec<T>, op: &str) {
    match op {
        "add" => {
            for item in given {
                if !held.contains(&item) {
                    held.push(item);
                }
            }
        }
        "remove-value" | "unset" => held.retain(|item| !given.contains(item)),
        _ => *held = given,
    }
}

/// The group of this name and kind: custom groups must exist, others may be created on the way (doc).
fn assigned(state: &mut State, value: &Value) -> Result<Group, String> {
    let wanted =
        AssignedGroup::deserialize(value).map_err(|error| format!("assignedGroups: {error}"))?;
    let known = state
        .world
        .groups
        .iter()
        .find(|group| group.name == wanted.name && group.provider_type == wanted.provider_type);
    if let Some(known) = known {
        return Ok(known.clone());
    }
    if wanted.provider_type != "idp" || !state.world.group_settings.auto_create {
        return Err(format!(
            "there is no {} group {:?}",
            wanted.provider_type, wanted.name
        ));
    }
    let group = Group {
        id: state.ids.hex(24),
        name: wanted.name,
        provider_type: wanted.provider_type,
    };
    state.world.groups.push(group.clone());
    Ok(group)
}
