//! `/api/v1/users`, as the management client sees it: find, create, set groups.

use std::sync::Arc;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::form_urlencoded::byte_serialize;

use super::error::QlikError;
use super::management::{Ask, Management};
use super::rest::Answer;
use crate::mapping::{Email, Groups, LookupField, Profile, UserLookup};
use crate::telemetry::metrics::UpstreamCall;

const NOT_USERS: QlikError = QlikError::Malformed("not the JSON of users");
/// A filter by an id has one hit; letter case, which a tenant ignores, makes a few more.
const PAGE: usize = 100;

/// A user of a tenant.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Qlik's own id.
    pub id: String,
    /// The identity provider's id.
    pub subject: String,
    /// The e-mail address; empty if there is none.
    pub email: String,
    /// Whether it may be impersonated. What the tenant does with states other than `active` and
    /// `disabled` is not documented.
    pub is_active: bool,
    /// The OAuth client that it is the bot of.
    pub client_id: Option<String>,
    /// Whether it has a role of an administrator, by itself or through a group.
    pub is_admin: bool,
    /// Its groups of the identity provider, by name.
    pub groups: Groups,
    /// Its other groups, as the tenant writes them: they are the tenant's own matter.
    own_groups: Vec<Value>,
}

/// Personal data.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("User(…)")
    }
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Resource>,
}

/// The part of a user that is looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    id: String,
    subject: Option<String>,
    email: Option<String>,
    status: Option<String>,
    client_id: Option<String>,
    assigned_roles: Option<Vec<Named>>,
    assigned_groups: Option<Vec<Named>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    name: Option<String>,
    provider_type: Option<String>,
    assigned_roles: Option<Vec<Named>>,
}

impl Named {
    /// The default of the API is `idp`.
    fn is_of_identity_provider(&self) -> bool {
        self.provider_type
            .as_deref()
            .is_none_or(|kind| kind == "idp")
    }
}

impl From<Resource> for User {
    fn from(resource: Resource) -> Self {
        let groups = resource.assigned_groups.unwrap_or_default();
        let through_groups = groups
            .iter()
            .filter_map(|group| group.assigned_roles.as_ref());
        let own = resource.assigned_roles.iter();
        let mut roles = own.chain(through_groups).flatten();
        Self {
            is_admin: roles.any(is_admin_role),
            groups: groups
                .iter()
                .filter(|group| group.is_of_identity_provider())
                .filter_map(|group| group.name.clone())
                .collect(),
            own_groups: groups
                .iter()
                .filter(|group| !group.is_of_identity_provider())
                .map(|group| json!({"name": group.name, "providerType": group.provider_type}))
                .collect(),
            is_active: resource.status.as_deref() == Some("active"),
            id: resource.id,
            subject: resource.subject.unwrap_or_default(),
            email: resource.email.unwrap_or_default(),
            client_id: resource.client_id.filter(|id| !id.is_empty()),
        }
    }
}

/// `TenantAdmin`, `AnalyticsAdmin`, `AuditAdmin` and whatever comes to be called so. One without a
/// name may be any of them.
fn is_admin_role(role: &Named) -> bool {
    let name = role.name.as_ref();
    name.is_none_or(|name| name.to_ascii_lowercase().contains("admin"))
}

/// Parses a page of users.
pub(crate) fn parse_page(body: &[u8]) -> Result<Vec<User>, QlikError> {
    let page: Page = serde_json::from_slice(body).map_err(|_| NOT_USERS)?;
    Ok(page.data.into_iter().map(User::from).collect())
}

impl Management {
    /// The user that a token would be asked for by this lookup, whatever its state.
    pub async fn user(
        self: &Arc<Self>,
        user: &UserLookup,
        deadline: Instant,
    ) -> Result<Option<User>, QlikError> {
        let value = user.value();
        let Some(value_in_quotes) = quoted(value) else {
            return Err(QlikError::UserNotAskable);
        };
        let (field, is_user): (_, fn(&User, &str) -> bool) = match user.field() {
            LookupField::Subject => ("subject", |user, value| user.subject == value),
            LookupField::UserId => ("id", |user, value| user.id == value),
        };
        let found = self
            .find(&format!("{field} eq {value_in_quotes}"), deadline)
            .await?;
        // A filter ignores letter case, an identity does not.
        only(found.into_iter().filter(|user| is_user(user, value)))
    }

