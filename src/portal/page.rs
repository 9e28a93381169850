//! The pages and what they load.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse, Response};

use super::{Surroundings, User};

const LOGIN: &str = include_str!("../../examples/portal/login.html");
const DASHBOARD: &str = include_str!("../../examples/portal/dashboard.html");

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What pages load, by name.
const ASSETS: [(&str, &str, &str); 4] = [
    (
        "portal.css",
        CSS,
        include_str!("../../examples/portal/portal.css"),
    ),
    (
        "dashboard.js",
        SCRIPT,
        include_str!("../../examples/portal/dashboard.js"),
    ),
    (
        "stage.js",
        SCRIPT,
        include_str!("../../examples/portal/stage.js"),
    ),
    (
        "icon.svg",
        "image/svg+xml",
        include_str!("../../examples/portal/icon.svg"),
    ),
];

/// The dashboards, filled in.
pub(super) struct Pages([String; User::ALL.len()]);

impl Pages {
    pub fn new(surroundings: &Surroundings<'_>) -> Self {
        Self(User::ALL.map(|user| fill_in(user, surroundings)))
    }

    pub fn dashboard(&self, user: User) -> Response {
        Html(self.0[user as usize].clone()).into_response()
    }
}

/// Nothing that is filled in comes from a caller.
fn fill_in(user: User, surroundings: &Surroundings<'_>) -> String {
    let other = user.other();
    let values = [
        ("{{user}}", user.id()),
        ("{{name}}", user.name()),
        ("{{initial}}", &user.name()[..1]),
        ("{{other}}", other.id()),
        ("{{other_name}}", other.name()),
        ("{{broker}}", surroundings.broker),
        ("{{tenant}}", surroundings.tenant),
    ];
    let page = DASHBOARD.to_owned();
    values
        .into_iter()
        .fold(page, |page, (name, value)| page.replace(name, value))
}

pub(super) async fn login() -> Html<&'static str> {
    Html(LOGIN)
}

pub(super) async fn asset(Path(name): Path<String>) -> Response {
    let mut assets = ASSETS.into_iter();
    match assets.find(|(known, ..)| *known == name) {
        Some((_, kind, text)) => ([(CONTENT_TYPE, kind)], text).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
