//! From verified claims to a Qlik user: templates, ordered rules and the deny list.
//!
//! Knows nothing of HTTP, of tokens, or of which tenants exist.

mod deny;
mod email;
mod lookup;
mod profile;
mod template;

use crate::identity::Claims;

use template::Gap;

pub use deny::DenyList;
pub use email::Email;
pub use lookup::{LookupField, UserLookup};
pub use profile::{Groups, Profile, ProfileRules};
pub use template::Template;

/// One entry of `user = […]`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What the tenant is asked by.
    pub field: RuleField,
    /// Where the value comes from.
    pub value: Template,
}

/// What a rule finds a user by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleField {
    /// What a token can be asked for by.
    Lookup(LookupField),
    /// An e-mail address, which has to be looked up first: no lookup that a tenant has.
    Email,
}

impl RuleField {
    /// As it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lookup(field) => field.as_str(),
            Self::Email => "email",
        }
    }
}

/// A session table's mapping: which tenant, which user.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// Left out when there is one tenant.
    pub tenant: Option<Template>,
    /// The first rule whose claims are all present wins.
    pub rules: Vec<Rule>,
    /// Users that this table never maps to.
    pub deny: DenyList,
}

/// What the claims were mapped to.
#[derive(Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The name of the tenant, if the mapping has a template for it.
    pub tenant: Option<String>,
    /// The user to impersonate.
    pub user: MappedUser,
    /// Which rule it was, counted from 0.
    pub rule: usize,
}

/// A user as the rules name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappedUser {
    /// As a token can be asked for.
    Lookup(UserLookup),
    /// Whoever has this address in the tenant.
    Email(Email),
}

/// Why no user came out. Never carries a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// No rule had all its claims.
    #[error("no mapping rule has all its claims")]
    NoRule,
    /// The winning rule gave a value that is not usable.
    #[error("mapping rule {rule} was refused: {why}")]
    Refused {
        /// Which rule, counted from 0.
        rule: usize,
        /// What is wrong with the value.
        why: &'static str,
    },
    /// The deny list holds the user.
    #[error("the deny list holds this user")]
    Denied,
    /// The tenant's template could not be filled.
    #[error("the claim that names the tenant is absent or not usable")]
    NoTenant,
}

impl Mapping {
    /// Applies the rules to verified claims.
    pub fn map(&self, claims: &Claims) -> Result<Mapped, MappingError> {
        let tenant = match &self.tenant {
            Some(template) => Some(
                template
                    .render(claims)
                    .map_err(|_| MappingError::NoTenant)?,
            ),
            None => None,
        };
        let (rule, user) = self.user(claims)?;
        let is_denied = match &user {
            MappedUser::Lookup(user) => self.deny.refuses(user.value()),
            MappedUser::Email(email) => self.deny.refuses(email.as_str()),
        };
        if is_denied {
            return Err(MappingError::Denied);
        }
        Ok(Mapped { tenant, user, rule })
    }

