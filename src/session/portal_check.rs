//! `portal_check`: a portal's own cookie, verified by asking the portal who is logged in.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::Client;
use reqwest::header::{ACCEPT, COOKIE};

use super::checks::{Checks, Keeper, MADE_UP, No, Vouched, no_answer, odd_status};
use super::ended::Mark;
use super::presented::{Doubled, is_ours, unquoted};
use super::{Bond, Caller, Outcome, Person, Presented, SessionError, UNKNOWN_LIFE, Validity, Who};
use crate::clock;
use crate::digest::Parts;
use crate::expiring::Lease;
use crate::outbound::read_capped;

/// More than any portal has to say about a person.
const BODY_CAP: usize = 64 * 1024;

/// What a `portal_check` table says.
#[derive(Clone, Debug)]
pub struct PortalCheckRules {
    /// The portal's address that says who is logged in.
    pub url: String,
    /// The cookies that are forwarded, and no others.
    pub cookies: Vec<String>,
    /// The headers that are forwarded as well.
    pub forward_headers: Vec<HeaderName>,
    /// How long a yes is believed.
    pub cache: Duration,
    /// How long a no is believed.
    pub negative_cache: Duration,
    /// Questions at a time.
    pub max_in_flight: usize,
}

/// A table's verifier.
#[derive(Debug)]
pub struct PortalCheck {
    asker: Arc<Asker>,
    checks: Arc<Checks>,
}

#[derive(Debug)]
struct Asker {
    rules: PortalCheckRules,
    http: Client,
}

/// What is forwarded: the question, and its digests.
struct Forwarded {
    headers: HeaderMap,
    /// Of everything that is forwarded.
    key: [u8; 32],
    /// Of the cookies alone, which is what a logout ends.
    session: [u8; 32],
}

impl PortalCheck {
    /// A verifier; asks nobody yet.
    pub fn new(table: &Arc<str>, rules: PortalCheckRules, http: Client) -> Self {
        Self {
            checks: Checks::new(table, rules.max_in_flight),
            asker: Arc::new(Asker { rules, http }),
        }
    }

    /// The table's rules.
    pub fn rules(&self) -> &PortalCheckRules {
        &self.asker.rules
    }

    /// Asks without a cookie, and with cookies that nobody was given, for `check`.
    pub async fn ask_about_nobody(&self) -> Keeper {
        let pairs = self.rules().cookies.iter();
        let pairs: Vec<_> = pairs.map(|name| format!("{name}={MADE_UP}")).collect();
        let Ok(cookies) = HeaderValue::from_str(&pairs.join("; ")) else {
            return Keeper::Odd("a name of `cookies` cannot be sent");
        };
        let accept = (ACCEPT, HeaderValue::from_static("application/json"));
        for cookies in [None, Some((COOKIE, cookies))] {
            let headers = cookies.into_iter().chain([accept.clone()]).collect();
            match self.asker.ask(headers).await {
                Ok(_) => return Keeper::Open,
                Err(No::Refused(..) | No::NotMine(_)) => {}
                Err(No::Failed(why)) => return Keeper::Odd(why),
                Err(No::Silent(..) | No::Down(_)) => return Keeper::Silent,
            }
        }
        Keeper::Closed
    }

    pub(super) fn is_resting(&self) -> bool {
        self.checks.is_resting()
    }

    /// Whether there is something to ask the portal about.
    pub(super) fn would_ask(&self, presented: &Presented<'_>) -> bool {
        matches!(self.forwarded(presented), Ok(Some(_)))
    }

    pub(super) async fn authenticate(
        &self,
        table: u16,
        presented: &Presented<'_>,
        logout: Option<SystemTime>,
    ) -> Outcome {
        let forwarded = match self.forwarded(presented) {
            Ok(Some(forwarded)) => forwarded,
            Ok(None) => return Outcome::NotMine(""),
            Err(why) => return Outcome::Refused(SessionError::Invalid(why)),
        };
        let asking = self.checks.ask(forwarded.key, logout, || {
            let (asker, headers) = (Arc::clone(&self.asker), forwarded.headers.clone());
            async move { asker.ask(headers).await }
        });
        let vouched = match asking.await {
            Ok(vouched) => vouched,
            Err(outcome) => return outcome,
        };
        Outcome::Proven(Caller::Person(Box::new(Person {
            table,
            who: Who::Claims(vouched.claims.clone()),
            ambient: true,
            mark: Mark {
                session: Some(forwarded.session),
                ends: vouched.until + UNKNOWN_LIFE,
                began: vouched.asked,
                is_asked: true,
            },
            validity: Validity {
                until: vouched.until,
                bond: Bond::None,
            },
        })))
    }

    /// `None` if no listed cookie is there.
    fn forwarded(&self, presented: &Presented<'_>) -> Result<Option<Forwarded>, &'static str> {
        let rules = &self.asker.rules;
        // Of the cookies alone: wherever they are asked about, once ended they stay ended.
        let mut session = Parts::of("portal_check");
        let mut pairs = Vec::new();
        for name in &rules.cookies {
            let value = presented.cookie(name);
            let value = value.map_err(|Doubled| "the session cookie is there twice")?;
            let Some(value) = value.filter(|value| !is_ours(unquoted(value))) else {
                continue;
            };
            session.add(name.as_bytes());
            session.add(value.as_bytes());
            pairs.push(format!("{name}={value}"));
        }
        if pairs.is_empty() {
            return Ok(None);
        }
        let session = session.digest();
        let mut key = Parts::of("forwarded");
        key.add(rules.url.as_bytes());
        key.add(&session);
        let mut headers = HeaderMap::new();
        for name in &rules.forward_headers {
            for value in presented.headers.get_all(name) {
                key.add(name.as_str().as_bytes());
                key.add(value.as_bytes());
                headers.append(name, value.clone());
            }
        }
        let cookies = HeaderValue::from_str(&pairs.join("; "));
        headers.insert(COOKIE, cookies.map_err(|_| "the cookie is not readable")?);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        Ok(Some(Forwarded {
            headers,
            key: key.digest(),
            session,
        }))
    }
}

impl Asker {
    async fn ask(&self, headers: HeaderMap) -> Result<Lease<Vouched>, No> {
        let asked = clock::now();
        let sent = self.http.get(&self.rules.url).headers(headers).send();
        let response = sent.await.map_err(|error| no_answer(&error))?;
        match response.status().as_u16() {
            200 => {}
            301 | 302 | 303 | 307 | 308 | 401 | 403 => {
                let error = SessionError::Invalid("the portal says that nobody is logged in");
                return Err(No::Refused(error, self.rules.negative_cache));
            }
            status => return Err(odd_status(status)),
        }
        let body = read_capped(response, BODY_CAP).await;
        let body = body.map_err(|_| No::Failed("the portal's answer is cut off or too long"))?;
        let claims = serde_json::from_slice(&body)
            .map_err(|_| No::Failed("the portal did not answer with a JSON object"))?;
        Ok(Vouched::lease(claims, self.rules.cache, asked))
    }
}
