//! `POST /logout`: by the session that ends, or by a back end for a session or user it names.

use std::sync::Arc;

use axum::Extension;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use compact_str::CompactString;
use serde::Deserialize;
use tokio::time::timeout_at;
use tracing::Instrument;
use utoipa::ToSchema;

use super::body;
use super::caller::{Facts, NotAdmitted, admit, check_permission, prove};
use super::frame::Exchange;
use super::named::{Lookup, named_tenant, named_user};
use super::problem::{Code, Problem};
use crate::admission::{Admission, AdmissionError, Admitted};
use crate::session::back_end::{BackEnd, Permission};
use crate::session::{Presented, SessionError};
use crate::telemetry::traces::carried;

const ACTION: &str = "POST /logout";

/// A back end names either a session or a user. A page, which ends its own session, names nothing.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LogoutRequest {
    /// The session that ends, as the page would show it as a bearer.
    session: Option<String>,
    /// Whose sessions end, all of them.
    user_lookup: Option<Lookup>,
    /// The tenant of `user_lookup`; to be named if the key has several.
    #[schema(max_length = 64, pattern = "^[a-z0-9_-]+$")]
    tenant: Option<String>,
}

/// Idempotent: what has ended already is 204 as well.
pub(super) async fn logout(
    Extension(exchange): Extension<Arc<Exchange>>,
    request: Request,
) -> Response {
    let mut facts = Facts::default();
    let mut outcome = answer(&exchange, request, &mut facts).await;
    facts.audit(&exchange, ACTION, outcome.as_mut().err());
    outcome.map(|()| StatusCode::NO_CONTENT).into_response()
}

async fn answer(exchange: &Exchange, request: Request, facts: &mut Facts) -> Result<(), Problem> {
    let (head, body) = request.into_parts();
    body::check_length(&head.headers)?;
    let admitted = match admit(exchange, &head.headers, facts).await {
        // It was good, or may have been: only its time is over.
        Err(NotAdmitted::Unproven(error)) if is_over(&error) => return Ok(()),
        admitted => admitted?,
    };
    let body = body::read(body, exchange.deadline).await?;
    match admitted {
        Admitted::Person(admission) => {
            let asked = parse(&head.headers, &body)?;
            if asked.session.is_some() || asked.user_lookup.is_some() || asked.tenant.is_some() {
                return Err(Problem::new(
                    Code::UserNotAllowed,
                    "A session can only end itself; send no body.",
                ));
            }
            end(exchange, &admission).await;
            facts.place = admission.place_now();
            Ok(())
        }
        Admitted::BackEnd(back_end) => {
            check_permission(&back_end, Permission::Logout)?;
            let asked = parse(&head.headers, &body)?;
            match (&asked.session, &asked.user_lookup) {
                (Some(session), None) => {
                    end_session(exchange, &back_end, session, &asked, facts).await
                }
                (None, Some(lookup)) => end_user(exchange, &back_end, lookup, &asked, facts).await,
                _ => Err(Problem::new(
                    Code::RequestInvalid,
                    "Name either `session` or `user_lookup`.",
                )),
            }
        }
    }
}

/// A session that has ended, or a well-formed handle that nobody knows.
fn is_over(error: &AdmissionError) -> bool {
    let over = [SessionError::Expired, SessionError::UnknownHandle];
    matches!(error, AdmissionError::Session(error) if over.contains(error))
}

/// The session has ended at once, whatever the tenant says when it has to be asked whose it is.
async fn end(exchange: &Exchange, admission: &Arc<Admission>) {
    let (app, admission) = (Arc::clone(&exchange.app), Arc::clone(admission));
    see_through(
        exchange,
        async move { app.admissions.log_out(&admission).await },
    )
    .await;
}

/// Goes on when the caller hangs up, or when its time is over: who says goodbye does not wait.
async fn see_through(exchange: &Exchange, ending: impl Future<Output = ()> + Send + 'static) {
    let ending = carried(ending.instrument(exchange.span()));
    let ending = exchange.app.broker.see_through(ending);
    drop(timeout_at(exchange.deadline, ending).await);
}

fn parse(headers: &HeaderMap, body: &[u8]) -> Result<LogoutRequest, Problem> {
    body::parse(headers, body)
}

async fn end_session(
    exchange: &Exchange,
    back_end: &BackEnd,
    session: &str,
    asked: &LogoutRequest,
    facts: &mut Facts,
) -> Result<(), Problem> {
    if asked.tenant.is_some() {
        return Err(Problem::new(
            Code::RequestInvalid,
            "A session has its tenant: leave out `tenant`.",
        ));
    }
    back_end.take()?;
    let no_headers = HeaderMap::new();
    let presented = Presented::bearer(session, &no_headers);
    let admission = match prove(exchange, &presented).await {
        Ok(Admitted::Person(admission)) => admission,
        Err(error) if is_over(&error) => return Ok(()),
        Err(AdmissionError::Session(error @ SessionError::Unavailable { .. })) => {
            return Err(error.into());
        }
        Ok(Admitted::BackEnd(_)) | Err(_) => {
            return Err(Problem::new(
                Code::RequestInvalid,
                "`session` is not a session of a person.",
            ));
        }
    };
    let tenant = admission.tenant();
    if !back_end.tenants.contains(&tenant.id) {
        return Err(Problem::new(
            Code::TenantNotAllowed,
            "The key does not hold the session's tenant.",
        ));
    }
    end(exchange, &admission).await;
    let place = admission.place_now();
    let user = place.map_or(CompactString::default(), |place| place.user_hash.clone());
    facts.named = Some((Arc::clone(tenant), user));
    Ok(())
}

async fn end_user(
    exchange: &Exchange,
    back_end: &BackEnd,
    lookup: &Lookup,
    asked: &LogoutRequest,
    facts: &mut Facts,
) -> Result<(), Problem> {
    let app = &exchange.app;
    let tenant = named_tenant(app, back_end, asked.tenant.as_deref())?;
    let (user, _) = named_user(app, tenant, lookup, facts)?;
    back_end.take()?;
    let (app, tenant) = (Arc::clone(app), Arc::clone(tenant));
    see_through(exchange, async move {
        app.admissions.log_out_everywhere(&tenant, &user).await;
    })
    .await;
    Ok(())
}
