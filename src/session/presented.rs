//! What a request presents as its session. Nothing in here is verified.

use std::net::{IpAddr, Ipv4Addr};

use http::HeaderMap;

/// Bearers with these prefixes are ours: they are offered to `api_key` and `handle` only, so that
/// no other kind forwards them to anybody.
const KEY_PREFIX: &str = "qtb_";
const HANDLE_PREFIX: &str = "qtbs_";

/// Whether a bearer or cookie is an API key or a handle of ours.
pub(super) fn is_ours(token: &str) -> bool {
    // Misplaced quotes and blanks do not make it somebody else's.
    let token = token.trim_start_matches(|c: char| c == '"' || c.is_whitespace());
    token.starts_with(KEY_PREFIX) || token.starts_with(HANDLE_PREFIX)
}

/// What a request presents, as far as sessions look at it. Nothing in here is verified, but for the
/// certificate's chain and the peer.
#[derive(Clone)]
pub struct Presented<'a> {
    /// The `Authorization` header.
    pub authorization: Authorization<'a>,
    /// All cookies as they were sent; none beside an `Authorization` header.
    pub cookies: Vec<(&'a str, &'a str)>,
    /// All headers, for the kinds that name some.
    pub headers: &'a HeaderMap,
    /// The socket's peer in canonical form; no header can change it.
    pub peer: IpAddr,
    /// The names in the client certificate, when TLS verified one.
    pub certificate: &'a [String],
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
            .field("peer", &self.peer)
            .finish_non_exhaustive()
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

/// A token, and whether the browser added it by itself.
#[derive(Clone, Copy)]
pub(super) struct Token<'a> {
    pub text: &'a str,
    pub ambient: bool,
}

impl<'a> Presented<'a> {
    /// A session that somebody else holds, named by a back end. `headers` are to be empty.
    pub fn bearer(token: &'a str, headers: &'a HeaderMap) -> Self {
        Self {
            authorization: Authorization::Bearer(token),
            cookies: Vec::new(),
            headers,
            peer: Ipv4Addr::UNSPECIFIED.into(),
            certificate: &[],
        }
    }

    /// Whether it is an API key, which is proven without asking anybody.
    pub fn is_key(&self) -> bool {
        matches!(self.authorization, Authorization::Bearer(token) if token.starts_with(KEY_PREFIX))
    }

    /// Whether it is a bearer of ours, which decides alone.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self.authorization, Authorization::Bearer(token) if is_ours(token))
    }

    /// The bearer, or without an `Authorization` header the cookie of that name.
    pub(super) fn token(&self, cookie: Option<&str>) -> Result<Option<Token<'a>>, Doubled> {
        let found = |text, ambient| Token { text, ambient };
        match (self.authorization, cookie) {
            (Authorization::Bearer(text), _) => Ok(Some(found(text, false))),
            (Authorization::Absent, Some(name)) => {
                Ok(self.cookie(name)?.map(|text| found(unquoted(text), true)))
            }
            _ => Ok(None),
        }
    }

    /// The one cookie of that name, as it was sent.
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

/// RFC 6265, 4.1.1: a cookie's value may stand in quotes.
pub(super) fn unquoted(value: &str) -> &str {
    let inner = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    inner.unwrap_or(value)
}
