//! `jwt`: a signed JWT as bearer or cookie (RFC 7519, with the advice of RFC 8725).
//!
//! The signature is checked before any claim is believed. Until then a token's own words carry
//! the prefix `unverified_`, and serve only to tell whether this table is the one to judge it.

mod rules;

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::ended::{LONG_AGO, Mark};
use super::issuer::KeysError;
use super::jwks::Keys;
use super::key_set::{Found, KeySet};
use super::presented::Token;
use super::registered::{names_audience, numeric_date};
use super::{Bond, Caller, Outcome, Person, SessionError, Validity, Who};
use crate::digest;
use crate::identity::Claims;

pub use rules::{Algorithm, JwtRules, KeySource};

/// Longer than any session token; parsing is linear, but nobody needs more.
const MAX_CHARS: usize = 16 * 1024;

/// A table's verifier.
#[derive(Debug)]
pub struct Jwt {
    rules: JwtRules,
    keys: Keys,
}

#[derive(Deserialize)]
struct UnverifiedHeader {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

/// A JWT taken apart. Nothing in it is verified.
struct Unverified<'a> {
    header: UnverifiedHeader,
    claims: Map<String, Value>,
    signing_input: &'a str,
    signature: &'a str,
}

impl<'a> Unverified<'a> {
    fn parse(token: &'a str) -> Option<Self> {
        if token.len() > MAX_CHARS {
            return None;
        }
        let (signing_input, signature) = token.rsplit_once('.')?;
        let (header, claims) = signing_input.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        Some(Self {
            header: header_of(&decode(header)?)?,
            claims: serde_json::from_slice(&decode(claims)?).ok()?,
            signing_input,
            signature,
        })
    }
}

/// An object, and not the list that would be taken as one.
fn header_of(json: &[u8]) -> Option<UnverifiedHeader> {
    let object: Map<String, Value> = serde_json::from_slice(json).ok()?;
    serde_json::from_value(Value::Object(object)).ok()
}

