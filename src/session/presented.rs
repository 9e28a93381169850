//! What a request presents as its session. Nothing in here is verified.

/// Bearers with these prefixes are ours: they are offered to `api_key` and `handle` only, so that
/// no other kind forwards them to anybody.
const OUR_PREFIXES: [&str; 2] = ["qtb_", "qtbs_"];

pub(super) fn is_ours(token: &str) -> bool {
    OUR_PREFIXES.iter().any(|prefix| token.starts_with(prefix))
}

/// What a request presents, as far as sessions look at it. Nothing in here is verified.
#[derive(Clone)]
pub struct Presented<'a> {
    /// The `Authorization` header.
    pub authorization: Authorization<'a>,
    /// All cookies, in the order of the request.
    pub cookies: Vec<(&'a str, &'a str)>,
}

/// An `Authorization` header.
#[derive(Clone, Copy)]
pub enum Authorization<'a> {
    /// There is none: cookies count.
    Absent,
    /// `Bearer …`
    Bearer(&'a str),
    /// Another scheme, or not readable.
    Other,
}

impl std::fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cookies = format!("{} cookies", self.cookies.len());
        f.debug_struct("Presented")
            .field("authorization", &self.authorization)
            .field("cookies", &cookies)
            .finish()
    }
}

impl std::fmt::Debug for Authorization<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Absent => "Absent",
            Self::Bearer(_) => "Bearer(…)",
            Self::Other => "Other",
        })
    }
}

/// A cookie is there twice: a page of a sibling domain may have planted one of them.
#[derive(Debug)]
pub struct Doubled;

impl<'a> Presented<'a> {
    /// Whether it is a key or a handle of ours, which is proven without asking anybody.
    pub fn is_ours(&self) -> bool {
        matches!(self.authorization, Authorization::Bearer(token) if is_ours(token))
    }

    /// The one cookie of that name.
    pub fn cookie(&self, name: &str) -> Result<Option<&'a str>, Doubled> {
        let mut values = self
            .cookies
            .iter()
            .filter(|(found, _)| *found == name)
            .map(|(_, value)| *value);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (Some(_), Some(_)) => Err(Doubled),
            (None, Some(_)) => Ok(None),
        }
    }
}
