//! `POST /service-token`: a back end gets a token of the tenant's service client itself.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use qlik_token_broker::simulator::{
    CLIENT_CREDENTIALS, Call, ClientSetup, Fault, Simulator, World,
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::harness::{
    Broker, EVIL, KEY, PAGE, header, key_table, refused, sha256, tenant_table, token, who_is, world,
};
use super::portal::{Key, Portal};

const PATH: &str = "/service-token";
/// A key that may ask for users' tokens only.
const OTHER_KEY: &str = "qtb_other_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";

fn service_world() -> World {
    let service = ClientSetup::new("service")
        .secret("service-client-secret")
        .grant(CLIENT_CREDENTIALS)
        .scopes("apps:read spaces:read automations")
        .trusted();
    world().with_client(service)
}

fn service_table(id: &str, url: &str) -> String {
    tenant_table(id, url)
        + "service = { client_id = 'service', client_secret = 'service-client-secret', scopes = 'spaces:read apps:read' }\n"
}

/// [`KEY`] for the service client of these tenants, and [`OTHER_KEY`] for users.
fn keys(tenants: &[&str]) -> String {
    let other = format!(
        "keys = [{{ id = 'other', sha256 = '{}', tenants = {tenants:?} }}, ",
        sha256(OTHER_KEY)
    );
    key_table(tenants)
        .replace("'token', 'logout'", "'service_token'")
        .replace("keys = [", &other)
}

struct Setup {
    tenant: Simulator,
    portal: Portal,
    broker: Broker,
}

impl Setup {
    async fn new() -> Self {
        Self::of(service_world(), "").await
    }

    async fn of(world: World, lines: &str) -> Self {
        let tenant = Simulator::start(world).await.unwrap();
        let portal = Portal::start(Key::p256()).await;
        let config = lines.to_owned()
            + &keys(&["acme"])
            + &portal.table()
            + &service_table("acme", &tenant.url());
        let broker = Broker::start(&config);
        Self {
            tenant,
            portal,
            broker,
        }
    }

    fn ask(&self) -> RequestBuilder {
        ask(&self.broker)
    }

    fn calls(&self) -> usize {
        self.tenant.calls(Call::TokenClientCredentials)
    }
}

fn ask(broker: &Broker) -> RequestBuilder {
    broker.post(PATH).bearer_auth(KEY)
}

#[tokio::test]
async fn a_service_token_has_the_shape_of_a_session_token_and_is_the_bot_s() {
    let setup = Setup::new().await;
    let response = setup.ask().send().await.unwrap();
    assert_eq!(response.status(), 200);
    for (name, value) in [
        ("content-type", "application/json"),
        ("cache-control", "no-store"),
        ("pragma", "no-cache"),
        ("vary", "Accept, Origin"),
        ("server-timing", "token;desc=\"minted\""),
        ("etag", ""),
        ("access-control-allow-origin", ""),
    ] {
        assert_eq!(header(&response, name), value, "{name}");
    }
    let body: Value = response.json().await.unwrap();
    let names: HashSet<_> = body
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let expected = [
        "access_token",
        "expires_at",
        "expires_in",
        "scope",
        "tenant_url",
        "token_id",
        "token_type",
    ];
    assert_eq!(names, HashSet::from(expected));
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["scope"], "apps:read spaces:read");
    assert_eq!(body["tenant_url"], setup.tenant.url());
    assert!((21_590..=21_600).contains(&body["expires_in"].as_u64().unwrap()));
    let text = body["access_token"].as_str().unwrap();
    assert_eq!(who_is(&setup.tenant, text).await, r"qlikbot\service");
}

#[tokio::test]
async fn the_configured_scopes_are_asked_for_and_no_user() {
    let setup = Setup::new().await;
    token(setup.ask()).await;
    let requests = setup.tenant.requests();
    let body = requests[0].body.clone().unwrap();
    assert_eq!(
        body,
        json!({
            "grant_type": "client_credentials",
            "client_id": "service",
            "client_secret": "[redacted]",
            "scope": "apps:read spaces:read",
        })
    );
    assert_eq!(setup.tenant.calls(Call::Any), 1);
}

