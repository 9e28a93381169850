//! The demo's portal: two users, a login of its own, and a page that shows what the broker is for.
//!
//! It stands for the portal of whoever embeds, so it knows nothing of the broker but where it is, the
//! secret that both share, and a key of its own. Its pages are in `examples/portal`. No production image
//! has it.

mod back_channel;
mod cookie;
mod frame;
mod page;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, State};
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Router};
use jsonwebtoken::errors::Error;
use jsonwebtoken::{EncodingKey, Header};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::clock;
use back_channel::BackChannel;
use cookie::Cookies;
use page::Pages;

/// A page shows its session to the broker seconds after it got it.
const JWT_LIFE: Duration = Duration::from_secs(60);
/// A form with one field.
const MAX_BODY: usize = 1024;

/// For the person, who still has the cookie, and may do nothing with it but try again.
const HALF_DONE: &str = "You are logged out of this portal, but the broker did not confirm that it \
    ended your access to Qlik. Try again.";

/// What the portal is told when it starts. All of it is trusted text.
pub struct Surroundings<'a> {
    /// The port it listens on.
    pub port: u16,
    /// The broker's origin, as browsers reach it.
    pub broker: &'a str,
    /// The tenant's origin.
    pub tenant: &'a str,
    /// What signs the sessions that the broker believes.
    pub secret: &'a str,
    /// What its back end shows to the broker. The key allows `logout`.
    pub key: &'a str,
}

/// Who can log in. There are no others, and no passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum User {
    Ann,
    Bob,
}

impl User {
    const ALL: [Self; 2] = [Self::Ann, Self::Bob];

    fn id(self) -> &'static str {
        match self {
            Self::Ann => "ann",
            Self::Bob => "bob",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ann => "Ann",
            Self::Bob => "Bob",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Ann => Self::Bob,
            Self::Bob => Self::Ann,
        }
    }
}

/// The user whose pages a path names; there is nothing at the paths of others.
impl<S: Send + Sync> FromRequestParts<S> for User {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, StatusCode> {
        let named: Result<Path<Self>, PathRejection> = Path::from_request_parts(parts, state).await;
        named
            .map(|Path(user)| user)
            .map_err(|_| StatusCode::NOT_FOUND)
    }
}

struct Portal {
    pages: Pages,
    cookies: Cookies,
    broker: BackChannel,
    secret: String,
}

/// The origins under which a portal on this port is opened.
pub fn origins(port: u16) -> [String; 2] {
    frame::hosts(port).map(|host| format!("http://{host}"))
}

/// Serves the portal for as long as it is polled. The listener must be a loopback one.
pub async fn serve(listener: TcpListener, surroundings: &Surroundings<'_>) -> io::Result<()> {
    axum::serve(listener, router(surroundings)?).await
}

fn router(surroundings: &Surroundings<'_>) -> io::Result<Router> {
    let portal = Portal {
        pages: Pages::new(surroundings),
        cookies: Cookies::new()?,
        broker: BackChannel::new(surroundings).map_err(io::Error::other)?,
        secret: surroundings.secret.to_owned(),
    };
    let routes = Router::new()
        .route("/", get(page::login))
        .route("/login", post(login))
        .route("/{user}/", get(dashboard))
        .route("/{user}/session", get(session))
        .route("/{user}/logout", post(logout))
        .route("/assets/{name}", get(page::asset))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Arc::new(portal));
    Ok(frame::around(routes, surroundings))
}

#[derive(Deserialize)]
struct Login {
    user: User,
}

async fn login(State(portal): State<Arc<Portal>>, Form(Login { user }): Form<Login>) -> Response {
    match portal.cookies.make(user) {
        Ok(cookie) => {
            let home = Redirect::to(&format!("/{}/", user.id()));
            ([(SET_COOKIE, cookie)], home).into_response()
        }
        Err(error) => failed(&error),
    }
}

async fn dashboard(State(portal): State<Arc<Portal>>, user: User, headers: HeaderMap) -> Response {
    if !portal.cookies.prove(user, &headers) {
        return Redirect::to("/").into_response();
    }
    portal.pages.dashboard(user)
}

/// The session as the page shows it to the broker. Only the portal's own pages get it.
async fn session(State(portal): State<Arc<Portal>>, user: User, headers: HeaderMap) -> Response {
    if !frame::is_own_page(&headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    // Read first: what a logout overtakes is dated before that logout, and ends with it.
    let now = clock::now();
    if !portal.cookies.prove(user, &headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match session_jwt(&portal.secret, user.id(), now, JWT_LIFE) {
        Ok(jwt) => jwt.into_response(),
        Err(error) => failed(&error),
    }
}

/// Ends all sessions of the user: here first, so that no page gets another one, then at the broker.
async fn logout(State(portal): State<Arc<Portal>>, user: User, headers: HeaderMap) -> Response {
    // One that has ended is enough, to try again where the broker did not answer.
    if portal.cookies.knows(user, &headers) {
        portal.cookies.end_all(user);
        let broker = portal.broker.clone();
        // A task of its own: who closes the page is logged out as well.
        let ending = tokio::spawn(async move {
            let ended = broker.log_out(user).await;
            if let Err(error) = &ended {
                tracing::error!(%error, user = user.id(), "the logout is not complete");
            }
            ended.is_ok()
        });
        if !ending.await.unwrap_or_default() {
            return (StatusCode::BAD_GATEWAY, HALF_DONE).into_response();
        }
    }
    let gone = [(SET_COOKIE, Cookies::gone(user))];
    (gone, Redirect::to("/")).into_response()
}

fn failed(error: &Error) -> Response {
    tracing::error!(%error, "the portal could not sign");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

/// A session of the portal that begins now, as the broker believes it.
pub fn session_jwt(
    secret: &str,
    user: &str,
    now: SystemTime,
    life: Duration,
) -> Result<String, Error> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let claims = json!({
        "iss": "https://portal.example.com", "aud": "qlik-token-broker", "sub": user,
        // With its fraction: a logout ends what was signed up to then, and not the login after it.
        "iat": now.as_secs_f64(), "exp": (now + life).as_secs(),
        // No two are equal: ending one ends no other.
        "jti": Uuid::new_v4().to_string(),
    });
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key)
}
