//! `trusted_header`: an identity header that an authenticating proxy sets.
//!
//! Anybody can send a header, so it counts only from the proxy's networks, judged by the socket's
//! peer. What could confuse a proxy in front about which header is the real one is refused.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use serde_json::{Map, Value};

use super::ended::Mark;
use super::{Bond, Caller, Outcome, Person, Presented, SessionError, Validity, Who};
use crate::identity::Claims;
use crate::secret::Secret;
use crate::telemetry::metrics;

/// The proxy says it anew with every request, so nothing ends by itself; what follows from the
/// headers is found out again after this.
const LIFE: Duration = Duration::from_secs(3600);

/// What a `trusted_header` table says.
#[derive(Clone, Debug)]
pub struct TrustedHeaderRules {
    /// The header that becomes the claim `sub`.
    pub header: HeaderName,
    /// The proxy's networks. Never empty, never everybody.
    pub from: Vec<IpNet>,
    /// A second header that proves the proxy.
    pub shared_secret: Option<(HeaderName, Secret)>,
    /// Further claims and the headers they come from.
    pub headers: Vec<(String, HeaderName)>,
}

/// A table's verifier.
#[derive(Debug)]
pub struct TrustedHeader {
    rules: TrustedHeaderRules,
}

impl TrustedHeader {
    /// A verifier.
    pub fn new(rules: TrustedHeaderRules) -> Self {
        Self { rules }
    }

    /// Every header it looks at.
    pub(super) fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        let secret = self.rules.shared_secret.iter().map(|(name, _)| name);
        let further = self.rules.headers.iter().map(|(_, name)| name);
        std::iter::once(&self.rules.header)
            .chain(further)
            .chain(secret)
    }

    pub(super) fn authenticate(
        &self,
        table: u16,
        presented: &Presented<'_>,
        now: SystemTime,
    ) -> Outcome {
        let rules = &self.rules;
        if !presented.headers.contains_key(&rules.header) {
            return Outcome::NotMine("");
        }
        let refused = |reason, why| {
            metrics::identity_header_refused(reason);
            Outcome::Refused(SessionError::Invalid(why))
        };
        if self
            .headers()
            .any(|name| is_doubled(presented.headers, name))
        {
            return refused("doubled", "an identity header is there twice");
        }
        if self
            .headers()
            .any(|name| has_look_alike(presented.headers, name))
        {
            return refused(
                "look_alike",
                "a header looks like an identity header but for an underscore",
            );
        }
        if !rules
            .from
            .iter()
            .any(|network| network.contains(&presented.peer))
        {
            metrics::identity_header_refused("peer");
            return Outcome::NotMine("the identity header comes from a peer that is not listed");
        }
        if let Some((name, secret)) = &rules.shared_secret
            && !text(presented.headers, name).is_some_and(|shown| secret.matches(shown))
        {
            return refused("secret", "the proxy's shared secret is missing or wrong");
        }
        let Some(sub) = text(presented.headers, &rules.header) else {
            return Outcome::NotMine("the identity header is empty or not readable");
        };
        let mut claims = Map::new();
        for (claim, name) in &rules.headers {
            if let Some(value) = text(presented.headers, name) {
                claims.insert(claim.clone(), Value::from(value));
            }
        }
        claims.insert("sub".into(), Value::from(sub));
        let until = now + LIFE;
        Outcome::Proven(Caller::Person(Box::new(Person {
            table,
            who: Who::Claims(Claims::verified(claims)),
            ambient: true,
            mark: Mark {
                session: None,
                ends: until,
                began: now,
                is_asked: true,
            },
            validity: Validity {
                until,
                bond: Bond::None,
            },
        })))
    }
}

/// Proxies that know one of them may pass the other.
fn is_doubled(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.get_all(name).iter().nth(1).is_some()
}

/// Many servers take `X_User` for `X-User`, and a proxy that replaces the one may pass the other.
fn has_look_alike(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers
        .keys()
        .any(|other| other != name && is_look_alike(other, name))
}

/// Whether two names differ in nothing but hyphens and underscores.
pub(super) fn is_look_alike(one: &HeaderName, other: &HeaderName) -> bool {
    let (one, other) = (one.as_str().as_bytes(), other.as_str().as_bytes());
    let same = |(a, b): (&u8, &u8)| a == b || matches!((a, b), (b'-' | b'_', b'-' | b'_'));
    one.len() == other.len() && one.iter().zip(other).all(same)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let value = headers.get(name)?;
    let text = std::str::from_utf8(value.as_bytes()).ok()?;
    Some(text).filter(|text| !text.is_empty())
}
