//! What the broker sends to a tenant, and how it proves itself there.

use base64::Engine as _;
use qlik_token_broker::simulator::{
    AssertionFlaw, Call, ClientSecret, ClientSetup, Fault, IMPERSONATION, Simulator,
};
use serde_json::json;

use super::harness::{
    Broker, PAGE, Scratch, key_table, refused, tenant, tenant_table, token, world,
};
use super::portal::{Key, Portal};

#[tokio::test]
async fn c6_the_request_is_json_without_anything_of_the_browser() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    let broker = Broker::start(&(portal.table() + &tenant_table("acme", &tenant.url())));
    let request = broker
        .ask_as(&portal.session("ann"))
        .header("origin", PAGE)
        .header("cookie", "a=b");
    token(
        request
            .header("x-request-id", "abc")
            .header("referer", PAGE),
    )
    .await;
    let requests = tenant.requests();
    let [sent] = requests.as_slice() else {
        panic!("{requests:?}")
    };
    assert_eq!(
        (
            sent.method.as_str(),
            sent.path.as_str(),
            sent.query.as_str()
        ),
        ("POST", "/oauth/token", "")
    );
    assert_eq!(
        (
            sent.headers["content-type"].as_str(),
            sent.headers["accept"].as_str()
        ),
        ("application/json", "application/json")
    );
    for absent in [
        "origin",
        "cookie",
        "referer",
        "authorization",
        "x-forwarded-for",
        "x-request-id",
    ] {
        assert!(!sent.headers.contains_key(absent), "{absent}");
    }
    let expected = json!({
        "grant_type": "urn:qlik:oauth:user-impersonation", "client_id": "broker", "client_secret": "[redacted]",
        "scope": "user_default", "user_lookup": {"field": "subject", "value": "auth0|ann"},
    });
    assert_eq!(sent.body, Some(expected));
}

/// A pair made by the command itself: its JWK is what the tenant gets.
fn keygen(algorithm: &str) -> (Scratch, serde_json::Value) {
    let out = Scratch::new("");
    std::fs::remove_file(&out.0).unwrap();
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_qlik-token-broker"))
        .args([
            "keygen",
            "--algorithm",
            algorithm,
            "--kid",
            "kid-1",
            "--out",
        ])
        .arg(&out.0)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    (out, serde_json::from_slice(&made.stdout).unwrap())
}

async fn with_private_key(algorithm: &str) -> (Simulator, Broker, Scratch) {
    let (pem, jwk) = keygen(algorithm);
    let mut world = world();
    let client = ClientSetup::new("pkjwt")
        .public_key(jwk)
        .grant(IMPERSONATION)
        .scopes("user_default")
        .trusted();
    world = world.with_client(client);
    let tenant = Simulator::start(world).await.unwrap();
    let table = format!(
        "[tenants.acme]\nurl = '{}'\nclient_id = 'pkjwt'\nscopes = 'user_default'\n\
         private_key = {{ kid = 'kid-1', algorithm = '{algorithm}', pem = {{ file = '{}' }} }}\n",
        tenant.url(),
        pem.0.display()
    );
    let broker = Broker::start(&(key_table(&["acme"]) + &table));
    (tenant, broker, pem)
}

