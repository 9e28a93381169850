//! From verified claims to a Qlik user: templates, ordered rules and the deny list.
//!
//! Knows nothing of HTTP, of tokens, or of which tenants exist.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::identity::Claims;

/// Longest value that is looked up, in characters. Subjects and user ids are far shorter.
const MAX_VALUE_CHARS: usize = 255;

/// Bots carry this subject. A token for one would hold the power of an OAuth client.
const BUILT_IN_DENY: &str = r"qlikbot\*";

/// What the tenant finds a user by. `user_lookup.field` has these two values and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LookupField {
    /// The identity provider's id of the user, unique per tenant.
    Subject,
    /// Qlik's own id of the user.
    UserId,
}

impl LookupField {
    /// As it is written upstream and in our own API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::UserId => "userId",
        }
    }

    /// The inverse of [`LookupField::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "subject" => Some(Self::Subject),
            "userId" => Some(Self::UserId),
            _ => None,
        }
    }
}

/// A user, as the tenant is asked for it: 1 to 255 characters, none of them a control character.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UserLookup {
    field: LookupField,
    value: Arc<str>,
}

impl UserLookup {
    /// Checks length and characters. The error names the fault, never the value.
    pub fn new(field: LookupField, value: &str) -> Result<Self, &'static str> {
        if value.is_empty() {
            return Err("the value is empty");
        }
        if value.chars().count() > MAX_VALUE_CHARS {
            return Err("the value is longer than 255 characters");
        }
        if value.chars().any(char::is_control) {
            return Err("the value holds a control character");
        }
        Ok(Self {
            field,
            value: value.into(),
        })
    }

    /// What it is looked up by.
    pub fn field(&self) -> LookupField {
        self.field
    }

    /// The value looked up.
    pub fn value(&self) -> &str {
        &self.value
    }
}

/// Users are personal data: logs and errors carry the audit hash instead.
impl fmt::Debug for UserLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserLookup({}=…)", self.field.as_str())
    }
}

/// Users that are never impersonated. The built-in entry is always part of it.
#[derive(Clone, Debug)]
pub struct DenyList(Vec<Pattern>);

#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    is_prefix: bool,
}

impl DenyList {
    /// Literal texts; a final `*` makes one a prefix; case is ignored.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        let all = patterns.into_iter().chain([BUILT_IN_DENY]);
        Self(all.map(Pattern::parse).collect())
    }

    /// Whether this user must not be impersonated. White space around the value is ignored, since
    /// whether the tenant ignores it is not known.
    pub fn refuses(&self, user: &UserLookup) -> bool {
        let value = user.value().trim().to_lowercase();
        self.0.iter().any(|pattern| pattern.matches(&value))
    }
}

impl Default for DenyList {
    fn default() -> Self {
        Self::new([])
    }
}

impl Pattern {
    fn parse(text: &str) -> Self {
        let (text, is_prefix) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        Self {
            text: text.to_lowercase(),
            is_prefix,
        }
    }

    fn matches(&self, lower_case: &str) -> bool {
        if self.is_prefix {
            lower_case.starts_with(&self.text)
        } else {
            lower_case == self.text
        }
    }
}

/// A text with claims in it: `auth0|{sub}`, `{org.id}`, `{email|lower|trim}`.
#[derive(Clone, Debug)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Claim { path: String, filters: Vec<Filter> },
}

#[derive(Clone, Copy, Debug)]
enum Filter {
    Lower,
    Trim,
}

/// Why a template gave no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    /// A claim is absent: the next rule may apply.
    Absent,
    /// A claim holds the text that stands between two claims: two users could look the same.
    Ambiguous,
}

