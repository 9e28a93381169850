//! `POST /session-token`.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::time::timeout_at;
use tracing::Instrument;
use utoipa::ToSchema;

use super::answer::render;
use super::body;
use super::caller::{Facts, admit, check_permission};
use super::frame::Exchange;
use super::named::{Lookup, named_tenant, named_user, offered_scopes};
use super::problem::{Code, Problem};
use crate::admission::{Admission, Admitted, Place, PlaceError};
use crate::app::App;
use crate::broker::{BrokerError, Issued, Seat};
use crate::session::SessionError;
use crate::session::back_end::{BackEnd, Permission};
use crate::tenant::ScopeSet;

/// As the router has it.
pub(super) const PATH: &str = "/session-token";
const ACTION: &str = "POST /session-token";

/// Every field is optional, and so is the body.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenRequest {
    /// Whom the token is for. A back end must name somebody, a page nobody.
    user_lookup: Option<Lookup>,
    /// A tenant of the configuration. A back end names one if its key has several, a page none.
    #[schema(max_length = 64, pattern = "^[a-z0-9_-]+$")]
    tenant: Option<String>,
    /// Scopes, separated by spaces: the tenant's `scopes` or, as a whole set, one of its `optional_scopes`.
    #[schema(pattern = r"^ *[!#-\[\]-~][ !#-\[\]-~]*$")]
    scope: Option<String>,
    /// The `token_id` of a token that the tenant answered 401 to.
    #[schema(pattern = "^[A-Za-z0-9_-]{22}$")]
    rejected: Option<String>,
}

/// The order of the checks is part of the contract: size, origin, session, body, tenant and scope,
/// limits.
pub(super) async fn session_token(
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
    let app = &exchange.app;
    let (head, body) = request.into_parts();
    body::check_length(&head.headers)?;
    let admitted = admit(exchange, &head.headers, facts).await?;
    if let Admitted::BackEnd(back_end) = &admitted {
        check_permission(back_end, Permission::Token)?;
    }
    let body = body::read(body, exchange.deadline).await?;
    let asked: TokenRequest = body::parse(&head.headers, &body)?;
    let rejected = asked.rejected.as_deref();
    if rejected.is_some_and(|id| !is_token_id(id)) {
        return Err(Problem::new(
            Code::RequestInvalid,
            "`rejected` takes the token_id of a token: 22 characters of base64url.",
        ));
    }
    let (place, own_seat);
    let seat = match &admitted {
        Admitted::Person(admission) => {
            let other_scopes = person_scopes(admission, &asked)?;
            app.limits.session(admission.limited_as())?;
            place = place_of(exchange, admission, facts).await?;
            match other_scopes {
                None => &place.seat,
                Some(scopes) => {
                    own_seat = app.admissions.seat_with(&place, scopes);
                    &own_seat
                }
            }
        }
        Admitted::BackEnd(back_end) => {
            own_seat = back_end_seat(app, back_end, &asked, facts)?;
            back_end.take()?;
            &own_seat
        }
    };
    let issued = match rejected {
        None => app.broker.fresh(seat),
        Some(_) => None,
    };
    let issued = if let Some(issued) = issued {
        issued
    } else {
        // In a box: what only a miss needs shall not make the future of a hit large.
        Box::pin(wait_for_token(app, exchange, &admitted, seat, rejected)).await?
    };
    if let Admitted::Person(admission) = &admitted
        && app.admissions.ended_meanwhile(admission).await
    {
        return Err(SessionError::Expired.into());
    }
    facts.issued = Some((Arc::clone(&issued.token), issued.source));
    Ok(render(&issued, &seat.grant().tenant, &head.headers))
}

/// A logout ends the mint that all sessions of its user wait for: those that go on try again.
async fn wait_for_token(
    app: &App,
    exchange: &Exchange,
    admitted: &Admitted,
    seat: &Seat,
    rejected: Option<&str>,
) -> Result<Issued, BrokerError> {
    exchange.give_up_place();
    loop {
        let getting = app.broker.token(seat, rejected, exchange.deadline);
        let issued = getting.instrument(exchange.span()).await;
        match (&issued, admitted) {
            // Each time takes a logout, so there is an end to it.
            (Err(BrokerError::SessionEnded), Admitted::Person(admission))
                if !app.admissions.ended_meanwhile(admission).await => {}
            _ => return issued,
        }
    }
}

/// Whom the session is of may have to be asked of the tenant: the last thing before the token.
async fn place_of(
    exchange: &Exchange,
    admission: &Admission,
    facts: &mut Facts,
) -> Result<Arc<Place>, PlaceError> {
    if let Some(place) = admission.known_place() {
        return Ok(Arc::clone(place));
    }
    let asking = Box::pin(exchange.app.admissions.place_of(admission));
    let late = BrokerError::Deadline {
        retry_after: Duration::from_secs(1),
    };
    let place = timeout_at(exchange.deadline, asking).await;
    let place = place.unwrap_or(Err(late.into()))?;
    facts.place = Some(Arc::clone(&place));
    Ok(place)
}

/// A page may choose among the offered scopes, and nothing else.
fn person_scopes(admission: &Admission, asked: &TokenRequest) -> Result<Option<ScopeSet>, Problem> {
    if asked.user_lookup.is_some() {
        return Err(Problem::new(
            Code::UserNotAllowed,
            "Whom the token is for is decided by the session; leave out user_lookup.",
        ));
    }
    if asked.tenant.is_some() {
        return Err(Problem::new(
            Code::TenantNotAllowed,
            "The tenant is decided by the session; leave out tenant.",
        ));
    }
    let offered = offered_scopes(admission.tenant(), asked.scope.as_deref())?;
    let Some(scopes) = offered.filter(|scopes| scopes != admission.scopes()) else {
        return Ok(None);
    };
    if admission.scope_is_fixed() {
        return Err(Problem::new(
            Code::ScopeNotAllowed,
            "This session is bound to one set of scopes.",
        ));
    }
    Ok(Some(scopes))
}

fn back_end_seat(
    app: &App,
    back_end: &BackEnd,
    asked: &TokenRequest,
    facts: &mut Facts,
) -> Result<Seat, Problem> {
    let tenant = named_tenant(app, back_end, asked.tenant.as_deref())?;
    let lookup = asked.user_lookup.as_ref();
    let lookup = lookup.ok_or_else(nobody_named)?;
    let user = named_user(app, tenant, lookup, facts)?;
    let scopes = offered_scopes(tenant, asked.scope.as_deref())?;
    let scopes = scopes.unwrap_or_else(|| tenant.scopes.clone());
    Ok(app
        .admissions
        .seat(&back_end.source, Arc::clone(tenant), user, scopes))
}

fn is_token_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.len() == 22 && text.bytes().all(allowed)
}

/// What a back end is told that names nobody.
pub(super) fn nobody_named() -> Problem {
    Problem::new(
        Code::RequestInvalid,
        "A back end names the user: user_lookup is missing.",
    )
}
