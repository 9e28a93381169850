//! Which pages get an answer they can read, and what a browser's own credentials need besides.

use qlik_token_broker::simulator::Call;
use reqwest::{Method, Response};
use serde_json::json;

use super::harness::{
    Broker, EVIL, KEY, PAGE, header, refused, subject, tenant, tenant_table, token,
};
use super::portal::{Key, Portal};

async fn preflight(broker: &Broker, path: &str, origin: &str) -> Response {
    broker
        .call(Method::OPTIONS, path)
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type",
        )
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn c20_c21_only_the_exact_origin_is_listed() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    let broker = Broker::start(&(portal.table() + &tenant_table("acme", &tenant.url())));
    let session = portal.session("ann");
    let unlisted = [
        "null",
        EVIL,
        "https://portal.acme.test.evil.test",
        "https://evil-portal.acme.test",
        "https://sub.portal.acme.test",
        "https://portal.acme.test:8443",
        "https://portal.acme.test:443",
        "http://portal.acme.test",
        "https://portal.acme.test.",
        "https://portal.acme.test/",
        "https://PORTAL.acme.test",
        "HTTPS://portal.acme.test",
        "https://portal.acme.test, https://evil.test",
        "https://portal.acme.test https://evil.test",
        "*",
        "",
    ];
    for origin in unlisted {
        for response in [
            broker
                .ask_as(&session)
                .header("origin", origin)
                .send()
                .await
                .unwrap(),
            preflight(&broker, "/session-token", origin).await,
            preflight(&broker, "/logout", origin).await,
        ] {
            assert_eq!(response.status(), 403, "{origin}");
            let cors: Vec<_> = response
                .headers()
                .keys()
                .filter(|name| name.as_str().starts_with("access-control"))
                .collect();
            assert!(cors.is_empty(), "{origin}: {cors:?}");
            assert_eq!(header(&response, "vary"), "Origin");
            assert_eq!(header(&response, "cache-control"), "no-store");
        }
    }
    let twice = broker
        .ask_as(&session)
        .header("origin", PAGE)
        .header("origin", PAGE);
    refused(twice, 403, "origin_not_allowed").await;
    assert_eq!(tenant.calls(Call::Any), 0, "and nothing was asked upstream");
}

#[tokio::test]
async fn a_listed_origin_is_echoed_and_its_preflight_says_what_is_allowed() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    let broker = Broker::start(&(portal.table() + &tenant_table("acme", &tenant.url())));
    let response = preflight(&broker, "/session-token", PAGE).await;
    assert_eq!(response.status(), 204);
    for (name, value) in [
        ("access-control-allow-origin", PAGE),
        ("access-control-allow-methods", "POST"),
        (
            "access-control-allow-headers",
            "authorization, content-type, accept, x-broker-request, x-request-id",
        ),
        ("access-control-max-age", "600"),
        ("access-control-allow-credentials", ""),
        ("vary", "Origin"),
    ] {
        assert_eq!(header(&response, name), value, "{name}");
    }
    let response = broker
        .ask_as(&portal.session("ann"))
        .header("origin", PAGE)
        .send()
        .await
        .unwrap();
    assert_eq!(header(&response, "access-control-allow-origin"), PAGE);
    assert_eq!(
        header(&response, "access-control-expose-headers"),
        "Retry-After, X-Request-Id, Server-Timing"
    );
    assert_eq!(
        header(&response, "access-control-allow-credentials"),
        "",
        "no ambient kind is configured"
    );
}

