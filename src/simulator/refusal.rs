//! The answers of the token endpoint whose status and code a tenant does not document: every one can be set.

use serde::{Deserialize, Serialize};

/// An error of an OAuth endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// The HTTP status, repeated as a string in the body (doc).
    pub status: u16,
    /// The code, such as `OAUTH-5`.
    pub code: String,
    /// The short text.
    pub title: String,
    /// A hint of the simulator's own; a tenant says less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Refusal {
    /// A refusal without detail.
    pub fn new(status: u16, code: impl Into<String>, title: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            title: title.into(),
            detail: None,
        }
    }

    /// The same refusal with a hint.
    #[must_use]
    pub fn because(&self, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..self.clone()
        }
    }
}

/// Every refusal of the OAuth endpoints.
///
/// Codes from `OAUTH-900` on are the simulator's own: what a tenant says there is unknown, so a client
/// must not depend on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusals {
    /// A malformed request: status 400 (doc), code unknown.
    pub bad_request: Refusal,
    /// No such client: `OAUTH-5` "Unauthorized" (field).
    pub unknown_client: Refusal,
    /// A wrong client secret: `OAUTH-22` "Invalid `client_secret`" (field).
    pub wrong_secret: Refusal,
    /// A client assertion that does not hold: unknown.
    pub bad_assertion: Refusal,
    /// A user that does not exist: unknown.
    pub unknown_user: Refusal,
    /// A user that is not active: status 403 (doc), code unknown.
    pub disabled_user: Refusal,
    /// More live tokens for a user than the tenant allows: status 403 (doc), code unknown.
    pub too_many_tokens: Refusal,
    /// A scope beyond the client's: unknown.
    pub bad_scope: Refusal,
    /// A grant the client does not hold: unknown.
    pub grant_not_allowed: Refusal,
    /// A client without trusted consent: `OAUTH-14` (inferred), status unknown.
    pub untrusted: Refusal,
    /// A browser origin the client does not list: `OAUTH-29` (field), status unknown.
    pub foreign_origin: Refusal,
    /// A subject, access or refresh token that is not live: status 401 (doc), code unknown.
    pub bad_token: Refusal,
    /// The answer of the revocation endpoint to a token the tenant never issued: unknown, perhaps 400.
    pub unknown_token: Refusal,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            bad_request: Refusal::new(400, "OAUTH-900", "Invalid request"),
            unknown_client: Refusal::new(401, "OAUTH-5", "Unauthorized"),
            wrong_secret: Refusal::new(401, "OAUTH-22", "Invalid client_secret"),
            bad_assertion: Refusal::new(401, "OAUTH-901", "Invalid client_assertion"),
            unknown_user: Refusal::new(400, "OAUTH-902", "User not found"),
            disabled_user: Refusal::new(403, "OAUTH-903", "User is disabled"),
            too_many_tokens: Refusal::new(403, "OAUTH-904", "Maximum number of tokens reached"),
            bad_scope: Refusal::new(400, "OAUTH-905", "Invalid scope"),
            grant_not_allowed: Refusal::new(400, "OAUTH-906", "Grant type is not allowed"),
            untrusted: Refusal::new(401, "OAUTH-14", "OAuth client is not authorized"),
            foreign_origin: Refusal::new(400, "OAUTH-29", "Invalid Origin Header"),
            bad_token: Refusal::new(401, "OAUTH-907", "Invalid token"),
            unknown_token: Refusal::new(400, "OAUTH-908", "Unknown token"),
        }
    }
}

impl Refusals {
    /// The refusal of this name in the control interface; the names are those of the fields.
    pub(super) fn named(&mut self, name: &str) -> Option<&mut Refusal> {
        self.entries()
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, refusal)| refusal)
    }

    /// Every refusal with its name.
    pub(super) fn entries(&mut self) -> [(&'static str, &mut Refusal); 13] {
        [
            ("bad_request", &mut self.bad_request),
            ("unknown_client", &mut self.unknown_client),
            ("wrong_secret", &mut self.wrong_secret),
            ("bad_assertion", &mut self.bad_assertion),
            ("unknown_user", &mut self.unknown_user),
            ("disabled_user", &mut self.disabled_user),
            ("too_many_tokens", &mut self.too_many_tokens),
            ("bad_scope", &mut self.bad_scope),
            ("grant_not_allowed", &mut self.grant_not_allowed),
            ("untrusted", &mut self.untrusted),
            ("foreign_origin", &mut self.foreign_origin),
            ("bad_token", &mut self.bad_token),
            ("unknown_token", &mut self.unknown_token),
        ]
    }
}
