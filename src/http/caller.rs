//! Who is asking, with the checks that hold for every route that takes a session: the origin
//! first, then the credential, then what a browser must not do with it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::HeaderMap;
use compact_str::CompactString;
use tokio::time::timeout_at;
use tracing::Instrument;

use super::body;
use super::cors::{self, PageOrigin};
use super::frame::Exchange;
use super::presented::presented;
use super::problem::{Code, Problem};
use crate::admission::{Admission, AdmissionError, Admitted, Place};
use crate::broker::{Source, UserToken};
use crate::limits::Exceeded;
use crate::session::back_end::{BackEnd, Permission};
use crate::session::{Presented, SessionError};
use crate::telemetry::audit::Decision;
use crate::tenant::{Tenant, TenantId};

/// What becomes known of a request on its way, for the audit line.
#[derive(Debug, Default)]
pub(super) struct Facts {
    back_end: Option<Arc<BackEnd>>,
    person: Option<Arc<Admission>>,
    /// The user's place, once it is known.
    pub place: Option<Arc<Place>>,
    /// The tenant and the user that a back end named, or whose session it ended.
    pub named: Option<(Arc<Tenant>, CompactString)>,
    pub issued: Option<(Arc<UserToken>, Source)>,
}

impl Facts {
    /// Writes the audit line, and tells the problem which tenant it is about.
    pub fn audit(&self, exchange: &Exchange, action: &str, mut problem: Option<&mut Problem>) {
        if let Some(problem) = &mut problem {
            problem.tenant = self.tenant();
        }
        match problem.as_deref() {
            None => self.write(exchange, action, "ok", ""),
            Some(problem) => self.write(exchange, action, problem.code.as_str(), problem.why()),
        }
    }

    fn write(&self, exchange: &Exchange, action: &str, outcome: &str, why: &str) {
        let person = self.person.as_ref();
        let place = self.place.as_deref();
        let (tenant, user) = match (&self.named, place, person) {
            (Some((tenant, user)), ..) => (tenant.id.as_str(), user.as_str()),
            (None, Some(place), _) => (place.tenant().id.as_str(), place.user_hash.as_str()),
            (None, None, Some(person)) => (person.tenant().id.as_str(), ""),
            (None, None, None) => ("", ""),
        };
        if let Some(trace) = exchange.trace.as_ref().filter(|_| !tenant.is_empty()) {
            trace.tenant(tenant);
        }
        let issued = self.issued.as_ref();
        exchange.app.audit.decision(&Decision {
            action,
            request_id: exchange.request_id(),
            tenant,
            session: person.map_or("", |person| person.table_name()),
            key: self
                .back_end
                .as_ref()
                .map_or("", |back_end| back_end.id.as_str()),
            user,
            token_id: issued.map_or("", |(token, _)| token.access.id.as_str()),
            outcome,
            why,
            source: issued.map_or("", |(_, source)| source.as_str()),
            // An origin that is not listed is any text: it is not written down.
            origin: match &exchange.origin {
                PageOrigin::None => "",
                PageOrigin::Unlisted => "unlisted",
                PageOrigin::Listed(_) => exchange.origin.listed().unwrap_or_default(),
            },
            client: exchange.client,
        });
    }

    fn tenant(&self) -> Option<TenantId> {
        let named = self.named.as_ref().map(|(tenant, _)| tenant);
        let tenant = named.or_else(|| self.place.as_ref().map(|place| place.tenant()));
        let tenant = tenant.or_else(|| self.person.as_ref().map(|person| person.tenant()));
        tenant.map(|tenant| tenant.id.clone())
    }
}

/// Writes the audit line of a POST that no handler answers, if it is to one of the routes that have one.
pub(super) fn audit_unhandled(exchange: &Exchange, route: &str, outcome: &str) {
    let audited = [
        "POST /session-token",
        "POST /sessions",
        "POST /service-token",
        "POST /logout",
    ];
    let is_this = |action: &&str| action.strip_prefix("POST ") == Some(route);
    if let Some(action) = audited.into_iter().find(is_this) {
        Facts::default().write(exchange, action, outcome, "");
    }
}

/// Why a caller was not let in.
#[derive(Debug)]
pub(super) enum NotAdmitted {
    /// Its credential leads nowhere.
    Unproven(AdmissionError),
    /// What it may do with it does not reach so far.
    Refused(Problem),
}

impl From<AdmissionError> for NotAdmitted {
    fn from(error: AdmissionError) -> Self {
        Self::Unproven(error)
    }
}

