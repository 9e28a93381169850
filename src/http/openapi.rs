//! The public listener in OpenAPI 3.1, for those who write its callers. It stands apart, so that the
//! routes stay readable; tests hold the two to each other.

mod answers;
mod headers;
mod paths;
mod problems;
mod requests;

use utoipa::openapi::path::{HttpMethod, Operation, PathItem, PathItemBuilder};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, ComponentsBuilder, Info, InfoBuilder, LicenseBuilder, Object, ObjectBuilder,
    OpenApi, OpenApiBuilder, RefOr, Server, ServerBuilder, Tag,
};

use super::logout::LogoutRequest;
use super::named::Lookup;
use super::problem;
use super::service_token::ServiceRequest;
use super::sessions::{SessionAnswer, SessionRequest};
use super::token::TokenRequest;

pub use headers::{Name, fixed, referred};
pub(super) use problems::codes;

const ABOUT: &str = "\
Verifies a portal's session and hands out cached Qlik Cloud impersonation tokens. `docs/api.md` is the same to read.

On the public listener:

- An `X-Request-Id` of 1 to 64 of `A-Z a-z 0-9 . _ -` is kept and answered; anything else is replaced.
- A listed `Origin` is echoed, on errors too. A page of any other origin is refused (`origin_not_allowed`), and so is \
a back end's key from any page. No token and no credential is ever read from a URL.
- Errors are problem details (RFC 9457): decide by `code`. A path that is not here answers `not_found`, and another \
method `method_not_allowed`: see the responses of these names among the components.
- A head over 64 KiB (431), and broken framing (400), are answered without a body.";

/// The whole of it.
pub fn document() -> OpenApi {
    OpenApiBuilder::new()
        .info(info())
        .servers(Some([server(
            "http://127.0.0.1:8080",
            "The public listener, where `server.listen` puts it",
        )]))
        .paths(paths::all())
        .components(Some(components()))
        .tags(Some(tags()))
        .build()
}

/// A listener.
pub fn server(url: &str, description: &str) -> Server {
    let server = ServerBuilder::new().url(url);
    server.description(Some(description)).build()
}

/// A group of paths.
pub fn tag(name: &str, description: &str) -> Tag {
    let tag = TagBuilder::new().name(name);
    tag.description(Some(description)).build()
}

/// An object that has all its members.
pub fn whole(object: ObjectBuilder) -> Object {
    let mut object = object.build();
    object.required = object.properties.keys().cloned().collect();
    object
}

/// A path that can be read: whoever answers GET answers HEAD as well, with the same and no body.
pub fn readable(get: Operation) -> PathItem {
    let mut head = get.clone();
    head.operation_id = get.operation_id.as_ref().map(|id| format!("{id}Head"));
    head.summary = get
        .summary
        .as_ref()
        .map(|text| format!("{text}: the headers"));
    for response in head.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            response.content.clear();
        }
    }
    let path = PathItemBuilder::new().operation(HttpMethod::Get, get);
    path.operation(HttpMethod::Head, head).build()
}

fn info() -> Info {
    let license = env!("CARGO_PKG_LICENSE");
    let license = LicenseBuilder::new()
        .name(license)
        .identifier(Some(license));
    InfoBuilder::new()
        .title("qlik-token-broker")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(license.build()))
        .build()
}

fn tags() -> [Tag; 2] {
    [
        tag("tokens", "Tokens and sessions: for pages and back ends"),
        tag("public", "What anybody may read"),
    ]
}

fn components() -> Components {
    let schemas = ComponentsBuilder::new()
        .schema_from::<Lookup>()
        .schema_from::<TokenRequest>()
        .schema_from::<SessionRequest>()
        .schema_from::<SessionAnswer>()
        .schema_from::<LogoutRequest>()
        .schema_from::<ServiceRequest>()
        .schema_from::<problem::Body>();
    let parts = problems::components(answers::components(schemas));
    let mut components = headers::components(parts).build();
    for (name, scheme) in security_schemes() {
        components.add_security_scheme(name, scheme);
    }
    components
}

fn security_schemes() -> [(&'static str, SecurityScheme); 4] {
    let bearer = |format: &str, description: &str| {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        let bearer = bearer.bearer_format(format).description(Some(description));
        SecurityScheme::Http(bearer.build())
    };
    let cookie = ApiKeyValue::with_description(
        "session",
        "A person's session in a cookie, whose name is configured: a handle, a JWT, an opaque token, or the portal's \
         own cookies. It needs the header X-Broker-Request, and counts only without Authorization.",
    );
    [
        (
            "apiKey",
            bearer(
                "qtb_<id>_<43 characters>",
                "A back end's API key. It names the user in the body, and is refused beside any Origin.",
            ),
        ),
        (
            "session",
            bearer(
                "JWT",
                "A person's session: a handle (`qtbs_` and 43 characters), the portal's JWT, or an opaque token. The \
                 tenant and the user follow from it.",
            ),
        ),
        ("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie))),
        (
            "certificate",
            SecurityScheme::MutualTls {
                description: Some(
                    "A back end's client certificate. It needs the header X-Broker-Request.".into(),
                ),
                deprecated: None,
                extensions: None,
            },
        ),
    ]
}
