//! `GET /`: a page for people that says how the broker is, and how the last hour went. Without
//! scripts; the charts are drawn here.
//!
//! Its numbers are those of `/metrics`, of which a sample is taken every 15 s. Whoever may see it is
//! bounded as for `POST /reload`: a page of somebody else's name must not read it (DNS rebinding).

mod busy;
mod charts;
mod findings;
mod history;
mod page;
mod paths;
mod plots;
mod sample;
mod tables;
mod view;
mod words;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use tokio::time::{Instant, MissedTickBehavior};

use super::answer;
use super::callers::{is_named_directly, refused};
use super::health::measure;
use crate::app::live::Live;
use history::History;
use sample::Reader;
use view::View;

pub use history::EVERY;

/// A page is good for this long: whoever reloads it all the time gets the same one.
const GOOD_FOR: Duration = Duration::from_secs(1);
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);
const CSS: &str = include_str!("status/status.css");
const ICON: &str = include_str!("status/status.svg");

/// What the page needs to know of the time before it is asked for.
#[derive(Debug, Default)]
pub struct Status {
    history: Mutex<History>,
    /// The last page, and when it was made. One is made at a time.
    page: tokio::sync::Mutex<Option<(Instant, Bytes)>>,
}

impl Status {
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a sample of the metrics. The next page shows it.
    pub async fn sample(self: &Arc<Self>, live: &Arc<Live>) {
        let status = Arc::clone(self);
        let sampling = live.look(move |app| {
            let Some(metrics) = &app.metrics else {
                return;
            };
            measure(app);
            let mut reader = Reader::default();
            if metrics.render_to_write(&mut reader).is_ok() {
                let sample = reader.finish();
                status.history().push(sample);
            }
        });
        // A sample that is missing is a gap in a chart.
        let _missing = sampling.await.is_none();
        *self.page.lock().await = None;
    }

    /// Takes a sample `every` so often, from now on.
    pub async fn follow(self: Arc<Self>, live: Arc<Live>, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            self.sample(&live).await;
        }
    }

    /// The page as it is now, or was a moment ago.
    async fn page(self: &Arc<Self>, live: &Arc<Live>) -> Option<Bytes> {
        let mut kept = self.page.lock().await;
        if let Some((made, page)) = &*kept
            && made.elapsed() < GOOD_FOR
        {
            return Some(page.clone());
        }
        let (status, live) = (Arc::clone(self), Arc::clone(live));
        let making = tokio::task::spawn_blocking(move || {
            let history = status.history();
            Bytes::from(page::page(&View::of(&live, &history)))
        });
        let page = making.await.ok()?;
        *kept = Some((Instant::now(), page.clone()));
        Some(page)
    }
}

/// The broker, and what is known of its last hour.
#[derive(Clone)]
pub(super) struct Shown {
    pub live: Arc<Live>,
    pub status: Arc<Status>,
}

pub(super) async fn page(State(shown): State<Shown>, request: Request) -> Response {
    if !is_named_directly(request.uri(), request.headers()) {
        return refused();
    }
    match shown.status.page(&shown.live).await {
        Some(page) => framed(answer(StatusCode::OK, "text/html; charset=utf-8", page)),
        None => answer(
            StatusCode::INTERNAL_SERVER_ERROR,
            "text/plain",
            "the page could not be made; this is a bug\n",
        ),
    }
}

pub(super) async fn style() -> Response {
    framed(answer(StatusCode::OK, "text/css; charset=utf-8", CSS))
}

pub(super) async fn icon() -> Response {
    framed(answer(StatusCode::OK, "image/svg+xml", ICON))
}

/// Nothing runs in it, nothing frames it, and no other page loads it.
fn framed(mut response: Response) -> Response {
    let fixed = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("same-origin"),
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin"),
        ),
    ];
    response.headers_mut().extend(fixed);
    response
}
