//! The headers of answers: what each says, and whether it is always there.

use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::{ComponentsBuilder, Header, ObjectBuilder, Ref, ResponseBuilder, Type};

/// A header among the components.
pub type Name = &'static str;

/// Of every answer of the public listener.
const EVERY: [Name; 6] = [
    "X-Request-Id",
    "Cache-Control",
    "X-Content-Type-Options",
    "Referrer-Policy",
    "Content-Security-Policy",
    "Strict-Transport-Security",
];
/// Of what is for one caller alone.
const PRIVATE: [Name; 4] = [
    "Vary",
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Credentials",
    "Access-Control-Expose-Headers",
];
/// Of what anybody may read and keep.
const PUBLIC: [Name; 3] = [
    "ETag",
    "Access-Control-Allow-Origin",
    "Cross-Origin-Resource-Policy",
];

struct Row {
    name: Name,
    /// Whether it is there wherever an answer names it.
    always: bool,
    /// Of all its values; empty where the values are not worth one.
    pattern: &'static str,
    about: &'static str,
}

#[rustfmt::skip]
const ROWS: [Row; 20] = [
    Row { name: "X-Request-Id", always: true, pattern: "^[A-Za-z0-9._-]{1,64}$",
        about: "The request's id: in problems, and in the broker's log and audit lines" },
    Row { name: "Cache-Control", always: true, pattern: "^(no-store|public, max-age=300)$",
        about: "`no-store`, but for what is public" },
    Row { name: "X-Content-Type-Options", always: true, pattern: "^nosniff$", about: "Always `nosniff`" },
    Row { name: "Referrer-Policy", always: true, pattern: "^no-referrer$", about: "Always `no-referrer`" },
    Row { name: "Content-Security-Policy", always: true, pattern: "^default-src 'none'; frame-ancestors 'none'$",
        about: "Nothing here is a page" },
    Row { name: "Strict-Transport-Security", always: false, pattern: "^max-age=31536000$",
        about: "Only with `[server.tls]`" },
    Row { name: "Vary", always: true, pattern: "", about: "`Origin`, and on tokens `Accept`" },
    Row { name: "Access-Control-Allow-Origin", always: false, pattern: "",
        about: "The page's origin, if a tenant lists it; `*` on what is public" },
    Row { name: "Access-Control-Allow-Credentials", always: false, pattern: "^true$",
        about: "For listed origins, if a session table takes what browsers add by themselves" },
    Row { name: "Access-Control-Expose-Headers", always: false, pattern: "^Retry-After, X-Request-Id, Server-Timing$",
        about: "What a page may read besides" },
    Row { name: "Access-Control-Allow-Methods", always: true, pattern: "^POST$", about: "What a page may send" },
    Row { name: "Access-Control-Allow-Headers", always: true, pattern: "^authorization, content-type, accept, x-broker-request, x-request-id",
        about: "What a page may send; with the `forward_headers` of `portal_check`" },
    Row { name: "Access-Control-Max-Age", always: true, pattern: "^600$", about: "How long the preflight counts, in seconds" },
    Row { name: "Cross-Origin-Resource-Policy", always: true, pattern: "^cross-origin$", about: "Any page may load it" },
    Row { name: "ETag", always: true, pattern: "^\"[0-9a-f]{32}\"$", about: "Strong: for `If-None-Match`" },
    Row { name: "Pragma", always: true, pattern: "^no-cache$", about: "For readers of RFC 6749, 5.1" },
    Row { name: "Server-Timing", always: true, pattern: "^token;desc=\"(local|shared|minted)\"$",
        about: "Where the token came from: this process, another replica, or the tenant" },
    Row { name: "WWW-Authenticate", always: true, pattern: "^Bearer( error=\"invalid_token\")?$",
        about: "With an error where a credential was presented" },
    Row { name: "Retry-After", always: true, pattern: "", about: "When asking again makes sense, in seconds" },
    Row { name: "Allow", always: true, pattern: "", about: "The methods that this path answers" },
];

/// All of them.
pub(super) fn components(components: ComponentsBuilder) -> ComponentsBuilder {
    ROWS.iter().fold(components, |components, row| {
        components.header(row.name, described(row))
    })
}

/// A header that is always there and has this form.
pub fn fixed(pattern: &'static str, about: &'static str) -> Header {
    described(&Row {
        name: "",
        always: true,
        pattern,
        about,
    })
}

fn described(row: &Row) -> Header {
    let schema = if row.name == "Retry-After" {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer);
        seconds.minimum(Some(1))
    } else {
        let text = ObjectBuilder::new().schema_type(Type::String);
        text.pattern((!row.pattern.is_empty()).then_some(row.pattern))
    };
    let header = HeaderBuilder::new().description(Some(row.about));
    let header = header.schema(Some(schema.build()));
    // The library has no member for `required` (OpenAPI 3.1, 4.8.21).
    let required = row
        .always
        .then(|| Extensions::from_iter([("required", true)]));
    header.extensions(required).build()
}

/// An answer with these headers.
pub fn referred(answer: ResponseBuilder, names: &[Name]) -> ResponseBuilder {
    names.iter().fold(answer, |answer, name| {
        answer.header_ref(*name, Ref::new(format!("#/components/headers/{name}")))
    })
}

/// An answer for one caller.
pub(super) fn private(answer: ResponseBuilder) -> ResponseBuilder {
    referred(referred(answer, &EVERY), &PRIVATE)
}

/// An answer for anybody.
pub(super) fn public(answer: ResponseBuilder) -> ResponseBuilder {
    referred(referred(answer, &EVERY), &PUBLIC)
}
