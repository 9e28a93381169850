//! The configuration as it is written: one struct per table, one doc comment per key.
//!
//! The JSON Schema is generated from these types, so the comments are what an editor shows. They
//! hold text as it stands; what the text has to mean is decided in `validate`.

mod server;
mod session;
mod tenant;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::secret::{Secret as SecretText, SecretSource};

pub use server::{
    Audit, Cache, EncryptionKey, Format, Limits, Log, Ops, Server, Shared, Telemetry, Tls, Upstream,
};
pub use session::{
    Algorithm, Allow, ApiKeyEntry, ApiKeySession, ClientCertificateSession, Field, HandleSession,
    IntrospectionSession, JwtSession, Mapping, PortalCheckSession, Rule, Session,
    TrustedHeaderSession,
};
pub use tenant::{AssertionAlgorithm, Budget, PrivateKey, Tenant};

/// The configuration of qlik-token-broker.
///
/// Durations are text such as "90s", "10m" or "8h". URLs are https, or http on a loopback host, or
/// http with `allow_http = true` beside them.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "qlik-token-broker")]
#[expect(
    dead_code,
    reason = "the schema is made of it; the tables are parsed one by one, so that each can fail alone"
)]
pub struct Root {
    /// The listener that browsers and back ends call.
    #[schemars(default, extend("default" = {}))]
    server: Server,
    /// The listener for health, readiness and metrics. Never exposed to browsers.
    #[schemars(default, extend("default" = {}))]
    ops: Ops,
    /// What is logged, and how.
    #[schemars(default, extend("default" = {}))]
    log: Log,
    /// The audit lines, one per decision.
    #[schemars(default, extend("default" = {}))]
    audit: Audit,
    /// Traces: where they are sent to, and of which requests.
    #[schemars(default, extend("default" = {}))]
    telemetry: Telemetry,
    /// The way to the tenants.
    #[schemars(default, extend("default" = {}))]
    upstream: Upstream,
    /// The tokens that are kept.
    #[schemars(default, extend("default" = {}))]
    cache: Cache,
    /// How often a caller may ask. 0 turns a limit off.
    #[schemars(default, extend("default" = {}))]
    limits: Limits,
    /// The second tier for several replicas: Redis or Valkey. Off when absent.
    shared: Option<server::Shared>,
    /// Who is calling: authenticators, tried in order. At least one.
    #[schemars(default)]
    session: Vec<Session>,
    /// The Qlik Cloud tenants, by a name of your own: `[a-z0-9_-]+`. At least one.
    #[schemars(default, extend("propertyNames" = {"pattern": "^[a-z0-9_-]{1,64}$"}))]
    tenants: BTreeMap<String, Tenant>,
}

/// A secret: exactly one of a string, a file or an environment variable.
#[derive(Clone, Deserialize)]
#[serde(from = "Form")]
pub struct Secret(pub SecretSource);

#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Value(String),
    File { file: PathBuf },
    Env { env: String },
}

impl From<Form> for Secret {
    fn from(form: Form) -> Self {
        Self(match form {
            Form::Value(text) => SecretSource::Value(SecretText::new(text)),
            Form::File { file } => SecretSource::File(file),
            Form::Env { env } => SecretSource::Env(env),
        })
    }
}

/// Written by hand, because `writeOnly` marks what the redacted view hides.
impl JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = |key: &str, description: &str| {
            let text = json_schema!({"type": "string", "minLength": 1, "description": description});
            json_schema!({
                "type": "object",
                "properties": {key: text},
                "required": [key],
                "additionalProperties": false,
            })
        };
        json_schema!({
            "description": "A secret: exactly one of a string, { file = \"…\" } or { env = \"NAME\" }.",
            "writeOnly": true,
            "oneOf": [
                {"type": "string", "minLength": 1},
                one("file", "A file that holds the secret. Line ends at its end are not part of it."),
                one("env", "An environment variable that holds the secret."),
            ],
        })
    }
}
