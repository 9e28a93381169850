//! `POST /session-token`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, PRAGMA, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tracing::Instrument;

use super::body;
use super::caller::{Facts, admit, check_permission};
use super::frame::Exchange;
use super::problem::{Code, Problem};
use crate::admission::{Admission, Admitted};
use crate::app::App;
use crate::broker::{Issued, Seat};
use crate::mapping::{LookupField, UserLookup};
use crate::session::SessionError;
use crate::session::api_key::{BackEnd, Permission};
use crate::tenant::{ScopeSet, Tenant, TenantId};

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const ACTION: &str = "POST /session-token";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    user_lookup: Option<Lookup>,
    tenant: Option<String>,
    scope: Option<String>,
    rejected: Option<String>,
}

/// A user as a back end names it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lookup {
    field: String,
    value: String,
}

#[derive(Serialize)]
struct TokenAnswer<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    expires_at: &'a str,
    scope: &'a str,
    tenant_url: &'a str,
    token_id: &'a str,
}

/// The order of the checks is part of the contract: size, origin, session, body, tenant and scope.
pub(super) async fn session_token(
    State(app): State<Arc<App>>,
    Extension(exchange): Extension<Exchange>,
    request: Request,
) -> Response {
    let mut facts = Facts::default();
    let outcome = answer(&app, &exchange, request, &mut facts).await;
    facts.audit(&app, &exchange, ACTION, outcome.as_ref().err());
    outcome.into_response()
}

async fn answer(
    app: &App,
    exchange: &Exchange,
    request: Request,
    facts: &mut Facts,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    body::check_length(&head.headers)?;
    let admitted = admit(app, exchange, &head.headers, facts).await?;
    if let Admitted::BackEnd(back_end) = &admitted {
        check_permission(back_end, Permission::Token)?;
    }
    let body = body::read(body, exchange.deadline).await?;
    let asked: TokenRequest = body::parse(&head.headers, &body)?;
    let rejected = asked.rejected.as_deref();
    if rejected.is_some_and(|id| id.len() != 22) {
        return Err(Problem::new(
            Code::RequestInvalid,
            "`rejected` takes the token_id of a token: 22 characters.",
        ));
    }
    let own_seat;
    let seat = match &admitted {
        Admitted::Person(admission) => match person_seat(app, admission, &asked)? {
            None => admission.seat(),
            Some(other_scopes) => {
                own_seat = other_scopes;
                &own_seat
            }
        },
        Admitted::BackEnd(back_end) => {
            own_seat = back_end_seat(app, back_end, &asked, facts)?;
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
        let getting = app.broker.token(seat, rejected, exchange.deadline);
        getting.instrument(exchange.span()).await?
    };
    if let Admitted::Person(admission) = &admitted
        && app.admissions.ended_meanwhile(admission)
    {
        return Err(SessionError::Expired.into());
    }
    facts.issued = Some((Arc::clone(&issued.token), issued.source));
    Ok(render(
        &issued,
        &seat.grant().tenant,
        wants_text(&head.headers),
    ))
}

/// A page may choose among the offered scopes, and nothing else.
fn person_seat(
    app: &App,
    admission: &Admission,
    asked: &TokenRequest,
) -> Result<Option<Seat>, Problem> {
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
    let grant = admission.seat().grant();
    let Some(scopes) =
        offered_scopes(&grant.tenant, asked)?.filter(|scopes| *scopes != grant.scopes)
    else {
        return Ok(None);
    };
    if admission.scope_is_fixed() {
        return Err(Problem::new(
            Code::ScopeNotAllowed,
            "This session is bound to one set of scopes.",
        ));
    }
    Ok(Some(app.admissions.seat(
        Arc::clone(&grant.tenant),
        grant.user.clone(),
        scopes,
    )))
}

fn back_end_seat(
    app: &App,
    back_end: &BackEnd,
    asked: &TokenRequest,
    facts: &mut Facts,
) -> Result<Seat, Problem> {
    let tenant = named_tenant(app, back_end, asked.tenant.as_deref())?;
    let lookup = asked.user_lookup.as_ref();
    let lookup = lookup.ok_or(Problem::new(
        Code::RequestInvalid,
        "A back end names the user: user_lookup is missing.",
    ))?;
    let user = named_user(app, tenant, lookup, facts)?;
    let scopes = offered_scopes(tenant, asked)?.unwrap_or_else(|| tenant.scopes.clone());
    Ok(app.admissions.seat(Arc::clone(tenant), user, scopes))
}

/// The tenant that a back end names, or the only one its key has.
pub(super) fn named_tenant<'a>(
    app: &'a App,
    back_end: &BackEnd,
    name: Option<&str>,
) -> Result<&'a Arc<Tenant>, Problem> {
    let id = match (name, back_end.key.tenants.as_slice()) {
        (Some(name), allowed) => TenantId::parse(name).filter(|id| allowed.contains(id)),
        (None, [only]) => Some(only.clone()),
        (None, _) => {
            return Err(Problem::new(
                Code::RequestInvalid,
                "The key has several tenants: name one in `tenant`.",
            ));
        }
    };
    let tenant = id.and_then(|id| app.admissions.tenants().get(&id));
    tenant.ok_or(Problem::new(
        Code::TenantNotAllowed,
        "The key does not hold this tenant.",
    ))
}

