//! The operators' listener: health, readiness, metrics, reloading, a status page, and what both listeners
//! answer. Never exposed to other people's browsers.

mod callers;
mod health;
pub mod openapi;
mod reload;
mod status;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;

use crate::app::live::Live;

use callers::no_foreign_page;
use health::{metrics_text, readyz};
use reload::Door;
use status::Shown;

pub use status::{EVERY, Status};

/// All routes of the ops listener, which is bound to `address`. `status` is what its page knows of the
/// last hour.
pub fn router(live: &Arc<Live>, status: &Arc<Status>, address: IpAddr) -> Router {
    let door = Door::new(live, address);
    let shown = Shown {
        live: Arc::clone(live),
        status: Arc::clone(status),
    };
    Router::new()
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .route(
            "/openapi.json",
            get(async || answer(StatusCode::OK, "application/json", openapi::document())),
        )
        .with_state(Arc::clone(live))
        .route_layer(from_fn(no_foreign_page))
        .route(
            "/healthz",
            get(async || answer(StatusCode::OK, "text/plain", "ok\n")),
        )
        .route("/reload", post(reload::reload).with_state(door))
        .route("/", get(status::page).with_state(shown))
        .route("/status.css", get(status::style))
        .route("/status.svg", get(status::icon))
}

fn answer(status: StatusCode, kind: &'static str, body: impl IntoResponse) -> Response {
    let headers = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, body).into_response()
}

fn json(status: StatusCode, body: &Value) -> Response {
    answer(status, "application/json", body.to_string())
}