    /// The active user of an address.
    pub async fn user_by_email(
        self: &Arc<Self>,
        email: &Email,
        deadline: Instant,
    ) -> Result<Option<User>, QlikError> {
        let value = quoted(email.as_str()).ok_or(QlikError::UserNotAskable)?;
        let filter = format!("email eq {value} and (status eq \"active\")");
        let found = self.find(&filter, deadline).await?;
        let hits = found.into_iter();
        only(hits.filter(|user| user.is_active && email.is(&user.email)))
    }

    /// Whether anybody has an address, whatever the state.
    pub async fn is_address_taken(
        self: &Arc<Self>,
        email: &Email,
        deadline: Instant,
    ) -> Result<bool, QlikError> {
        let value = quoted(email.as_str()).ok_or(QlikError::UserNotAskable)?;
        let found = self.find(&format!("email eq {value}"), deadline).await?;
        Ok(found.iter().any(|user| email.is(&user.email)))
    }

    async fn find(
        self: &Arc<Self>,
        filter: &str,
        deadline: Instant,
    ) -> Result<Vec<User>, QlikError> {
        let filter: String = byte_serialize(filter.as_bytes()).collect();
        let ask = Ask {
            call: UpstreamCall::Users,
            method: Method::GET,
            path: &format!("/api/v1/users?limit={PAGE}&filter={filter}"),
            body: None,
        };
        let Answer { status, body } = self.call(&ask, deadline).await?;
        match status {
            200 => parse_page(&body),
            _ => Err(NOT_USERS),
        }
    }

    /// Creates a user, active at once. `None` if there is one of this subject already.
    pub async fn create_user(
        self: &Arc<Self>,
        profile: &Profile,
        deadline: Instant,
    ) -> Result<Option<User>, QlikError> {
        let mut body = json!({
            "subject": profile.subject,
            "name": profile.name,
            // The type of the API lists "invited" only; the how-to says that this is needed.
            "status": "active",
        });
        if let Some(email) = &profile.email {
            body["email"] = Value::from(email.as_str());
        }
        let ask = Ask {
            call: UpstreamCall::UserCreate,
            method: Method::POST,
            path: "/api/v1/users",
            body: Some(&body),
        };
        let Answer { status, body } = self.call(&ask, deadline).await?;
        match status {
            409 => Ok(None),
            200 | 201 => {
                let created = serde_json::from_slice::<Resource>(&body);
                let created = User::from(created.map_err(|_| NOT_USERS)?);
                if created.subject != profile.subject {
                    return Err(QlikError::Malformed("another user was created"));
                }
                Ok(Some(created))
            }
            _ => Err(NOT_USERS),
        }
    }

    /// Sets a user's groups of the identity provider. A patch that was taken in part is an error.
    pub async fn set_groups(
        self: &Arc<Self>,
        user: &User,
        groups: &Groups,
        deadline: Instant,
    ) -> Result<(), QlikError> {
        let named = groups.iter();
        // Section access looks at groups of the identity provider, and these are.
        let value: Vec<_> = named
            .map(|name| json!({"name": name, "providerType": "idp"}))
            .chain(user.own_groups.iter().cloned())
            .collect();
        let body = json!([{"op": "replace", "path": "/assignedGroups", "value": value}]);
        let id: String = byte_serialize(user.id.as_bytes()).collect();
        let ask = Ask {
            call: UpstreamCall::UserPatch,
            method: Method::PATCH,
            path: &format!("/api/v1/users/{id}"),
            body: Some(&body),
        };
        match self.call(&ask, deadline).await?.status {
            200 | 204 => Ok(()),
            404 => Err(QlikError::UserUnknown),
            _ => Err(QlikError::Malformed(
                "the user's groups were not taken as a whole",
            )),
        }
    }
}

fn only(mut hits: impl Iterator<Item = User>) -> Result<Option<User>, QlikError> {
    match (hits.next(), hits.next()) {
        (one, None) => Ok(one),
        _ => Err(QlikError::UserAmbiguous),
    }
}

/// A text as it stands in a filter. How quotes and backslashes are escaped is not documented, so a
/// text with any is not asked for.
fn quoted(text: &str) -> Option<String> {
    let is_plain = !text.contains(['"', '\\']) && !text.chars().any(char::is_control);
    is_plain.then(|| format!("\"{text}\""))
}
