//! What requests carry: headers, bodies, credentials.

use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::{Object, Ref, Required, SecurityRequirement, Type};

/// A header that may be left out.
pub(super) fn header(name: &str, about: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(Object::with_type(Type::String)))
        .build()
}

/// A body with an example for each kind of caller. Its name says which: `back_end` or `page`.
pub(super) fn body<T: ToSchema>(
    required: Required,
    examples: &[(&str, &str, Value)],
) -> RequestBody {
    let examples = examples.iter().map(|(name, summary, value)| {
        let example = ExampleBuilder::new().summary(*summary);
        (*name, example.value(Some(value.clone())).build())
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(T::name())))
        .examples_from_iter(examples);
    RequestBodyBuilder::new()
        .description(Some("At most 16 KiB, without unknown fields"))
        .required(Some(required))
        .content("application/json", content.build())
        .build()
}

/// What a back end shows.
pub(super) fn back_ends() -> Vec<SecurityRequirement> {
    by(&["apiKey", "certificate"])
}

/// What anybody shows.
pub(super) fn anybody() -> Vec<SecurityRequirement> {
    by(&["apiKey", "certificate", "session", "cookie"])
}

/// One of these schemes.
fn by(schemes: &[&str]) -> Vec<SecurityRequirement> {
    let scopes: [&str; 0] = [];
    let by = |scheme: &&str| SecurityRequirement::new(*scheme, scopes);
    schemes.iter().map(by).collect()
}
