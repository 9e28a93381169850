//! `POST /service-token`: a back end gets a token of the tenant's service client itself.

use std::sync::Arc;

use axum::Extension;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use compact_str::CompactString;
use serde::Deserialize;
use tracing::Instrument;
use utoipa::ToSchema;

use super::answer::render;
use super::body;
use super::caller::{Facts, back_end};
use super::frame::Exchange;
use super::named::named_tenant;
use super::problem::{Code, Problem};
use crate::session::back_end::Permission;

const ACTION: &str = "POST /service-token";

/// The body is optional.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceRequest {
    /// A tenant of the configuration; to be named if the key has several.
    #[schema(max_length = 64, pattern = "^[a-z0-9_-]+$")]
    tenant: Option<String>,
}

pub(super) async fn service_token(
    Extension(exchange): Extension<Arc<Exchange>>,
    request: Request,
) -> Response {
    let mut facts = Facts::default();
    let mut outcome = answer(&exchange, request, &mut facts).await;
    facts.audit(&exchange, ACTION, outcome.as_mut().err());
    outcome.into_response()
}

async fn answer(
    exchange: &Exchange,
    request: Request,
    facts: &mut Facts,
) -> Result<Response, Problem> {
    let beginning = back_end(exchange, request, Permission::ServiceToken, facts);
    let (back_end, headers, body) = beginning.await?;
    let asked: ServiceRequest = body::parse(&headers, &body)?;
    let app = &exchange.app;
    let tenant = named_tenant(app, &back_end, asked.tenant.as_deref())?;
    // No user: the client itself.
    facts.named = Some((Arc::clone(tenant), CompactString::default()));
    back_end.take()?;
    let asking = app.broker.service_token(&tenant.id, exchange.deadline);
    let issued = asking.instrument(exchange.span()).await;
    let issued = issued.ok_or(Problem::new(
        Code::TenantNotAllowed,
        "The tenant has no service client.",
    ))??;
    facts.issued = Some((Arc::clone(&issued.token), issued.source));
    Ok(render(&issued, tenant, &headers))
}
