//! `POST /logout`: by the session that ends, or by a back end for a session or user it names.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::body;
use super::caller::{Facts, NotAdmitted, admit, check_permission, prove};
use super::frame::Exchange;
use super::problem::{Code, Problem};
use super::token::{Lookup, named_tenant, named_user};
use crate::admission::{AdmissionError, Admitted};
use crate::app::App;
use crate::session::api_key::{BackEnd, Permission};
use crate::session::{Authorization, Presented, SessionError};

const ACTION: &str = "POST /logout";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogoutRequest {
    session: Option<String>,
    user_lookup: Option<Lookup>,
    tenant: Option<String>,
}

/// Idempotent: what has ended already is 204 as well.
pub(super) async fn logout(
    State(app): State<Arc<App>>,
    Extension(exchange): Extension<Exchange>,
    request: Request,
) -> Response {
    let mut facts = Facts::default();
    let outcome = answer(&app, &exchange, request, &mut facts).await;
    facts.audit(&app, &exchange, ACTION, outcome.as_ref().err());
    outcome.map(|()| StatusCode::NO_CONTENT).into_response()
}

async fn answer(
    app: &App,
    exchange: &Exchange,
    request: Request,
    facts: &mut Facts,
) -> Result<(), Problem> {
    let (head, body) = request.into_parts();
    body::check_length(&head.headers)?;
    let admitted = match admit(app, exchange, &head.headers, facts).await {
        // Its signature was good: only its time is over.
        Err(NotAdmitted::Unproven(AdmissionError::Session(SessionError::Expired))) => {
            return Ok(());
        }
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
            exchange
                .span()
                .in_scope(|| app.admissions.log_out(&admission));
            Ok(())
        }
        Admitted::BackEnd(back_end) => {
            check_permission(&back_end, Permission::Logout)?;
            let asked = parse(&head.headers, &body)?;
            match (&asked.session, &asked.user_lookup) {
                (Some(session), None) => {
                    end_session(app, exchange, &back_end, session, &asked, facts).await
                }
                (None, Some(lookup)) => end_user(app, exchange, &back_end, lookup, &asked, facts),
                _ => Err(Problem::new(
                    Code::RequestInvalid,
                    "Name either `session` or `user_lookup`.",
                )),
            }
        }
    }
}

fn parse(headers: &HeaderMap, body: &[u8]) -> Result<LogoutRequest, Problem> {
    body::parse(headers, body)
}

async fn end_session(
    app: &App,
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
    let presented = Presented {
        authorization: Authorization::Bearer(session),
        cookies: Vec::new(),
    };
    let admission = match prove(app, exchange, &presented).await {
        Ok(Admitted::Person(admission)) => admission,
        Err(AdmissionError::Session(SessionError::Expired)) => return Ok(()),
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
    let tenant = &admission.seat().grant().tenant;
    if !back_end.key.tenants.contains(&tenant.id) {
        return Err(Problem::new(
            Code::TenantNotAllowed,
            "The key does not hold the session's tenant.",
        ));
    }
    let user = admission.user_hash().to_owned();
    facts.named = Some((Arc::clone(tenant), user));
    exchange
        .span()
        .in_scope(|| app.admissions.log_out(&admission));
    Ok(())
}

fn end_user(
    app: &App,
    exchange: &Exchange,
    back_end: &BackEnd,
    lookup: &Lookup,
    asked: &LogoutRequest,
    facts: &mut Facts,
) -> Result<(), Problem> {
    let tenant = named_tenant(app, back_end, asked.tenant.as_deref())?;
    let user = named_user(app, tenant, lookup, facts)?;
    exchange
        .span()
        .in_scope(|| app.admissions.log_out_everywhere(tenant, &user));
    Ok(())
}
