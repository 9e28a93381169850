//! `introspection`: an opaque token that its issuer is asked about (RFC 7662).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::ACCEPT;
use reqwest::{Client, Response};
use serde_json::{Map, Value};
use url::form_urlencoded::byte_serialize;

use super::checks::{Checks, Keeper, MADE_UP, No, Vouched, no_answer, odd_status};
use super::ended::Mark;
use super::presented::Token;
use super::registered::{names_audience, numeric_date};
use super::{Bond, Caller, Outcome, Person, SessionError, UNKNOWN_LIFE, Validity, Who};
use crate::clock;
use crate::digest;
use crate::expiring::Lease;
use crate::outbound::read_capped;
use crate::secret::SecretSource;

/// More than any issuer has to say about a token.
const BODY_CAP: usize = 64 * 1024;
/// Questions at a time.
const MAX_IN_FLIGHT: usize = 64;

/// What an `introspection` table says.
#[derive(Clone, Debug)]
pub struct IntrospectionRules {
    /// The endpoint.
    pub url: String,
    /// The client that asks.
    pub client_id: String,
    /// Its secret, read for every question.
    pub client_secret: SecretSource,
    /// The `aud` that is accepted; `None` waives the check.
    pub audience: Option<String>,
    /// The `iss` that is accepted; `None` waives the check.
    pub issuer: Option<String>,
    /// A scope that the token must have.
    pub required_scope: Option<String>,
    /// A cookie that may hold the token.
    pub cookie: Option<String>,
    /// How long an answer is believed, never past `exp`.
    pub cache: Duration,
}

/// A table's verifier.
#[derive(Debug)]
pub struct Introspection {
    asker: Arc<Asker>,
    checks: Arc<Checks>,
}

#[derive(Debug)]
struct Asker {
    rules: IntrospectionRules,
    http: Client,
}

impl Introspection {
    /// A verifier; asks nobody yet.
    pub fn new(table: &Arc<str>, rules: IntrospectionRules, http: Client) -> Self {
        Self {
            asker: Arc::new(Asker { rules, http }),
            checks: Checks::new(table, MAX_IN_FLIGHT),
        }
    }

    /// The cookie that may hold the token.
    pub fn cookie(&self) -> Option<&str> {
        self.asker.rules.cookie.as_deref()
    }

    /// Asks about a token that nobody was given, for `check`.
    pub async fn ask_about_nobody(&self) -> Keeper {
        let response = match self.asker.question(MADE_UP).await {
            Ok(response) => response,
            Err(No::Failed(why)) => return Keeper::Odd(why),
            Err(_) => return Keeper::Silent,
        };
        let status = response.status().as_u16();
        let body = read_capped(response, BODY_CAP).await.unwrap_or_default();
        let answer = serde_json::from_slice::<Map<String, Value>>(&body);
        match (status, answer) {
            (200, Ok(answer)) => match answer.get("active") {
                Some(Value::Bool(false)) => Keeper::Closed,
                Some(Value::Bool(true)) => Keeper::Open,
                _ => Keeper::Odd("the answer does not say whether the token is active"),
            },
            (200, Err(_)) => Keeper::Odd("the answer is no JSON object"),
            (401 | 403, _) => Keeper::RefusesUs,
            _ => Keeper::Odd("the answer has an unexpected status"),
        }
    }

    pub(super) fn is_resting(&self) -> bool {
        self.checks.is_resting()
    }

    pub(super) async fn authenticate(
        &self,
        table: u16,
        token: Token<'_>,
        logout: Option<SystemTime>,
    ) -> Outcome {
        let rules = &self.asker.rules;
        let key = digest::of("introspection", [&rules.url, &rules.client_id, token.text]);
        let asking = self.checks.ask(key, logout, || {
            let (asker, token) = (Arc::clone(&self.asker), token.text.to_owned());
            async move { asker.ask(&token).await }
        });
        let vouched = match asking.await {
            Ok(vouched) => vouched,
            Err(outcome) => return outcome,
        };
        Outcome::Proven(Caller::Person(Box::new(Person {
            table,
            who: Who::Claims(vouched.claims.clone()),
            ambient: token.ambient,
            mark: Mark {
                session: Some(mark(token.text)),
                ends: vouched.ends.unwrap_or_else(|| vouched.until + UNKNOWN_LIFE),
                began: vouched.began.unwrap_or(vouched.asked),
                is_asked: vouched.began.is_none(),
            },
            validity: Validity {
                until: vouched.until,
                bond: Bond::None,
            },
        })))
    }
}

