//! Which requests are counted together: by the pattern of a route that answers them. Paths and methods
//! are chosen by whoever asks.
//!
//! A preflight asks for no token, and is answered in no time; so is a method that nobody answers. They
//! would make a route look faster and better than it is, so they are counted apart.

use axum::http::Method;

use super::token;
use crate::telemetry::metrics::Requests;

/// `OPTIONS` of a route that takes `POST`.
const PREFLIGHT: &str = "preflight";
/// Stands for all paths that are none of ours, and for methods that ours do not answer.
pub(super) const OTHER: &str = "other";

/// What pages and back ends post to.
const POSTED: [&str; 4] = [token::PATH, "/sessions", "/service-token", "/logout"];
/// What anybody may get.
const READ: [&str; 5] = [
    "/healthz",
    "/client.js",
    "/client.global.js",
    "/client.d.ts",
    PROBLEM,
];
const PROBLEM: &str = "/problems/{code}";

/// The counters of all requests.
pub(super) struct Counted {
    posted: [Requests; 4],
    read: [Requests; 5],
    preflight: Requests,
    other: Requests,
}

impl Counted {
    pub fn new() -> Self {
        Self {
            posted: POSTED.map(Requests::of),
            read: READ.map(Requests::of),
            preflight: Requests::of(PREFLIGHT),
            other: Requests::of(OTHER),
        }
    }

    /// The pattern of the route that a request is for, if it is one of ours, and where it is counted.
    pub fn of(&self, method: &Method, path: &str) -> (Option<&'static str>, &Requests) {
        if let Some(index) = POSTED.iter().position(|route| *route == path) {
            let counted = match *method {
                Method::POST => &self.posted[index],
                Method::OPTIONS => &self.preflight,
                _ => &self.other,
            };
            return (Some(POSTED[index]), counted);
        }
        let Some(index) = READ.iter().position(|route| matches(route, path)) else {
            return (None, &self.other);
        };
        let counted = match *method {
            Method::GET | Method::HEAD => &self.read[index],
            _ => &self.other,
        };
        (Some(READ[index]), counted)
    }
}

/// As the router does it: a code is one segment.
fn matches(route: &str, path: &str) -> bool {
    if route != PROBLEM {
        return route == path;
    }
    let code = path.strip_prefix("/problems/");
    code.is_some_and(|code| !code.is_empty() && !code.contains('/'))
}
