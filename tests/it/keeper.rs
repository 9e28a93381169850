//! Whoever keeps sessions beside the broker: a portal that says who is logged in, and an issuer that
//! says what a token is. Both can be scripted, slowed down and counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

/// A question as it came in.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

/// See the module. `/whoami` is the portal's, `/introspect` the issuer's; both know the same sessions.
pub struct Keeper {
    pub url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    sessions: Mutex<HashMap<String, Value>>,
    answer: Mutex<Option<(u16, String)>>,
    delay: Mutex<Duration>,
    asked: Mutex<Vec<Asked>>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
}

impl Keeper {
    pub async fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/whoami", get(whoami))
            .route("/introspect", post(introspect))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    /// From now on this cookie value, or token, is a session with these claims.
    pub fn log_in(&self, session: &str, claims: Value) {
        let mut sessions = self.shared.sessions.lock().unwrap();
        sessions.insert(session.into(), claims);
    }

    pub fn log_out(&self, session: &str) {
        self.shared.sessions.lock().unwrap().remove(session);
    }

    /// From now on everything is answered like this; `None` heals it.
    pub fn answer(&self, answer: Option<(u16, &str)>) {
        *self.shared.answer.lock().unwrap() =
            answer.map(|(status, body)| (status, body.to_owned()));
    }

    /// From now on every answer takes this long.
    pub fn slow(&self, delay: Duration) {
        *self.shared.delay.lock().unwrap() = delay;
    }

    /// All questions so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// How many questions there were so far.
    pub fn questions(&self) -> usize {
        self.shared.asked.lock().unwrap().len()
    }

    /// The most questions that were in flight together.
    pub fn most_in_flight(&self) -> usize {
        self.shared.most_in_flight.load(Ordering::SeqCst)
    }
}

impl Shared {
    /// Notes the question, takes its time, and gives the scripted answer if there is one.
    async fn ask(&self, path: &str, headers: &HeaderMap, body: &str) -> Option<Response> {
        self.asked.lock().unwrap().push(Asked {
            path: path.into(),
            headers: headers.clone(),
            body: body.into(),
        });
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_in_flight.fetch_max(now, Ordering::SeqCst);
        let delay = *self.delay.lock().unwrap();
        tokio::time::sleep(delay).await;
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        let (status, body) = self.answer.lock().unwrap().clone()?;
        let status = StatusCode::from_u16(status).unwrap();
        let to_the_login = [("location", "/login")];
        Some(if status.is_redirection() {
            (status, to_the_login, body).into_response()
        } else {
            (status, body).into_response()
        })
    }

    fn session(&self, name: &str) -> Option<Value> {
        self.sessions.lock().unwrap().get(name).cloned()
    }
}

async fn whoami(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap) -> Response {
    if let Some(answer) = shared.ask(uri.path(), &headers, "").await {
        return answer;
    }
    let cookies = headers.get("cookie").map(|value| value.to_str().unwrap());
    let mut pairs = cookies.unwrap_or_default().split("; ");
    let sid = pairs.find_map(|pair| pair.strip_prefix("sid="));
    match sid.and_then(|sid| shared.session(sid)) {
        Some(claims) => claims.to_string().into_response(),
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}

async fn introspect(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body = String::from_utf8(body.to_vec()).unwrap();
    if let Some(answer) = shared.ask(uri.path(), &headers, &body).await {
        return answer;
    }
    let token = body.split('&').find_map(|pair| pair.strip_prefix("token="));
    let claims = token.and_then(|token| shared.session(token));
    let claims = claims.unwrap_or_else(|| json!({"active": false}));
    claims.to_string().into_response()
}
