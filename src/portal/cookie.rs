//! The session cookies: signed, one path per user, so that two tabs can be two people.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use jsonwebtoken::errors::Error;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::User;
use crate::clock;

const NAME: &str = "portal_session";
const LIFE: Duration = Duration::from_secs(8 * 3600);

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    exp: u64,
    /// How often the user's sessions had been ended when this one began.
    generation: u64,
}

/// Makes the cookies, and knows them again. Their key dies with the process, and so do they.
pub(super) struct Cookies {
    sign: EncodingKey,
    verify: DecodingKey,
    generations: [AtomicU64; User::ALL.len()],
}

impl Cookies {
    pub fn new() -> io::Result<Self> {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| io::Error::other("no randomness"))?;
        Ok(Self {
            sign: EncodingKey::from_secret(&key),
            verify: DecodingKey::from_secret(&key),
            generations: Default::default(),
        })
    }

    /// The `Set-Cookie` of a session that begins. It has no `Secure`, as the demo speaks plain http.
    pub fn make(&self, user: User) -> Result<String, Error> {
        let now = clock::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let claims = Claims {
            sub: user.id().to_owned(),
            exp: (now + LIFE).as_secs(),
            generation: self.generation(user).load(Ordering::Relaxed),
        };
        let value = jsonwebtoken::encode(&Header::default(), &claims, &self.sign)?;
        Ok(set(user, &value, LIFE))
    }

    /// The `Set-Cookie` that takes a cookie away.
    pub fn gone(user: User) -> String {
        set(user, "", Duration::ZERO)
    }

    /// Whether the request carries a session of this user that has not ended.
    pub fn prove(&self, user: User, headers: &HeaderMap) -> bool {
        let generation = self.generation(user).load(Ordering::Relaxed);
        self.read(user, headers)
            .is_some_and(|claims| claims.generation == generation)
    }

    /// Whether the request carries a session of this user, be it one that was ended.
    pub fn knows(&self, user: User, headers: &HeaderMap) -> bool {
        self.read(user, headers).is_some()
    }

    fn read(&self, user: User, headers: &HeaderMap) -> Option<Claims> {
        let cookies = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'));
        let mut named =
            cookies.filter_map(|cookie| cookie.trim().strip_prefix(NAME)?.strip_prefix('='));
        // Two of them: somebody else has set one.
        let (Some(value), None) = (named.next(), named.next()) else {
            return None;
        };
        let validation = Validation::new(Algorithm::HS256);
        let proven = jsonwebtoken::decode::<Claims>(value, &self.verify, &validation).ok()?;
        (proven.claims.sub == user.id()).then_some(proven.claims)
    }

    /// Ends every session of the user, wherever its cookie is.
    pub fn end_all(&self, user: User) {
        self.generation(user).fetch_add(1, Ordering::Relaxed);
    }

    fn generation(&self, user: User) -> &AtomicU64 {
        &self.generations[user as usize]
    }
}

fn set(user: User, value: &str, life: Duration) -> String {
    let (path, seconds) = (user.id(), life.as_secs());
    format!("{NAME}={value}; Path=/{path}; Max-Age={seconds}; HttpOnly; SameSite=Lax")
}
