//! What holds for every request and every answer, whatever the route: the request id, the
//! deadline, the number in flight, panics, the fixed headers, CORS, and the shape of errors.

use std::convert::Infallible;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::{ALLOW, CONNECTION};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Router};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tower_service::Service;

use super::MAX_HEAD_BYTES;
use super::address::client_address;
use super::caller::audit_unhandled;
use super::cors::PageOrigin;
use super::counted::{Counted, OTHER};
use super::headers::{finish, request_id};
use super::in_time::in_time;
use super::problem::{Code, Problem};
use super::tls::ClientNames;
use super::token;
use crate::app::App;
use crate::app::live::Live;
use crate::clock;
use crate::telemetry::recent::Failure;
use crate::telemetry::traces::{Asked, Trace};
use crate::tenant::TenantId;

/// The rooms behind keep the deadline themselves and answer better than this layer can.
const DEADLINE_GRACE: Duration = Duration::from_millis(500);
const OVERLOADED_RETRY: Duration = Duration::from_secs(1);

/// What a head that is too large is counted and audited as. Its answer has no body, so no code names it.
const HEAD_TOO_LARGE: &str = "head_too_large";

/// The routes of the public API within the frame, as a service for a connection.
#[derive(Clone)]
pub struct Framed {
    frame: Arc<Frame>,
    peer: IpAddr,
}

impl Framed {
    /// The same for a connection from this peer.
    #[must_use]
    pub fn of(&self, peer: SocketAddr) -> Self {
        Self {
            frame: Arc::clone(&self.frame),
            // An IPv4 peer of an IPv6 socket is the IPv4 address.
            peer: peer.ip().to_canonical(),
        }
    }
}

struct Frame {
    live: Arc<Live>,
    counted: Counted,
    routes: Router,
}

/// What the frame knows of a request.
#[derive(Debug)]
pub(super) struct Exchange {
    /// The broker that serves it from its beginning to its end, whatever is reloaded meanwhile.
    pub app: Arc<App>,
    pub request_id: HeaderValue,
    pub deadline: Instant,
    pub origin: PageOrigin,
    /// The socket's peer.
    pub peer: IpAddr,
    /// The names in its certificate, when it proved one.
    pub names: ClientNames,
    /// The client's address; that of the last untrusted hop where proxies are trusted.
    pub client: IpAddr,
    /// What is traced of it, if anything is.
    pub trace: Option<Trace>,
    /// The place among the requests in flight.
    place: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Exchange {
    /// What is logged on behalf of this request carries its id. A hit logs nothing but its audit
    /// line, and is spared the span.
    pub fn span(&self) -> tracing::Span {
        let trace_id = self.trace.as_ref().map(Trace::id);
        tracing::error_span!("request", request_id = self.request_id(), trace_id)
    }

    /// From now on the request is not in flight, but waits for something: the broker bounds those.
    pub fn give_up_place(&self) {
        *self.place() = None;
    }

    fn place(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn request_id(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }
}

/// Puts the frame around the routes. Whose connection it is is not known yet.
pub(super) fn around(routes: Router, live: &Arc<Live>) -> Framed {
    let frame = Arc::new(Frame {
        live: Arc::clone(live),
        counted: Counted::new(),
        routes,
    });
    let peer = Ipv4Addr::UNSPECIFIED.into();
    Framed { frame, peer }
}

impl<B> Service<Request<B>> for Framed
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (frame, peer) = (Arc::clone(&self.frame), self.peer);
        let request = request.map(Body::new);
        Box::pin(async move { Ok(frame.answer(request, peer).await) })
    }
}

impl Frame {
    async fn answer(&self, mut request: Request, peer: IpAddr) -> Response {
        let app = self.live.app();
        let started = Instant::now();
        let (route, counted) = self.counted.of(request.method(), request.uri().path());
        let request_id = request_id(request.headers());
        let asked = Asked {
            method: request.method(),
            route,
            request_id: &request_id,
            headers: request.headers(),
            peer,
        };
        let trace = app.sampling.begin(&asked);
        let exchange = Arc::new(Exchange {
            request_id,
            deadline: started + app.request_timeout(),
            origin: PageOrigin::of(&app, request.headers()),
            place: Mutex::default(),
            peer,
            names: request.extensions_mut().remove().unwrap_or_default(),
            client: client_address(peer, request.headers(), &app.server.trusted_proxies),
            trace,
            app,
        });
        let route = route.unwrap_or(OTHER);
        // Pinned where it is: each move would copy some kilobytes.
        let answering = pin!(self.guarded(&exchange, route, &mut request));
        let mut response = match &exchange.trace {
            None => answering.await,
            Some(trace) => trace.around(answering).await,
        };

        let problem = response.extensions_mut().remove::<Problem>();
        if let Some(problem) = &problem {
            remember(&exchange, route, problem);
            let allow = response.headers_mut().remove(ALLOW);
            response = problem.render(&exchange.app.server.public_url, exchange.request_id());
            response
                .headers_mut()
                .extend(allow.map(|allow| (ALLOW, allow)));
        }
        finish(&exchange, problem.as_ref(), &mut response);
        let refused = match response.status() {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Some(HEAD_TOO_LARGE),
            _ => problem.map(|problem| problem.code.as_str()),
        };
        if let Some(trace) = &exchange.trace {
            trace.answered(response.status().as_u16(), refused);
        }
        counted.answered(refused, started.elapsed());
        response
    }

