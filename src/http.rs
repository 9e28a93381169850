//! The public HTTP API. Everything about HTTP ends here: the rooms behind it know no status, no
//! header and no CORS.

mod address;
mod answer;
mod body;
mod caller;
mod client_js;
mod cors;
mod counted;
mod frame;
mod headers;
mod in_time;
mod logout;
mod named;
pub mod openapi;
mod presented;
mod problem;
mod public;
mod service_token;
mod sessions;
mod tls;
mod token;

use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use hyper::body::Incoming;
use hyper_util::rt::TokioTimer;
use tower::service_fn;
use tower_service::Service;

use crate::app::live::Live;

pub use frame::Framed;
pub use problem::{Code, Problem};
pub use tls::{Tls, TlsAcceptor};

/// A request head beyond this is answered 431 by the HTTP library itself.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// A connection whose next request head is not complete after this is closed, and so is one that
/// stays silent for as long.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// All public routes, framed with what holds for every one of them.
pub fn router(live: &Arc<Live>) -> Framed {
    let routes = Router::new()
        // Posts to this one are answered before they come here.
        .route(
            "/session-token",
            post(async || nothing_here()).options(cors::preflight),
        )
        .route(
            "/sessions",
            post(sessions::sessions).options(cors::preflight),
        )
        .route(
            "/service-token",
            post(service_token::service_token).options(cors::preflight),
        )
        .route("/logout", post(logout::logout).options(cors::preflight))
        .route("/healthz", get(healthz))
        .route("/client.js", get(client_js::module))
        .route("/client.global.js", get(client_js::global))
        .route("/client.d.ts", get(client_js::types))
        .route("/problems/{code}", get(explain_problem))
        .fallback(async || nothing_here())
        .method_not_allowed_fallback(async || other_methods());
    frame::around(routes, live)
}

fn nothing_here() -> Problem {
    Problem::new(Code::NotFound, "There is nothing at this path.")
}

fn other_methods() -> Problem {
    Problem::new(
        Code::MethodNotAllowed,
        "This path answers other methods; see the Allow header.",
    )
}

/// The process lives; nothing more is claimed.
async fn healthz() -> &'static str {
    "ok\n"
}

async fn explain_problem(
    code: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let named = code.ok();
    let is_named = |known: &&Code| {
        named
            .as_ref()
            .is_some_and(|Path(name)| known.as_str() == name)
    };
    let Some(code) = Code::ALL.iter().find(is_named) else {
        return Problem::new(Code::NotFound, "There is no problem of this name.").into_response();
    };
    let (title, status, explanation) = (code.title(), code.status().as_u16(), code.explanation());
    let text = format!("{}: {title} ({status})\n\n{explanation}\n", code.as_str());
    public::answer(&headers, "text/plain; charset=utf-8", text.into())
}

/// Serves each connection by the `routes` for its peer, until `handle` is told to stop.
/// [`HEAD_TIMEOUT`] is the usual `head_timeout`.
pub async fn serve<S>(
    listener: TcpListener,
    routes: impl Fn(SocketAddr) -> S + Clone + Send + 'static,
    handle: Handle<SocketAddr>,
    head_timeout: Duration,
    tls: Option<TlsAcceptor>,
) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    listener.set_nonblocking(true)?;
    let mut server = axum_server::from_tcp(listener)?.handle(handle);
    server
        .http_builder()
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(MAX_HEAD_BYTES);
    let service = service_fn(move |peer| ready(Ok::<_, Infallible>(routes(peer))));
    // In this order: a new acceptor forgets the version.
    match tls {
        None => {
            let server = server.acceptor(NoDelayAcceptor::new()).http1_only();
            server.serve(service).await
        }
        Some(tls) => {
            let server = server.acceptor(tls).http1_only();
            server.serve(service).await
        }
    }
}
