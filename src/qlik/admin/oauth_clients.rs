//! `/api/v1/oauth-clients`: list, read, create, patch, trust, add and drop secrets.

use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Admin, AdminError, Ask, escaped, parse};
use crate::qlik::QlikError;
use crate::secret::{Secret, Zeroizing};

const CLIENTS: &str = "/api/v1/oauth-clients";

/// An OAuth client, as far as it is looked at. A tenant may leave out what is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OauthClient {
    /// Its id.
    pub client_id: String,
    /// The name shown, not necessarily unique.
    #[serde(default)]
    pub client_name: String,
    /// `web`, `native`, `spa` or `anonymous-embed`; never changes.
    #[serde(default)]
    pub app_type: String,
    /// What its tokens may have.
    pub allowed_scopes: Option<Vec<String>>,
    /// The machine-to-machine grants.
    pub allowed_grant_types: Option<Vec<String>>,
    /// The pages that may use its tokens.
    pub allowed_origins: Option<Vec<String>>,
    /// `client_secret`, `private_key_jwt`.
    pub allowed_auth_methods: Option<Vec<String>>,
    /// JWKs.
    pub public_keys: Option<Vec<Value>>,
    /// When it was made.
    pub created_at: Option<String>,
    /// When it last changed.
    pub updated_at: Option<String>,
    client_secrets: Option<Vec<SecretHint>>,
    connection_config: Option<ConnectionConfig>,
    deleted_at: Option<String>,
}

/// What names a secret, and how old it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretHint {
    /// A few of its characters.
    pub hint: String,
    created_at: Option<String>,
}

impl SecretHint {
    /// When it was made, if the tenant says so.
    pub fn created_at(&self) -> Option<Timestamp> {
        self.created_at.as_ref()?.parse().ok()
    }
}

impl OauthClient {
    /// Its secrets.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretHint> {
        self.client_secrets.iter().flatten()
    }

    /// What names its secrets.
    pub fn hints(&self) -> Vec<String> {
        self.secrets().map(|secret| secret.hint.clone()).collect()
    }

    /// What names its public keys.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        let keys = self.public_keys.iter().flatten();
        keys.filter_map(|key| key["kid"].as_str())
    }

    /// Its consent method, `trusted` or `required`, where it is shown.
    pub fn consent(&self) -> Option<&str> {
        self.connection_config.as_ref()?.consent_method.as_deref()
    }

    /// Whether its tokens may have a scope: by that name, or by its parent's, as `apps` is of `apps:read`.
    /// `None` if the tenant does not show it.
    pub fn holds_scope(&self, scope: &str) -> Option<bool> {
        let parent = scope.split_once(':').map(|(parent, _)| parent);
        let mut held = self.allowed_scopes.as_ref()?.iter();
        Some(held.any(|held| held == scope || Some(held.as_str()) == parent))
    }

    /// Whether it authenticates by `method`. A client that lists none has a secret.
    pub fn authenticates_by(&self, method: &str) -> bool {
        match self.allowed_auth_methods.as_deref() {
            None | Some([]) => method == "client_secret",
            Some(methods) => methods.iter().any(|allowed| allowed == method),
        }
    }
}

/// A client that was just made.
#[derive(Debug)]
pub struct Created {
    /// Its id.
    pub client_id: String,
    /// Shown this once.
    pub secret: Option<Secret>,
}

/// A secret that was just made, and is shown this once.
#[derive(Debug)]
pub struct NewSecret {
    /// The secret.
    pub secret: Secret,
    /// What names it.
    pub hint: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    client_id: Option<String>,
    client_secret: Option<Zeroizing<String>>,
    hint: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionConfig {
    consent_method: Option<String>,
}

impl Admin {
    /// All OAuth clients of the tenant.
    pub async fn clients(&self) -> Result<Vec<OauthClient>, AdminError> {
        let clients: Vec<OauthClient> = self.list(CLIENTS, "to list the OAuth clients").await?;
        let lives = |client: &OauthClient| client.deleted_at.as_ref().is_none_or(String::is_empty);
        Ok(clients.into_iter().filter(lives).collect())
    }

