//! What pages load: the browser helper, as an ES module, as a script of its own, and its types.

use axum::http::HeaderMap;
use axum::response::Response;

use super::public;

const SCRIPT: &str = "text/javascript; charset=utf-8";

pub(super) async fn module(headers: HeaderMap) -> Response {
    let text = include_str!("../../web/dist/client.js");
    public::answer(&headers, SCRIPT, text.into())
}

pub(super) async fn global(headers: HeaderMap) -> Response {
    let text = include_str!("../../web/dist/client.global.js");
    public::answer(&headers, SCRIPT, text.into())
}

pub(super) async fn types(headers: HeaderMap) -> Response {
    let text = include_str!("../../web/client.d.ts");
    // No registered type; it is what others serve, and Deno wants.
    public::answer(
        &headers,
        "application/typescript; charset=utf-8",
        text.into(),
    )
}
