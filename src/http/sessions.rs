//! `POST /sessions`: a back end registers the session of a person who has just logged in.

use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body;
use super::caller::{Facts, back_end};
use super::frame::Exchange;
use super::named::{Lookup, named_tenant, named_user, offered_scopes};
use super::problem::{Code, Problem};
use crate::session::back_end::Permission;
use crate::session::handle::HandleGrant;

const ACTION: &str = "POST /sessions";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionRequest {
    user_lookup: Option<Lookup>,
    tenant: Option<String>,
    scope: Option<String>,
    ttl_seconds: Option<u64>,
}

pub(super) async fn sessions(
    Extension(exchange): Extension<Exchange>,
    request: Request,
) -> Response {
    let mut facts = Facts::default();
    let mut outcome = answer(&exchange, request, &mut facts).await;
    facts.audit(&exchange, ACTION, outcome.as_mut().err());
    outcome
        .map(|made| (StatusCode::CREATED, Json(made)))
        .into_response()
}

async fn answer(
    exchange: &Exchange,
    request: Request,
    facts: &mut Facts,
) -> Result<Value, Problem> {
    let beginning = back_end(exchange, request, Permission::Sessions, facts);
    let (back_end, headers, body) = beginning.await?;
    let asked: SessionRequest = body::parse(&headers, &body)?;
    let app = &exchange.app;
    let tenant = named_tenant(app, &back_end, asked.tenant.as_deref())?;
    let lookup = asked.user_lookup.as_ref();
    let lookup = lookup.ok_or(Problem::new(
        Code::RequestInvalid,
        "A session is somebody's: user_lookup is missing.",
    ))?;
    let user = named_user(app, tenant, lookup, facts)?;
    let scopes = offered_scopes(tenant, asked.scope.as_deref())?;
    if asked.ttl_seconds == Some(0) {
        return Err(Problem::new(
            Code::RequestInvalid,
            "ttl_seconds is 1 or more; leave it out for the configured ttl.",
        ));
    }
    back_end.take()?;
    let grant = HandleGrant {
        tenant: tenant.id.clone(),
        user,
        scopes,
    };
    // The configuration is refused where a key may register sessions and nothing keeps them.
    let handles = app.admissions.sessions().handles();
    let life = asked.ttl_seconds.map(Duration::from_secs);
    let made = match handles {
        Some(handles) => handles.make(grant, life).await,
        None => None,
    };
    let made = made.ok_or(Problem::new(
        Code::Internal,
        "The broker failed. Please report this with the request id.",
    ))?;
    let expires_at = Timestamp::try_from(made.ends).map(|time| format!("{time:.3}"));
    Ok(json!({
        "session": made.handle.expose(),
        "expires_in": made.life.as_secs(),
        "expires_at": expires_at.unwrap_or_default(),
    }))
}