    /// One OAuth client, with everything an administrator sees.
    pub async fn client(&self, id: &str) -> Result<OauthClient, AdminError> {
        self.read(&at(id, ""), "to show the OAuth client").await
    }

    /// Creates a client. Never tried again: the first try may have worked.
    pub async fn create_client(&self, body: &Value) -> Result<Created, AdminError> {
        let ask = Ask {
            what: "to create the OAuth client",
            method: Method::POST,
            path: CLIENTS,
            body: Some(body),
        };
        let shown: Shown = parse(&self.call(&ask).await?.body)?;
        let client_id = shown.client_id.filter(|id| !id.is_empty());
        Ok(Created {
            client_id: client_id.ok_or(QlikError::Malformed("a new client without an id"))?,
            secret: usable(shown.client_secret),
        })
    }

    /// Deletes a client. One that is gone already is no error.
    pub async fn delete_client(&self, id: &str) -> Result<(), AdminError> {
        let ask = Ask {
            what: "to delete the OAuth client",
            method: Method::DELETE,
            path: &at(id, ""),
            body: None,
        };
        match self.call(&ask).await {
            Err(error) if error.status() == Some(404) => Ok(()),
            deleted => deleted.map(drop),
        }
    }

    /// Replaces one list of the client. Returns the secret that the tenant makes where secrets were
    /// not allowed before.
    pub async fn patch_client(
        &self,
        id: &str,
        path: &str,
        value: &Value,
    ) -> Result<Option<Secret>, AdminError> {
        let body = json!([{"op": "replace", "path": path, "value": value}]);
        let path = at(id, "");
        let ask = Ask {
            what: "to change the OAuth client",
            method: Method::PATCH,
            path: &path,
            body: Some(&body),
        };
        let answer = self.call(&ask).await?;
        if answer.status != 202 {
            return Ok(None);
        }
        Ok(usable(parse::<Shown>(&answer.body)?.client_secret))
    }

    /// Whether the tenant asks nobody for consent.
    pub async fn is_trusted(&self, id: &str) -> Result<bool, AdminError> {
        let path = at(id, "/connection-configs/me");
        let read = self.read(&path, "to show the client's consent").await;
        match read {
            Err(error) if error.status() == Some(404) => Ok(false),
            read => read.map(|config: ConnectionConfig| {
                config.consent_method.as_deref() == Some("trusted")
            }),
        }
    }

    /// Makes it ask nobody.
    pub async fn trust(&self, id: &str) -> Result<(), AdminError> {
        let body = json!([{"op": "replace", "path": "/consentMethod", "value": "trusted"}]);
        let ask = Ask {
            what: "to trust the OAuth client",
            method: Method::PATCH,
            path: &at(id, "/connection-configs/me"),
            body: Some(&body),
        };
        self.call(&ask).await.map(drop)
    }

    /// Adds a secret, of which a client has five at most (409). Never tried again.
    pub async fn add_secret(&self, id: &str) -> Result<NewSecret, AdminError> {
        let ask = Ask {
            what: "to add a client secret",
            method: Method::POST,
            path: &at(id, "/client-secrets"),
            body: None,
        };
        let shown: Shown = parse(&self.call(&ask).await?.body)?;
        let secret = usable(shown.client_secret);
        Ok(NewSecret {
            secret: secret.ok_or(QlikError::Malformed("a new secret without the secret"))?,
            hint: shown.hint.unwrap_or_default(),
        })
    }

    /// Takes a secret away. One that is gone already is no error.
    pub async fn drop_secret(&self, id: &str, hint: &str) -> Result<(), AdminError> {
        let ask = Ask {
            what: "to drop a client secret",
            method: Method::DELETE,
            path: &at(id, &format!("/client-secrets/{}", escaped(hint))),
            body: None,
        };
        match self.call(&ask).await {
            Err(error) if error.status() == Some(404) => Ok(()),
            dropped => dropped.map(drop),
        }
    }
}

fn at(id: &str, below: &str) -> String {
    format!("{CLIENTS}/{}{below}", escaped(id))
}

fn usable(secret: Option<Zeroizing<String>>) -> Option<Secret> {
    let mut text = secret.filter(|text| !text.is_empty())?;
    Some(Secret::new(std::mem::take(&mut *text)))
}