#[tokio::test]
async fn c23_a_listed_page_can_read_errors() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    let broker = Broker::start(&(portal.table() + &tenant_table("acme", &tenant.url())));
    let session = portal.session("nobody");
    for (request, status) in [
        (broker.post("/session-token"), 401),
        (broker.ask_as(&session), 403),
        (broker.ask_as(&session).body("{"), 415),
        (broker.ask_as(&session).json(&json!({"x": 1})), 400),
        (broker.call(Method::GET, "/session-token"), 405),
        (broker.call(Method::GET, "/nothing"), 404),
    ] {
        let response = request.header("origin", PAGE).send().await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(
            header(&response, "access-control-allow-origin"),
            PAGE,
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_key_in_a_page_is_refused_listed_or_not() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    for origin in [PAGE, EVIL] {
        let response = broker
            .ask_for("ann")
            .header("origin", origin)
            .send()
            .await
            .unwrap();
        assert_eq!(
            (
                response.status().as_u16(),
                header(&response, "access-control-allow-origin").as_str()
            ),
            (403, "")
        );
        let logout = broker
            .post("/logout")
            .bearer_auth(KEY)
            .header("origin", origin)
            .json(&json!({"user_lookup": subject("ann")}));
        refused(logout, 403, "origin_not_allowed").await;
    }
    assert_eq!(tenant.calls(Call::Any), 0);
}

#[tokio::test]
async fn another_tenants_origin_counts_as_unlisted_once_the_tenant_is_known() {
    let (acme, globex) = (tenant().await, tenant().await);
    let portal = Portal::start(Key::p256()).await;
    let table = portal.table_with(&format!(
        "jwks_url = '{}/jwks'\ntenant = '{{org}}'",
        portal.url
    ));
    let broker = Broker::start(
        &(table + &tenant_table("acme", &acme.url()) + &tenant_table("globex", &globex.url())),
    );
    let session = portal.session_with("ann", &json!({"org": "acme"}));
    assert_eq!(
        preflight(&broker, "/session-token", "https://portal.globex.test")
            .await
            .status(),
        204
    );
    let response = broker
        .ask_as(&session)
        .header("origin", "https://portal.globex.test")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            response.status().as_u16(),
            header(&response, "access-control-allow-origin").as_str()
        ),
        (403, "")
    );
    assert_eq!(acme.calls(Call::Any) + globex.calls(Call::Any), 0);
    token(broker.ask_as(&session).header("origin", PAGE)).await;
}

/// A cookie comes along whatever page asks: each row is a request that some page could make.
#[tokio::test]
async fn c19_c22_a_cookie_needs_the_header_and_a_listed_origin() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    let table = portal.table_with(&format!("jwks_url = '{}/jwks'\ncookie = 'sid'", portal.url));
    let broker = Broker::start(&(table + &tenant_table("acme", &tenant.url())));
    let cookie = format!("sid={}", portal.session("ann"));
    for path in ["/session-token", "/logout"] {
        let ask = || broker.post(path).header("cookie", &cookie);
        refused(ask(), 403, "csrf_rejected").await;
        refused(ask().header("origin", PAGE), 403, "csrf_rejected").await;
        refused(
            ask().header("sec-fetch-site", "cross-site"),
            403,
            "csrf_rejected",
        )
        .await;
        refused(
            ask()
                .header("x-broker-request", "1")
                .header("sec-fetch-site", "cross-site"),
            403,
            "csrf_rejected",
        )
        .await;
        refused(
            ask().header("x-broker-request", "1").header("origin", EVIL),
            403,
            "origin_not_allowed",
        )
        .await;
        refused(
            ask()
                .header("x-broker-request", "1")
                .header("origin", "null"),
            403,
            "origin_not_allowed",
        )
        .await;
        let form = ask().header("content-type", "text/plain").body("{}");
        refused(form, 403, "csrf_rejected").await;
    }
    assert_eq!(tenant.calls(Call::Any), 0);
    let ask = || {
        broker
            .post("/session-token")
            .header("cookie", &cookie)
            .header("x-broker-request", "1")
    };
    let response = ask()
        .header("origin", PAGE)
        .header("sec-fetch-site", "cross-site")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(
        header(&response, "access-control-allow-credentials"),
        "true"
    );
    assert_eq!(
        ask()
            .header("sec-fetch-site", "same-origin")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    let simple = ask()
        .header("origin", PAGE)
        .header("content-type", "text/plain")
        .body("{}");
    refused(simple, 415, "media_type").await;
    let unlisted = preflight(&broker, "/session-token", EVIL).await;
    assert_eq!(header(&unlisted, "access-control-allow-credentials"), "");
}
