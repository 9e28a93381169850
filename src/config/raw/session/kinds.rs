//! The kinds beside keys and JWTs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::Secret;
use super::{Allow, Mapping, half_a_minute, token_only};

/// A handle made by `POST /sessions`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HandleSession {
    /// Names the table in logs. The type when absent.
    #[schemars(length(min = 1, max = 64))]
    pub name: Option<String>,
    /// The cookie that holds the handle, instead of `Authorization`.
    #[schemars(length(min = 1))]
    pub cookie: Option<String>,
    /// How long a handle lives at most.
    #[serde(default = "eight_hours")]
    pub ttl: String,
    /// A handle that nobody shows for this long ends.
    #[serde(default = "an_hour")]
    pub idle: String,
}

fn eight_hours() -> String {
    "8h".into()
}

fn an_hour() -> String {
    "1h".into()
}

/// An opaque bearer or cookie, verified by asking the issuer (RFC 7662).
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct IntrospectionSession {
    /// Names the table in logs. The type when absent.
    #[schemars(length(min = 1, max = 64))]
    pub name: Option<String>,
    /// The introspection endpoint.
    #[schemars(length(min = 1))]
    pub url: String,
    /// Allows `url` to be plain http.
    #[serde(default)]
    pub allow_http: bool,
    /// The client that asks.
    #[schemars(length(min = 1))]
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// The `aud` that is accepted; `*` waives the check.
    #[schemars(length(min = 1))]
    pub audience: String,
    /// The `iss` that is accepted. Not looked at when absent.
    pub issuer: Option<String>,
    /// A scope that the session must have.
    pub required_scope: Option<String>,
    /// The cookie that holds the token, instead of `Authorization`.
    #[schemars(length(min = 1))]
    pub cookie: Option<String>,
    /// How long an answer is remembered.
    #[serde(default = "half_a_minute")]
    pub cache: String,
    /// From an identity to a Qlik user.
    #[serde(flatten)]
    pub mapping: Mapping,
}

fn three_seconds() -> String {
    "3s".into()
}

fn no_time() -> String {
    "0s".into()
}

fn some_in_flight() -> usize {
    64
}

/// A portal cookie, verified by asking the portal: 200 with a JSON object is its claims.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct PortalCheckSession {
    /// Names the table in logs. The type when absent.
    #[schemars(length(min = 1, max = 64))]
    pub name: Option<String>,
    /// The portal's address that says who is logged in.
    #[schemars(length(min = 1))]
    pub url: String,
    /// Allows `url` to be plain http.
    #[serde(default)]
    pub allow_http: bool,
    /// The cookies that are forwarded.
    #[schemars(length(min = 1))]
    pub cookies: Vec<String>,
    /// Headers that are forwarded as well; added to those that CORS allows.
    #[serde(default)]
    pub forward_headers: Vec<String>,
    /// How long a session is remembered.
    #[serde(default = "three_seconds")]
    pub cache: String,
    /// How long the absence of one is remembered.
    #[serde(default = "no_time")]
    pub negative_cache: String,
    /// Questions to the portal at a time.
    #[serde(default = "some_in_flight")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_in_flight: usize,
    /// From an identity to a Qlik user.
    #[serde(flatten)]
    pub mapping: Mapping,
}

/// An identity header set by an authenticating proxy; becomes the claim `sub`.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct TrustedHeaderSession {
    /// Names the table in logs. The type when absent.
    #[schemars(length(min = 1, max = 64))]
    pub name: Option<String>,
    /// The header that names the user.
    #[schemars(length(min = 1))]
    pub header: String,
    /// The proxy's networks; nobody else is believed.
    #[schemars(length(min = 1))]
    pub from: Vec<String>,
    /// A second header that proves the proxy.
    pub shared_secret: Option<HeaderSecret>,
    /// Further claims and the headers they come from: `{ email = "X-Auth-Request-Email" }`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// From an identity to a Qlik user.
    #[serde(flatten)]
    pub mapping: Mapping,
}

/// A header that holds a secret.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderSecret {
    /// The header's name.
    pub header: String,
    /// What it must hold.
    pub value: Secret,
}

/// The mTLS identity of a back end; asserts the user like an API key. Needs `[server.tls]`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificateSession {
    /// Names the table in logs. The type when absent.
    #[schemars(length(min = 1, max = 64))]
    pub name: Option<String>,
    /// The clients that are accepted.
    #[schemars(length(min = 1))]
    pub clients: Vec<CertifiedClient>,
}

/// A back end with a certificate.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertifiedClient {
    /// The certificate's name (SAN), such as `portal.acme.internal`.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The tenants it may name. Required when there are several.
    #[schemars(length(min = 1))]
    pub tenants: Option<Vec<String>>,
    /// The calls it may make.
    #[serde(default = "token_only")]
    #[schemars(length(min = 1))]
    pub allow: Vec<Allow>,
}
