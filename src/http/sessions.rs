//! `POST /sessions`: a back end registers the session of a person who has just logged in.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Number;
use utoipa::ToSchema;
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{Object, ObjectBuilder, Type};

use super::body;
use super::caller::{Facts, back_end};
use super::frame::Exchange;
use super::named::{Lookup, named_tenant, named_user, offered_scopes};
use super::problem::{Code, Problem};
use crate::session::back_end::Permission;
use crate::session::handle::HandleGrant;

const ACTION: &str = "POST /sessions";

/// Whose session it is, and what it may be used for.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionRequest {
    /// Who has just logged in.
    #[schema(required = true, nullable = false)]
    user_lookup: Option<Lookup>,
    /// A tenant of the configuration; to be named if the key has several.
    #[schema(max_length = 64, pattern = "^[a-z0-9_-]+$")]
    tenant: Option<String>,
    /// The only set of scopes that a page with this handle may ask for. Without it: any set of the tenant.
    #[schema(pattern = r"^ *[!#-\[\]-~][ !#-\[\]-~]*$")]
    scope: Option<String>,
    #[serde(default, deserialize_with = "whole")]
    #[schema(schema_with = ttl)]
    ttl_seconds: Option<u64>,
}

/// Whoever writes 3600 as 3600.0 means the same (JSON Schema validation 2020-12, 6.1.1).
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<Number>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let float = number.as_f64().filter(|float| float.fract() == 0.0);
    let written = || format!("{:.0}", float?).parse().ok();
    match number.as_u64().or_else(written) {
        Some(whole) => Ok(Some(whole)),
        None => Err(D::Error::custom("not a whole number")),
    }
}

fn ttl() -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Integer, Type::Null]))
        .description(Some(
            "A shorter life than the configured `ttl`. A longer one is cut to it.",
        ))
        .minimum(Some(1))
        .maximum(Some(u64::MAX))
        .build()
}

/// A session that was registered.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionAnswer {
    /// The handle: the page shows it as a bearer or as the configured cookie. It cannot be read again.
    #[schema(pattern = "^qtbs_[A-Za-z0-9_-]{43}$")]
    session: String,
    /// Its life in seconds.
    #[schema(minimum = 1)]
    expires_in: u64,
    /// When it ends at the latest.
    #[schema(format = DateTime)]
    expires_at: String,
}

pub(super) async fn sessions(
    Extension(exchange): Extension<Arc<Exchange>>,
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
) -> Result<SessionAnswer, Problem> {
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
    let (user, _) = named_user(app, tenant, lookup, facts)?;
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
    Ok(SessionAnswer {
        session: made.handle.expose().to_owned(),
        expires_in: made.life.as_secs(),
        expires_at: expires_at.unwrap_or_default(),
    })
}
