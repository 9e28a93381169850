//! Private key JWT (doc): header, signature, claims, and each `jti` once.

use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::Client;
use super::fault::AssertionFlaw;
use super::state::State;

/// The longest life of an assertion (doc).
const LONGEST_LIFE: i64 = 5 * 60;

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
}

/// All claims are required (doc); `aud` is a single text.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    jti: String,
    iat: i64,
    exp: i64,
}

/// Verifies an assertion and remembers it; the error is a hint.
pub(super) fn accept(state: &mut State, client: &Client, jwt: &str) -> Result<(), String> {
    if !client.allows("private_key_jwt") {
        return Err("the client does not allow private_key_jwt".to_owned());
    }
    let parts: Vec<_> = jwt.split('.').collect();
    let [header, claims, signature] = parts.as_slice() else {
        return Err("not a JWT".to_owned());
    };
    let signed = jwt
        .get(..header.len() + 1 + claims.len())
        .unwrap_or_default();
    verify_signature(client, &decode(header)?, signed, signature)?;
    let claims: Claims = decode(claims)?;
    verify_claims(state, client, &claims)?;
    let now = state.now();
    state.used_assertions.retain(|_, end| *end > now);
    let key = format!("{} {}", client.id, claims.jti);
    if state.used_assertions.contains_key(&key) {
        return Err(AssertionFlaw::Reused.hint().to_owned());
    }
    let end = Timestamp::from_second(claims.exp).unwrap_or(now);
    let end = super::clock::after(end, state.world.assertion_leeway);
    state.used_assertions.insert(key, end);
    Ok(())
}

fn verify_claims(state: &State, client: &Client, claims: &Claims) -> Result<(), String> {
    if claims.iss != client.id || claims.sub != client.id {
        return Err("iss and sub must be the client id".to_owned());
    }
    if claims.jti.is_empty() {
        return Err("jti is empty".to_owned());
    }
    if !audiences(state).contains(&claims.aud) {
        return Err(AssertionFlaw::WrongAudience.hint().to_owned());
    }
    let life = claims.exp.checked_sub(claims.iat);
    if life.is_none_or(|life| life > LONGEST_LIFE) {
        return Err(AssertionFlaw::TooLong.hint().to_owned());
    }
    let now = state.now().as_second();
    let leeway = i64::try_from(state.world.assertion_leeway.as_secs()).unwrap_or(i64::MAX);
    if claims.iat.saturating_sub(leeway) > now || claims.exp.saturating_add(leeway) <= now {
        return Err(AssertionFlaw::Expired.hint().to_owned());
    }
    Ok(())
}

/// The token endpoint under each name of the tenant.
fn audiences(state: &State) -> Vec<String> {
    let base = state.base();
    let scheme = base.split_once("://").map_or("https", |(scheme, _)| scheme);
    let hosts = state.hostnames();
    hosts
        .iter()
        .map(|host| format!("{scheme}://{host}/oauth/token"))
        .collect()
}

fn verify_signature(
    client: &Client,
    header: &Header,
    signed: &str,
    signature: &str,
) -> Result<(), String> {
    let kid = header.kid.as_deref().ok_or("kid is required")?;
    let key = client
        .public_keys
        .iter()
        .find(|key| member(key, "kid") == Some(kid))
        .ok_or_else(|| AssertionFlaw::UnknownKey.hint().to_owned())?;
    if member(key, "alg") != Some(header.alg.as_str()) {
        return Err("alg is not that of the key".to_owned());
    }
    let signature = bytes(signature)?;
    let verified = match header.alg.as_str() {
        "RS256" => verify_rsa(key, &RSA_PKCS1_2048_8192_SHA256, signed, &signature)?,
        "RS512" => verify_rsa(key, &RSA_PKCS1_2048_8192_SHA512, signed, &signature)?,
        "ES384" => {
            let mut point = vec![4];
            point.extend(coordinate(key, "x")?);
            point.extend(coordinate(key, "y")?);
            UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
                .verify(signed.as_bytes(), &signature)
                .is_ok()
        }
        other => return Err(format!("alg {other} is not RS256, RS512 or ES384")),
    };
    if verified {
        Ok(())
    } else {
        Err(AssertionFlaw::BadSignature.hint().to_owned())
    }
}

fn verify_rsa(
    key: &Value,
    parameters: &'static RsaParameters,
    signed: &str,
    signature: &[u8],
) -> Result<bool, String> {
    let components = RsaPublicKeyComponents {
        n: coordinate(key, "n")?,
        e: coordinate(key, "e")?,
    };
    Ok(components
        .verify(parameters, signed.as_bytes(), signature)
        .is_ok())
}

fn member<'a>(key: &'a Value, name: &str) -> Option<&'a str> {
    key.get(name)?.as_str()
}

fn coordinate(key: &Value, name: &str) -> Result<Vec<u8>, String> {
    bytes(member(key, name).unwrap_or_default())
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|error| format!("not base64url: {error}"))
}

fn decode<T: DeserializeOwned>(part: &str) -> Result<T, String> {
    serde_json::from_slice(&bytes(part)?).map_err(|error| error.to_string())
}
