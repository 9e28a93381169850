//! Both listeners in OpenAPI 3.1.

use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn, PathItem,
};
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Array, ArrayBuilder, Object, ObjectBuilder, RefOr, Required, Response, ResponseBuilder, Schema,
    SecurityRequirement, Server, Type,
};

use crate::http::openapi::{
    Name, document as public, fixed, readable, referred, server, tag, whole,
};

const TAG: &str = "operations";
const HEADERS: [Name; 2] = ["Cache-Control", "X-Content-Type-Options"];
/// The scheme of `POST /reload`.
const OPERATOR: &str = "operator";

/// Among the components: what no path of this listener has for itself.
const NOT_FOUND: &str = "operators_not_found";
const METHOD_NOT_ALLOWED: &str = "operators_method_not_allowed";

const ABOUT: &str = "\n\nOn the operators' listener:\n
- There are no problem details, no request ids and no CORS. A refusal says why in a line of text, that of `/reload` \
in JSON.
- A path that is not here is 404, and another method 405 with `Allow`, both without a body: see the responses \
`operators_not_found` and `operators_method_not_allowed` among the components.
- A browser has to call it by an IP address, as `localhost`, or by a name without a dot, and so has whoever calls \
`/` or `/reload`.";

/// The document, as it is served, printed and kept in `docs/openapi.json`.
pub fn document() -> String {
    let mut document = public();
    let mut add = |path: &str, mut item: PathItem| {
        item.servers = Some(vec![here()]);
        document.paths.paths.insert(path.into(), item);
    };
    add("/readyz", readable(readyz()));
    add("/metrics", readable(metrics()));
    add("/openapi.json", readable(openapi()));
    add("/", readable(status()));
    add("/status.css", readable(part("statusStyle", "text/css")));
    add("/status.svg", readable(part("statusIcon", "image/svg+xml")));
    add("/reload", PathItem::new(HttpMethod::Post, reload()));
    if let Some(health) = document.paths.paths.get_mut("/healthz") {
        let both = document.servers.iter().flatten().cloned().chain([here()]);
        health.servers = Some(both.collect());
    }
    let operations = tag(TAG, "The operators' listener: never exposed to browsers");
    document.tags.get_or_insert_default().push(operations);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    let bearer = bearer.description(Some("The `[ops] token`, where one is configured"));
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(OPERATOR, SecurityScheme::Http(bearer.build()));
    let empty = |about: &str| ResponseBuilder::new().description(about);
    let not_found = empty("The operators' listener has no such path");
    let other_method = referred(empty("The path answers other methods"), &["Allow"]);
    for (name, answer) in [(NOT_FOUND, not_found), (METHOD_NOT_ALLOWED, other_method)] {
        let answer = answer.build().into();
        components.responses.insert(name.to_owned(), answer);
    }
    let about = document.info.description.get_or_insert_default();
    about.push_str(ABOUT);
    document.to_pretty_json().unwrap_or_default()
}

fn here() -> Server {
    server(
        "http://127.0.0.1:9090",
        "The operators' listener, where `ops.listen` puts it",
    )
}

fn readyz() -> Operation {
    let reason = ObjectBuilder::new()
        .property("tenant", text("A tenant that cannot mint"))
        .property("session", text("A session table that gets no answers"))
        .property("shared", text("The shared tier is away"))
        .property(
            "config",
            text("The first fault of a reload that was refused"),
        )
        .property("reason", text("Why, in a word"));
    let words = ["ready", "degraded", "unready", "stopping"];
    let status = ObjectBuilder::new().schema_type(Type::String);
    let body = whole(
        ObjectBuilder::new()
            .property("status", status.enum_values(Some(words)))
            .property("reasons", ArrayBuilder::new().items(reason))
            .property("generation", generation()),
    );
    let ready = "`ready`, or `degraded`: cached tokens are served";
    let ready = answer(ready, "application/json", body.clone());
    let unready = answer("`unready`, or `stopping`", "application/json", body);
    operation("ready", "Is it worth sending requests here")
        .response("200", ready.build())
        .response("403", foreign())
        .response("503", unready.build())
        .build()
}

fn metrics() -> Operation {
    let plain = |about| answer(about, "text/plain", text("Lines")).build();
    operation("metrics", "Metrics for Prometheus")
        .response("200", plain("The text format, version 0.0.4"))
        .response("403", foreign())
        .response("503", plain("Another recorder is in the process"))
        .build()
}

