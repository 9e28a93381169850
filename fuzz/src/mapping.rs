//! Templates and claims: a user that comes out is one that a tenant may be asked for, and two
//! sessions that name the same user have the same claims.
//!
//! An input is a template on the first line, and claims.

use qlik_token_broker::identity::Claims;
use qlik_token_broker::mapping::{
    DenyList, LookupField, Mapped, MappedUser, Mapping, ProfileRules, Rule, RuleField, Template,
};
use serde_json::{Map, Value};

use super::first_line;

const FIELDS: [RuleField; 3] = [
    RuleField::Lookup(LookupField::Subject),
    RuleField::Lookup(LookupField::UserId),
    RuleField::Email,
];

pub fn run(data: &[u8]) -> bool {
    let (text, claims) = first_line(data);
    let template = Template::parse(text);
    let claims = serde_json::from_slice::<Map<String, Value>>(claims);
    let (Ok(template), Ok(claims)) = (template, claims) else {
        return false;
    };
    let claims = Claims::verified(claims);
    profile(&template, &claims);
    FIELDS.map(|field| user(text, &template, field, &claims))[0]
}

fn user(text: &str, template: &Template, field: RuleField, claims: &Claims) -> bool {
    let mapping = Mapping {
        tenant: Some(template.clone()),
        rules: vec![Rule {
            field,
            value: template.clone(),
        }],
        deny: DenyList::new(["svc-*"]),
    };
    let Ok(Mapped { tenant, user, .. }) = mapping.map(claims) else {
        return false;
    };
    let value = match &user {
        MappedUser::Lookup(user) => user.value(),
        MappedUser::Email(email) => {
            assert!(email.as_str().is_ascii() && email.as_str().matches('@').count() == 1);
            email.as_str()
        }
    };
    assert!((1..=255).contains(&value.chars().count()));
    assert!(!value.chars().any(char::is_control));
    let lower_case = value.trim().to_lowercase();
    assert!(
        !["qlikbot\\", "svc-"]
            .iter()
            .any(|name| lower_case.starts_with(name))
    );
    assert_eq!(tenant.as_deref(), Some(value), "the same template, twice");
    assert!(
        can_be_taken_apart(text, claims, value),
        "two users could look the same"
    );
    true
}

/// Whether a reader who knows the template finds the claims again in what it made of them.
fn can_be_taken_apart(template: &str, claims: &Claims, value: &str) -> bool {
    let (before, rest) = template.split_once('{').unwrap_or((template, ""));
    let mut left = value.strip_prefix(before).unwrap();
    let mut parts = rest.split('{').peekable();
    while let Some(part) = parts.next().filter(|part| !part.is_empty()) {
        let (claim, text) = part.split_once('}').unwrap();
        let found = if parts.peek().is_none() {
            left.strip_suffix(text)
        } else {
            let split = left.split_once(text);
            left = split.map_or("", |(_, rest)| rest);
            split.map(|(found, _)| found)
        };
        if found.map(str::to_owned) != filtered(claim, claims) {
            return false;
        }
    }
    true
}

fn filtered(claim: &str, claims: &Claims) -> Option<String> {
    let mut words = claim.split('|');
    let value = claims.text(words.next()?)?.into_owned();
    Some(words.fold(value, |value, filter| match filter {
        "lower" => value.to_lowercase(),
        _ => value.trim().to_owned(),
    }))
}

fn profile(template: &Template, claims: &Claims) {
    let rules = ProfileRules {
        subject: template.clone(),
        name: template.clone(),
        email: Some(template.clone()),
        groups: Some("groups".to_owned()),
    };
    let Ok(Some(profile)) = rules.profile(claims) else {
        return;
    };
    let groups = profile.groups.iter().flatten();
    for text in [&profile.subject, &profile.name].into_iter().chain(groups) {
        assert!((1..=255).contains(&text.chars().count()));
        assert!(!text.chars().any(char::is_control));
    }
}