#[tokio::test(flavor = "multi_thread")]
async fn c8_c12_a_private_key_proves_the_client_by_each_algorithm() {
    for algorithm in ["ES384", "RS256", "RS512"] {
        let (tenant, broker, _pem) = with_private_key(algorithm).await;
        // Two transient failures: the tenant has seen two assertions already, and refuses a used one.
        tenant.on(Call::Token, Fault::CutMidAnswer);
        tenant.on(Call::Token, Fault::CutMidAnswer);
        broker.token_of("ann").await;
        assert_eq!(
            tenant.calls(Call::Token),
            3,
            "{algorithm}: a fresh jti each time"
        );
        let body = tenant.requests()[2].body.clone().unwrap();
        assert!(body.get("client_secret").is_none());
        assert_eq!(
            body["client_assertion_type"],
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_refuses_the_assertion_refuses_the_client() {
    let (tenant, broker, _pem) = with_private_key("ES384").await;
    tenant.on(
        Call::Token,
        Fault::AssertionRefused {
            reason: AssertionFlaw::UnknownKey,
        },
    );
    refused(broker.ask_for("ann"), 502, "tenant_refused_client").await;
    assert_eq!(tenant.calls(Call::Token), 1);
}

#[tokio::test]
async fn c45_a_rotated_secret_is_found_without_a_failed_request() {
    let tenant = tenant().await;
    let file = Scratch::new("tenant-client-secret\n");
    let table = tenant_table("acme", &tenant.url()).replace(
        "client_secret = 'tenant-client-secret'",
        &format!("client_secret = {{ file = '{}' }}", file.0.display()),
    );
    let broker = Broker::start(&(key_table(&["acme"]) + &table));
    broker.token_of("ann").await;
    tenant.with_world(|world| {
        let client = world.client_mut("broker").unwrap();
        let made = client.secrets[0].created_at;
        client.secrets = vec![ClientSecret::new("rotated-client-secret", made)];
    });
    std::fs::write(&file.0, "rotated-client-secret").unwrap();
    broker.token_of("bob").await;
    assert_eq!(
        tenant.calls(Call::Token),
        3,
        "the old one once, then the new one"
    );
    broker.token_of("eve").await;
    assert_eq!(tenant.calls(Call::Token), 4, "and from then on the new one");
}

#[tokio::test]
async fn a_list_of_secrets_is_tried_in_order_and_the_good_one_kept() {
    let tenant = tenant().await;
    let table = tenant_table("acme", &tenant.url()).replace(
        "client_secret = 'tenant-client-secret'",
        "client_secrets = ['not-yet-valid', 'tenant-client-secret']",
    );
    let broker = Broker::start(&(key_table(&["acme"]) + &table));
    broker.token_of("ann").await;
    broker.token_of("bob").await;
    assert_eq!(tenant.calls(Call::Token), 3);
}

#[tokio::test]
async fn c15_the_token_exchange_and_other_paths_are_never_called() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    broker.token_of("ann").await;
    assert_eq!(
        tenant.calls(Call::Any),
        tenant.calls(Call::TokenImpersonation)
    );
}

/// The claims that Qlik Cloud asks for, read from the assertion as it went over the wire.
#[tokio::test(flavor = "multi_thread")]
async fn c8_the_assertion_holds_what_rfc_7523_and_the_tenant_ask_for() {
    let (pem, _jwk) = keygen("ES384");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let keep = std::sync::Arc::clone(&seen);
    let answer = axum::routing::post(move |body: axum::Json<serde_json::Value>| async move {
        keep.lock().unwrap().push(body.0);
        axum::http::StatusCode::BAD_GATEWAY
    });
    let router = axum::Router::new().route("/oauth/token", answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let table = format!(
        "[tenants.acme]\nurl = '{url}'\nclient_id = 'pkjwt'\nscopes = 'user_default'\n\
         private_key = {{ kid = 'kid-1', algorithm = 'ES384', pem = {{ file = '{}' }} }}\n",
        pem.0.display()
    );
    let broker = Broker::start(&(key_table(&["acme"]) + &table));
    refused(broker.ask_for("ann"), 503, "tenant_unavailable").await;
    let bodies = seen.lock().unwrap().clone();
    let decode = |part: &str| -> serde_json::Value {
        serde_json::from_slice(
            &base64::engine::general_purpose::URL_SAFE_NO_PAD
                .decode(part)
                .unwrap(),
        )
        .unwrap()
    };
    let mut ids = std::collections::HashSet::new();
    for body in &bodies {
        let assertion = body["client_assertion"].as_str().unwrap();
        let parts: Vec<_> = assertion.split('.').collect();
        let (header, claims) = (decode(parts[0]), decode(parts[1]));
        assert_eq!(
            header,
            json!({"typ": "JWT", "alg": "ES384", "kid": "kid-1"})
        );
        assert_eq!(
            (&claims["iss"], &claims["sub"]),
            (&json!("pkjwt"), &json!("pkjwt"))
        );
        assert_eq!(claims["aud"], format!("{url}/oauth/token"));
        let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
        assert!(life > 0 && life <= 300, "{life}");
        assert_eq!(body["client_id"], "pkjwt");
        ids.insert(claims["jti"].as_str().unwrap().to_owned());
    }
    assert_eq!(
        (bodies.len(), ids.len()),
        (3, 3),
        "a fresh jti for every try"
    );
}
