//! Both listeners in OpenAPI 3.1.

use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn, PathItem,
};
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Array, ArrayBuilder, Object, ObjectBuilder, RefOr, Required, ResponseBuilder, Schema,
    SecurityRequirement, Server, Type,
};

use crate::http::openapi::{Name, document as public, readable, referred, server, tag, whole};

const TAG: &str = "operations";
const HEADERS: [Name; 2] = ["Cache-Control", "X-Content-Type-Options"];
/// The scheme of `POST /reload`.
const OPERATOR: &str = "operator";

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
        .response("503", unready.build())
        .build()
}

fn metrics() -> Operation {
    let plain = |about| answer(about, "text/plain", text("Lines")).build();
    operation("metrics", "Metrics for Prometheus")
        .response("200", plain("The text format, version 0.0.4"))
        .response("503", plain("Another recorder is in the process"))
        .build()
}

fn status() -> Operation {
    let page = |about, kind| answer(about, kind, text("For people")).build();
    let forbidden = "`Host` is a name that a page could have";
    operation(
        "status",
        "The status page: how the broker is, and how the last hour went",
    )
    .response("200", page("The page", "text/html"))
    .response("403", page(forbidden, "text/plain"))
    .response("500", page("A bug", "text/plain"))
    .build()
}

/// What the status page loads.
fn part(id: &str, kind: &str) -> Operation {
    let part = answer("The same at any time", kind, text("For the browser"));
    operation(id, "A part of the status page")
        .response("200", part.build())
        .build()
}

fn openapi() -> Operation {
    let document = Object::with_type(Type::Object);
    let document = answer("OpenAPI 3.1", "application/json", document);
    operation("openapi", "This document")
        .response("200", document.build())
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
