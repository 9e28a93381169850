//! One call of a tenant's REST API: what is sent, how much of the answer is read, what its status means.

use reqwest::header::{ACCEPT, RETRY_AFTER};
use reqwest::{Client, Method};
use serde_json::Value;

use super::error::{QlikError, classify};
use super::token::unreachable_reason;
use crate::outbound::{BodyError, read_capped};
use crate::secret::Secret;

/// A page of users, with all their roles and groups.
const BODY_CAP: usize = 1024 * 1024;

/// What is sent.
pub(super) struct Request<'a> {
    pub method: Method,
    pub url: String,
    pub body: Option<&'a Value>,
}

/// An answer that its caller wants to see.
pub(super) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Makes one try. A status is an answer if it is a success or one of `answers`, else an error.
pub(super) async fn send(
    http: &Client,
    bearer: &Secret,
    request: &Request<'_>,
    answers: &[u16],
) -> Result<Answer, QlikError> {
    let mut sending = http
        .request(request.method.clone(), &request.url)
        .bearer_auth(bearer.expose())
        .header(ACCEPT, "application/json");
    if let Some(body) = request.body {
        sending = sending.json(body);
    }
    let sent = sending.send().await;
    let response = sent.map_err(|error| unreachable_reason(&error))?;
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok().map(str::to_owned));
    let body = read_capped(response, BODY_CAP).await;
    let body = body.map_err(|error| match error {
        BodyError::Cut => QlikError::Unreachable("the answer was cut off"),
        BodyError::TooLong => QlikError::Malformed("the answer is longer than 1 MiB"),
    })?;
    let number = status.as_u16();
    if status.is_success() || answers.contains(&number) {
        return Ok(Answer {
            status: number,
            body,
        });
    }
    Err(classify(number, retry_after.as_deref(), &body, false))
}
