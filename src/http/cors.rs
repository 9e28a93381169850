//! Which pages may read our answers (Fetch standard, "CORS protocol"). Exact matches only.

use std::sync::Arc;

use axum::Extension;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::frame::Exchange;
use super::problem::{Code, Problem};
use crate::app::App;

const ALLOWED_HEADERS: &str = "authorization, content-type, accept, x-broker-request, x-request-id";
const EXPOSED_HEADERS: HeaderValue =
    HeaderValue::from_static("Retry-After, X-Request-Id, Server-Timing");

/// What a request says about the page it comes from.
#[derive(Clone, Debug)]
pub(super) enum PageOrigin {
    /// No `Origin`: a back end. Browsers send one with every POST.
    None,
    /// An origin that some tenant lists.
    Listed(HeaderValue),
    /// Any other, `null` and doubled headers included.
    Unlisted,
}

impl PageOrigin {
    pub fn of(app: &App, headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(ORIGIN).iter();
        let Some(value) = values.next() else {
            return Self::None;
        };
        match (value.to_str(), values.next()) {
            (Ok(origin), None) if app.origins.lists(origin) => Self::Listed(value.clone()),
            _ => Self::Unlisted,
        }
    }

    /// The listed origin.
    pub fn listed(&self) -> Option<&str> {
        match self {
            Self::Listed(value) => value.to_str().ok(),
            Self::None | Self::Unlisted => None,
        }
    }

    /// Lets a listed page read the answer.
    pub fn open(&self, app: &App, headers: &mut HeaderMap) {
        let Self::Listed(origin) = self else {
            return;
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
        if app.admissions.sessions().any_ambient() {
            headers.insert(
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
    }
}

/// The refusal of a page. It carries no CORS header, so the page learns nothing.
pub(super) fn refused() -> Problem {
    Problem::new(
        Code::OriginNotAllowed,
        "This origin is not among the tenant's allowed_origins.",
    )
}

/// Answers a preflight. A request that is none gets the same: OPTIONS never does anything.
pub(super) async fn preflight(Extension(exchange): Extension<Arc<Exchange>>) -> Response {
    if exchange.origin.listed().is_none() {
        return refused().into_response();
    }
    let headers = [
        (
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("POST"),
        ),
        (ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(&exchange.app)),
        (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// With those that a portal is asked with.
fn allowed_headers(app: &App) -> HeaderValue {
    let mut names = ALLOWED_HEADERS.to_owned();
    for name in app.admissions.sessions().forwarded_headers() {
        names.push_str(", ");
        names.push_str(name.as_str());
    }
    HeaderValue::from_str(&names).unwrap_or(HeaderValue::from_static(ALLOWED_HEADERS))
}
