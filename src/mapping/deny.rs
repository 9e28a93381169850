//! Users that are never impersonated.

/// Bots carry this subject. A token for one would hold the power of an OAuth client.
const BUILT_IN_DENY: &str = r"qlikbot\*";

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

    /// Whether the user of this value must not be impersonated. White space around the value is ignored, since
    /// whether the tenant ignores it is not known.
    pub fn refuses(&self, value: &str) -> bool {
        let value = value.trim().to_lowercase();
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
