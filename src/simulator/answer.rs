//! What the tenant answers, before it becomes bytes: status, body, headers.

use std::time::Duration;

use axum::body::Body;
use futures_util::{StreamExt as _, stream};
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::refusal::Refusal;

/// Enough for half a body to leave the server.
const SENDING: Duration = Duration::from_millis(20);

/// An answer that faults may still alter.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub content: Content,
    pub headers: Vec<(&'static str, String)>,
    pub breakage: Option<Breakage>,
}

/// Where the connection breaks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Breakage {
    BeforeHead,
    MidBody,
}

/// A body.
#[derive(Debug)]
pub(super) enum Content {
    Empty,
    Json(Value),
    Text { media: &'static str, text: String },
}

impl Answer {
    pub(super) fn json(status: u16, body: Value) -> Self {
        Self::new(status, Content::Json(body))
    }

    pub(super) fn empty(status: u16) -> Self {
        Self::new(status, Content::Empty)
    }

    pub(super) fn text(status: u16, media: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        Self::new(status, Content::Text { media, text })
    }

    fn new(status: u16, content: Content) -> Self {
        Self {
            status,
            content,
            headers: Vec::new(),
            breakage: None,
        }
    }

    /// An error of the OAuth endpoints: `status` inside `errors[]` is a string there (doc).
    pub(super) fn oauth(refusal: &Refusal) -> Self {
        let mut error = json!({
            "title": refusal.title, "code": refusal.code, "status": refusal.status.to_string(),
        });
        if let Some(detail) = &refusal.detail {
            error["detail"] = json!(detail);
        }
        Self::json(refusal.status, json!({ "errors": [error] }))
    }

    /// An error of the REST endpoints: `status` inside `errors[]` is a number there (doc).
    pub(super) fn api(status: u16, code: &str, title: &str, detail: impl Into<String>) -> Self {
        let mut error = json!({ "code": code, "title": title, "status": status });
        let detail = detail.into();
        if !detail.is_empty() {
            error["detail"] = json!(detail);
        }
        Self::json(status, json!({ "errors": [error] }))
    }

    /// The documented answer of an exhausted tier: `retry-after` and the body with code `HTTP-429` (doc).
    pub(super) fn throttled(retry_after: u64) -> Self {
        let detail = format!("You need to wait {retry_after} seconds until limit is lifted.");
        let error =
            json!({ "code": "HTTP-429", "title": "API rate limit reached.", "detail": detail });
        Self::json(429, json!({ "errors": [error] })).with("retry-after", retry_after.to_string())
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The JSON object of the body, if it is one.
    pub(super) fn object(&mut self) -> Option<&mut serde_json::Map<String, Value>> {
        match &mut self.content {
            Content::Json(Value::Object(map)) => Some(map),
            _ => None,
        }
    }

    /// Adds the `traceId` of error bodies (doc); the documented body of a 429 has none.
    pub(super) fn traced(mut self, trace_id: String) -> Self {
        if self.status == 429 {
            return self;
        }
        if let Some(body) = self.object()
            && body.contains_key("errors")
        {
            body.insert("traceId".to_owned(), Value::String(trace_id));
        }
        self
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let (media, text) = match self.content {
            Content::Empty => (None, String::new()),
            Content::Json(body) => (Some("application/json; charset=utf-8"), body.to_string()),
            Content::Text { media, text } => (Some(media), text),
        };
        let length = text.len();
        let body = match self.breakage {
            None => Body::from(text),
            Some(breakage) => broken_body(text, breakage),
        };
        let mut response = Response::new(body);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if self.breakage.is_some() {
            // Of a 204 the body, and with it the breakage, would not be looked at.
            *response.status_mut() = StatusCode::OK;
            let length = HeaderValue::from(length.max(1));
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, length);
        }
        let headers = response.headers_mut();
        if let Some(media) = media {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
        }
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.append(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

/// The answer of a handler that returns early with refusals.
pub(super) fn settle(result: Result<Answer, Answer>) -> Answer {
    result.unwrap_or_else(|refusal| refusal)
}

/// A body that ends in an error. An error before the first byte also takes the head along, which the
/// server has not sent by then; after half of the body it comes late enough for that half to be sent.
fn broken_body(text: String, breakage: Breakage) -> Body {
    let broken = || std::io::Error::other("broken by a fault");
    match breakage {
        Breakage::BeforeHead => Body::from_stream(stream::iter([Err::<Vec<u8>, _>(broken())])),
        Breakage::MidBody => {
            let mut half = text.into_bytes();
            half.truncate(half.len() / 2);
            let then = stream::once(async move {
                tokio::time::sleep(SENDING).await;
                Err(broken())
            });
            Body::from_stream(stream::iter([Ok(half)]).chain(then))
        }
    }
}
