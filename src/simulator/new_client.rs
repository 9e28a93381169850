//! The body of an OAuth client's creation, and the rules a client must keep.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::client::{CLIENT_CREDENTIALS, Client, IMPERSONATION};

const APP_TYPES: [&str; 4] = ["web", "native", "spa", "anonymous-embed"];

/// The body of a creation (doc).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewClient {
    app_type: String,
    client_name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    client_uri: String,
    #[serde(default)]
    logo_uri: String,
    #[serde(default)]
    jwks_uri: String,
    #[serde(default)]
    redirect_uris: Vec<String>,
    #[serde(default)]
    allowed_scopes: Vec<String>,
    #[serde(default)]
    allowed_grant_types: Vec<String>,
    #[serde(default)]
    allowed_origins: Vec<String>,
    allowed_auth_methods: Option<Vec<String>>,
    #[serde(default)]
    public_keys: Vec<Value>,
    connection_config: Option<ConnectionConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionConfig {
    consent_method: String,
}

impl NewClient {
    /// Whether a tenant would take it; the error says why not.
    pub(super) fn check(&self, origins_allowed: bool) -> Result<(), String> {
        if !APP_TYPES.contains(&self.app_type.as_str()) {
            return Err(format!("appType must be one of {}", APP_TYPES.join(", ")));
        }
        if self.client_name.is_empty() {
            return Err("clientName is empty".to_owned());
        }
        let config = self.connection_config.as_ref();
        if config.is_some_and(|config| config.consent_method != "trusted") {
            return Err(
                "connectionConfig.consentMethod can only be trusted at creation".to_owned(),
            );
        }
        if self.app_type == "web" && !self.allowed_origins.is_empty() && !origins_allowed {
            return Err("allowedOrigins can only be set on spa clients".to_owned());
        }
        check_grants(&self.app_type, &self.allowed_grant_types)?;
        check_auth(
            self.allowed_auth_methods.as_deref().unwrap_or_default(),
            &self.public_keys,
        )
    }

    /// The client, without secrets and owner.
    pub(super) fn client(self, id: String, now: Timestamp) -> Client {
        let methods = self.allowed_auth_methods;
        Client {
            trusted: self.connection_config.is_some(),
            name: self.client_name,
            app_type: self.app_type,
            description: self.description,
            client_uri: self.client_uri,
            logo_uri: self.logo_uri,
            jwks_uri: self.jwks_uri,
            redirect_uris: self.redirect_uris,
            scopes: self.allowed_scopes,
            grants: self.allowed_grant_types,
            origins: self.allowed_origins,
            public_keys: self.public_keys,
            auth_methods: methods.unwrap_or_else(|| vec!["client_secret".to_owned()]),
            ..Client::new(id, now)
        }
    }
}

/// Machine-to-machine grants are for web clients (doc).
pub(super) fn check_grants(app_type: &str, grants: &[String]) -> Result<(), String> {
    let known = |grant: &&String| [CLIENT_CREDENTIALS, IMPERSONATION].contains(&grant.as_str());
    if let Some(other) = grants.iter().find(|grant| !known(grant)) {
        return Err(format!(
            "grant {other:?} is not {CLIENT_CREDENTIALS} or {IMPERSONATION}"
        ));
    }
    if app_type != "web" && !grants.is_empty() {
        return Err("allowedGrantTypes are for web clients".to_owned());
    }
    Ok(())
}

/// Methods and keys, each of which needs these members (doc).
pub(super) fn check_auth(methods: &[String], keys: &[Value]) -> Result<(), String> {
    let known = |method: &&String| ["client_secret", "private_key_jwt"].contains(&method.as_str());
    if let Some(other) = methods.iter().find(|method| !known(method)) {
        return Err(format!(
            "auth method {other:?} is not client_secret or private_key_jwt"
        ));
    }
    for key in keys {
        let has = |name: &str| key.get(name).is_some_and(Value::is_string);
        let needed = match key.get("kty").and_then(Value::as_str) {
            Some("RSA") => ["kid", "alg", "use", "n", "e"],
            Some("EC") => ["kid", "alg", "use", "x", "y"],
            _ => return Err("kty of a public key must be RSA or EC".to_owned()),
        };
        if let Some(missing) = needed.into_iter().find(|name| !has(name)) {
            return Err(format!("a public key lacks {missing}"));
        }
    }
    Ok(())
}
