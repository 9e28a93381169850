//! `POST /session-token`.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::HeaderMap;
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
use crate::tenant::{Grant, ScopeSet};

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
///
/// The request is borrowed, since each call that took it would make room for it in the future of a hit,
/// which is copied.
pub(super) async fn session_token(exchange: &Exchange, request: &mut Request) -> Response {
    let mut facts = Facts::default();
    let mut outcome = answer(exchange, request, &mut facts).await;
    facts.audit(exchange, ACTION, outcome.as_mut().err());
    outcome.into_response()
}

/// Whose token is asked for, and which one it must not be.
struct Wanted {
    place: Arc<Place>,
    rejected: Option<String>,
}

async fn answer(
    exchange: &Exchange,
    request: &mut Request,
    facts: &mut Facts,
) -> Result<Response, Problem> {
    let app = &exchange.app;
    let body = mem::take(request.body_mut());
    let headers = request.headers();
    body::check_length(headers)?;
    let admitted = admit(exchange, headers, facts).await?;
    if let Admitted::BackEnd(back_end) = &admitted {
        check_permission(back_end, Permission::Token)?;
    }
    let body = body::read(body, exchange.deadline).await?;
    let wanted = match &admitted {
        Admitted::Person(admission) => {
            let asked = parse(headers, &body)?;
            of_person(exchange, admission, asked, facts).await?
        }
        Admitted::BackEnd(back_end) => of_named(app, back_end, headers, &body, facts)?,
    };
    let seat = &wanted.place.seat;
    let issued = match wanted.rejected {
        None => app.broker.fresh(seat),
        Some(_) => None,
    };
    let issued = if let Some(issued) = issued {
        issued
    } else {
        // In a box: what only a miss needs shall not make the future of a hit large.
        let rejected = wanted.rejected.as_deref();
        Box::pin(wait_for_token(app, exchange, &admitted, seat, rejected)).await?
    };
    if let Admitted::Person(admission) = &admitted
        && app.admissions.ended_meanwhile(admission).await
    {
        return Err(SessionError::Expired.into());
    }
    let answer = render(&issued, wanted.place.tenant(), headers);
    facts.issued = Some((issued.token, issued.source));
    Ok(answer)
}

fn parse(headers: &HeaderMap, body: &[u8]) -> Result<TokenRequest, Problem> {
    let asked: TokenRequest = body::parse(headers, body)?;
    let rejected = asked.rejected.as_deref();
    if rejected.is_some_and(|id| !is_token_id(id)) {
        return Err(Problem::new(
            Code::RequestInvalid,
            "`rejected` takes the token_id of a token: 22 characters of base64url.",
        ));
    }
    Ok(asked)
}

/// A person's own, within its limits.
async fn of_person(
    exchange: &Exchange,
    admission: &Admission,
    asked: TokenRequest,
    facts: &mut Facts,
) -> Result<Wanted, Problem> {
    let app = &exchange.app;
    let other_scopes = person_scopes(admission, &asked)?;
    app.limits.session(admission.limited_as())?;
    let place = place_of(exchange, admission, facts).await?;
    Ok(Wanted {
        place: match other_scopes {
            None => place,
            Some(scopes) => app.admissions.place_with(&place, scopes),
        },
        rejected: asked.rejected,
    })
}

/// Of the user whom a back end names.
fn of_named(
    app: &App,
    back_end: &Arc<BackEnd>,
    headers: &HeaderMap,
    body: &[u8],
    facts: &mut Facts,
) -> Result<Wanted, Problem> {
    body::check_type(headers, body)?;
    if let Some(place) = app.admissions.asked_before(back_end, body) {
        facts.place = Some(Arc::clone(&place));
        back_end.take()?;
        return Ok(Wanted {
            place,
            rejected: None,
        });
    }
    let asked = parse(headers, body)?;
    let place = named_place(app, back_end, &asked, facts)?;
    back_end.take()?;
    // What was rejected is of this moment.
    if asked.rejected.is_none() {
        app.admissions.remember_asked(back_end, body, &place);
    }
    Ok(Wanted {
        place,
        rejected: asked.rejected,
    })
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

fn named_place(
    app: &App,
    back_end: &BackEnd,
    asked: &TokenRequest,
    facts: &mut Facts,
) -> Result<Arc<Place>, Problem> {
    let tenant = named_tenant(app, back_end, asked.tenant.as_deref())?;
    let lookup = asked.user_lookup.as_ref();
    let lookup = lookup.ok_or_else(nobody_named)?;
    let (user, user_hash) = named_user(app, tenant, lookup, facts)?;
    let scopes = offered_scopes(tenant, asked.scope.as_deref())?;
    let grant = Grant {
        tenant: Arc::clone(tenant),
        user,
        scopes: scopes.unwrap_or_else(|| tenant.scopes.clone()),
    };
    Ok(app.admissions.place_named(back_end, grant, user_hash))
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
