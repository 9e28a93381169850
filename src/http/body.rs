//! Request bodies: small, JSON, and without a field that nobody knows.

use axum::body::{Body, Bytes, HttpBody};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::in_time::in_time;
use super::problem::{Code, Problem};

/// No request of this API comes near it.
const MAX_BYTES: usize = 16 * 1024;

/// Refuses a body that announces itself as too large, before anything else is looked at.
pub(super) fn check_length(headers: &HeaderMap) -> Result<(), Problem> {
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    match length.and_then(|length| length.parse::<u64>().ok()) {
        Some(length) if length > MAX_BYTES as u64 => Err(too_large()),
        _ => Ok(()),
    }
}

/// Reads a body of at most 16 KiB before the deadline. To be called for proven callers only: a slow
/// body holds a place, and nobody without a session is to hold one.
pub(super) async fn read(body: Body, deadline: Instant) -> Result<Bytes, Problem> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let reading = async {
        let mut stream = body.into_data_stream();
        let mut read = Vec::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk
                .map_err(|_| Problem::new(Code::RequestInvalid, "The body could not be read."))?;
            if read.len() + chunk.len() > MAX_BYTES {
                return Err(too_large());
            }
            read.extend_from_slice(&chunk);
        }
        Ok(Bytes::from(read))
    };
    let late = |_| Problem::new(Code::RequestInvalid, "The body did not arrive in time.");
    in_time(deadline, reading).await.map_err(late)?
}

pub(super) fn too_large() -> Problem {
    Problem::new(Code::BodyTooLarge, "A body may hold 16 KiB.")
}

pub(super) fn not_json() -> Problem {
    Problem::new(
        Code::MediaType,
        "A body needs the header Content-Type: application/json.",
    )
}

/// Refuses a body that is not called JSON.
pub(super) fn check_type(headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
    if body.is_empty() {
        return Ok(());
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let is_json = match (types.next().map(|value| value.to_str()), types.next()) {
        (Some(Ok(value)), None) => {
            let essence = value.split(';').next().unwrap_or_default();
            essence.trim().eq_ignore_ascii_case("application/json")
        }
        _ => false,
    };
    if is_json { Ok(()) } else { Err(not_json()) }
}

/// Parses a body; an empty one is the default.
pub(super) fn parse<T: DeserializeOwned + Default>(
    headers: &HeaderMap,
    body: &[u8],
) -> Result<T, Problem> {
    if body.is_empty() {
        return Ok(T::default());
    }
    check_type(headers, body)?;
    // A list would be taken as the fields in their order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::new(
            Code::RequestInvalid,
            "The body is not a JSON object.",
        ));
    }
    // The library's message may quote the body, so only the place is told.
    serde_json::from_slice(body).map_err(|error| {
        let fault = if error.is_data() {
            "has an unknown, missing or wrong field"
        } else {
            "is not JSON"
        };
        Problem::new(
            Code::RequestInvalid,
            format!(
                "The body {fault}, near line {} column {}.",
                error.line(),
                error.column()
            ),
        )
    })
}
