//! The answers that are no problems, and what they have in common.

use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::{
    ComponentsBuilder, Content, KnownFormat, Object, ObjectBuilder, Ref, Response, ResponseBuilder,
    SchemaFormat, Type,
};

use super::super::sessions::SessionAnswer;
use super::headers::{private, public, referred};
use super::whole;

/// Among the components: a request's head is too large.
pub(super) const HEAD_TOO_LARGE: &str = "head_too_large";
const TOKEN_ANSWER: &str = "TokenAnswer";

pub(super) fn components(components: ComponentsBuilder) -> ComponentsBuilder {
    let about = "The request's head is over 64 KiB. Without a body";
    let components = components.schema(TOKEN_ANSWER, token_answer());
    components.response(HEAD_TOO_LARGE, Response::new(about))
}

/// No type says this: the answer is written member by member, because it is written so often.
fn token_answer() -> Object {
    let text = |about: &str| {
        let text = ObjectBuilder::new().schema_type(Type::String);
        text.description(Some(about))
    };
    let seconds = ObjectBuilder::new().schema_type(Type::Integer);
    let seconds = seconds.description(Some("What is left, counted anew for each answer"));
    let end = text("The same end as a time")
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    let id = text(
        "Names the token in logs and in `rejected`: the first 22 characters of base64url(SHA-256(`access_token`))",
    );
    let opaque = text("The tenant's token. Opaque: read nothing out of it");
    let answer = ObjectBuilder::new()
        .property("access_token", opaque.min_length(Some(1)))
        .property(
            "token_type",
            text("Always `Bearer`").enum_values(Some(["Bearer"])),
        )
        .property("expires_in", seconds.minimum(Some(0)))
        .property("expires_at", end)
        .property(
            "scope",
            text("What the tenant says it granted; what was asked for where it says nothing"),
        )
        .property(
            "tenant_url",
            text("Where the token is good").pattern(Some("^https?://")),
        )
        .property("token_id", id.pattern(Some("^[A-Za-z0-9_-]{22}$")));
    whole(answer)
}

/// A token, as JSON or bare.
pub(super) fn token() -> ResponseBuilder {
    let example = json!({
        "access_token": "eyJhbGciOiJFUzM…",
        "token_type": "Bearer",
        "expires_in": 21480,
        "expires_at": "2026-11-21T14:07:43.412Z",
        "scope": "user_default",
        "tenant_url": "https://acme.eu.qlikcloud.com",
        "token_id": "2MI28kco-6FYby6pANmnTO",
    });
    let bare = json!("eyJhbGciOiJFUzM…");
    let answer = ResponseBuilder::new()
        .description("A token. Text has to be asked for by name: `Accept: text/plain`")
        .content("application/json", described(TOKEN_ANSWER, example))
        .content("text/plain", text(Some(bare)));
    referred(private(answer), &["Pragma", "Server-Timing"])
}

/// The token of a person, which may be reported as dead.
pub(super) fn session_token() -> Response {
    let rejected = LinkBuilder::new()
        .operation_id("sessionToken")
        .request_body(Some(json!({"rejected": "$response.body#/token_id"})))
        .description("For when the tenant answers 401 to the token: a page's request");
    token().link("rejected", rejected.build()).build()
}

/// A registered session, which may be ended.
pub(super) fn session() -> Response {
    let example = json!({
        "session": "qtbs_zmcW6wZFjeu8lqjlJ7WrUriz_dXK9dy4JesnHcOs7QU",
        "expires_in": 3600,
        "expires_at": "2026-11-21T12:13:17.756Z",
    });
    let end = LinkBuilder::new()
        .operation_id("logout")
        .request_body(Some(json!({"session": "$response.body#/session"})))
        .description("Ends the session that was registered");
    let answer = ResponseBuilder::new()
        .description("The session is registered")
        .content(
            "application/json",
            described(&SessionAnswer::name(), example),
        );
    private(answer).link("end", end.build()).build()
}

/// An answer that says all by its status.
pub(super) fn empty(about: &str) -> ResponseBuilder {
    private(ResponseBuilder::new().description(about))
}

/// What anybody may keep, and the answer to who has it already.
pub(super) fn kept(kind: &str) -> [Response; 2] {
    let whole = ResponseBuilder::new().description("The text");
    let same = ResponseBuilder::new().description("It is the one that `If-None-Match` names");
    [whole.content(kind, text(None)), same].map(|answer| public(answer).build())
}

/// A text without structure.
pub(super) fn text(example: Option<Value>) -> Content {
    let text = Object::with_type(Type::String);
    let content = ContentBuilder::new().schema(Some(text));
    content.example(example).build()
}

fn described(name: &str, example: Value) -> Content {
    let schema = Ref::from_schema_name(name);
    let content = ContentBuilder::new().schema(Some(schema));
    content.example(Some(example)).build()
}
