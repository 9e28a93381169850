//! The filter language of lists: RFC 7644 style, the part that is documented.

use serde_json::Value;

/// Nobody nests deeper, and the parser's stack is finite.
const DEEPEST: usize = 16;

/// A field that may be filtered on.
pub(super) struct Field {
    pub name: &'static str,
    /// Where it is in the resource, by dots; lists are looked through.
    pub path: &'static str,
    /// Whether `co` is allowed beside `eq`.
    pub contains: bool,
}

/// A parsed filter.
#[derive(Debug)]
pub(super) enum Filter {
    All(Vec<Filter>),
    Some(Vec<Filter>),
    Group(Box<Filter>),
    Term(Term),
}

/// A comparison with lower-cased text.
#[derive(Debug)]
pub(super) struct Term {
    path: &'static str,
    contains: bool,
    value: String,
}

#[derive(Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Word(String),
    Text(String),
}

impl Filter {
    /// Parses `text`; the error says what is wrong.
    pub(super) fn parse(text: &str, fields: &[Field]) -> Result<Self, String> {
        let tokens = tokens(text)?;
        let mut parser = Parser {
            tokens: tokens.into_iter().peekable(),
            fields,
        };
        let filter = parser.any(0)?;
        if let Some(token) = parser.tokens.next() {
            return Err(format!("unexpected {token:?}"));
        }
        filter.check_status()?;
        Ok(filter)
    }

    /// Whether a resource passes; letter case never matters (doc).
    pub(super) fn matches(&self, resource: &Value) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(resource)),
            Self::Some(parts) => parts.iter().any(|part| part.matches(resource)),
            Self::Group(inner) => inner.matches(resource),
            Self::Term(term) => {
                let mut values = Vec::new();
                collect(resource, term.path, &mut values);
                values.iter().any(|value| {
                    if term.contains {
                        value.contains(&term.value)
                    } else {
                        *value == term.value
                    }
                })
            }
        }
    }

    /// Several status terms must be one group joined by `and` (doc).
    fn check_status(&self) -> Result<(), String> {
        let parts = match self {
            Self::All(parts) => parts.as_slice(),
            other => std::slice::from_ref(other),
        };
        let with_status = parts.iter().filter(|part| part.mentions_status()).count();
        let loose = matches!(self, Self::Some(parts) if parts.len() > 1 && self.mentions_status());
        if with_status > 1 || loose {
            return Err(
                "terms on status must be one group: and (status eq \"a\" or status eq \"b\")"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn mentions_status(&self) -> bool {
        match self {
            Self::All(parts) | Self::Some(parts) => parts.iter().any(Self::mentions_status),
            Self::Group(inner) => inner.mentions_status(),
            Self::Term(term) => term.path == "status",
        }
    }
}

struct Parser<'a> {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    fields: &'a [Field],
}

impl Parser<'_> {
    fn any(&mut self, depth: usize) -> Result<Filter, String> {
        let mut parts = vec![self.all(depth)?];
        while self.keyword("or") {
            parts.push(self.all(depth)?);
        }
        Ok(single_or(parts, Filter::Some))
    }

    fn all(&mut self, depth: usize) -> Result<Filter, String> {
        let mut parts = vec![self.one(depth)?];
        while self.keyword("and") {
            parts.push(self.one(depth)?);
        }
        Ok(single_or(parts, Filter::All))
    }

    fn one(&mut self, depth: usize) -> Result<Filter, String> {
        if depth > DEEPEST {
            return Err("nested too deeply".to_owned());
        }
        match self.tokens.next() {
            Some(Token::Open) => {
                let inner = self.any(depth + 1)?;
                match self.tokens.next() {
                    Some(Token::Close) => Ok(Filter::Group(Box::new(inner))),
                    _ => Err("a parenthesis is not closed".to_owned()),
                }
            }
            Some(Token::Word(name)) => self.term(&name).map(Filter::Term),
            other => Err(format!("expected a field, got {other:?}")),
        }
    }

    fn term(&mut self, name: &str) -> Result<Term, String> {
        let field = self
            .fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name))
            .ok_or_else(|| format!("field {name:?} cannot be filtered on"))?;
        let contains = match self.tokens.next() {
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("eq") => false,
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("co") && field.contains => true,
            other => return Err(format!("operator {other:?} is not allowed on {name}")),
        };
        match self.tokens.next() {
            Some(Token::Text(value)) => Ok(Term {
                path: field.path,
                contains,
                value: value.to_lowercase(),
            }),
            other => Err(format!("expected a quoted value, got {other:?}")),
        }
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        self.tokens
            .next_if(
                |token| matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(keyword)),
            )
            .is_some()
    }
}

fn single_or(mut parts: Vec<Filter>, join: fn(Vec<Filter>) -> Filter) -> Filter {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            join(parts)
        }
        None => join(parts),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' => {
                tokens.push(Token::Open);
                1
            }
            ')' => {
                tokens.push(Token::Close);
                1
            }
            '"' => {
                let length = quoted_length(rest)?;
                let quoted = rest.get(..length).unwrap_or_default();
                // How quotes inside values are escaped is unknown; here as in JSON.
                let value = serde_json::from_str(quoted)
                    .map_err(|error| format!("value {quoted}: {error}"))?;
                tokens.push(Token::Text(value));
                length
            }
            _ => {
                let length = rest
                    .find(|end: char| end.is_whitespace() || "()\"".contains(end))
                    .unwrap_or(rest.len());
                tokens.push(Token::Word(
                    rest.get(..length).unwrap_or_default().to_owned(),
                ));
                length
            }
        };
        rest = rest.get(length..).unwrap_or_default().trim_start();
    }
    Ok(tokens)
}

/// The length of the quoted text at the start of `text`, quotes included.
fn quoted_length(text: &str) -> Result<usize, String> {
    let mut escaped = false;
    for (index, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Ok(index + 1),
            _ => {}
        }
    }
    Err("a quote is not closed".to_owned())
}

/// The lower-cased texts at `path`.
fn collect(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, path, found)),
        Value::Object(fields) => {
            let (key, rest) = path.split_once('.').unwrap_or((path, ""));
            if let Some(value) = fields.get(key) {
                collect(value, rest, found);
            }
        }
        Value::String(text) if path.is_empty() => found.push(text.to_lowercase()),
        _ => {}
    }
}
