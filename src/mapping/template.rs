//! Texts with claims in them.

use std::borrow::Cow;

use crate::identity::Claims;

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
pub(super) enum Gap {
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

    /// The claim that the template stands for, if it is one claim and nothing else.
    pub fn only_claim(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Part::Claim { path, filters }] if filters.is_empty() => Some(path),
            _ => None,
        }
    }

    pub(super) fn render(&self, claims: &Claims) -> Result<String, Gap> {
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
