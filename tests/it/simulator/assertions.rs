//! Private key JWT: every algorithm, every flaw.

use super::*;

enum Key {
    Ec(EcdsaKeyPair),
    Rsa(rsa::KeyPair, &'static str),
}

impl Key {
    fn ec() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
    }

    fn alg(&self) -> &'static str {
        match self {
            Self::Ec(_) => "ES384",
            Self::Rsa(_, alg) => alg,
        }
    }

    fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Ec(key) => {
                let point = key.public_key().as_ref();
                json!({ "kid": "k1", "kty": "EC", "crv": "P-384", "alg": "ES384", "use": "sig",
                    "x": text(&point[1..49]), "y": text(&point[49..]) })
            }
            Self::Rsa(key, alg) => {
                let public = key.public_key();
                json!({ "kid": "k1", "kty": "RSA", "alg": alg, "use": "sig",
                    "n": text(public.modulus().big_endian_without_leading_zero()),
                    "e": text(public.exponent().big_endian_without_leading_zero()) })
            }
        }
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Ec(key) => key
                .sign(&random, signed.as_bytes())
                .unwrap()
                .as_ref()
                .to_vec(),
            Self::Rsa(key, alg) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let padding = if *alg == "RS256" {
                    &RSA_PKCS1_SHA256
                } else {
                    &RSA_PKCS1_SHA512
                };
                key.sign(padding, &random, signed.as_bytes(), &mut signature)
                    .unwrap();
                signature
            }
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test plays a client with its own clock"
)]
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs()
}

fn good(tenant: &Tenant, jti: &str) -> Value {
    json!({ "iss": "keyed", "sub": "keyed", "aud": format!("{}/oauth/token", tenant.simulator.url()),
        "jti": jti, "iat": now(), "exp": now() + 300 })
}

async fn tenant(key: &Key) -> Tenant {
    let client = ClientSetup::new("keyed")
        .public_key(key.jwk())
        .grant(IMPERSONATION)
        .scopes("user_default")
        .trusted();
    Tenant::of(World::demo().with_client(client)).await
}

fn request(jwt: &str) -> Value {
    let body = without(impersonation("auth0|ann"), "client_secret");
    let body = with(body, "client_id", json!("keyed"));
    let body = with(body, "client_assertion_type", json!(ASSERTION));
    with(body, "client_assertion", json!(jwt))
}

#[tokio::test]
async fn every_algorithm_works() {
    let rsa = || rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
    for key in [
        Key::ec(),
        Key::Rsa(rsa(), "RS256"),
        Key::Rsa(rsa(), "RS512"),
    ] {
        let tenant = tenant(&key).await;
        let header = json!({ "alg": key.alg(), "kid": "k1", "typ": "JWT" });
        let jwt = key.sign(&header, &good(&tenant, "1"));
        let answer = tenant.token(&request(&jwt)).await;
        assert_eq!(
            answer.status(),
            200,
            "{} {:?}",
            key.alg(),
            answer.text().await
        );
    }
}

#[tokio::test]
async fn every_flaw_is_refused() {
    let key = Key::ec();
    let tenant = tenant(&key).await;
    let header = json!({ "alg": "ES384", "kid": "k1" });
    let base = good(&tenant, "x");
    let url = tenant.simulator.url();
    let flawed = [
        ("exp", json!(now() + 301 + 2)),
        ("exp", json!(now() - 60)),
        ("iat", json!(now() + 120)),
        ("aud", json!(format!("{url}/oauth/token/"))),
        ("aud", json!("https://other.example/oauth/token")),
        ("aud", json!([format!("{url}/oauth/token")])),
        ("iss", json!("other")),
        ("sub", json!("other")),
        ("jti", json!("")),
    ];
    for (claim, value) in flawed {
        let jwt = key.sign(&header, &with(base.clone(), claim, value.clone()));
        let answer = tenant.token(&request(&jwt)).await;
        assert_eq!(answer.status(), 401, "{claim} {value}");
        refused(answer, 401, "OAUTH-901").await;
    }
    for claim in ["iss", "sub", "aud", "jti", "iat", "exp"] {
        let jwt = key.sign(&header, &without(base.clone(), claim));
        refused(tenant.token(&request(&jwt)).await, 401, "OAUTH-901").await;
    }
    for header in [
        json!({ "alg": "ES384", "kid": "k2" }),
        json!({ "alg": "ES384" }),
        json!({ "alg": "RS256", "kid": "k1" }),
        json!({ "alg": "none", "kid": "k1" }),
    ] {
        let jwt = key.sign(&header, &base);
        refused(tenant.token(&request(&jwt)).await, 401, "OAUTH-901").await;
    }
    let forged = Key::ec().sign(&header, &base);
    refused(tenant.token(&request(&forged)).await, 401, "OAUTH-901").await;
    let untyped = without(request(&key.sign(&header, &base)), "client_assertion_type");
    refused(tenant.token(&untyped).await, 400, "OAUTH-900").await;
    let jwt = key.sign(&header, &base);
    assert_eq!(tenant.token(&request(&jwt)).await.status(), 200);
    refused(tenant.token(&request(&jwt)).await, 401, "OAUTH-901").await;
}

#[tokio::test]
async fn the_alias_is_an_audience_and_the_clock_can_be_off() {
    let key = Key::ec();
    let tenant = tenant(&key).await;
    let header = json!({ "alg": "ES384", "kid": "k1" });
    tenant
        .simulator
        .with_world(|world| world.aliases.push("alias.example".to_owned()));
    let alias = json!("http://alias.example/oauth/token");
    let jwt = key.sign(&header, &with(good(&tenant, "1"), "aud", alias));
    assert_eq!(tenant.token(&request(&jwt)).await.status(), 200);
    tenant
        .simulator
        .with_world(|world| world.clock_skew_seconds = 3600);
    let jwt = key.sign(&header, &good(&tenant, "2"));
    refused(tenant.token(&request(&jwt)).await, 401, "OAUTH-901").await;
}
