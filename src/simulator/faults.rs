//! The script of faults: which comes next for a call, and what it does to the answer.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::{Answer, Breakage, Content};
use super::call::Call;
use super::fault::Fault;
use super::permission;
use super::refusal::Refusal;
use super::world::World;

/// The faults queued per call.
#[derive(Default)]
pub(super) struct Faults(HashMap<Call, VecDeque<Scripted>>);

/// A fault and how long it applies: until cleared where neither is said.
pub(super) struct Scripted {
    pub fault: Fault,
    /// For so many requests.
    pub times: Option<u32>,
    /// Until then, whatever is left of the times.
    pub until: Option<Instant>,
}

impl Faults {
    pub(super) fn push(&mut self, call: Call, scripted: Scripted) {
        if scripted.times != Some(0) {
            self.0.entry(call).or_default().push_back(scripted);
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault for this request: of the narrowest call that has one.
    pub(super) fn take(&mut self, call: Call) -> Option<Fault> {
        let now = Instant::now();
        for queue in self.0.values_mut() {
            queue.retain(|scripted| scripted.until.is_none_or(|until| until > now));
        }
        let queue = call
            .lineage()
            .into_iter()
            .find(|call| self.0.get(call).is_some_and(|queue| !queue.is_empty()))
            .and_then(|call| self.0.get_mut(&call))?;
        let scripted = queue.front_mut()?;
        let fault = scripted.fault.clone();
        if let Some(left) = &mut scripted.times {
            *left -= 1;
            if *left == 0 {
                queue.pop_front();
            }
        }
        Some(fault)
    }
}

/// How long the answer waits.
pub(super) enum Delay {
    For(Duration),
    Forever,
}

impl Fault {
    pub(super) fn delay(&self) -> Option<Delay> {
        match self {
            Self::Slow { millis } => Some(Delay::For(Duration::from_millis(*millis))),
            Self::Hang => Some(Delay::Forever),
            _ => None,
        }
    }

    /// The answer given instead of the tenant's, if this fault is of that kind.
    pub(super) fn refusal(&self, call: Call, world: &World) -> Option<Answer> {
        let refusals = &world.refusals;
        let named = match self {
            Self::WrongSecret => &refusals.wrong_secret,
            Self::UnknownClient => &refusals.unknown_client,
            Self::UnknownUser => &refusals.unknown_user,
            Self::Disabled => &refusals.disabled_user,
            Self::TooManyTokens => &refusals.too_many_tokens,
            Self::BadScope => &refusals.bad_scope,
            Self::GrantNotAllowed => &refusals.grant_not_allowed,
            Self::Untrusted => &refusals.untrusted,
            Self::ForeignOrigin => &refusals.foreign_origin,
            Self::Revoked if is_oauth(call) => &refusals.bad_token,
            Self::AssertionRefused { reason } => {
                return Some(Answer::oauth(
                    &refusals.bad_assertion.because(reason.hint()),
                ));
            }
            _ => return self.plain_refusal(call),
        };
        Some(Answer::oauth(named))
    }

    fn plain_refusal(&self, call: Call) -> Option<Answer> {
        let answer = match self {
            Self::Status {
                status,
                code,
                title,
            } => error_of(call, *status, code.as_deref(), title.as_deref()),
            Self::Throttle { retry_after } => Answer::throttled(*retry_after),
            Self::Revoked => permission::unauthorized("the token does not live"),
            Self::Conflict => error_of(call, 409, Some("HTTP-409"), Some("Conflict")),
            Self::MultiStatus => {
                error_of(call, 207, Some("USERS-5"), Some("Some operations failed"))
            }
            Self::NotJson => Answer::text(200, "text/plain", "this is not JSON"),
            Self::Html5xx => Answer::text(
                502,
                "text/html",
                "<html><body><h1>502 Bad Gateway</h1></body></html>",
            ),
            Self::Redirect => Answer::empty(307).with("location", "/_elsewhere"),
            Self::NoContent => Answer::empty(204),
            Self::OkWithErrors => {
                let refusal = Refusal::new(401, "OAUTH-5", "Unauthorized");
                let mut answer = Answer::oauth(&refusal);
                answer.status = 200;
                answer
            }
            Self::Rfc6749 { error } => {
                let status = if error == "invalid_client" { 401 } else { 400 };
                Answer::json(
                    status,
                    json!({ "error": error, "error_description": "scripted fault" }),
                )
            }
            _ => return None,
        };
        Some(answer)
    }

    /// What becomes of the tenant's own answer. Errors stay as they are.
    pub(super) fn alter(&self, mut answer: Answer, call: Call) -> Answer {
        match self {
            Self::CutMidAnswer => answer.breakage = Some(Breakage::MidBody),
            Self::Disconnect => answer.breakage = Some(Breakage::BeforeHead),
            _ => {}
        }
        if !answer.is_success() {
            return answer;
        }
        if *self == Self::CreatedMeanwhile {
            return error_of(call, 409, Some("HTTP-409"), Some("Conflict"));
        }
        if let Content::Json(Value::Object(body)) = &mut answer.content {
            self.alter_body(body);
        }
        answer
    }

    fn alter_body(&self, body: &mut serde_json::Map<String, Value>) {
        let mut set = |key: &str, value| {
            body.insert(key.to_owned(), value);
        };
        match self {
            Self::NarrowScope { scope } => set("scope", json!(scope)),
            Self::WrongTokenType => set("token_type", json!("mac")),
            Self::EmptyToken => set("access_token", json!("")),
            Self::HugeBody => set("padding", json!("x".repeat(1024 * 1024))),
            Self::ExpiresIn(seconds) => set("expires_in", json!(seconds)),
            Self::ExpiresAt { value } => set("expires_at", json!(value)),
            Self::TwoUsers => {
                if let Some(Value::Array(hits)) = body.get_mut("data")
                    && let Some(mut twin) = hits.first().cloned()
                {
                    twin["id"] = json!(super::ids::stable_id("twin"));
                    hits.push(twin);
                }
            }
            Self::MissingExpiresIn => drop(body.remove("expires_in")),
            Self::MissingScope => drop(body.remove("scope")),
            Self::MissingToken => drop(body.remove("access_token")),
            Self::MissingExpiresAndAt => {
                body.remove("expires_in");
                body.remove("expires_at");
            }
            _ => {}
        }
    }
}

fn is_oauth(call: Call) -> bool {
    call.lineage().contains(&Call::Token) || call == Call::Revoke
}

/// An error in the shape the endpoint of `call` uses.
fn error_of(call: Call, status: u16, code: Option<&str>, title: Option<&str>) -> Answer {
    let code = code.map_or_else(|| format!("HTTP-{status}"), str::to_owned);
    let title = title.unwrap_or("Scripted fault");
    if is_oauth(call) {
        return Answer::oauth(&Refusal::new(status, code, title));
    }
    Answer::api(status, &code, title, "")
}