impl Template {
    /// Parses a template. The error says what is wrong and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (literal, tail) = rest.split_at(open);
            let Some(inner) = tail.strip_prefix('{') else {
                return Err("has a } without a {; write claims as {name}".into());
            };
            let Some((claim, after)) = inner.split_once('}') else {
                return Err("has a { without a }; write claims as {name}".into());
            };
            push_text(&mut parts, literal);
            if matches!(parts.last(), Some(Part::Claim { .. })) {
                return Err(
                    "has two claims with nothing between them, so that different users could \
                            look the same; put a separator between them"
                        .into(),
                );
            }
            parts.push(parse_claim(claim)?);
            rest = after;
        }
        push_text(&mut parts, rest);
        if parts.is_empty() {
            return Err("is empty; write at least one claim, such as {sub}".into());
        }
        Ok(Self(parts))
    }

    /// Whether the result depends on the claims at all.
    pub fn names_a_claim(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Claim { .. }))
    }

    fn render(&self, claims: &Claims) -> Result<String, Gap> {
        let mut rendered = String::new();
        for (index, part) in self.0.iter().enumerate() {
            match part {
                Part::Text(text) => rendered.push_str(text),
                Part::Claim { path, filters } => {
                    let value = claims.text(path).ok_or(Gap::Absent)?;
                    let value = filters
                        .iter()
                        .fold(value, |value, filter| Cow::Owned(filter.apply(&value)));
                    if value.is_empty() {
                        return Err(Gap::Absent);
                    }
                    if self.blurs(index, &value) {
                        return Err(Gap::Ambiguous);
                    }
                    rendered.push_str(&value);
                }
            }
        }
        Ok(rendered)
    }

    /// Whether a claim's value could be taken for part of a separator. Overlaps count as well:
    /// with `--` between them, `a-` and `b` would read like `a` and `-b`.
    fn blurs(&self, index: usize, value: &str) -> bool {
        let last = self.0.len() - 1;
        self.0.iter().enumerate().any(|(at, part)| match part {
            Part::Text(separator) if at > 0 && at < last => {
                value.contains(separator.as_str())
                    || (at == index + 1
                        && format!("{value}{separator}").find(separator) != Some(value.len()))
                    || (at + 1 == index
                        && format!("{separator}{value}").rfind(separator) != Some(0))
            }
            _ => false,
        })
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.into()));
    }
}

fn parse_claim(text: &str) -> Result<Part, String> {
    let mut words = text.split('|');
    let path = words.next().unwrap_or_default();
    if path.is_empty() || path.trim() != path || path.contains('{') {
        return Err("has no claim name between { and }".into());
    }
    let filters = words
        .map(|word| match word {
            "lower" => Ok(Filter::Lower),
            "trim" => Ok(Filter::Trim),
            _ => Err(format!(
                "has an unknown filter in {{{path}|…}}; there are |lower and |trim"
            )),
        })
        .collect::<Result<_, _>>()?;
    Ok(Part::Claim {
        path: path.into(),
        filters,
    })
}

impl Filter {
    fn apply(self, value: &str) -> String {
        match self {
            Self::Lower => value.to_lowercase(),
            Self::Trim => value.trim().to_owned(),
        }
    }
}

/// One entry of `user = […]`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What the tenant is asked by.
    pub field: LookupField,
    /// Where the value comes from.
    pub value: Template,
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
    pub user: UserLookup,
    /// Which rule it was, counted from 0.
    pub rule: usize,
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
        if self.deny.refuses(&user) {
            return Err(MappingError::Denied);
        }
        Ok(Mapped { tenant, user, rule })
    }

    fn user(&self, claims: &Claims) -> Result<(usize, UserLookup), MappingError> {
        for (rule, Rule { field, value }) in self.rules.iter().enumerate() {
            let refused = |why| MappingError::Refused { rule, why };
            match value.render(claims) {
                Ok(value) => return Ok((rule, UserLookup::new(*field, &value).map_err(refused)?)),
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

    fn mapping(rules: &[(LookupField, &str)]) -> Mapping {
        let rules = rules.iter().map(|(field, text)| Rule {
            field: *field,
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
            (mapped.user.field(), mapped.user.value(), mapped.rule),
            (LookupField::Subject, "auth0|ann", 1)
        );
        let mapped = rules
            .map(&claims(json!({"sub": "ann", "qlik": {"id": 42}})))
            .unwrap();
        assert_eq!(
            (mapped.user.field(), mapped.user.value()),
            (LookupField::UserId, "42")
        );
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
                let value = mapped.user.value();
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
