//! What may be asked, what it takes, and everything that it may answer.

use serde_json::json;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn, PathItem,
    PathItemBuilder, PathsBuilder,
};
use utoipa::openapi::{Paths, Ref, Required, ResponseBuilder};

use super::super::logout::LogoutRequest;
use super::super::problem::Code;
use super::super::service_token::ServiceRequest;
use super::super::sessions::SessionRequest;
use super::super::token::TokenRequest;
use super::requests::{anybody, back_ends, body, header};
use super::{answers, headers, problems, readable};

/// Of every request: the frame answers these.
const FRAME: [Code; 2] = [Code::Internal, Code::Overloaded];
/// What can be wrong with a caller and its request, before a tenant is asked. A person's credential
/// goes all the way to its user, even where a back end is wanted.
const CALLER: [Code; 16] = [
    Code::RequestInvalid,
    Code::SessionMissing,
    Code::SessionInvalid,
    Code::SessionExpired,
    Code::SessionServiceUnavailable,
    Code::OriginNotAllowed,
    Code::CsrfRejected,
    Code::CallerNotAllowed,
    Code::TenantNotAllowed,
    Code::ScopeNotAllowed,
    Code::UserNotAllowed,
    Code::UserNotMapped,
    Code::BodyTooLarge,
    Code::MediaType,
    Code::RateLimited,
    // Whatever has not been answered in time.
    Code::TenantUnavailable,
];
/// What a tenant does to our clients.
const TENANT: [Code; 3] = [
    Code::TenantRefusedClient,
    Code::TenantMalformed,
    Code::TenantThrottled,
];
/// What it does to users and their tokens.
const USER: [Code; 5] = [
    Code::UserUnknown,
    Code::UserDisabled,
    Code::UserAmbiguous,
    Code::UserTokenLimit,
    Code::RenewalTooSoon,
];

pub(super) fn all() -> Paths {
    let script = "text/javascript";
    let module = file("clientModule", "The page's client: an ES module", script);
    let global = "The page's client: a script that makes window.qlikTokenBroker";
    let global = file("clientScript", global, script);
    let types = "The types of the page's client";
    let types = file("clientTypes", types, "application/typescript");
    PathsBuilder::new()
        .path("/session-token", session_token())
        .path("/sessions", sessions())
        .path("/logout", logout())
        .path("/service-token", service_token())
        .path("/healthz", readable(healthz()))
        .path("/client.js", readable(module))
        .path("/client.global.js", readable(global))
        .path("/client.d.ts", readable(types))
        .path("/problems/{code}", readable(explain_problem()))
        .build()
}

fn session_token() -> PathItem {
    let about = "\
Answers an access token of the tenant: a cached one, renewed ahead, or a new one. There is one per tenant, user and set \
of scopes, however many ask.

A back end names the user, and the tenant if its key has several. A page names neither: both follow from its session. \
The checks run in this order: method, size of the body as announced, origin, credential, what the caller may, the \
body's form, tenant, user and scope, limits. The tenant is asked only after all of them.";
    let user = json!({"field": "subject", "value": "auth0|ann"});
    let examples = [
        (
            "back_end",
            "A back end asks for a user's token",
            json!({"user_lookup": user}),
        ),
        (
            "back_end_scope",
            "With everything it may name",
            json!({"user_lookup": user, "tenant": "acme", "scope": "user_default"}),
        ),
        (
            "page",
            "A page asks for the token of its session",
            json!({}),
        ),
        (
            "page_rejected",
            "The tenant answered 401 to the page's token",
            json!({"rejected": "2MI28kco-6FYby6pANmnTO"}),
        ),
    ];
    let post = operation("tokens", "sessionToken", "Get a user's access token", about)
        .request_body(Some(body::<TokenRequest>(Required::False, &examples)))
        .response("200", answers::session_token())
        .securities(Some(anybody()));
    asked(post, &[&CALLER, &TENANT, &USER, &FRAME])
}

fn sessions() -> PathItem {
    let about = "\
A back end registers the session of a person who has just logged in, and gives the handle to the page. The tenant is \
not called: whether it knows the user shows with the first token.";
    let user = json!({"field": "subject", "value": "auth0|ann"});
    let examples = [
        (
            "back_end",
            "A session for the configured time",
            json!({"user_lookup": user}),
        ),
        (
            "back_end_limits",
            "A session of an hour and of one set of scopes",
            json!({"user_lookup": user, "tenant": "acme", "scope": "user_default", "ttl_seconds": 3600}),
        ),
    ];
    let post = operation(
        "tokens",
        "registerSession",
        "Register a person's session",
        about,
    )
    .request_body(Some(body::<SessionRequest>(Required::True, &examples)))
    .response("201", answers::session())
    .securities(Some(back_ends()));
    asked(post, &[&CALLER, &FRAME])
}

