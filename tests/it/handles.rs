//! `POST /sessions` and the handles it makes, up to their end.

use std::time::Duration;

use qlik_token_broker::simulator::{Call, Fault, Simulator};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::harness::{
    Broker, EVIL, KEY, PAGE, refused, sha256, subject, tenant, tenant_table, token, who_is,
};
use super::portal::{Key, Portal};

/// A key that may do everything, and one that may not register sessions.
const REGISTRAR: &str = "qtb_registrar_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";

fn tables(tenants: &[&str]) -> String {
    format!(
        "[[session]]\ntype = 'api_key'\nkeys = [\n\
         {{ id = 'registrar', sha256 = '{}', tenants = {tenants:?}, allow = ['token', 'sessions', 'logout'] }},\n\
         {{ id = 'portal', sha256 = '{}', tenants = {tenants:?} }}]\n\
         [[session]]\ntype = 'handle'\ncookie = 'broker_session'\n",
        sha256(REGISTRAR),
        sha256(KEY)
    )
}

async fn setup() -> (Simulator, Broker) {
    let tenant = tenant().await;
    let broker = Broker::start(&(tables(&["acme"]) + &tenant_table("acme", &tenant.url())));
    (tenant, broker)
}

impl Broker {
    fn register(&self, body: &Value) -> RequestBuilder {
        self.post("/sessions").bearer_auth(REGISTRAR).json(body)
    }

    async fn handle_of(&self, user: &str) -> String {
        self.handle(&json!({"user_lookup": subject(user)})).await
    }

    async fn handle(&self, body: &Value) -> String {
        let answer = self.register(body).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        let body: Value = answer.json().await.unwrap();
        body["session"].as_str().unwrap().to_owned()
    }

    fn end(&self, bearer: &str) -> RequestBuilder {
        self.post("/logout").bearer_auth(bearer)
    }

    fn end_as_back_end(&self, body: &Value) -> RequestBuilder {
        self.end(REGISTRAR).json(body)
    }
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

async fn revoked(tenant: &Simulator, token: &str) {
    for _ in 0..100 {
        if !tenant.is_live(token) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the token was not revoked");
}

#[tokio::test]
async fn a_registered_session_gets_the_token_of_its_user() {
    let (tenant, broker) = setup().await;
    let answer = broker.register(&json!({"user_lookup": subject("ann")}));
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let made: Value = answer.json().await.unwrap();
    assert_eq!(made.as_object().unwrap().len(), 3);
    assert_eq!(made["expires_in"], 8 * 3600);
    assert!(made["expires_at"].as_str().unwrap().ends_with('Z'));
    let handle = made["session"].as_str().unwrap();
    let random = handle.strip_prefix("qtbs_").unwrap();
    assert!(
        random.len() == 43
            && random
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    );
    assert_eq!(tenant.calls(Call::Any), 0, "registering asks nobody");

    let first = token(broker.ask_as(handle).header("origin", PAGE)).await;
    assert_eq!(who_is(&tenant, &first.text).await, "auth0|ann");
    let other = broker.handle_of("ann").await;
    assert_ne!(other, handle);
    assert_eq!(token(broker.ask_as(&other)).await.id, first.id);
    let bob = token(broker.ask_as(&broker.handle_of("bob").await)).await;
    assert_eq!(who_is(&tenant, &bob.text).await, "auth0|bob");
    assert_eq!(tenant.calls(Call::TokenImpersonation), 2);
}

#[tokio::test]
async fn a_handle_in_a_cookie_needs_the_defence_against_forgery() {
    let (tenant, broker) = setup().await;
    let handle = broker.handle_of("ann").await;
    let ask = || {
        let cookie = format!("theme=dark; broker_session={handle}");
        broker.post("/session-token").header("cookie", cookie)
    };
    refused(ask(), 403, "csrf_rejected").await;
    refused(
        ask().header("origin", EVIL).header("x-broker-request", "1"),
        403,
        "origin_not_allowed",
    )
    .await;
    let cross_site = ask()
        .header("x-broker-request", "1")
        .header("sec-fetch-site", "cross-site");
    refused(cross_site, 403, "csrf_rejected").await;
    assert_eq!(tenant.calls(Call::Any), 0);
    let page = ask().header("x-broker-request", "1").header("origin", PAGE);
    let answer = page.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["access-control-allow-credentials"], "true");
    let twice = format!("broker_session={handle}; broker_session={handle}");
    let twice = broker.post("/session-token").header("cookie", twice);
    refused(
        twice.header("x-broker-request", "1"),
        401,
        "session_invalid",
    )
    .await;
}

#[tokio::test]
async fn only_a_back_end_that_may_registers_sessions() {
    let (tenant, broker) = setup().await;
    let body = json!({"user_lookup": subject("ann")});
    let post = |bearer: &str| broker.post("/sessions").bearer_auth(bearer).json(&body);
    refused(post(KEY), 403, "caller_not_allowed").await;
    let handle = broker.handle_of("ann").await;
    refused(post(&handle), 403, "caller_not_allowed").await;
    refused(post("nonsense"), 401, "session_invalid").await;
    refused(broker.post("/sessions").json(&body), 401, "session_missing").await;
    for origin in [PAGE, EVIL] {
        refused(
            post(REGISTRAR).header("origin", origin),
            403,
            "origin_not_allowed",
        )
        .await;
    }
    let get = broker
        .call(reqwest::Method::GET, "/sessions")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (get.status().as_u16(), &get.headers()["allow"] == "GET"),
        (405, false)
    );
    assert_eq!(tenant.calls(Call::Any), 0);
}

