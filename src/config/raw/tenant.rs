//! `[tenants.NAME]`: a tenant, its OAuth clients and its pages.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;

/// A Qlik Cloud tenant.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Its address without a path, such as `https://acme.eu.qlikcloud.com`.
    #[schemars(length(min = 1))]
    pub url: String,
    /// Allows `url` to be plain http on a host that is not loopback.
    #[serde(default)]
    pub allow_http: bool,
    /// The OAuth client that issues the users' tokens.
    #[schemars(length(min = 1))]
    pub client_id: String,
    /// Its secret. Give one of `client_secret`, `client_secrets` and `private_key`.
    pub client_secret: Option<Secret>,
    /// Its secrets while one replaces another, the new one first.
    #[schemars(length(min = 1))]
    pub client_secrets: Option<Vec<Secret>>,
    /// Its private key, instead of a secret.
    pub private_key: Option<PrivateKey>,
    /// What is asked for when the caller names no scope, separated by spaces.
    pub scopes: String,
    /// Further whole sets that a caller may ask for, such as `["apps:read spaces:read"]`.
    #[serde(default)]
    pub optional_scopes: Vec<String>,
    /// Allows `admin*` and `offline_access` among the scopes: a page then holds administrative
    /// power whenever its user does.
    #[serde(default)]
    pub allow_admin_scopes: bool,
    /// The pages that may use this tenant's tokens: scheme, host and port, exactly as browsers send
    /// them.
    #[serde(default)]
    pub allowed_origins: Vec<String>,
    /// Whether the OAuth client's own allowed origins count as well. Needs `management`.
    #[serde(default)]
    pub origins_from_client: bool,
    /// How many tokens are asked for.
    #[serde(default)]
    #[schemars(extend("default" = {}))]
    pub budget: Budget,
    /// The authority of a private CA, a PEM file.
    #[schemars(length(min = 1))]
    pub ca_file: Option<String>,
    /// A second client that may look users up. Off when absent.
    pub management: Option<Management>,
    /// A third client, for `POST /service-token`. Off when absent.
    pub service: Option<Service>,
    /// Creates users that the tenant does not know yet, from these templates. Off when absent.
    pub provision_users: Option<ProvisionUsers>,
}

/// A private key that proves an OAuth client (RFC 7523).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrivateKey {
    /// The id under which the tenant knows the public key; the key's thumbprint (RFC 7638) when absent.
    #[schemars(length(min = 1))]
    pub kid: Option<String>,
    /// The algorithm of the signature.
    pub algorithm: AssertionAlgorithm,
    /// The key, PEM.
    pub pem: Secret,
}

/// The algorithms that Qlik Cloud accepts.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
pub enum AssertionAlgorithm {
    RS256,
    RS512,
    ES384,
}

/// How many tokens are asked for: at most 500 in any 5 minutes, which is the tenant's own rule.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Tokens per minute, in the long run.
    #[schemars(range(min = 1, max = 100))]
    pub per_minute: u32,
    /// Tokens at once, after a quiet time.
    #[schemars(range(min = 1, max = 500))]
    pub burst: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            per_minute: 80,
            burst: 100,
        }
    }
}

fn management_scopes() -> String {
    "admin_classic user_default".into()
}

/// A client that may look users up.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Management {
    /// The OAuth client.
    #[schemars(length(min = 1))]
    pub client_id: String,
    /// Its secret. Give one of `client_secret`, `client_secrets` and `private_key`.
    pub client_secret: Option<Secret>,
    /// Its secrets while one replaces another, the new one first.
    #[schemars(length(min = 1))]
    pub client_secrets: Option<Vec<Secret>>,
    /// Its private key, instead of a secret.
    pub private_key: Option<PrivateKey>,
    /// What it asks for.
    #[serde(default = "management_scopes")]
    pub scopes: String,
}

/// The client whose own tokens `POST /service-token` hands out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The OAuth client.
    #[schemars(length(min = 1))]
    pub client_id: String,
    /// Its secret. Give one of `client_secret`, `client_secrets` and `private_key`.
    pub client_secret: Option<Secret>,
    /// Its secrets while one replaces another, the new one first.
    #[schemars(length(min = 1))]
    pub client_secrets: Option<Vec<Secret>>,
    /// Its private key, instead of a secret.
    pub private_key: Option<PrivateKey>,
    /// What it asks for.
    pub scopes: String,
    /// Allows `admin*` and `offline_access` among them.
    #[serde(default)]
    pub allow_admin_scopes: bool,
}

/// The templates of a new user.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProvisionUsers {
    /// The subject, such as `{sub}`.
    pub subject: String,
    /// The name to show, such as `{name}`.
    pub name: String,
    /// The e-mail address, such as `{email}`.
    pub email: Option<String>,
    /// The claim that lists the groups, such as `{groups}`.
    pub groups: Option<String>,
}
