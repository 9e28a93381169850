//! `POST /reload`: has the broker read its configuration again.
//!
//! It gives nobody a token, but whoever may call it can keep the broker busy. So it is for operators:
//! with the bearer of `[ops] token`, or on the same host. And never for a page, which could be made to
//! call it from the operator's own browser: the header needs a preflight that nobody answers, and the
//! host must be one that no page's own name resolves to (DNS rebinding).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::callers::{CALL_IT_SO, is_named_directly};
use super::json;
use crate::app::live::Live;
use crate::config::Problem;
use crate::secret::Secret;

/// Who may come in.
#[derive(Clone)]
pub(super) struct Door {
    live: Arc<Live>,
    is_local: bool,
}

impl Door {
    pub fn new(live: &Arc<Live>, address: IpAddr) -> Self {
        Self {
            live: Arc::clone(live),
            is_local: address.to_canonical().is_loopback(),
        }
    }

    /// Why a request is not let in, if it is not.
    fn refusal(&self, request: &Request) -> Option<(StatusCode, &'static str)> {
        let headers = request.headers();
        let forbidden = |why| Some((StatusCode::FORBIDDEN, why));
        if !is_named_directly(request.uri(), headers) {
            return forbidden(CALL_IT_SO);
        }
        if !headers.contains_key("x-broker-request") {
            return forbidden("The header X-Broker-Request is missing.");
        }
        match &self.live.app().ops.token {
            Some(token) if shows(headers, token) => None,
            Some(_) => {
                let why = "Show the token of [ops] as a bearer.";
                Some((StatusCode::UNAUTHORIZED, why))
            }
            None if self.is_local => None,
            None => forbidden("Without a token in [ops] it answers on a loopback listener only."),
        }
    }
}

pub(super) async fn reload(State(door): State<Door>, request: Request) -> Response {
    if let Some((status, why)) = door.refusal(&request) {
        let mut refusal = json(status, &json!({"error": why}));
        if status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            refusal.headers_mut().insert(WWW_AUTHENTICATE, bearer);
        }
        return refusal;
    }
    match door.live.reload().await {
        Ok(reloaded) => {
            let body = json!({
                "generation": reloaded.generation,
                "restart_needed": reloaded.restart_needed,
                "warnings": shown(&reloaded.warnings),
            });
            json(StatusCode::OK, &body)
        }
        Err(problems) => {
            let error = "The configuration cannot be used; the old one is in use.";
            let body = json!({"error": error, "problems": shown(&problems.0)});
            json(StatusCode::UNPROCESSABLE_ENTITY, &body)
        }
    }
}

/// They hold no configured value.
fn shown(problems: &[Problem]) -> Vec<Value> {
    let shown = problems.iter().map(|problem| {
        let place = problem.place.as_ref().map(ToString::to_string);
        json!({
            "path": problem.path,
            "message": problem.message,
            "remedy": problem.remedy,
            "place": place,
        })
    });
    shown.collect()
}

fn shows(headers: &HeaderMap, token: &Secret) -> bool {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let shown = value.to_str().ok().and_then(|value| value.split_once(' '));
    shown.is_some_and(|(scheme, shown)| {
        scheme.eq_ignore_ascii_case("bearer") && token.matches(shown)
    })
}
