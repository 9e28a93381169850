//! The operators' listener: health, readiness, metrics, reloading, and
//! what both listeners answer. Never exposed to browsers.

mod health;
pub mod openapi;
mod reload;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;

use crate::app::live::Live;

use health::{metrics_text, readyz};
use reload::Door;

/// All routes of the ops listener, which is bound to `address`.
pub fn router(live: &Arc<Live>, address: IpAddr) -> Router {
    let door = Door::new(live, address);
    Router::new()
        .route(
            "/healthz",
            get(async || answer(StatusCode::OK, "text/plain", "ok\n")),
        )
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .route(
            "/openapi.json",
            get(async || answer(StatusCode::OK, "application/json", openapi::document())),
        )
        .with_state(Arc::clone(live))
        .route("/reload", post(reload::reload).with_state(door))
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