    fn user(&self, claims: &Claims) -> Result<(usize, MappedUser), MappingError> {
        for (rule, Rule { field, value }) in self.rules.iter().enumerate() {
            let refused = |why| MappingError::Refused { rule, why };
            match value.render(claims) {
                Ok(value) => {
                    let user = match field {
                        RuleField::Lookup(field) => {
                            UserLookup::new(*field, &value).map(MappedUser::Lookup)
                        }
                        RuleField::Email => Email::of(claims, &value).map(MappedUser::Email),
                    };
                    return Ok((rule, user.map_err(refused)?));
                }
                Err(Gap::Absent) => {}
                Err(Gap::Ambiguous) => {
                    return Err(refused("a claim holds the text between two claims"));
                }
            }
        }
        Err(MappingError::NoRule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn claims(value: Value) -> Claims {
        match value {
            Value::Object(map) => Claims::verified(map),
            _ => unreachable!(),
        }
    }

    fn user(field: LookupField, value: &str) -> MappedUser {
        MappedUser::Lookup(UserLookup::new(field, value).unwrap())
    }

    fn mapping(rules: &[(LookupField, &str)]) -> Mapping {
        let rules = rules.iter().map(|(field, text)| Rule {
            field: RuleField::Lookup(*field),
            value: Template::parse(text).unwrap(),
        });
        Mapping {
            tenant: None,
            rules: rules.collect(),
            deny: DenyList::new(["svc-*", "Root"]),
        }
    }

    #[test]
    fn the_first_rule_with_all_its_claims_wins() {
        let rules = mapping(&[
            (LookupField::UserId, "{qlik.id}"),
            (LookupField::Subject, "auth0|{sub|lower|trim}"),
        ]);
        let mapped = rules.map(&claims(json!({"sub": " Ann "}))).unwrap();
        assert_eq!(
            (mapped.user, mapped.rule),
            (user(LookupField::Subject, "auth0|ann"), 1)
        );
        let mapped = rules
            .map(&claims(json!({"sub": "ann", "qlik": {"id": 42}})))
            .unwrap();
        assert_eq!(mapped.user, user(LookupField::UserId, "42"));
        assert_eq!(
            rules.map(&claims(json!({"sub": ["ann"]}))),
            Err(MappingError::NoRule)
        );
        assert_eq!(
            rules.map(&claims(json!({"sub": "  "}))),
            Err(MappingError::NoRule)
        );
    }

    #[test]
    fn a_refused_value_does_not_fall_through_to_the_next_rule() {
        let rules = mapping(&[
            (LookupField::Subject, "{org}/{sub}"),
            (LookupField::Subject, "{sub}"),
        ]);
        let refused = rules.map(&claims(json!({"org": "a", "sub": "b/c"})));
        assert!(matches!(
            refused,
            Err(MappingError::Refused { rule: 0, .. })
        ));
        let refused = rules.map(&claims(json!({"sub": "b\nc"})));
        assert!(matches!(
            refused,
            Err(MappingError::Refused { rule: 1, .. })
        ));
    }

    #[test]
    fn bots_and_denied_users_are_never_mapped() {
        let rules = mapping(&[(LookupField::Subject, "{sub}")]);
        for sub in [
            r"qlikbot\abc",
            r"QlikBot\abc",
            r" qlikbot\abc",
            "svc-backup",
            "SVC-",
            "root",
        ] {
            assert_eq!(
                rules.map(&claims(json!({"sub": sub}))),
                Err(MappingError::Denied),
                "{sub}"
            );
        }
        assert!(rules.map(&claims(json!({"sub": "rooty"}))).is_ok());
    }

    #[test]
    fn bad_templates_say_what_to_write() {
        for (text, says) in [
            ("", "is empty"),
            ("{}", "no claim name"),
            ("{a", "without a }"),
            ("a}", "without a {"),
            ("{a}{b}", "separator"),
            ("{a|upper}", "|lower"),
        ] {
            let error = Template::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_mapped_value_is_never_empty_nor_holds_control_characters(sub in any::<String>(), org in any::<String>()) {
            let rules = mapping(&[(LookupField::Subject, "{org|trim}-{sub}"), (LookupField::Subject, "{sub|lower}")]);
            if let Ok(mapped) = rules.map(&claims(json!({"sub": sub, "org": org}))) {
                let MappedUser::Lookup(user) = mapped.user else { unreachable!() };
                let value = user.value();
                prop_assert!(!value.is_empty() && value.chars().count() <= 255);
                prop_assert!(!value.chars().any(char::is_control));
            }
        }

        #[test]
        fn templates_of_two_claims_are_injective(
            a in "[xy-]{1,4}", b in "[xy-]{1,4}", c in "[xy-]{1,4}", d in "[xy-]{1,4}", separator in "-{1,3}",
        ) {
            let rules = mapping(&[(LookupField::Subject, &format!("{{a}}{separator}{{b}}"))]);
            let one = rules.map(&claims(json!({"a": a, "b": b})));
            let two = rules.map(&claims(json!({"a": c, "b": d})));
            if let (Ok(one), Ok(two)) = (one, two) {
                prop_assert_eq!(one.user == two.user, (a, b) == (c, d));
            }
        }
    }
}
