//! Users and groups of the tenant.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{clock, ids};

/// The role that makes a user an administrator.
pub(super) const ADMIN_ROLE: &str = "TenantAdmin";

/// The state of a user (doc).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserStatus {
    /// May sign in and be impersonated.
    Active,
    /// Known, but has never signed in; whether such a user can be impersonated is unknown, here not.
    Invited,
    /// Locked out: impersonation answers 403 (doc).
    Disabled,
    /// Removed; here treated as one that does not exist.
    Deleted,
    /// Made by SCIM; whether such a user can be impersonated is unknown, here yes.
    Provisioned,
}

impl UserStatus {
    /// The name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Invited => "invited",
            Self::Disabled => "disabled",
            Self::Deleted => "deleted",
            Self::Provisioned => "provisioned",
        }
    }

    /// The status of this name.
    pub fn named(name: &str) -> Option<Self> {
        [
            Self::Active,
            Self::Invited,
            Self::Disabled,
            Self::Deleted,
            Self::Provisioned,
        ]
        .into_iter()
        .find(|status| status.name() == name)
    }
}

/// A user, or the bot of a client.
#[derive(Clone, Debug)]
pub struct User {
    /// The tenant's own id, 24 hex characters (doc).
    pub id: String,
    /// The identity provider's id, unique per tenant (doc).
    pub subject: String,
    /// The name shown.
    pub name: String,
    /// The e-mail address, empty for bots.
    pub email: String,
    /// Whether the user may be impersonated.
    pub status: UserStatus,
    /// The names of the assigned roles.
    pub roles: Vec<String>,
    /// The assigned groups.
    pub groups: Vec<Group>,
    /// For a bot, the client it belongs to (doc).
    pub client_id: Option<String>,
    /// A link to a picture.
    pub picture: Option<String>,
    /// `preferredLocale` as set by a patch.
    pub locale: Option<String>,
    /// `preferredZoneinfo` as set by a patch.
    pub zoneinfo: Option<String>,
    /// When the user came to be.
    pub created_at: Timestamp,
    /// When the user last changed.
    pub updated_at: Timestamp,
}

/// A group of the tenant or of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The tenant's own id.
    pub id: String,
    /// The name, unique per kind.
    pub name: String,
    /// `idp` or `custom` (doc).
    pub provider_type: String,
}

impl User {
    /// An active user; the id follows from the subject, so that it is the same in every run.
    pub fn new(subject: impl Into<String>, email: impl Into<String>) -> Self {
        let (subject, email) = (subject.into(), email.into());
        let name = email.split('@').next().unwrap_or_default().to_owned();
        let now = clock::timestamp(0);
        Self {
            id: ids::stable_id(&subject),
            name: if name.is_empty() {
                subject.clone()
            } else {
                name
            },
            subject,
            email,
            status: UserStatus::Active,
            roles: Vec::new(),
            groups: Vec::new(),
            client_id: None,
            picture: None,
            locale: None,
            zoneinfo: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// The bot of a client: subject `qlikbot\{clientId}` and the power of a tenant administrator (doc).
    pub(super) fn bot(client_id: &str, client_name: &str) -> Self {
        let mut bot = Self::new(format!("qlikbot\\{client_id}"), "").with_role(ADMIN_ROLE);
        client_name.clone_into(&mut bot.name);
        bot.client_id = Some(client_id.to_owned());
        bot
    }

    /// The same user with one more role.
    #[must_use]
    pub fn with_role(mut self, role: impl Into<String>) -> Self {
        self.roles.push(role.into());
        self
    }

    /// Whether the user is a tenant administrator.
    pub fn is_admin(&self) -> bool {
        self.roles.iter().any(|role| role == ADMIN_ROLE)
    }

    /// The resource of the users API (doc).
    pub(super) fn resource(&self, tenant_id: &str, base: &str) -> Value {
        let mut resource = json!({
            "id": self.id,
            "subject": self.subject,
            "name": self.name,
            "email": self.email,
            "status": self.status,
            "tenantId": tenant_id,
            "assignedRoles": self.roles.iter().map(|role| role_reference(role)).collect::<Vec<_>>(),
            "assignedGroups": self.groups.iter().map(Group::reference).collect::<Vec<_>>(),
            "assignedScopes": [],
            "createdAt": clock::iso_millis(self.created_at),
            "lastUpdatedAt": clock::iso_millis(self.updated_at),
            "links": { "self": { "href": format!("{base}/api/v1/users/{}", self.id) } },
        });
        for (key, value) in [
            ("clientId", &self.client_id),
            ("picture", &self.picture),
            ("locale", &self.locale),
            ("zoneinfo", &self.zoneinfo),
        ] {
            if let Some(value) = value {
                resource[key] = json!(value);
            }
        }
        resource
    }
}

impl Group {
    fn reference(&self) -> Value {
        json!({ "id": self.id, "name": self.name, "providerType": self.provider_type, "assignedRoles": [] })
    }

    /// The resource of the groups API.
    pub(super) fn resource(&self, tenant_id: &str) -> Value {
        let mut resource = self.reference();
        resource["status"] = json!("active");
        resource["tenantId"] = json!(tenant_id);
        resource
    }
}

fn role_reference(role: &str) -> Value {
    json!({ "id": ids::stable_id(role), "name": role, "type": "default", "level": if role == ADMIN_ROLE { "admin" } else { "user" } })
}
