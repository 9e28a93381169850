//! What a `jwt` table accepts.

use std::time::Duration;

use super::super::problem::Report;
use super::super::raw;
use super::text::{self, DAY, SECOND};
use crate::session::jwt::{Algorithm, JwtRules, KeySource};

const ONE_SOURCE: &str =
    "give exactly one of jwks_url, discovery, jwks_file, public_key and hmac_secret";

/// RFC 7518, 3.2: as long as the digest of HS256 at least.
const MIN_HMAC_SECRET: usize = 32;

/// Clocks that differ by more should be set; a longer leeway only lets ended sessions live on.
const MAX_LEEWAY: Duration = Duration::from_secs(60);

pub fn rules(report: &mut Report, path: &str, raw: raw::JwtSession) -> Option<JwtRules> {
    let algorithms = algorithms(report, path, &raw);
    let keys = keys(report, path, &raw);
    let leeway = text::duration(
        report,
        &format!("{path}.leeway"),
        &raw.leeway,
        &(Duration::ZERO..=MAX_LEEWAY),
    );
    let jwks_refresh = text::duration(
        report,
        &format!("{path}.jwks_refresh"),
        &raw.jwks_refresh,
        &(SECOND..=DAY),
    );
    let cookie = text::cookie(report, &format!("{path}.cookie"), raw.cookie);
    let (source, keys) = keys?;
    let rules = JwtRules {
        issuer: raw.issuer,
        audience: raw.audience,
        algorithms: algorithms?,
        keys,
        leeway: leeway?,
        typ: raw.typ,
        cookie: cookie.ok()?,
        jwks_refresh: jwks_refresh?,
    };
    let refuse = |error| {
        report.refuse(
            format!("{path}.{source}"),
            error,
            "correct the key, or the algorithms",
        );
    };
    rules.check_keys().map_err(refuse).ok()?;
    Some(rules)
}

/// HMAC beside anything else would let a public key be used as a shared secret (RFC 8725, 2.1).
fn algorithms(report: &mut Report, path: &str, raw: &raw::JwtSession) -> Option<Vec<Algorithm>> {
    let path = format!("{path}.algorithms");
    let mut algorithms = Vec::new();
    for algorithm in raw.algorithms.iter().copied().map(algorithm) {
        if !algorithms.contains(&algorithm) {
            algorithms.push(algorithm);
        }
    }
    if algorithms.is_empty() {
        // Reported already.
        return None;
    }
    let hmac = algorithms
        .iter()
        .filter(|algorithm| is_hmac(**algorithm))
        .count();
    let others = algorithms.len() - hmac;
    if hmac > 0 && others > 0 {
        report.refuse(
            path,
            "mixes HMAC with other algorithms",
            "keep HS256, HS384, HS512, or the others",
        );
    } else if hmac > 0 && raw.hmac_secret.is_none() {
        report.refuse(
            path,
            "lists HMAC, which needs hmac_secret",
            "give hmac_secret, or list RS256 or ES256",
        );
    } else if others > 0 && raw.hmac_secret.is_some() {
        report.refuse(
            path,
            "lists algorithms that hmac_secret does not fit",
            "list HS256, HS384 or HS512",
        );
    } else {
        return Some(algorithms);
    }
    None
}

fn is_hmac(algorithm: Algorithm) -> bool {
    matches!(
        algorithm,
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512
    )
}

fn algorithm(raw: raw::Algorithm) -> Algorithm {
    match raw {
        raw::Algorithm::RS256 => Algorithm::Rs256,
        raw::Algorithm::RS384 => Algorithm::Rs384,
        raw::Algorithm::RS512 => Algorithm::Rs512,
        raw::Algorithm::PS256 => Algorithm::Ps256,
        raw::Algorithm::PS384 => Algorithm::Ps384,
        raw::Algorithm::PS512 => Algorithm::Ps512,
        raw::Algorithm::ES256 => Algorithm::Es256,
        raw::Algorithm::ES384 => Algorithm::Es384,
        raw::Algorithm::EdDSA => Algorithm::EdDsa,
        raw::Algorithm::HS256 => Algorithm::Hs256,
        raw::Algorithm::HS384 => Algorithm::Hs384,
        raw::Algorithm::HS512 => Algorithm::Hs512,
    }
}

/// The one source of keys, and the key that names it.
fn keys(
    report: &mut Report,
    path: &str,
    raw: &raw::JwtSession,
) -> Option<(&'static str, KeySource)> {
    let given = [
        ("jwks_url", raw.jwks_url.is_some()),
        ("discovery", raw.discovery),
        ("jwks_file", raw.jwks_file.is_some()),
        ("public_key", raw.public_key.is_some()),
        ("hmac_secret", raw.hmac_secret.is_some()),
    ];
    let mut given = given
        .into_iter()
        .filter_map(|(key, is_given)| is_given.then_some(key));
    let Some(source) = given.next() else {
        report.refuse(format!("{path}.jwks_url"), "is missing", ONE_SOURCE);
        return None;
    };
    let mut is_only = true;
    for second in given {
        report.refuse(
            format!("{path}.{second}"),
            "is a second source of keys",
            ONE_SOURCE,
        );
        is_only = false;
    }
    let keys = read(report, path, raw)?;
    is_only.then_some((source, keys))
}

fn read(report: &mut Report, path: &str, raw: &raw::JwtSession) -> Option<KeySource> {
    let allow_http = format!("{path}.allow_http");
    let allow_http = (allow_http.as_str(), raw.allow_http);
    if let Some(url) = &raw.jwks_url {
        text::url(report, &format!("{path}.jwks_url"), url, allow_http)?;
        return Some(KeySource::JwksUrl(url.clone()));
    }
    if raw.discovery {
        text::url(report, &format!("{path}.issuer"), &raw.issuer, allow_http)?;
        return Some(KeySource::Discovery);
    }
    if let Some(file) = &raw.jwks_file {
        let path = format!("{path}.jwks_file");
        let text = String::from_utf8(text::file(report, &path, file)?);
        let refuse = |_| report.refuse(path, "is not text", "name a JSON Web Key Set");
        return text.map_err(refuse).ok().map(KeySource::JwksFile);
    }
    if let Some(key) = &raw.public_key {
        let pem = text::secret(report, &format!("{path}.public_key"), &key.0)?;
        return Some(KeySource::PublicKey(pem.expose().to_owned()));
    }
    let path = format!("{path}.hmac_secret");
    let secret = text::secret(report, &path, &raw.hmac_secret.as_ref()?.0)?;
    if secret.expose().len() < MIN_HMAC_SECRET {
        let message = format!("is shorter than {MIN_HMAC_SECRET} bytes, so that it can be guessed");
        report.refuse(path, message, "agree on a longer secret with the issuer");
        return None;
    }
    Some(KeySource::Hmac(secret))
}
