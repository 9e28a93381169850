//! Faults: what can be made to go wrong, as values and as JSON.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A scripted fault. Refusals answer instead of the tenant; the others alter what the tenant would say.
///
/// As JSON a fault is an object with its `type` in snake case and its fields, such as
/// `{"type":"throttle","retry_after":13}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Any error, in the shape of the endpoint's errors.
    Status {
        /// The HTTP status.
        status: u16,
        /// The code in `errors[]`; `HTTP-{status}` otherwise.
        #[serde(default)]
        code: Option<String>,
        /// The title in `errors[]`.
        #[serde(default)]
        title: Option<String>,
    },
    /// 429 with `retry-after` (doc).
    Throttle {
        /// The seconds to wait.
        retry_after: u64,
    },
    /// 401 `OAUTH-22` (field).
    WrongSecret,
    /// 401 `OAUTH-5` (field).
    UnknownClient,
    /// The configured answer to an unknown user.
    UnknownUser,
    /// 403: the user is disabled (doc).
    Disabled,
    /// 403: the maximum number of tokens is reached (doc).
    TooManyTokens,
    /// The configured answer to a scope beyond the client's.
    BadScope,
    /// The configured answer to a grant the client does not hold.
    GrantNotAllowed,
    /// `OAUTH-14`: no trusted consent (inferred).
    Untrusted,
    /// `OAUTH-29`: a foreign browser origin (field).
    ForeignOrigin,
    /// 401 as a revoked or expired token gets it.
    Revoked,
    /// A client assertion is refused, whatever it says.
    AssertionRefused {
        /// The flaw to name.
        reason: AssertionFlaw,
    },
    /// 409 without doing anything.
    Conflict,
    /// 409, although the call did its work: another replica was faster by a moment.
    CreatedMeanwhile,
    /// 207 with errors, as a patch of a user may answer (doc).
    MultiStatus,
    /// A list gets a second hit, equal but for its id.
    TwoUsers,
    /// The answer comes late.
    Slow {
        /// The delay.
        millis: u64,
    },
    /// The answer never comes.
    Hang,
    /// The connection breaks in the middle of the body.
    CutMidAnswer,
    /// The connection breaks before any answer, although the call did its work.
    Disconnect,
    /// The connection breaks before any answer, and the call does its work later.
    WorksLater {
        /// How much later.
        millis: u64,
    },
    /// 200 with text that is not JSON.
    NotJson,
    /// 502 with the HTML of some proxy.
    Html5xx,
    /// The answer lacks `expires_in`, as the reference schema does (doc).
    MissingExpiresIn,
    /// The answer lacks `expires_in` and `expires_at`.
    MissingExpiresAndAt,
    /// The answer lacks `scope`, as some worked examples do (doc).
    MissingScope,
    /// The answer grants fewer scopes than asked for.
    NarrowScope {
        /// The scopes granted.
        scope: String,
    },
    /// `token_type` is not `bearer`.
    WrongTokenType,
    /// `access_token` is the empty string.
    EmptyToken,
    /// The answer lacks `access_token`.
    MissingToken,
    /// The answer is correct but a mebibyte long.
    HugeBody,
    /// 307 to a path that is no call of a tenant, so that following it is seen.
    Redirect,
    /// 204 without a body.
    NoContent,
    /// 200 whose body is an error, which `@qlik/api` recognises by its `errors` alone (code).
    OkWithErrors,
    /// An error in the standard shape, which this endpoint does not use (doc).
    Rfc6749 {
        /// The `error` string; the status is 401 for `invalid_client`, else 400.
        error: String,
    },
    /// `expires_in` as given, with `expires_at` left alone. As JSON: `{"type":"expires_in","seconds":5}`.
    ExpiresIn(#[serde(deserialize_with = "seconds")] i64),
    /// `expires_at` as given, with `expires_in` left alone.
    ExpiresAt {
        /// The text, an instant or not.
        value: String,
    },
}

/// What may be wrong with a client assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssertionFlaw {
    /// It lives longer than five minutes.
    TooLong,
    /// It is meant for another endpoint.
    WrongAudience,
    /// Its key is not registered on the client.
    UnknownKey,
    /// Its `jti` was seen before.
    Reused,
    /// Its signature does not hold.
    BadSignature,
    /// It has run out, or is not yet valid.
    Expired,
}

impl AssertionFlaw {
    /// The hint given with the refusal.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::TooLong => "exp is more than 5 minutes after iat",
            Self::WrongAudience => "aud is not the token endpoint of this tenant",
            Self::UnknownKey => "kid is not a key of this client",
            Self::Reused => "jti was used before",
            Self::BadSignature => "the signature does not hold",
            Self::Expired => "iat or exp is off the tenant's clock",
        }
    }
}

impl Fault {
    /// Reads the JSON form; the error names what is allowed.
    pub(super) fn parse(value: &Value) -> Result<Self, String> {
        let Value::Object(object) = value else {
            return Err("fault must be an object with a type".to_owned());
        };
        let mut fields = object.clone();
        let Some(Value::String(kind)) = fields.remove("type") else {
            return Err("fault.type must be a string".to_owned());
        };
        // A fault without fields is read from its bare name, so that a stray field is an error.
        let bare = fields
            .is_empty()
            .then(|| serde_json::from_value(Value::String(kind.clone())).ok());
        if let Some(Some(fault)) = bare {
            return Ok(fault);
        }
        let tagged: serde_json::Map<_, _> =
            std::iter::once((kind.clone(), Value::Object(fields))).collect();
        serde_json::from_value(Value::Object(tagged)).map_err(|error| {
            let error = error.to_string();
            if error.contains("expected unit") {
                return format!("fault {kind} has no fields but type");
            }
            format!("fault {kind}: {error}")
        })
    }
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fields {
        seconds: i64,
    }
    Fields::deserialize(deserializer).map(|fields| fields.seconds)
}