fn status() -> Operation {
    let page = |about, kind| answer(about, kind, text("For people"));
    operation(
        "status",
        "The status page: how the broker is, and how the last hour went",
    )
    .response("200", framed(page("The page", "text/html")).build())
    .response("403", foreign())
    .response("500", page("A bug", "text/plain").build())
    .build()
}

/// What the status page loads.
fn part(id: &str, kind: &str) -> Operation {
    let part = answer("The same at any time", kind, text("For the browser"));
    operation(id, "A part of the status page")
        .response("200", framed(part).build())
        .build()
}

/// The headers of what a browser shows. They say something else than those of the public listener.
fn framed(answer: ResponseBuilder) -> ResponseBuilder {
    let same_origin = |about| fixed("^same-origin$", about);
    let policy = fixed(
        "",
        "What the page loads, which is a style sheet and a picture of its own",
    );
    let answer = referred(answer, &["Referrer-Policy"]).header("Content-Security-Policy", policy);
    let answer = answer.header(
        "Cross-Origin-Resource-Policy",
        same_origin("No other page loads it"),
    );
    answer.header(
        "Cross-Origin-Opener-Policy",
        same_origin("Nor holds a window of it"),
    )
}

/// The refusal of a page whose name was made to resolve to this listener.
fn foreign() -> Response {
    let why = text("What to call it by");
    answer("`Host` is a name that a page could have", "text/plain", why).build()
}

fn openapi() -> Operation {
    let document = Object::with_type(Type::Object);
    let document = answer("OpenAPI 3.1", "application/json", document);
    operation("openapi", "This document")
        .response("200", document.build())
        .response("403", foreign())
        .build()
}

fn reload() -> Operation {
    let shown = ParameterBuilder::new()
        .name("X-Broker-Request")
        .parameter_in(ParameterIn::Header)
        .required(Required::True)
        .description(Some("Any value: a page cannot send it"))
        .schema(Some(Object::with_type(Type::String)));
    let scopes: [&str; 0] = [];
    let keys = ArrayBuilder::new().items(text("A key of the configuration"));
    let done = whole(
        ObjectBuilder::new()
            .property("generation", generation())
            .property("restart_needed", keys)
            .property("warnings", problems()),
    );
    let error = || ObjectBuilder::new().property("error", text("What is wrong, for the operator"));
    let refusal = |about| answer(about, "application/json", whole(error()));
    let unproven = refusal("The `[ops] token` is missing or wrong");
    let forbidden = "The header is missing, `Host` is a name that a page could have, or there is no token and the listener \
                     is not local";
    let faulty = whole(error().property("problems", problems()));
    let faulty = answer(
        "It cannot be used; the old one goes on",
        "application/json",
        faulty,
    );
    operation("reload", "Read the configuration again")
        .parameter(shown)
        .security(SecurityRequirement::new(OPERATOR, scopes))
        .security(SecurityRequirement::default())
        .response(
            "200",
            answer("It is in use", "application/json", done).build(),
        )
        .response("401", referred(unproven, &["WWW-Authenticate"]).build())
        .response("403", refusal(forbidden).build())
        .response("422", faulty.build())
        .build()
}

fn operation(id: &str, summary: &str) -> OperationBuilder {
    let operation = OperationBuilder::new().tag(TAG).operation_id(Some(id));
    operation.summary(Some(summary))
}

fn answer(about: &str, kind: &str, body: impl Into<RefOr<Schema>>) -> ResponseBuilder {
    let body = ContentBuilder::new().schema(Some(body)).build();
    let answer = ResponseBuilder::new().description(about);
    referred(answer.content(kind, body), &HEADERS)
}

fn text(about: &str) -> Object {
    let text = ObjectBuilder::new().schema_type(Type::String);
    text.description(Some(about)).build()
}

fn generation() -> Object {
    let count = ObjectBuilder::new().schema_type(Type::Integer);
    let count = count.description(Some("1 at the start, one more with each reload"));
    count.minimum(Some(1)).build()
}

/// Those of a configuration.
fn problems() -> Array {
    let place = [Type::String, Type::Null];
    let place = ObjectBuilder::new().schema_type(SchemaType::from_iter(place));
    let problem = ObjectBuilder::new()
        .property("path", text("The key"))
        .property("message", text("What is wrong with it"))
        .property("remedy", text("What to do"))
        .property("place", place.description(Some("The file and its line")));
    ArrayBuilder::new().items(whole(problem)).build()
}
