//! What a `jwt` table accepts.

use std::time::Duration;

use super::super::issuer::metadata_url;
use super::Jwt;
use crate::outbound::{self, Proxy};
use crate::secret::Secret;

/// The signature algorithms that can be allowed (RFC 7518, RFC 8037). `none` is not one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of RFC 7518 and RFC 8037 say it all")]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
    Hs256,
    Hs384,
    Hs512,
}

impl Algorithm {
    /// The JOSE name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
        }
    }

    pub(in crate::session) fn jose(self) -> jsonwebtoken::Algorithm {
        use jsonwebtoken::Algorithm as Jose;
        match self {
            Self::Rs256 => Jose::RS256,
            Self::Rs384 => Jose::RS384,
            Self::Rs512 => Jose::RS512,
            Self::Ps256 => Jose::PS256,
            Self::Ps384 => Jose::PS384,
            Self::Ps512 => Jose::PS512,
            Self::Es256 => Jose::ES256,
            Self::Es384 => Jose::ES384,
            Self::EdDsa => Jose::EdDSA,
            Self::Hs256 => Jose::HS256,
            Self::Hs384 => Jose::HS384,
            Self::Hs512 => Jose::HS512,
        }
    }
}

/// Where the verification keys come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A JSON Web Key Set that is fetched.
    JwksUrl(String),
    /// `{issuer}/.well-known/openid-configuration` names the key set.
    Discovery,
    /// A key set in a file: its text.
    JwksFile(String),
    /// One public key, PEM.
    PublicKey(String),
    /// A shared secret.
    Hmac(Secret),
}

/// What a `jwt` table accepts.
#[derive(Clone, Debug)]
pub struct JwtRules {
    /// `iss` must be this, byte for byte.
    pub issuer: String,
    /// `aud` must be or hold this.
    pub audience: String,
    /// Never empty; HMAC is never beside another family.
    pub algorithms: Vec<Algorithm>,
    /// Where the keys come from.
    pub keys: KeySource,
    /// How far the clocks may be apart.
    pub leeway: Duration,
    /// The header's `typ` must be this, when given.
    pub typ: Option<String>,
    /// The cookie that may hold the JWT.
    pub cookie: Option<String>,
    /// How often a fetched key set is refreshed.
    pub jwks_refresh: Duration,
}

impl JwtRules {
    /// The address that is asked for keys first, if any is.
    pub fn asked(&self) -> Option<String> {
        match &self.keys {
            KeySource::JwksUrl(url) => Some(url.clone()),
            KeySource::Discovery => Some(metadata_url(&self.issuer)),
            _ => None,
        }
    }

    /// Checks that static keys parse and fit the algorithms. The error never shows the key.
    pub fn check_keys(&self) -> Result<(), String> {
        let http = outbound::client(&Proxy::None, None).map_err(|error| error.to_string())?;
        Jwt::new(self.clone(), http)
            .map(drop)
            .map_err(str::to_owned)
    }
}
