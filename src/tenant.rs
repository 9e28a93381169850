//! A Qlik Cloud tenant as the broker sees it: where it is, what may be asked of it, by which page.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::time::Instant;

use crate::mapping::{ProfileRules, UserLookup};

/// The operator's name of a tenant: `[a-z0-9_-]+`, the key of its table in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Checks the alphabet; `None` when it is broken.
    pub fn parse(text: &str) -> Option<Self> {
        let allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        (!text.is_empty() && text.len() <= 64 && text.chars().all(allowed))
            .then(|| Self(text.into()))
    }

    /// The id itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of OAuth scopes (RFC 6749, 3.3): sorted and without doubles, so that equal sets are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeSet(Arc<str>);

impl ScopeSet {
    /// Parses a space-separated list. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut scopes: Vec<&str> = text.split(' ').filter(|scope| !scope.is_empty()).collect();
        if scopes.is_empty() {
            return Err(
                "no scope is named, and the tenant would then grant all that the client holds",
            );
        }
        let allowed = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if !scopes.iter().all(|scope| scope.bytes().all(allowed)) {
            return Err(
                "a scope has a character that RFC 6749 does not allow; separate scopes by single spaces",
            );
        }
        scopes.sort_unstable();
        scopes.dedup();
        Ok(Self(scopes.join(" ").into()))
    }

    /// The canonical, space-separated form that is sent upstream.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text, kept once.
    pub fn text(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// The scopes that an issuing client should not hold: `admin*`, and `offline_access`, which
    /// asks for a refresh token that impersonation never gets.
    pub fn risky(&self) -> impl Iterator<Item = &str> {
        self.0
            .split(' ')
            .filter(|scope| scope.starts_with("admin") || *scope == "offline_access")
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A web origin (RFC 6454) in the exact form in which browsers send it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(Arc<str>);

impl Origin {
    /// Accepts `scheme://host[:port]` as a browser writes it, nothing looser: no wildcard, path,
    /// upper case, trailing dot or default port. The error says what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains('*') {
            return Err("wildcards are not allowed; list each origin".into());
        }
        let url = url::Url::parse(text)
            .map_err(|_| "not an origin; write scheme://host[:port]".to_owned())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("an origin starts with https:// (or http://)".into());
        }
        if url.host_str().is_some_and(|host| host.ends_with('.')) {
            return Err("the host must not end with a dot".into());
        }
        let exact = url.origin().ascii_serialization();
        if exact != text {
            return Err(format!("not exactly as browsers send it; write {exact}"));
        }
        Ok(Self(text.into()))
    }

    /// The origin itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Found by its text in a set.
impl std::borrow::Borrow<str> for Origin {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// How often a tenant may be asked for tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub per_minute: NonZeroU32,
    /// At once, after a quiet time.
    pub burst: NonZeroU32,
}

/// The pages that a tenant's OAuth client allows.
#[derive(Debug)]
pub struct ClientOrigins {
    /// As it listed them.
    pub list: Vec<Origin>,
    /// When they were last read.
    pub read: Instant,
}

/// One configured tenant.
#[derive(Debug)]
pub struct Tenant {
    /// The operator's name for it.
    pub id: TenantId,
    /// `https://host[:port]`, without a slash at the end.
    pub url: String,
    /// The OAuth client that issues the impersonation tokens. Part of every cache key.
    pub client_id: String,
    /// What is asked for when the caller names no scope.
    pub scopes: ScopeSet,
    /// Further whole sets that a caller may ask for.
    pub optional_scopes: Vec<ScopeSet>,
    /// The pages that may use this tenant's tokens.
    pub allowed_origins: Vec<Origin>,
    /// Those that its OAuth client allows, where they count as well, once they were read.
    pub client_origins: ArcSwapOption<ClientOrigins>,
    /// What is told of a user that the tenant does not know yet. Off when absent.
    pub provision: Option<ProfileRules>,
}

impl Tenant {
    /// Whether a page of this origin may use this tenant. Compared byte for byte.
    pub fn allows_origin(&self, origin: &str) -> bool {
        let lists = |origins: &[Origin]| origins.iter().any(|one| one.as_str() == origin);
        let at_client = self.client_origins.load();
        lists(&self.allowed_origins) || at_client.as_ref().is_some_and(|it| lists(&it.list))
    }

    /// All the scope sets that can be asked for, the default one first.
    pub fn scope_sets(&self) -> impl Iterator<Item = &ScopeSet> {
        std::iter::once(&self.scopes).chain(&self.optional_scopes)
    }

    /// The configured set equal to `wanted`, if there is one.
    pub fn scope_set(&self, wanted: &ScopeSet) -> Option<&ScopeSet> {
        self.scope_sets().find(|set| *set == wanted)
    }
}

/// Whom a token is for: everything that decides what is asked of the tenant.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The tenant that is asked.
    pub tenant: Arc<Tenant>,
    /// The user to impersonate.
    pub user: UserLookup,
    /// The scopes to ask for.
    pub scopes: ScopeSet,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_sets_are_equal_whatever_the_order() {
        assert_eq!(ScopeSet::parse("b  a b"), ScopeSet::parse("a b"));
        assert_eq!(ScopeSet::parse("a b").unwrap().as_str(), "a b");
        assert!(ScopeSet::parse(" ").is_err());
        assert!(ScopeSet::parse("a\tb").is_err());
        assert!(ScopeSet::parse("a\"b").is_err());
    }

    #[test]
    fn origins_are_exact() {
        assert!(Origin::parse("https://portal.example.com").is_ok());
        assert!(Origin::parse("http://localhost:3000").is_ok());
        for wrong in [
            "https://portal.example.com/",
            "https://Portal.example.com",
            "https://portal.example.com:443",
            "https://portal.example.com.",
            "https://*.example.com",
            "portal.example.com",
            "null",
            "https://a@portal.example.com",
            "file:///tmp",
        ] {
            assert!(Origin::parse(wrong).is_err(), "{wrong}");
        }
    }
}