impl Jwt {
    /// A verifier; fetches nothing yet. The error says what is wrong with a static key.
    pub fn new(rules: JwtRules, http: Client) -> Result<Self, &'static str> {
        let family = rules
            .algorithms
            .first()
            .ok_or("`algorithms` is empty")?
            .jose()
            .family();
        let keys = Keys::new(&rules.keys, family, &rules.issuer, rules.jwks_refresh, http)?;
        if !rules
            .algorithms
            .iter()
            .all(|algorithm| keys.may_verify(*algorithm))
        {
            return Err("holds no key that fits each of `algorithms`");
        }
        Ok(Self { rules, keys })
    }

    /// The cookie that may hold the JWT.
    pub fn cookie(&self) -> Option<&str> {
        self.rules.cookie.as_deref()
    }

    /// Fetches the keys, for `check`. Returns the algorithms of the table that none of them is for.
    pub async fn without_key(&self) -> Result<Vec<Algorithm>, KeysError> {
        let keys = self.keys.look().await?;
        let algorithms = self.rules.algorithms.iter().copied();
        Ok(algorithms.filter(|one| !keys.fits(*one)).collect())
    }

    /// Whether `keys` is still the set that JWTs are verified with.
    pub(super) async fn verifies_with(&self, keys: &Arc<KeySet>) -> bool {
        self.keys
            .current()
            .await
            .is_ok_and(|(current, _)| Arc::ptr_eq(&current, keys))
    }

    pub(super) async fn authenticate(
        &self,
        table: u16,
        token: Token<'_>,
        now: SystemTime,
    ) -> Outcome {
        let Some(unverified) = Unverified::parse(token.text) else {
            return Outcome::NotMine("it is no JWT");
        };
        // Other tables may stand for other issuers or audiences. This only chooses the table: both
        // are in the signed part and count for nothing until the signature is checked.
        let unverified_issuer = unverified.claims.get("iss").and_then(Value::as_str);
        if unverified_issuer != Some(&self.rules.issuer) {
            return Outcome::NotMine("the JWT is of another issuer");
        }
        if !names_audience(&unverified.claims, &self.rules.audience) {
            return Outcome::NotMine("the JWT is for another audience");
        }
        match self.verify(table, unverified, token.ambient, now).await {
            Ok(person) => Outcome::Proven(Caller::Person(Box::new(person))),
            Err(error) => Outcome::Refused(error),
        }
    }

    async fn verify(
        &self,
        table: u16,
        unverified: Unverified<'_>,
        ambient: bool,
        now: SystemTime,
    ) -> Result<Person, SessionError> {
        let keys = self.verify_signature(&unverified).await?;
        let Unverified {
            claims,
            signing_input,
            ..
        } = unverified;
        let (expires, issued_at) = self.check_times(&claims, now)?;
        let until = expires + self.rules.leeway;
        Ok(Person {
            table,
            who: Who::Claims(Claims::verified(claims)),
            ambient,
            mark: Mark {
                // Not of the whole JWT: an ECDSA signature can be rewritten into another valid one,
                // the signed part cannot.
                session: Some(digest::of("jwt", [signing_input])),
                ends: until,
                began: issued_at.unwrap_or(LONG_AGO),
                is_asked: false,
            },
            validity: Validity {
                until,
                bond: if self.keys.can_change() {
                    Bond::Keys(keys)
                } else {
                    Bond::None
                },
            },
        })
    }

    /// Returns the key set that the signature was verified with.
    async fn verify_signature(
        &self,
        unverified: &Unverified<'_>,
    ) -> Result<Arc<KeySet>, SessionError> {
        let algorithm = self.check_header(&unverified.header)?;
        let kid = unverified.header.kid.as_deref();
        let (mut keys, just_looked) = self.keys.current().await?;
        if !just_looked && matches!(keys.find(kid, algorithm), Found::Unknown) {
            keys = self.keys.look_again(&keys).await?;
        }
        let verified = match keys.find(kid, algorithm) {
            Found::Key(key) => {
                let message = unverified.signing_input.as_bytes();
                jsonwebtoken::crypto::verify(unverified.signature, message, key, algorithm.jose())
                    .unwrap_or(false)
            }
            Found::Ambiguous => {
                return Err(SessionError::Invalid(
                    "the JWT has no kid, and the issuer has several keys",
                ));
            }
            Found::Unknown => {
                return Err(SessionError::Invalid(
                    "the JWT's kid is not one of the issuer's",
                ));
            }
            Found::Unfit => {
                return Err(SessionError::Invalid(
                    "the JWT's algorithm does not fit its key",
                ));
            }
        };
        if verified {
            Ok(keys)
        } else {
            Err(SessionError::Invalid("the JWT's signature is wrong"))
        }
    }

    fn check_header(
        &self,
        unverified_header: &UnverifiedHeader,
    ) -> Result<Algorithm, SessionError> {
        // RFC 7515, 4.1.11: extensions that must be understood, and none is.
        if unverified_header.crit.is_some() {
            return Err(SessionError::Invalid("the JWT has critical extensions"));
        }
        if self.rules.typ.is_some() && self.rules.typ != unverified_header.typ {
            return Err(SessionError::Invalid("the JWT has another typ"));
        }
        let allowed = self
            .rules
            .algorithms
            .iter()
            .find(|allowed| allowed.as_str() == unverified_header.alg);
        allowed
            .copied()
            .ok_or(SessionError::Invalid("the JWT's algorithm is not allowed"))
    }

    /// `exp` is required, `nbf` and `iat` are checked when there; all must be numbers. Returns the
    /// end and the time of issue.
    fn check_times(
        &self,
        claims: &Map<String, Value>,
        now: SystemTime,
    ) -> Result<(SystemTime, Option<SystemTime>), SessionError> {
        let expires =
            numeric_date(claims, "exp")?.ok_or(SessionError::Invalid("the JWT has no exp"))?;
        if now >= expires + self.rules.leeway {
            return Err(SessionError::Expired);
        }
        if numeric_date(claims, "nbf")?.is_some_and(|from| from > now + self.rules.leeway) {
            return Err(SessionError::Invalid("the JWT is not valid yet"));
        }
        let issued_at = numeric_date(claims, "iat")?;
        if issued_at.is_some_and(|at| at > now + self.rules.leeway) {
            return Err(SessionError::Invalid("the JWT was issued in the future"));
        }
        Ok((expires, issued_at))
    }
}
