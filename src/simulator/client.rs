//! OAuth clients of the tenant.

use std::fmt;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::clock;

/// The grant of impersonation.
pub const IMPERSONATION: &str = "urn:qlik:oauth:user-impersonation";
/// The grant of bots.
pub const CLIENT_CREDENTIALS: &str = "client_credentials";

/// A client may hold this many secrets (doc).
pub(super) const MAX_SECRETS: usize = 5;

/// A secret of a client.
#[derive(Clone)]
pub struct ClientSecret {
    /// The secret itself.
    pub value: String,
    /// The five characters by which it is named and deleted; which ones is unknown, here the last.
    pub hint: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl ClientSecret {
    /// A secret of this value.
    pub fn new(value: impl Into<String>, created_at: Timestamp) -> Self {
        let value = value.into();
        let skipped = value.chars().count().saturating_sub(5);
        let hint = value.chars().skip(skipped).collect();
        Self {
            value,
            hint,
            created_at,
        }
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ClientSecret(…{})", self.hint)
    }
}

/// An OAuth client.
#[derive(Clone, Debug)]
pub struct Client {
    /// The id, 32 characters in real tenants (doc).
    pub id: String,
    /// The name, not necessarily unique.
    pub name: String,
    /// `web`, `native`, `spa` or `anonymous-embed`.
    pub app_type: String,
    /// Free text.
    pub description: String,
    /// A link to the application.
    pub client_uri: String,
    /// A link to a logo.
    pub logo_uri: String,
    /// A link to a key set; kept, never fetched.
    pub jwks_uri: String,
    /// Where interactive flows return to.
    pub redirect_uris: Vec<String>,
    /// The scopes a token of this client may have.
    pub scopes: Vec<String>,
    /// The machine-to-machine grants.
    pub grants: Vec<String>,
    /// The browser origins that may use its tokens.
    pub origins: Vec<String>,
    /// `client_secret`, `private_key_jwt`.
    pub auth_methods: Vec<String>,
    /// The JWKs of private key JWT.
    pub public_keys: Vec<Value>,
    /// The live secrets, at most five.
    pub secrets: Vec<ClientSecret>,
    /// Whether the consent method is `trusted` rather than `required`.
    pub trusted: bool,
    /// The user who made it.
    pub owner_id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was shared with the region.
    pub published_at: Option<Timestamp>,
}

impl Client {
    pub(super) fn new(id: impl Into<String>, now: Timestamp) -> Self {
        let id = id.into();
        Self {
            name: id.clone(),
            id,
            app_type: "web".to_owned(),
            description: String::new(),
            client_uri: String::new(),
            logo_uri: String::new(),
            jwks_uri: String::new(),
            redirect_uris: Vec::new(),
            scopes: Vec::new(),
            grants: Vec::new(),
            origins: Vec::new(),
            auth_methods: Vec::new(),
            public_keys: Vec::new(),
            secrets: Vec::new(),
            trusted: false,
            owner_id: String::new(),
            created_at: now,
            updated_at: now,
            published_at: None,
        }
    }

    /// Whether the client may authenticate by `method`.
    pub fn allows(&self, method: &str) -> bool {
        self.auth_methods.iter().any(|allowed| allowed == method)
    }

    /// Whether a token of this client may have `scope`: listed, or implied by its parent (doc).
    pub fn covers(&self, scope: &str) -> bool {
        let parent = scope.split_once(':').map(|(parent, _)| parent);
        self.scopes
            .iter()
            .any(|held| held == scope || Some(held.as_str()) == parent)
    }

    /// The whole resource, as administrators read it (doc).
    pub(super) fn resource(&self, tenant_id: &str) -> Value {
        let secrets = self.secrets.iter().map(|secret| {
            json!({ "hint": secret.hint, "createdAt": clock::iso_nanos(secret.created_at), "createdBy": self.owner_id })
        });
        let mut resource = self.reduced();
        let more = json!({
            "tenantId": tenant_id,
            "allowedScopes": self.scopes,
            "allowedGrantTypes": self.grants,
            "allowedOrigins": self.origins,
            "allowedAuthMethods": self.auth_methods,
            "publicKeys": self.public_keys,
            "redirectUris": self.redirect_uris,
            "ownerId": self.owner_id,
            "createdByType": "user",
            "clientSecrets": secrets.collect::<Vec<_>>(),
            "connectionConfig": self.connection_config(),
            "createdAt": clock::iso_nanos(self.created_at),
            "updatedAt": clock::iso_nanos(self.updated_at),
        });
        if let (Value::Object(resource), Value::Object(more)) = (&mut resource, more) {
            resource.extend(more);
        }
        if !self.jwks_uri.is_empty() {
            resource["jwksUri"] = json!(self.jwks_uri);
        }
        if let Some(published) = self.published_at {
            resource["publishedAt"] = json!(clock::iso_nanos(published));
        }
        resource
    }

    /// What everyone else reads; that it is less is documented, which keys is not.
    pub(super) fn reduced(&self) -> Value {
        json!({
            "clientId": self.id,
            "clientName": self.name,
            "appType": self.app_type,
            "description": self.description,
            "clientUri": self.client_uri,
            "logoUri": self.logo_uri,
        })
    }

    pub(super) fn connection_config(&self) -> Value {
        json!({ "consentMethod": if self.trusted { "trusted" } else { "required" }, "status": "active", "deletedByOwner": false })
    }
}

/// A client in the making, for a [`World`](super::World).
#[derive(Clone, Debug)]
pub struct ClientSetup(Client);

impl ClientSetup {
    /// A web client without grants, scopes, secrets or consent.
    pub fn new(id: impl Into<String>) -> Self {
        Self(Client::new(id, clock::timestamp(0)))
    }

    /// The name shown; the id otherwise.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.0.name = name.into();
        self
    }

    /// One more secret.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.0
            .secrets
            .push(ClientSecret::new(secret, self.0.created_at));
        self.authenticating("client_secret")
    }

    /// One more public key: a JWK with `kid`, `kty`, `alg` and the members of its kind.
    #[must_use]
    pub fn public_key(mut self, jwk: Value) -> Self {
        self.0.public_keys.push(jwk);
        self.authenticating("private_key_jwt")
    }

    /// One more grant, such as [`IMPERSONATION`].
    #[must_use]
    pub fn grant(mut self, grant: impl Into<String>) -> Self {
        self.0.grants.push(grant.into());
        self
    }

    /// More scopes, separated by spaces.
    #[must_use]
    pub fn scopes(mut self, scopes: &str) -> Self {
        self.0
            .scopes
            .extend(scopes.split_whitespace().map(str::to_owned));
        self
    }

    /// One more browser origin.
    #[must_use]
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.0.origins.push(origin.into());
        self
    }

    /// Sets the consent method to trusted.
    #[must_use]
    pub fn trusted(mut self) -> Self {
        self.0.trusted = true;
        self
    }

    pub(super) fn build(self) -> Client {
        self.0
    }

    fn authenticating(mut self, method: &str) -> Self {
        if !self.0.allows(method) {
            self.0.auth_methods.push(method.to_owned());
        }
        self
    }
}
