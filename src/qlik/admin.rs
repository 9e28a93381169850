//! A tenant in the hands of an administrator: what sets it up needs more than the broker ever may.

pub mod lost;
mod oauth_clients;

use reqwest::{Client, Method};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Duration, sleep};
use url::Url;
use url::form_urlencoded::byte_serialize;

use super::error::{QlikError, code_of};
use super::rest::{self, Answer, Request};
use super::tries::backoff;
use crate::secret::Secret;
use backon::BackoffBuilder;

pub use oauth_clients::{Created, NewSecret, OauthClient, SecretHint};

/// The tenant's own advice after a 429: wait, at most so often.
const THROTTLED_TRIES: u32 = 5;
/// A tenant lifts its limit within its window of five minutes.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// More than any tenant has of what is listed here, a hundred to a page.
const MAX_PAGES: usize = 100;

/// Why a call of an administrator failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// The way there, or an answer that makes no sense.
    #[error(transparent)]
    Call(#[from] QlikError),
    /// The tenant says no.
    #[error("the tenant refuses {what}: status {status}, code {}", code.as_deref().unwrap_or("none"))]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The status.
        status: u16,
        /// The tenant's code, if it looked like one.
        code: Option<String>,
    },
}

impl AdminError {
    /// The status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Call(_) => None,
        }
    }

    /// Whether the tenant may have done what was asked, and only the answer got lost.
    pub fn may_have_worked(&self) -> bool {
        matches!(self, Self::Call(error) if error.is_transient()) || self.status() == Some(409)
    }
}

/// Calls one tenant with the token of an administrator.
#[derive(Debug)]
pub struct Admin {
    http: Client,
    /// Without a slash at its end.
    url: String,
    bearer: Secret,
}

/// One call.
struct Ask<'a> {
    /// For an error: what the tenant would not do.
    what: &'static str,
    method: Method,
    path: &'a str,
    body: Option<&'a Value>,
}

#[derive(Deserialize)]
struct Page<T> {
    data: Vec<T>,
    links: Option<Links>,
}

#[derive(Deserialize)]
struct Links {
    next: Option<Link>,
}

#[derive(Deserialize)]
struct Link {
    href: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CspOrigin {
    origin: String,
    #[serde(default)]
    frame_ancestors: bool,
}

impl Admin {
    /// Calls nobody yet. `url` has no slash at its end.
    pub fn new(http: Client, url: &str, bearer: Secret) -> Self {
        Self {
            http,
            url: url.into(),
            bearer,
        }
    }

    /// The origins that the tenant's content security policy lets frame it. Its entries have directives
    /// one by one, and one without this is for something else.
    pub async fn csp_origins(&self) -> Result<Vec<String>, AdminError> {
        let what = "to list the CSP origins";
        let entries: Vec<CspOrigin> = self.list("/api/v1/csp-origins", what).await?;
        let framing = entries.into_iter().filter(|entry| entry.frame_ancestors);
        Ok(framing.map(|entry| entry.origin).collect())
    }

    /// Lets pages of this origin frame the tenant.
    pub async fn add_csp_origin(&self, name: &str, origin: &str) -> Result<(), AdminError> {
        let body = serde_json::json!({"name": name, "origin": origin, "frameAncestors": true});
        let ask = Ask {
            what: "to add a CSP origin",
            method: Method::POST,
            path: "/api/v1/csp-origins",
            body: Some(&body),
        };
        self.call(&ask).await.map(drop)
    }

    /// Makes a call. What may be done twice is tried again on transient failures; a call that the
    /// tenant throttled was not done, and is made again when it says.
    async fn call(&self, ask: &Ask<'_>) -> Result<Answer, AdminError> {
        let request = Request {
            method: ask.method.clone(),
            url: format!("{}{}", self.url, ask.path),
            body: ask.body,
        };
        let mut delays = backoff().build();
        let mut throttled = 0;
        loop {
            let sent = rest::send(&self.http, &self.bearer, &request, &[400, 404, 409]).await;
            match sent {
                Err(QlikError::Throttled { retry_after })
                    if throttled < THROTTLED_TRIES && retry_after <= LONGEST_WAIT =>
                {
                    throttled += 1;
                    sleep(retry_after).await;
                }
                Err(error) if error.is_transient() && ask.method != Method::POST => {
                    match delays.next() {
                        Some(delay) => sleep(delay).await,
                        None => return Err(error.into()),
                    }
                }
                Err(QlikError::ClientRefused { status, code, .. }) => {
                    let what = ask.what;
                    return Err(AdminError::Refused { what, status, code });
                }
                Err(error) => return Err(error.into()),
                Ok(Answer { status, body }) if status >= 400 => {
                    let (what, code) = (ask.what, code_of(&body));
                    return Err(AdminError::Refused { what, status, code });
                }
                Ok(answer) => return Ok(answer),
            }
        }
    }

    async fn read<T: DeserializeOwned>(
        &self,
        path: &str,
        what: &'static str,
    ) -> Result<T, AdminError> {
        let method = Method::GET;
        let ask = Ask {
            what,
            method,
            path,
            body: None,
        };
        parse(&self.call(&ask).await?.body)
    }

    /// All pages of a list. Of the link to the next one only its cursor is taken: the token goes
    /// nowhere else than to the tenant.
    async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        what: &'static str,
    ) -> Result<Vec<T>, AdminError> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        for _ in 0..MAX_PAGES {
            let page: Page<T> = self
                .read(&format!("{path}?limit=100{cursor}"), what)
                .await?;
            all.extend(page.data);
            let next = page.links.and_then(|links| links.next?.href);
            let Some(href) = next.filter(|href| !href.is_empty()) else {
                return Ok(all);
            };
            cursor = next_page(&href)
                .ok_or(QlikError::Malformed("a list whose next page has no cursor"))?;
        }
        Err(QlikError::Malformed("a list without an end").into())
    }
}

/// A text for a terminal: what a tenant says may hold what a terminal obeys, or turn the order of a line around.
pub fn safe(text: &str) -> String {
    let hides = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| if hides(c) { '\u{fffd}' } else { c })
        .collect()
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, AdminError> {
    let parsed = serde_json::from_slice(body);
    parsed.map_err(|_| QlikError::Malformed("not the JSON that was asked for").into())
}

/// The part of the next page's address that is added to ours.
fn next_page(href: &str) -> Option<String> {
    let base = Url::parse("http://tenant").ok()?;
    let url = base.join(href).ok()?;
    let next = url.query_pairs().find(|(name, _)| name == "next")?.1;
    Some(format!("&next={}", escaped(&next)))
}

fn escaped(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}
