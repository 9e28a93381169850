//! From an `Authorization` header to a verdict: nothing is proven that was not signed.
//!
//! An input is the header's value. One that begins with the line `sign` is a JWT's header and its
//! claims, each on a line; it is signed here, so that what lies behind the signature is reached.

use aws_lc_rs::hmac;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use qlik_token_broker::clock;
use serde_json::{Map, Value};

use super::first_line;
use super::front::{Front, Scratch};

const SECRET: &str = "a secret of at least thirty-two bytes";
const ISSUER: &str = "https://hmac.test";
const AUDIENCE: &str = "broker";
/// All that was ever signed with the keys that are configured.
const SIGNED: [&str; 4] = [
    include_str!("../seeds/jwt/good-es256"),
    include_str!("../seeds/jwt/good-hs256"),
    include_str!("../seeds/jwt/good-bearer-in-any-case"),
    include_str!("../seeds/jwt/bad-expired"),
];
const KEY_SET: &str = include_str!("../keys/jwks.json");

thread_local! {
    static FRONT: Front = front();
}

/// A proven session is refused for its claims, which lead to no user: 403. All else is a 401.
fn front() -> Front {
    let keys = Scratch::new("json");
    keys.write(KEY_SET);
    let table = |keys: &str| {
        format!(
            "[[session]]\ntype = 'jwt'\naudience = '{AUDIENCE}'\n{keys}\n\
             user = [{{ field = 'subject', value = '{{no one has this claim}}' }}]\n"
        )
    };
    let asymmetric = format!(
        "name = 'es'\nissuer = 'https://es.test'\nalgorithms = ['ES256', 'RS256']\njwks_file = '{}'",
        keys.path.display()
    );
    let symmetric = format!(
        "name = 'hs'\nissuer = '{ISSUER}'\nalgorithms = ['HS256']\nhmac_secret = '{SECRET}'"
    );
    Front::new(&(table(&asymmetric) + &table(&symmetric)))
}

pub fn run(data: &[u8]) -> bool {
    let data = data.strip_suffix(b"\n").unwrap_or(data);
    if let ("sign", rest) = first_line(data) {
        let (header, claims) = first_line(rest);
        let is_proven = is_proven(&sign(header.as_bytes(), claims));
        let may_be = !is_proven || may_be_proven(header, claims) == Some(true);
        assert!(may_be, "proven against its own words");
        return is_proven;
    }
    let is_proven = is_proven(data);
    assert!(!is_proven || was_signed(data), "proven without a signature");
    is_proven
}

fn is_proven(authorization: &[u8]) -> bool {
    let request = Request::post("/session-token").header("authorization", authorization);
    let Ok(request) = request.body(Body::empty()) else {
        return false;
    };
    let (head, body) = FRONT.with(|front| front.ask(request));
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    match (head.status, problem["code"].as_str()) {
        (StatusCode::FORBIDDEN, Some("user_not_mapped")) => true,
        (StatusCode::UNAUTHORIZED, Some("session_invalid" | "session_expired"))
        | (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, _) => false,
        (status, code) => panic!("{status} {code:?}"),
    }
}

fn was_signed(authorization: &[u8]) -> bool {
    let signed_part = |text: &str| {
        let token = text.trim_end().rsplit(' ').next()?;
        Some(token.rsplit_once('.')?.0.to_owned())
    };
    let shown = std::str::from_utf8(authorization)
        .ok()
        .and_then(signed_part);
    shown.is_some() && SIGNED.iter().any(|seed| signed_part(seed) == shown)
}

fn sign(header: &[u8], claims: &[u8]) -> Vec<u8> {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!("{}.{}", part(header), part(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = hmac::sign(&key, signed.as_bytes());
    format!("Bearer {signed}.{}", part(tag.as_ref())).into()
}

/// RFC 7519 and the table, read once more.
fn may_be_proven(header: &str, claims: &[u8]) -> Option<bool> {
    const LEEWAY: f64 = 31.0;
    let header: Map<String, Value> = serde_json::from_str(header).ok()?;
    let claims: Map<String, Value> = serde_json::from_slice(claims).ok()?;
    let since_1970 = clock::now().duration_since(std::time::UNIX_EPOCH).ok()?;
    let now = since_1970.as_secs_f64();
    let is_for_us = match claims.get("aud")? {
        Value::Array(many) => many.iter().any(|one| one == AUDIENCE),
        one => one == AUDIENCE,
    };
    let is_past = |name: &str| match claims.get(name) {
        None => Some(true),
        Some(time) => Some(time.as_f64()? < now + LEEWAY),
    };
    Some(
        header.get("alg")? == "HS256"
            && header.get("crit").is_none_or(Value::is_null)
            && claims.get("iss")? == ISSUER
            && is_for_us
            && claims.get("exp")?.as_f64()? > now - LEEWAY
            && is_past("nbf")?
            && is_past("iat")?,
    )
}
