//! Whether the broker is well: for orchestrators and for Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::{answer, json};
use crate::app::App;
use crate::app::live::Live;
use crate::telemetry::metrics;

/// The media type of the Prometheus text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Ready means: requests sent here are worth sending. A tenant in trouble degrades a replica, but
/// taking it out of service would take the cached tokens away as well.
pub(super) async fn readyz(State(live): State<Arc<Live>>) -> Response {
    let app = live.app();
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
    let refused = live.refused();
    let config = refused.iter().flat_map(|problems| &problems.0);
    // One is enough to know where to look; the log has them all.
    let config = config.take(1);
    let config = config.map(|problem| json!({"config": problem.path, "reason": "reload_refused"}));
    let reasons: Vec<Value> = tenants
        .chain(sessions)
        .chain(shared)
        .chain(config)
        .collect();
    let (status, word) = match (live.is_stopping(), useless, reasons.is_empty()) {
        (true, ..) => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        (_, true, _) => (StatusCode::SERVICE_UNAVAILABLE, "unready"),
        (_, _, false) => (StatusCode::OK, "degraded"),
        _ => (StatusCode::OK, "ready"),
    };
    let body = json!({"status": word, "reasons": reasons, "generation": app.generation});
    json(status, &body)
}

/// Brings the gauges up to date that nobody sets when they change, and lets go of the sessions that
/// nobody showed for long.
pub(super) fn measure(app: &App) {
    app.admissions.tidy();
    metrics::cached_users().set(app.broker.cached_users() as f64);
    app.broker.measure();
    for standing in app.standings() {
        for (client, secret) in &standing.secrets {
            metrics::client_secret_in_use(standing.id(), client, secret.place);
        }
    }
}

/// With thousands of tenants it takes the better part of a second.
pub(super) async fn metrics_text(State(live): State<Arc<Live>>) -> Response {
    let rendering = live.look(|app| {
        measure(app);
        let metrics = app.metrics.as_ref()?;
        Some(metrics.render())
    });
    match rendering.await.flatten() {
        Some(text) => answer(StatusCode::OK, PROMETHEUS_TEXT, text),
        None => answer(
            StatusCode::SERVICE_UNAVAILABLE,
            "text/plain",
            "another recorder is installed in this process\n",
        ),
    }
}