impl From<Problem> for NotAdmitted {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl From<Exceeded> for NotAdmitted {
    fn from(exceeded: Exceeded) -> Self {
        Self::Refused(exceeded.into())
    }
}

impl From<NotAdmitted> for Problem {
    fn from(error: NotAdmitted) -> Self {
        match error {
            NotAdmitted::Unproven(error) => error.into(),
            NotAdmitted::Refused(problem) => problem,
        }
    }
}

/// Judges origin and credential, in this order. Nothing upstream happens before both are good.
pub(super) async fn admit(
    exchange: &Exchange,
    headers: &HeaderMap,
    facts: &mut Facts,
) -> Result<Admitted, NotAdmitted> {
    if matches!(exchange.origin, PageOrigin::Unlisted) {
        return Err(cors::refused().into());
    }
    let admitted = prove_caller(exchange, &presented(exchange, headers)?).await?;
    match &admitted {
        Admitted::BackEnd(back_end) => {
            facts.back_end = Some(Arc::clone(back_end));
            // Keys do not belong in pages, listed or not.
            if !matches!(exchange.origin, PageOrigin::None) {
                return Err(Problem::new(
                    Code::OriginNotAllowed,
                    "Keys and certificates are for back ends; a page must not hold one.",
                )
                .into());
            }
            check_forgery(exchange, headers, back_end.ambient)?;
        }
        Admitted::Person(admission) => {
            facts.person = Some(Arc::clone(admission));
            facts.place = admission.place_now();
            check_origin(exchange, admission.tenant())?;
            check_forgery(exchange, headers, admission.is_ambient())?;
        }
    }
    Ok(admitted)
}

/// The beginning of every route that is for back ends alone: who asks, what it may, its body.
pub(super) async fn back_end(
    exchange: &Exchange,
    request: Request,
    needed: Permission,
    facts: &mut Facts,
) -> Result<(Arc<BackEnd>, HeaderMap, Bytes), Problem> {
    let (head, body) = request.into_parts();
    body::check_length(&head.headers)?;
    let Admitted::BackEnd(back_end) = admit(exchange, &head.headers, facts).await? else {
        return Err(Problem::new(
            Code::CallerNotAllowed,
            "This call is for back ends; a person's session cannot make it.",
        ));
    };
    check_permission(&back_end, needed)?;
    let body = body::read(body, exchange.deadline).await?;
    Ok((back_end, head.headers, body))
}

/// Proves what a caller shows. Of an address that had too many credentials refused, only what was
/// proven before a reload or since, or can be judged without a signature and without asking anybody, is looked at.
async fn prove_caller(
    exchange: &Exchange,
    presented: &Presented<'_>,
) -> Result<Admitted, NotAdmitted> {
    let app = &exchange.app;
    if let Some(known) = remembered(exchange, presented).await? {
        return Ok(known);
    }
    let admissions = &app.admissions;
    if !admissions.sessions().judges_at_once(presented) && !admissions.was_proven(presented) {
        app.limits.may_judge(exchange.client)?;
    }
    let judged = judge(exchange, presented).await;
    // Not one that has ended: an honest page shows those, and so do all behind its address.
    if let Err(AdmissionError::Session(SessionError::Invalid(_) | SessionError::UnknownHandle)) =
        &judged
    {
        app.limits.refused(exchange.client)?;
    }
    Ok(judged?)
}

/// Proves a credential that somebody else showed to the caller.
pub(super) async fn prove(
    exchange: &Exchange,
    presented: &Presented<'_>,
) -> Result<Admitted, AdmissionError> {
    match remembered(exchange, presented).await? {
        Some(known) => Ok(known),
        None => judge(exchange, presented).await,
    }
}

async fn remembered(
    exchange: &Exchange,
    presented: &Presented<'_>,
) -> Result<Option<Admitted>, AdmissionError> {
    let known = exchange.app.admissions.remembered(presented).await?;
    Ok(known.map(Admitted::Person))
}

/// Judges one credential within the request's deadline.
async fn judge(exchange: &Exchange, presented: &Presented<'_>) -> Result<Admitted, AdmissionError> {
    let app = &exchange.app;
    if presented.is_key() {
        return app.admissions.admit(presented).await;
    }
    let late = SessionError::Unavailable {
        why: "no answer within the deadline",
        retry_after: Duration::from_secs(1),
    };
    let admitting = app.admissions.admit(presented).instrument(exchange.span());
    let admitted = Box::pin(timeout_at(exchange.deadline, admitting)).await;
    admitted.unwrap_or(Err(late.into()))
}

/// A cookie is sent along by the browser whatever page asks. The header cannot be set by a form or
/// an image, and a script that sets it triggers a preflight, which only listed origins pass.
fn check_forgery(
    exchange: &Exchange,
    headers: &HeaderMap,
    is_ambient: bool,
) -> Result<(), Problem> {
    if !is_ambient {
        return Ok(());
    }
    if !headers.contains_key("x-broker-request") {
        return Err(no_header());
    }
    let cross_site = headers
        .get_all("sec-fetch-site")
        .iter()
        .any(|site| site == "cross-site");
    if cross_site && exchange.origin.listed().is_none() {
        return Err(Problem::new(
            Code::CsrfRejected,
            "The browser says that another site makes this request.",
        ));
    }
    Ok(())
}

pub(super) fn no_header() -> Problem {
    Problem::new(
        Code::CsrfRejected,
        "A session that the browser or a proxy adds needs the header X-Broker-Request.",
    )
}

/// An origin that only another tenant lists counts as unlisted now that the tenant is known.
fn check_origin(exchange: &Exchange, tenant: &Tenant) -> Result<(), Problem> {
    match exchange.origin.listed() {
        Some(origin) if !tenant.allows_origin(origin) => Err(cors::refused()),
        _ => Ok(()),
    }
}

/// Whether a key may make this call.
pub(super) fn check_permission(back_end: &BackEnd, needed: Permission) -> Result<(), Problem> {
    if back_end.allow.contains(&needed) {
        return Ok(());
    }
    Err(lacks_call())
}

pub(super) fn lacks_call() -> Problem {
    Problem::new(
        Code::CallerNotAllowed,
        "The caller's allow list lacks this call.",
    )
}