/// Of the token alone: wherever it is asked about, once ended it stays ended. It may be a JWT to its
/// issuer, whose ECDSA signature can be rewritten into another valid one; the signed part cannot.
fn mark(token: &str) -> [u8; 32] {
    let signed = match token.rsplit_once('.') {
        Some((signed, _)) if signed.matches('.').count() == 1 => signed,
        _ => token,
    };
    digest::of("introspected", [signed])
}

impl Asker {
    async fn ask(&self, token: &str) -> Result<Lease<Vouched>, No> {
        let asked = clock::now();
        let claims = self.claims(token).await?;
        let now = clock::now();
        let left = self.judge(&claims, now)?;
        let life = left.map_or(self.rules.cache, |left| left.min(self.rules.cache));
        Ok(Vouched::lease(claims, life, asked))
    }

    async fn question(&self, token: &str) -> Result<Response, No> {
        let secret = self.rules.client_secret.read();
        let secret = secret.map_err(|_| No::Failed("our secret for its issuer cannot be read"))?;
        // RFC 6749, 2.3.1: both are form-encoded before they become a user and a password.
        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let (id, secret) = (encoded(&self.rules.client_id), encoded(secret.expose()));
        let sent = self
            .http
            .post(&self.rules.url)
            .basic_auth(id, Some(secret))
            .header(ACCEPT, "application/json")
            .form(&[("token", token), ("token_type_hint", "access_token")])
            .send();
        sent.await.map_err(|error| no_answer(&error))
    }

    async fn claims(&self, token: &str) -> Result<Map<String, Value>, No> {
        let response = self.question(token).await?;
        match response.status().as_u16() {
            200 => {}
            401 | 403 => return Err(No::Failed("its issuer refuses our introspection client")),
            status => return Err(odd_status(status)),
        }
        let body = read_capped(response, BODY_CAP).await;
        let body = body.map_err(|_| No::Failed("its issuer's answer is cut off or too long"))?;
        serde_json::from_slice(&body)
            .map_err(|_| No::Failed("its issuer did not answer with a JSON object"))
    }

    /// What is left of the token's life, if its issuer says so.
    fn judge(&self, claims: &Map<String, Value>, now: SystemTime) -> Result<Option<Duration>, No> {
        let rules = &self.rules;
        let refused = |error| No::Refused(error, Duration::ZERO);
        // The boolean, not something that looks like it.
        if claims.get("active") != Some(&Value::Bool(true)) {
            return Err(No::NotMine("its issuer says that it is not active"));
        }
        if let Some(issuer) = &rules.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return Err(No::NotMine("the token is of another issuer"));
        }
        if let Some(audience) = &rules.audience
            && !names_audience(claims, audience)
        {
            return Err(No::NotMine("the token is for another audience"));
        }
        if let Some(scope) = &rules.required_scope
            && !has_scope(claims, scope)
        {
            let why = "the token lacks the required scope";
            return Err(refused(SessionError::Invalid(why)));
        }
        let [exp, nbf, iat] = [
            numeric_date(claims, "exp").map_err(refused)?,
            numeric_date(claims, "nbf").map_err(refused)?,
            numeric_date(claims, "iat").map_err(refused)?,
        ];
        if nbf
            .max(iat)
            .is_some_and(|from| from > now + super::CLOCKS_DIFFER)
        {
            let why = "the token is not valid yet";
            return Err(refused(SessionError::Invalid(why)));
        }
        match exp.map(|exp| exp.duration_since(now)) {
            None => Ok(None),
            Some(Ok(left)) if !left.is_zero() => Ok(Some(left)),
            Some(_) => Err(refused(SessionError::Expired)),
        }
    }
}

/// RFC 7662, 2.2: `scope` is one text, separated by spaces.
fn has_scope(claims: &Map<String, Value>, wanted: &str) -> bool {
    let scopes = claims.get("scope").and_then(Value::as_str);
    scopes.is_some_and(|scopes| scopes.split(' ').any(|scope| scope == wanted))
}