fn logout() -> PathItem {
    let about = "\
Ends the session that asks, or the session or the user that a back end names. A session that has ended already, and a \
well-formed handle that nobody knows, is 204 as well.

The user's cached tokens are gone when the answer is sent, and are then revoked at the tenant.";
    let user = json!({"field": "subject", "value": "auth0|ann"});
    let examples = [
        (
            "back_end_session",
            "A back end ends a session",
            json!({"session": "qtbs_zmcW6wZFjeu8lqjlJ7WrUriz_dXK9dy4JesnHcOs7QU"}),
        ),
        (
            "back_end_user",
            "A back end ends all sessions of a user",
            json!({"user_lookup": user, "tenant": "acme"}),
        ),
        ("page", "A page ends its own session", json!({})),
    ];
    let post = operation("tokens", "logout", "End a session, or all of a user", about)
        .request_body(Some(body::<LogoutRequest>(Required::False, &examples)))
        .response("204", answers::empty("It has ended").build())
        .securities(Some(anybody()));
    asked(post, &[&CALLER, &FRAME])
}

fn service_token() -> PathItem {
    let about = "\
Answers a token of the tenant's `service` client itself: nobody is impersonated. For back ends whose key allows \
`service_token`.";
    let examples = [
        ("back_end", "Of the key's only tenant", json!({})),
        (
            "back_end_tenant",
            "Of one of its tenants",
            json!({"tenant": "acme"}),
        ),
    ];
    let post = operation(
        "tokens",
        "serviceToken",
        "Get a token of the tenant's service client",
        about,
    )
    .request_body(Some(body::<ServiceRequest>(Required::False, &examples)))
    .response("200", answers::token().build())
    .securities(Some(back_ends()));
    asked(post, &[&CALLER, &TENANT, &FRAME])
}

/// The CORS preflight of a path that takes POST.
fn preflight(id: &str) -> Operation {
    let about = "For listed origins; a request that is no preflight gets the same.";
    let allowed = headers::referred(
        answers::empty("The page may ask"),
        &[
            "Access-Control-Allow-Methods",
            "Access-Control-Allow-Headers",
            "Access-Control-Max-Age",
        ],
    );
    let options = operation("tokens", &format!("{id}Preflight"), "CORS preflight", about)
        .response("204", allowed.build());
    answered(options, &[&[Code::OriginNotAllowed], &FRAME])
}

fn healthz() -> Operation {
    let lives = headers::referred(
        ResponseBuilder::new().description("It lives"),
        &["Cache-Control", "X-Content-Type-Options"],
    );
    let ok = answers::text(Some(json!("ok\n")));
    let about = "Nothing more is claimed. Both listeners have it; probes had better ask that of the operators.";
    let get = operation("public", "health", "Does the process live", about)
        .response("200", lives.content("text/plain", ok).build());
    answered(get, &[])
}

fn file(id: &str, summary: &str, kind: &str) -> Operation {
    let about = "For any page. docs/frontend.md says how to use it.";
    let get = operation("public", id, summary, about);
    answered(kept(get, kind), &[&FRAME])
}

fn explain_problem() -> Operation {
    let code = ParameterBuilder::new()
        .name("code")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(problems::codes()))
        .example(Some(json!(Code::TenantThrottled.as_str())));
    let about = "What happened, and what to do: a paragraph.";
    let get = operation("public", "explainProblem", "Explain an error code", about);
    let get = kept(get.parameter(code), "text/plain");
    answered(get, &[&[Code::NotFound], &FRAME])
}

fn operation(tag: &str, id: &str, summary: &str, about: &str) -> OperationBuilder {
    OperationBuilder::new()
        .tag(tag)
        .operation_id(Some(id))
        .summary(Some(summary))
        .description(Some(about))
        .parameter(header(
            "X-Request-Id",
            "An id for this request; without one the broker makes it",
        ))
}

/// A text that anybody may keep.
fn kept(get: OperationBuilder, kind: &str) -> OperationBuilder {
    let [whole, same] = answers::kept(kind);
    get.parameter(header(
        "If-None-Match",
        "The `ETag` of what is there already",
    ))
    .response("200", whole)
    .response("304", same)
}

/// With the problems that it may answer, and what the HTTP library may.
fn answered(operation: OperationBuilder, codes: &[&[Code]]) -> Operation {
    let too_large = Ref::from_response_name(answers::HEAD_TOO_LARGE);
    let operation = operation.response("431", too_large);
    let problems = problems::responses(&codes.concat());
    let answered = problems
        .into_iter()
        .fold(operation, |operation, (status, answer)| {
            operation.response(status, answer)
        });
    answered.build()
}

/// A path for callers with a credential. Where it is one that the browser or a proxy adds, the header is needed.
fn asked(post: OperationBuilder, codes: &[&[Code]]) -> PathItem {
    let about = "Any value: needed beside a cookie or a client certificate";
    let post = answered(post.parameter(header("X-Broker-Request", about)), codes);
    let id = post.operation_id.clone().unwrap_or_default();
    PathItemBuilder::new()
        .operation(HttpMethod::Options, preflight(&id))
        .operation(HttpMethod::Post, post)
        .build()
}
