//! Problems: an example of each code, and the answers that several codes of one status share.

use std::collections::BTreeMap;
use std::time::Duration;

use utoipa::ToSchema;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::{Example, ExampleBuilder};
use utoipa::openapi::{
    AllOfBuilder, ComponentsBuilder, Object, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder,
    Type,
};

use super::super::problem::{Body, Code, Problem};
use super::super::{body, caller, cors, frame, nothing_here, other_methods, token};
use super::headers::{private, referred};
use crate::admission::AdmissionError;
use crate::broker::BrokerError;
use crate::limits::{Exceeded, Limit};
use crate::mapping::MappingError;
use crate::qlik::QlikError;
use crate::session::SessionError;

/// That of docs/api.md.
const REQUEST_ID: &str = "e0712bf6d317406c9d5e6fe0b99eec18";

/// How each code comes to be: a cause that has it, through the door that all of them take.
fn example(code: Code) -> Problem {
    let retry_after = Duration::from_secs(1);
    let of_tenant = |error| BrokerError::Tenant { error, retry_after }.into();
    match code {
        Code::RequestInvalid => token::nobody_named(),
        Code::SessionMissing => SessionError::Missing.into(),
        Code::SessionInvalid => SessionError::UnknownHandle.into(),
        Code::SessionExpired => SessionError::Expired.into(),
        Code::SessionServiceUnavailable => SessionError::Unavailable {
            why: "",
            retry_after,
        }
        .into(),
        Code::OriginNotAllowed => cors::refused(),
        Code::CsrfRejected => caller::no_header(),
        Code::CallerNotAllowed => caller::lacks_call(),
        Code::TenantNotAllowed => AdmissionError::NoTenant.into(),
        Code::ScopeNotAllowed => AdmissionError::NoScope.into(),
        Code::UserNotAllowed => AdmissionError::Mapping(MappingError::Denied).into(),
        Code::UserNotMapped => AdmissionError::Mapping(MappingError::NoRule).into(),
        Code::UserUnknown => of_tenant(QlikError::UserUnknown),
        Code::UserDisabled => of_tenant(QlikError::UserDisabled),
        Code::UserAmbiguous => of_tenant(QlikError::UserAmbiguous),
        Code::UserTokenLimit => of_tenant(QlikError::UserTokenLimit),
        Code::NotFound => nothing_here(),
        Code::MethodNotAllowed => other_methods(),
        Code::BodyTooLarge => body::too_large(),
        Code::MediaType => body::not_json(),
        Code::RateLimited => Exceeded {
            limit: Limit::Session,
            retry_after,
        }
        .into(),
        Code::RenewalTooSoon => BrokerError::RenewalTooSoon { retry_after }.into(),
        Code::TenantRefusedClient => of_tenant(QlikError::ClientRefused {
            status: 401,
            code: None,
            certain: true,
        }),
        Code::TenantMalformed => of_tenant(QlikError::Malformed("")),
        Code::TenantThrottled => BrokerError::Queued { retry_after }.into(),
        Code::TenantUnavailable => BrokerError::Deadline { retry_after }.into(),
        Code::Overloaded => frame::overloaded(),
        Code::Internal => BrokerError::Internal.into(),
    }
}

/// An example of every code, and the answers that no path has for itself.
pub(super) fn components(components: ComponentsBuilder) -> ComponentsBuilder {
    let examples = |components: ComponentsBuilder, code: &Code| {
        components.example(code.as_str(), rendered(*code))
    };
    let components = Code::ALL.iter().fold(components, examples);
    let elsewhere = [Code::NotFound, Code::MethodNotAllowed];
    elsewhere.into_iter().fold(components, |components, code| {
        components.response(code.as_str(), response(&[code]))
    })
}

fn rendered(code: Code) -> Example {
    let problem = example(code);
    let value = serde_json::to_value(problem.body("", REQUEST_ID)).ok();
    let example = ExampleBuilder::new().summary(code.title()).value(value);
    example.description(code.explanation()).build()
}

/// Those of these codes that share a status, as the answer of that status.
pub(super) fn responses(codes: &[Code]) -> Vec<(String, RefOr<Response>)> {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes {
        by_status
            .entry(code.status().as_u16())
            .or_default()
            .push(*code);
    }
    let answer = |(status, codes): (u16, Vec<Code>)| (status.to_string(), response(&codes).into());
    by_status.into_iter().map(answer).collect()
}

/// The answer of codes that have the same status.
fn response(codes: &[Code]) -> Response {
    let about = codes
        .iter()
        .map(|code| format!("- `{}`: {}", code.as_str(), code.title()));
    let examples = codes.iter().map(|code| {
        let example = Ref::new(format!("#/components/examples/{}", code.as_str()));
        (code.as_str(), RefOr::Ref(example))
    });
    let these = ObjectBuilder::new().property("code", one_of(codes));
    let schema = AllOfBuilder::new()
        .item(Ref::from_schema_name(Body::name()))
        .item(these.build());
    let content = ContentBuilder::new()
        .schema(Some(schema))
        .examples_from_iter(examples);
    let answer = ResponseBuilder::new().description(about.collect::<Vec<_>>().join("\n"));
    let answer = private(answer).content("application/problem+json", content.build());
    let status = codes.first().map(|code| code.status().as_u16());
    let besides: &[&str] = match status {
        Some(401) => &["WWW-Authenticate"],
        Some(405) => &["Allow"],
        Some(429 | 502 | 503) => &["Retry-After"],
        _ => &[],
    };
    referred(answer, besides).build()
}

/// Every code.
pub(in super::super) fn codes() -> Object {
    let mut all = one_of(&Code::ALL);
    all.description = Some("Decide by this one: it keeps its meaning.".into());
    all
}

fn one_of(codes: &[Code]) -> Object {
    let codes = codes.iter().map(|code| code.as_str());
    let text = ObjectBuilder::new().schema_type(Type::String);
    text.enum_values(Some(codes)).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_a_code_has_this_code_and_its_retry_after() {
        for code in Code::ALL {
            let problem = example(code);
            assert_eq!(problem.code, code);
            let answer = problem.render("", REQUEST_ID);
            let waits = answer.headers().contains_key("retry-after");
            let status = code.status().as_u16();
            assert_eq!(waits, matches!(status, 429 | 502 | 503), "{code:?}");
        }
    }
}