    async fn guarded(
        &self,
        exchange: &Arc<Exchange>,
        route: &'static str,
        request: &mut Request,
    ) -> Response {
        let is_post = request.method() == Method::POST;
        if head_bytes(request) > MAX_HEAD_BYTES {
            if is_post {
                audit_unhandled(exchange, route, HEAD_TOO_LARGE);
            }
            let close = [(CONNECTION, HeaderValue::from_static("close"))];
            return (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, close).into_response();
        }
        let refuse = |problem: Problem| {
            if is_post {
                audit_unhandled(exchange, route, problem.code.as_str());
            }
            problem.into_response()
        };
        // Whether the process lives must be seen just when it is overloaded.
        let is_probe = request.uri().path() == "/healthz";
        let place = Arc::clone(&exchange.app.places).try_acquire_owned();
        if place.is_err() && !is_probe {
            return refuse(overloaded());
        }
        *exchange.place() = place.ok();
        let answering = pin!(self.routed(exchange, request));
        let caught = AssertUnwindSafe(answering).catch_unwind();
        let answered = in_time(exchange.deadline + DEADLINE_GRACE, caught).await;
        exchange.give_up_place();
        match answered {
            Ok(Ok(response)) => response,
            Ok(Err(_panic)) => refuse(Problem::new(
                Code::Internal,
                "The broker failed. Please report this with the request id.",
            )),
            Err(_elapsed) => {
                let problem = Problem::new(
                    Code::TenantUnavailable,
                    "The request was not answered in time.",
                );
                refuse(problem.retry_after(OVERLOADED_RETRY))
            }
        }
    }

    /// By its route. Nearly all requests are for tokens: they are spared the router, which would cost
    /// them thousands of instructions.
    async fn routed(&self, exchange: &Arc<Exchange>, request: &mut Request) -> Response {
        if request.method() == Method::POST && request.uri().path() == token::PATH {
            return token::session_token(exchange, request).await;
        }
        request.extensions_mut().insert(Arc::clone(exchange));
        // In a box, see `session_token`.
        let Ok(response) = Box::pin(self.routes.clone().call(mem::take(request))).await;
        response
    }
}

/// For the status page: what an operator may want to know of. The rest is everyday life.
fn remember(exchange: &Exchange, route: &'static str, problem: &Problem) {
    if matches!(
        problem.code,
        Code::SessionMissing
            | Code::SessionExpired
            | Code::RenewalTooSoon
            | Code::NotFound
            | Code::MethodNotAllowed
    ) {
        return;
    }
    exchange.app.recent.note(&Failure {
        at: clock::now(),
        request_id: exchange.request_id(),
        route,
        status: problem.code.status().as_u16(),
        code: problem.code.as_str(),
        why: problem.why(),
        tenant: problem.tenant.as_ref().map_or("", TenantId::as_str),
        origin: exchange.origin.listed().unwrap_or_default(),
    });
}

pub(super) fn overloaded() -> Problem {
    Problem::new(
        Code::Overloaded,
        "The broker has as many requests in flight as it may.",
    )
    .retry_after(OVERLOADED_RETRY)
}

/// The HTTP library's own limit is on its buffer, and lets a head through that came in one piece.
fn head_bytes(request: &Request) -> usize {
    let line = request
        .uri()
        .path_and_query()
        .map_or(0, |path| path.as_str().len());
    let headers = request.headers().iter();
    line + headers
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Watch;
    use axum::routing::get;
    use serde_json::Value;
    use uuid::Uuid;

    const CONFIG: &str = "
        [server]
        request_timeout = '1s'
        [[session]]
        type = 'api_key'
        keys = [{ id = 'k', sha256 = '0000000000000000000000000000000000000000000000000000000000000000' }]
        [tenants.acme]
        url = 'http://127.0.0.1:9'
        client_id = 'c'
        client_secret = 's'
        scopes = 'user_default'
    ";

    /// Routes that no release has, in the frame that every release has.
    fn serve(routes: Router) -> String {
        let path = std::env::temp_dir().join(format!("qtb-frame-{}.toml", Uuid::new_v4()));
        std::fs::write(&path, CONFIG).unwrap();
        let sources = crate::config::Sources {
            files: vec![path.clone()],
            env: Vec::new(),
        };
        let config = crate::config::load(&sources).unwrap();
        let live = Live::new(config, sources, Watch::new(Vec::new())).unwrap();
        std::fs::remove_file(path).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let handle = axum_server::Handle::new();
        let routes = around(routes, &live);
        tokio::spawn(super::super::serve(
            listener,
            move |peer| routes.of(peer),
            handle,
            Duration::from_secs(5),
            None,
        ));
        format!("http://{address}")
    }

    async fn problem(url: String) -> (u16, String) {
        let http = crate::outbound::client(&crate::outbound::Proxy::None, None).unwrap();
        let response = http.get(url).send().await.unwrap();
        let status = response.status().as_u16();
        assert_eq!(response.headers()["cache-control"], "no-store");
        let text = response.text().await.unwrap();
        assert!(!text.contains("canary"));
        let body: Value = serde_json::from_str(&text).unwrap();
        (status, body["code"].as_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn c39_a_panic_is_answered_and_the_process_lives() {
        let routes = Router::new()
            .route(
                "/panics",
                get(async || -> &'static str { panic!("canary") }),
            )
            .route("/works", get(async || Problem::new(Code::NotFound, "")));
        let url = serve(routes);
        for _ in 0..3 {
            assert_eq!(
                problem(format!("{url}/panics")).await,
                (500, "internal".into())
            );
        }
        assert_eq!(
            problem(format!("{url}/works")).await,
            (404, "not_found".into())
        );
    }

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_answered_with_a_problem() {
        let routes = Router::new().route(
            "/hangs",
            get(async || std::future::pending::<&'static str>().await),
        );
        let url = serve(routes);
        let started = Instant::now();
        assert_eq!(
            problem(format!("{url}/hangs")).await,
            (503, "tenant_unavailable".into())
        );
        assert!(started.elapsed() < Duration::from_secs(3));
    }
}