#[tokio::test]
async fn a_second_request_is_served_from_the_cache() {
    let setup = Setup::new().await;
    let first = token(setup.ask()).await;
    let second = token(setup.ask().json(&json!({"tenant": "acme"}))).await;
    assert_eq!((&second.id, second.source.as_str()), (&first.id, "local"));
    assert!(second.expires_in <= first.expires_in);
    assert_eq!(setup.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_requests_at_once_are_one_call() {
    let setup = Arc::new(Setup::new().await);
    let slow = Fault::Slow { millis: 100 };
    setup.tenant.on(Call::TokenClientCredentials, slow);
    let asking = (0..50).map(|_| {
        let asking = setup.ask();
        tokio::spawn(async move { token(asking).await.id })
    });
    let ids: HashSet<_> = join_all(asking)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!((ids.len(), setup.calls()), (1, 1));
}

#[tokio::test]
async fn the_bare_token_is_given_to_who_asks_for_text() {
    let setup = Setup::new().await;
    let kept = token(setup.ask()).await;
    let response = setup.ask().header("accept", "text/plain").send().await;
    let response = response.unwrap();
    assert_eq!(
        header(&response, "content-type"),
        "text/plain; charset=utf-8"
    );
    assert_eq!(response.text().await.unwrap(), kept.text);
}

#[tokio::test]
async fn c34_only_a_key_that_may_gets_one() {
    let setup = Setup::new().await;
    let ask_as = |bearer: &str| setup.broker.post(PATH).bearer_auth(bearer);
    let person = setup.portal.session("ann");
    for bearer in [OTHER_KEY, &person] {
        refused(ask_as(bearer), 403, "caller_not_allowed").await;
    }
    let stranger = KEY.replace("AAAA", "BBBB");
    refused(ask_as(&stranger), 401, "session_invalid").await;
    refused(setup.broker.post(PATH), 401, "session_missing").await;
    let users = json!({"user_lookup": super::harness::subject("ann")});
    refused(setup.broker.ask(&users), 403, "caller_not_allowed").await;
    assert_eq!(setup.tenant.calls(Call::Any), 0);
    let theirs = setup.broker.post("/session-token").bearer_auth(OTHER_KEY);
    token(theirs.json(&users)).await;
}

#[tokio::test]
async fn no_page_gets_one() {
    let setup = Setup::new().await;
    let person = setup.portal.session("ann");
    for origin in [PAGE, EVIL, "null", ""] {
        let response = setup.ask().header("origin", origin).send().await.unwrap();
        assert_eq!(header(&response, "access-control-allow-origin"), "");
        refused(
            setup.ask().header("origin", origin),
            403,
            "origin_not_allowed",
        )
        .await;
    }
    let asking = setup.broker.post(PATH).bearer_auth(&person);
    refused(asking.header("origin", PAGE), 403, "caller_not_allowed").await;
    assert_eq!(setup.tenant.calls(Call::Any), 0);
}

#[tokio::test]
async fn a_body_names_a_tenant_and_nothing_else() {
    let setup = Setup::new().await;
    for body in [
        json!({"scope": "apps:read"}),
        json!({"user_lookup": super::harness::subject("ann")}),
        json!({"rejected": "x".repeat(22)}),
        json!({"tenant": "acme", "who": 1}),
        json!({"tenant": 1}),
        json!([]),
        json!("acme"),
    ] {
        refused(setup.ask().json(&body), 400, "request_invalid").await;
    }
    let json = "application/json";
    let broken = setup.ask().header("content-type", json).body("{");
    refused(broken, 400, "request_invalid").await;
    refused(setup.ask().body("{}"), 415, "media_type").await;
    let long = json!({"tenant": "x".repeat(17_000)});
    refused(setup.ask().json(&long), 413, "body_too_large").await;
    let by_get = setup.broker.call(Method::GET, PATH).bearer_auth(KEY);
    refused(by_get, 405, "method_not_allowed").await;
    assert_eq!(setup.tenant.calls(Call::Any), 0);
    token(setup.ask().json(&json!({}))).await;
}

#[tokio::test]
async fn a_key_gets_tokens_of_its_own_tenants_only() {
    let tenants = [service_world(), service_world(), service_world()].map(Simulator::start);
    let [acme, bravo, other] = join_all(tenants)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect::<Vec<_>>()
        .try_into()
        .unwrap_or_else(|_| panic!("three"));
    let config = keys(&["acme", "bravo"])
        + &service_table("acme", &acme.url())
        + &service_table("bravo", &bravo.url())
        + &service_table("other", &other.url());
    let broker = Broker::start(&config);
    refused(ask(&broker), 400, "request_invalid").await;
    for foreign in ["other", "nowhere", "ACME", ""] {
        let body = json!({"tenant": foreign});
        refused(ask(&broker).json(&body), 403, "tenant_not_allowed").await;
    }
    let calls = || [&acme, &bravo, &other].map(|tenant| tenant.calls(Call::Any));
    assert_eq!(calls(), [0, 0, 0]);
    let first = token(ask(&broker).json(&json!({"tenant": "acme"}))).await;
    let second = token(ask(&broker).json(&json!({"tenant": "bravo"}))).await;
    assert!(acme.is_live(&first.text) && bravo.is_live(&second.text));
    assert_eq!(calls(), [1, 1, 0]);
}

/// Fault, our status, our code, calls of one request.
#[tokio::test]
async fn a_failing_tenant_has_its_answer_and_users_notice_a_throttle_only() {
    let rows = [
        (Fault::Html5xx, 503, "tenant_unavailable", 3),
        (Fault::Disconnect, 503, "tenant_unavailable", 3),
        (Fault::EmptyToken, 502, "tenant_malformed", 3),
        (Fault::WrongSecret, 502, "tenant_refused_client", 1),
        (Fault::UnknownClient, 502, "tenant_refused_client", 1),
        (Fault::GrantNotAllowed, 502, "tenant_refused_client", 1),
        (Fault::BadScope, 502, "tenant_refused_client", 1),
        (Fault::Disabled, 502, "tenant_refused_client", 1),
        (
            Fault::Throttle { retry_after: 13 },
            503,
            "tenant_throttled",
            1,
        ),
    ];
    join_all(
        rows.into_iter()
            .map(|(fault, status, code, calls)| async move {
                let setup = Setup::new().await;
                let call = Call::TokenClientCredentials;
                setup.tenant.on_until_cleared(call, fault.clone());
                for _ in 0..2 {
                    let wait = refused(setup.ask(), status, code).await;
                    assert_eq!(setup.calls(), calls, "{fault:?} is remembered");
                    assert!(wait.is_some(), "{fault:?}");
                }
                let ann = json!({"user_lookup": super::harness::subject("ann")});
                let asking = setup.broker.post("/session-token").bearer_auth(OTHER_KEY);
                let asking = asking.json(&ann);
                if code == "tenant_throttled" {
                    refused(asking, status, code).await;
                } else {
                    token(asking).await;
                }
            }),
    )
    .await;
}

#[tokio::test]
async fn a_transient_failure_is_tried_again_and_nobody_notices() {
    let setup = Setup::new().await;
    setup
        .tenant
        .on(Call::TokenClientCredentials, Fault::Disconnect);
    assert_eq!(token(setup.ask()).await.source, "minted");
    assert_eq!(setup.calls(), 2);
}

#[tokio::test]
async fn a_token_is_replaced_before_it_ends_and_nobody_waits_for_it() {
    let mut short = service_world();
    short.token_life = Duration::from_secs(4);
    let setup = Setup::of(short, "").await;
    let first = token(setup.ask()).await;
    for _ in 0..38 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let next = token(setup.ask()).await;
        assert_eq!(next.source, "local");
        if next.id != first.id {
            assert_eq!(setup.calls(), 2);
            return;
        }
    }
    panic!("no new token");
}

#[tokio::test]
async fn a_tenant_that_hangs_is_not_waited_for_beyond_the_deadline() {
    let setup = Setup::of(service_world(), "[server]\nrequest_timeout = '1s'\n").await;
    setup
        .tenant
        .on_until_cleared(Call::TokenClientCredentials, Fault::Hang);
    let started = std::time::Instant::now();
    let (one, two) = tokio::join!(
        refused(setup.ask(), 503, "tenant_unavailable"),
        refused(setup.ask(), 503, "tenant_unavailable")
    );
    assert!(one.is_some() && two.is_some());
    assert!(started.elapsed() < Duration::from_millis(1900));
    assert_eq!(setup.calls(), 1);
}