#[tokio::test]
async fn a_whole_number_is_one_however_it_is_written() {
    let (_tenant, broker) = setup().await;
    for ttl in ["60", "60.0", "6e1", "6.0e+1"] {
        let body = format!(
            r#"{{"user_lookup": {{"field": "subject", "value": "auth0|ann"}}, "ttl_seconds": {ttl}}}"#
        );
        let request = broker.post("/sessions").bearer_auth(REGISTRAR);
        let request = request
            .header("content-type", "application/json")
            .body(body);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 201, "{ttl}");
        let made: Value = answer.json().await.unwrap();
        assert_eq!(made["expires_in"], 60, "{ttl}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_registration_is_said() {
    let (_tenant, broker) = setup().await;
    let with = |more: Value| {
        let mut body = json!({"user_lookup": subject("ann")});
        super::portal::merge(&mut body, &more);
        body
    };
    for (body, status, code) in [
        (json!({}), 400, "request_invalid"),
        (with(json!({"ttl_seconds": 0})), 400, "request_invalid"),
        (with(json!({"ttl_seconds": -1})), 400, "request_invalid"),
        (with(json!({"ttl_seconds": 1.5})), 400, "request_invalid"),
        (with(json!({"ttl_seconds": 1e300})), 400, "request_invalid"),
        (with(json!({"ttl_seconds": "60"})), 400, "request_invalid"),
        (with(json!({"rejected": "x"})), 400, "request_invalid"),
        (with(json!({"session": "x"})), 400, "request_invalid"),
        (
            with(json!({"user_lookup": {"field": "email", "value": "a@b"}})),
            400,
            "request_invalid",
        ),
        (
            with(json!({"user_lookup": {"field": "subject", "value": ""}})),
            400,
            "request_invalid",
        ),
        (
            with(json!({"user_lookup": {"field": "subject", "value": "qlikbot\\x"}})),
            403,
            "user_not_allowed",
        ),
        (with(json!({"tenant": "other"})), 403, "tenant_not_allowed"),
        (
            with(json!({"scope": "admin_classic"})),
            403,
            "scope_not_allowed",
        ),
    ] {
        refused(broker.register(&body), status, code).await;
    }
    let form = broker
        .post("/sessions")
        .bearer_auth(REGISTRAR)
        .body("user_lookup=x");
    refused(form, 415, "media_type").await;
}

#[tokio::test]
async fn a_handle_carries_its_own_tenant_and_scopes() {
    let (acme, umbrella) = (tenant().await, tenant().await);
    let config = tables(&["acme", "umbrella"])
        + &tenant_table("acme", &acme.url())
        + &tenant_table("umbrella", &umbrella.url());
    let broker = Broker::start(&config);
    refused(
        broker.register(&json!({"user_lookup": subject("ann")})),
        400,
        "request_invalid",
    )
    .await;
    let body = json!({"user_lookup": subject("ann"), "tenant": "umbrella", "scope": "apps:read spaces:read", "ttl_seconds": 60});
    let answer = broker.register(&body).send().await.unwrap();
    let made: Value = answer.json().await.unwrap();
    assert_eq!(made["expires_in"], 60);
    let narrow = made["session"].as_str().unwrap();
    assert_eq!(
        token(broker.ask_as(narrow)).await.scope,
        "apps:read spaces:read"
    );
    refused(
        broker
            .ask_as(narrow)
            .json(&json!({"scope": "user_default"})),
        403,
        "scope_not_allowed",
    )
    .await;
    refused(
        broker.ask_as(narrow).json(&json!({"tenant": "acme"})),
        403,
        "tenant_not_allowed",
    )
    .await;
    refused(
        broker.ask_as(narrow).header("origin", PAGE),
        403,
        "origin_not_allowed",
    )
    .await;
    token(
        broker
            .ask_as(narrow)
            .header("origin", "https://portal.umbrella.test"),
    )
    .await;
    let wide = broker
        .handle(&json!({"user_lookup": subject("ann"), "tenant": "umbrella"}))
        .await;
    assert_eq!(token(broker.ask_as(&wide)).await.scope, "user_default");
    assert_eq!(
        (
            acme.calls(Call::Any),
            umbrella.calls(Call::TokenImpersonation)
        ),
        (0, 2)
    );
}

#[tokio::test]
async fn c11_what_is_no_handle_is_refused_and_an_unknown_one_has_ended() {
    let (tenant, broker) = setup().await;
    let unknown = format!("qtbs_{}", "A".repeat(43));
    refused(broker.ask_as(&unknown), 401, "session_invalid").await;
    assert_eq!(status(broker.end(&unknown)).await, 204);
    assert_eq!(
        status(broker.end_as_back_end(&json!({"session": unknown}))).await,
        204
    );
    for malformed in [
        "qtbs_".to_owned(),
        format!("qtbs_{}", "A".repeat(42)),
        format!("qtbs_{}", "A".repeat(44)),
        format!("qtbs_{}=", "A".repeat(42)),
        format!("qtbs_{}.", "A".repeat(42)),
        format!("QTBS_{}", "A".repeat(43)),
    ] {
        refused(broker.ask_as(&malformed), 401, "session_invalid").await;
        refused(broker.end(&malformed), 401, "session_invalid").await;
        let by_key = broker.end_as_back_end(&json!({"session": malformed}));
        refused(by_key, 400, "request_invalid").await;
    }
    assert_eq!(tenant.calls(Call::Any), 0);
}

#[tokio::test]
async fn a_handle_ends_itself_and_its_token_and_stays_ended() {
    let (tenant, broker) = setup().await;
    let (one, other) = (broker.handle_of("ann").await, broker.handle_of("ann").await);
    let first = token(broker.ask_as(&one)).await;
    assert_eq!(status(broker.end(&one)).await, 204);
    refused(broker.ask_as(&one), 401, "session_expired").await;
    assert_eq!(status(broker.end(&one)).await, 204, "twice is once");
    revoked(&tenant, &first.text).await;
    let second = token(broker.ask_as(&other)).await;
    assert_ne!(
        second.id, first.id,
        "the other session lives on, with a new token"
    );
    assert_eq!(
        status(broker.end_as_back_end(&json!({"session": other}))).await,
        204
    );
    refused(broker.ask_as(&other), 401, "session_expired").await;
    revoked(&tenant, &second.text).await;
    assert_eq!(tenant.calls(Call::TokenImpersonation), 2);
}

#[tokio::test]
async fn c37_everywhere_ends_every_handle_up_to_now() {
    let (tenant, broker) = setup().await;
    let mut handles = Vec::new();
    for _ in 0..5 {
        handles.push(broker.handle_of("ann").await);
    }
    let bob = broker.handle_of("bob").await;
    let first = token(broker.ask_as(&handles[0])).await;
    let kept = token(broker.ask_as(&bob)).await;
    let everywhere = json!({"user_lookup": subject("ann")});
    assert_eq!(status(broker.end_as_back_end(&everywhere)).await, 204);
    for handle in &handles {
        refused(broker.ask_as(handle), 401, "session_expired").await;
    }
    revoked(&tenant, &first.text).await;
    assert_eq!(token(broker.ask_as(&bob)).await.id, kept.id);
    let later = broker.handle_of("ann").await;
    assert_ne!(
        token(broker.ask_as(&later)).await.id,
        first.id,
        "a new login is a new session"
    );
}

#[tokio::test]
async fn a_logout_during_a_mint_never_brings_the_token_back() {
    let (tenant, broker) = setup().await;
    let handle = broker.handle_of("ann").await;
    tenant.on(Call::TokenImpersonation, Fault::Slow { millis: 400 });
    let waiters: Vec<_> = (0..5)
        .map(|_| tokio::spawn(broker.ask_as(&handle).send()))
        .collect();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(status(broker.end(&handle)).await, 204);
    for waiter in waiters {
        let answer = waiter.await.unwrap().unwrap();
        assert_eq!(answer.status(), 401);
        assert_eq!(
            answer.json::<Value>().await.unwrap()["code"],
            "session_expired"
        );
    }
    for _ in 0..100 {
        if tenant.calls(Call::Revoke) == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        (
            tenant.calls(Call::TokenImpersonation),
            tenant.calls(Call::Revoke)
        ),
        (1, 1)
    );
    refused(broker.ask_as(&handle), 401, "session_expired").await;
    let again = token(broker.ask_as(&broker.handle_of("ann").await)).await;
    assert!(again.source == "minted" && tenant.is_live(&again.text));
}

#[tokio::test]
async fn a_handle_leads_only_to_its_own_key_s_tenants() {
    let (acme, umbrella) = (tenant().await, tenant().await);
    let config = tables(&["acme", "umbrella"])
        + &format!(
            "[[session]]\ntype = 'api_key'\nname = 'others'\nkeys = [{{ id = 'other', sha256 = '{}', tenants = ['umbrella'], allow = ['logout'] }}]\n",
            sha256("qtb_other_CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC")
        )
        + &tenant_table("acme", &acme.url())
        + &tenant_table("umbrella", &umbrella.url());
    let broker = Broker::start(&config);
    let handle = broker
        .handle(&json!({"user_lookup": subject("ann"), "tenant": "acme"}))
        .await;
    let other = broker
        .end("qtb_other_CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC")
        .json(&json!({"session": handle}));
    refused(other, 403, "tenant_not_allowed").await;
    token(broker.ask_as(&handle)).await;
}

/// A hit by handle looks the user up once: a second kind of session for the same user shares the
/// token, whoever asks first.
#[tokio::test]
async fn handles_and_jwts_of_a_user_share_its_token() {
    let (tenant, portal) = (tenant().await, Portal::start(Key::p256()).await);
    let config = tables(&["acme"]) + &portal.table() + &tenant_table("acme", &tenant.url());
    let broker = Broker::start(&config);
    let handle = broker.handle_of("ann").await;
    let by_handle = token(broker.ask_as(&handle)).await;
    let by_jwt = token(broker.ask_as(&portal.session("ann"))).await;
    assert_eq!(
        (by_handle.id, tenant.calls(Call::TokenImpersonation)),
        (by_jwt.id, 1)
    );
}
