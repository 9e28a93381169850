//! The operators' listener: health, readiness and metrics. Never exposed to browsers.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use crate::app::App;
use crate::telemetry::metrics;

/// The media type of the Prometheus text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All routes of the ops listener.
pub fn router(app: &Arc<App>) -> Router {
    Router::new()
        .route(
            "/healthz",
            get(async || answer(StatusCode::OK, "text/plain", "ok\n")),
        )
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .with_state(Arc::clone(app))
}

fn answer(status: StatusCode, kind: &'static str, body: impl IntoResponse) -> Response {
    let headers = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, body).into_response()
}

/// Ready means: requests sent here are worth sending. A tenant in trouble degrades a replica, but
/// taking it out of service would take the cached tokens away as well.
async fn readyz(State(app): State<Arc<App>>) -> Response {
    let troubles = app.broker.troubles();
    let every_tenant = !troubles.is_empty() && troubles.len() == app.admissions.tenants().len();
    let useless = every_tenant
        && app.broker.cached_users() == 0
        && troubles.iter().all(|(_, why)| *why == "client_refused");
    let tenants = troubles
        .iter()
        .map(|(tenant, why)| json!({"tenant": tenant.as_str(), "reason": why}));
    let sessions = app.admissions.sessions().troubles();
    let sessions = sessions.map(|table| json!({"session": &**table, "reason": "unanswered"}));
    let is_away = app.shared.as_ref().is_some_and(|shared| !shared.is_up());
    let shared = is_away.then(|| json!({"shared": "out of reach"}));
    let reasons: Vec<Value> = tenants.chain(sessions).chain(shared).collect();
    let (status, word) = match (app.is_stopping(), useless, reasons.is_empty()) {
        (true, ..) => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        (_, true, _) => (StatusCode::SERVICE_UNAVAILABLE, "unready"),
        (_, _, false) => (StatusCode::OK, "degraded"),
        _ => (StatusCode::OK, "ready"),
    };
    answer(
        status,
        "application/json",
        json!({"status": word, "reasons": reasons}).to_string(),
    )
}

async fn metrics_text(State(app): State<Arc<App>>) -> Response {
    metrics::cached_users().set(app.broker.cached_users() as f64);
    app.broker.measure();
    match &app.metrics {
        Some(metrics) => answer(StatusCode::OK, PROMETHEUS_TEXT, metrics.render()),
        None => answer(
            StatusCode::SERVICE_UNAVAILABLE,
            "text/plain",
            "another recorder is installed in this process\n",
        ),
    }
}
