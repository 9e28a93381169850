//! `[[session]]`: one struct per kind of authenticator.

mod kinds;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;

pub use kinds::{
    ClientCertificateSession, HandleSession, IntrospectionSession, PortalCheckSession,
    TrustedHeaderSession,
};

/// An authenticator, chosen by `type`.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Session {
    ApiKey(ApiKeySession),
    Jwt(Box<JwtSession>),
    Handle(HandleSession),
    Introspection(Box<IntrospectionSession>),
    PortalCheck(Box<PortalCheckSession>),
    TrustedHeader(TrustedHeaderSession),
    ClientCertificate(ClientCertificateSession),
}

/// What a back-end caller may do.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Allow {
    Token,
    Sessions,
    Logout,
    ServiceToken,
}

fn token_only() -> Vec<Allow> {
    vec![Allow::Token]
}

/// A back end that shows a key and names the user itself.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeySession {
    /// Names the table in logs. The type when absent.
    #[schemars(length(min = 1, max = 64))]
    pub name: Option<String>,
    /// The keys that are accepted.
    #[schemars(length(min = 1))]
    pub keys: Vec<ApiKeyEntry>,
}

/// A key, as `api-key new` prints it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyEntry {
    /// Names the key in logs; part of the key itself: `[a-z0-9-]`, up to 32 characters.
    #[schemars(regex(pattern = "^[a-z0-9-]{1,32}$"))]
    pub id: String,
    /// The SHA-256 of the whole key string: 64 hex digits.
    #[schemars(regex(pattern = "^[0-9a-fA-F]{64}$"))]
    pub sha256: String,
    /// The tenants it may name. Required when there are several.
    #[schemars(length(min = 1))]
    pub tenants: Option<Vec<String>>,
    /// The calls it may make.
    #[serde(default = "token_only")]
    #[schemars(length(min = 1))]
    pub allow: Vec<Allow>,
    /// How often it may call; bursts up to a fifth of it. No limit when absent.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub requests_per_minute: Option<u32>,
    /// When it ends: a date (its first moment, UTC) or a time with its offset (RFC 3339).
    pub expires: Option<String>,
}

/// What a user is looked up by.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Field {
    Subject,
    UserId,
    Email,
}

/// One way from claims to a user.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What the tenant looks the user up by.
    pub field: Field,
    /// The value, with claims in braces: `auth0|{sub}`, `{org.id}`, `{email|lower|trim}`.
    #[schemars(length(min = 1))]
    pub value: String,
}

/// From an identity to a Qlik user.
#[derive(Deserialize, JsonSchema)]
pub struct Mapping {
    /// The tenant: a name, or a template such as `{org}`. May be left out when there is one tenant.
    pub tenant: Option<String>,
    /// The rules; the first whose claims are all present wins.
    #[schemars(length(min = 1))]
    pub user: Vec<Rule>,
    /// The scopes to ask for: the tenant's `scopes` or one of its `optional_scopes`. The tenant's
    /// `scopes` when absent.
    pub scope: Option<String>,
    /// Users that are never impersonated: literal text, a final `*` makes it a prefix, case is
    /// ignored. Added to the built-in `qlikbot\*`.
    #[serde(default)]
    pub deny: Vec<String>,
    /// Whether users with an administrator role are refused. Needs the management client.
    #[serde(default)]
    pub refuse_admins: bool,
}

/// The signature algorithms that can be allowed.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
    HS256,
    HS384,
    HS512,
}

fn half_a_minute() -> String {
    "30s".into()
}

fn ten_minutes() -> String {
    "10m".into()
}

/// A signed JWT in `Authorization: Bearer`, or in a cookie.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct JwtSession {
    /// Names the table in logs. The type when absent.
    #[schemars(length(min = 1, max = 64))]
    pub name: Option<String>,
    /// The `iss` that is accepted, exactly.
    #[schemars(length(min = 1))]
    pub issuer: String,
    /// The `aud` that is accepted.
    #[schemars(length(min = 1))]
    pub audience: String,
    /// The algorithms that are accepted. HMAC never together with others.
    #[schemars(length(min = 1))]
    pub algorithms: Vec<Algorithm>,
    /// Where the key set is. Give one of `jwks_url`, `discovery`, `jwks_file`, `public_key` and
    /// `hmac_secret`.
    pub jwks_url: Option<String>,
    /// Finds the key set through `{issuer}/.well-known/openid-configuration`.
    #[serde(default)]
    pub discovery: bool,
    /// A key set in a file.
    pub jwks_file: Option<String>,
    /// One public key, PEM.
    pub public_key: Option<Secret>,
    /// A secret shared with the issuer, for HS256, HS384 and HS512. At least 32 bytes.
    pub hmac_secret: Option<Secret>,
    /// Allows `jwks_url`, or the issuer with `discovery`, to be plain http.
    #[serde(default)]
    pub allow_http: bool,
    /// How far clocks may differ. At most 60s.
    #[serde(default = "half_a_minute")]
    pub leeway: String,
    /// The exact `typ` of the header. Not looked at when absent.
    #[schemars(length(min = 1))]
    pub typ: Option<String>,
    /// A cookie that may hold the JWT; it counts where there is no `Authorization` header.
    #[schemars(length(min = 1))]
    pub cookie: Option<String>,
    /// How often the key set is fetched again.
    #[serde(default = "ten_minutes")]
    pub jwks_refresh: String,
    /// From an identity to a Qlik user.
    #[serde(flatten)]
    pub mapping: Mapping,
}

impl Session {
    /// The mapping of the kinds that have one.
    pub fn mapping(&self) -> Option<&Mapping> {
        match self {
            Self::ApiKey(_) | Self::Handle(_) | Self::ClientCertificate(_) => None,
            Self::Jwt(raw) => Some(&raw.mapping),
            Self::Introspection(raw) => Some(&raw.mapping),
            Self::PortalCheck(raw) => Some(&raw.mapping),
            Self::TrustedHeader(raw) => Some(&raw.mapping),
        }
    }

    /// The name that is given, and the type, which stands in for it.
    pub fn name(&self) -> (Option<&str>, &'static str) {
        let (name, kind) = match self {
            Self::ApiKey(raw) => (&raw.name, "api_key"),
            Self::Jwt(raw) => (&raw.name, "jwt"),
            Self::Handle(raw) => (&raw.name, "handle"),
            Self::Introspection(raw) => (&raw.name, "introspection"),
            Self::PortalCheck(raw) => (&raw.name, "portal_check"),
            Self::TrustedHeader(raw) => (&raw.name, "trusted_header"),
            Self::ClientCertificate(raw) => (&raw.name, "client_certificate"),
        };
        (name.as_deref(), kind)
    }
}
