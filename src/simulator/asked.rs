//! A request as the tenant sees it: read once, then inspected by plain functions.

use axum::Form;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest as _, Query, Request};
use http::{HeaderMap, Method, header};
use serde_json::{Map, Value};

/// Nothing a client sends to a tenant is larger.
const BODY_LIMIT: usize = 1024 * 1024;

/// One request.
pub(super) struct Asked {
    pub method: Method,
    pub path: String,
    pub raw_query: String,
    pub headers: HeaderMap,
    pub body: Payload,
    query: Vec<(String, String)>,
}

/// The body of a request.
pub(super) enum Payload {
    Empty,
    Json(Value),
    /// Form fields, as an object of strings.
    Form(Map<String, Value>),
    Unreadable(String),
}

impl Asked {
    pub(super) async fn read(request: Request) -> Self {
        let (parts, body) = request.into_parts();
        let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_or_else(|_| Vec::new(), |Query(query)| query);
        let body = read_body(&parts.headers, body).await;
        Self {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            raw_query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
            body,
            query,
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn origin(&self) -> Option<&str> {
        self.header("origin")
    }

    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The parts of the path between slashes.
    pub(super) fn segments(&self) -> Vec<&str> {
        self.path
            .split('/')
            .filter(|part| !part.is_empty())
            .collect()
    }

    /// The part of the path at `index`, such as the id in `/api/v1/users/{id}` at 3.
    pub(super) fn segment(&self, index: usize) -> &str {
        self.segments().get(index).copied().unwrap_or_default()
    }

    /// The bearer token, if one is presented.
    pub(super) fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(token.trim())
    }

    /// The body as an object: JSON, or form fields as strings.
    pub(super) fn object(&self) -> Result<&Map<String, Value>, String> {
        match &self.body {
            Payload::Json(Value::Object(object)) | Payload::Form(object) => Ok(object),
            Payload::Json(_) => Err("the body is not a JSON object".to_owned()),
            Payload::Empty => Err("the body is missing".to_owned()),
            Payload::Unreadable(reason) => Err(reason.clone()),
        }
    }

    /// The JSON of the body.
    pub(super) fn json(&self) -> Result<&Value, String> {
        match &self.body {
            Payload::Json(value) => Ok(value),
            Payload::Form(_) => Err("the body must be application/json".to_owned()),
            Payload::Empty => Err("the body is missing".to_owned()),
            Payload::Unreadable(reason) => Err(reason.clone()),
        }
    }

    /// A string field of the body.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.object().ok()?.get(field)?.as_str()
    }
}

async fn read_body(headers: &HeaderMap, body: Body) -> Payload {
    let bytes = match to_bytes(body, BODY_LIMIT).await {
        Ok(bytes) if bytes.is_empty() => return Payload::Empty,
        Ok(bytes) => bytes,
        Err(error) => return Payload::Unreadable(error.to_string()),
    };
    let media = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_ascii_lowercase();
    if media.contains("json") {
        return match serde_json::from_slice(&bytes) {
            Ok(value) => Payload::Json(value),
            Err(error) => Payload::Unreadable(format!("not JSON: {error}")),
        };
    }
    if !media.starts_with("application/x-www-form-urlencoded") {
        return Payload::Unreadable(format!("content type {media:?} is not supported"));
    }
    let mut request = Request::new(Body::from(bytes));
    *request.method_mut() = Method::POST;
    if let Some(media) = headers.get(header::CONTENT_TYPE) {
        request
            .headers_mut()
            .insert(header::CONTENT_TYPE, media.clone());
    }
    match Form::<Vec<(String, String)>>::from_request(request, &()).await {
        Ok(Form(fields)) => Payload::Form(
            fields
                .into_iter()
                .map(|(key, value)| (key, Value::String(value)))
                .collect(),
        ),
        Err(error) => Payload::Unreadable(error.to_string()),
    }
}