/// The user that a back end names.
pub(super) fn named_user(
    app: &App,
    tenant: &Arc<Tenant>,
    lookup: &Lookup,
    facts: &mut Facts,
) -> Result<UserLookup, Problem> {
    let field = LookupField::parse(&lookup.field).ok_or(Problem::new(
        Code::RequestInvalid,
        "user_lookup.field is `subject` or `userId`.",
    ))?;
    let user = UserLookup::new(field, &lookup.value)
        .map_err(|why| Problem::new(Code::RequestInvalid, format!("user_lookup.value: {why}.")))?;
    facts.named = Some((Arc::clone(tenant), app.admissions.user_hash(tenant, &user)));
    if app.admissions.is_denied(&user) {
        return Err(Problem::new(
            Code::UserNotAllowed,
            "This user is never impersonated.",
        ));
    }
    Ok(user)
}

/// The scopes asked for, if any are: only whole sets that the tenant offers.
fn offered_scopes(tenant: &Tenant, asked: &TokenRequest) -> Result<Option<ScopeSet>, Problem> {
    let Some(scope) = &asked.scope else {
        return Ok(None);
    };
    let wanted = ScopeSet::parse(scope)
        .map_err(|why| Problem::new(Code::RequestInvalid, format!("scope: {why}.")))?;
    match tenant.scope_set(&wanted) {
        Some(offered) => Ok(Some(offered.clone())),
        None => Err(Problem::new(
            Code::ScopeNotAllowed,
            "The tenant's configuration does not offer this set of scopes.",
        )),
    }
}

/// qlik-embed's callback wants the bare token. Text has to be asked for by name.
fn wants_text(headers: &HeaderMap) -> bool {
    let quality = |wanted: &str| {
        let ranges = headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        let mut named = ranges.filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            parts
                .next()
                .filter(|essence| essence.eq_ignore_ascii_case(wanted))?;
            Some(
                parts
                    .find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok())
                    .unwrap_or(1.0),
            )
        });
        named.next().unwrap_or(0.0)
    };
    let text = quality("text/plain");
    text > 0.0 && text > quality("application/json")
}

fn render(issued: &Issued, tenant: &Tenant, as_text: bool) -> Response {
    let token = &issued.token;
    let access_token = token.access.secret.expose();
    let (kind, body) = if as_text {
        ("text/plain; charset=utf-8", access_token.to_owned())
    } else {
        let answer = TokenAnswer {
            access_token,
            token_type: "Bearer",
            expires_in: token.remaining().as_secs(),
            expires_at: &token.expires_at_text,
            scope: &token.access.scope,
            tenant_url: &tenant.url,
            token_id: &token.access.id,
        };
        (
            "application/json",
            serde_json::to_string(&answer).unwrap_or_default(),
        )
    };
    let timing = match issued.source {
        crate::broker::Source::Local => "token;desc=\"local\"",
        crate::broker::Source::Minted => "token;desc=\"minted\"",
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        // For readers of RFC 6749, 5.1.
        (PRAGMA, HeaderValue::from_static("no-cache")),
        (VARY, HeaderValue::from_static("Accept")),
        (SERVER_TIMING, HeaderValue::from_static(timing)),
    ];
    (headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_sent_only_to_those_who_ask_for_it() {
        for (accept, text) in [
            ("text/plain", true),
            ("text/plain, */*", true),
            ("TEXT/PLAIN;q=0.9, application/json;q=0.5", true),
            ("application/json, text/plain", false),
            ("application/json, text/plain, */*", false),
            ("text/plain;q=0", false),
            ("*/*", false),
            ("text/html", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(wants_text(&headers), text, "{accept}");
        }
    }
}
