//! `POST /session-token`: what comes back, and what is refused before anything is asked upstream.

use std::time::Duration;

use qlik_token_broker::simulator::{Call, Fault, Simulator};
use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{
    Broker, KEY, PAGE, header, key_table, refused, sha256, subject, tenant, tenant_table, token,
    usual_budget, world,
};
use super::portal::{Key, Portal};

#[tokio::test]
async fn c1_a_token_reply_has_the_fields_and_headers_of_the_contract() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let response = broker.ask_for("ann").send().await.unwrap();
    assert_eq!(response.status(), 200);
    for (name, value) in [
        ("content-type", "application/json"),
        ("cache-control", "no-store"),
        ("pragma", "no-cache"),
        ("vary", "Accept, Origin"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'",
        ),
        ("server-timing", "token;desc=\"minted\""),
        ("etag", ""),
        ("last-modified", ""),
        ("set-cookie", ""),
        ("access-control-allow-origin", ""),
    ] {
        assert_eq!(header(&response, name), value, "{name}");
    }
    let body: Value = response.json().await.unwrap();
    let mut names: Vec<_> = body
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    let expected = [
        "access_token",
        "expires_at",
        "expires_in",
        "scope",
        "tenant_url",
        "token_id",
        "token_type",
    ];
    assert_eq!(names, expected);
    assert_eq!(
        (&body["token_type"], &body["scope"]),
        (&json!("Bearer"), &json!("user_default"))
    );
    assert_eq!(body["tenant_url"], tenant.url());
    assert_eq!(body["token_id"].as_str().unwrap().len(), 22);
    let at = body["expires_at"].as_str().unwrap();
    assert!(at.len() == 24 && at.ends_with('Z'), "{at}");
    assert!((21_590..=21_600).contains(&body["expires_in"].as_u64().unwrap()));
    assert!(tenant.is_live(body["access_token"].as_str().unwrap()));
}

#[tokio::test]
async fn c2_expires_in_is_what_remains_and_never_what_it_was() {
    let mut short = world();
    short.token_life = Duration::from_secs(8);
    let tenant = Simulator::start(short).await.unwrap();
    let broker = Broker::with(&tenant);
    let first = broker.token_of("ann").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let second = broker.token_of("ann").await;
    assert_eq!((second.id, second.source.as_str()), (first.id, "local"));
    assert!(
        second.expires_in < first.expires_in && first.expires_in <= 8,
        "{} {}",
        second.expires_in,
        first.expires_in
    );
}

#[tokio::test]
async fn text_plain_is_the_bare_token() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let response = broker
        .ask_for("ann")
        .header("accept", "text/plain")
        .send()
        .await
        .unwrap();
    assert_eq!(
        header(&response, "content-type"),
        "text/plain; charset=utf-8"
    );
    assert_eq!(header(&response, "cache-control"), "no-store");
    assert_eq!(
        response.text().await.unwrap(),
        broker.token_of("ann").await.text
    );
}

#[tokio::test]
async fn c3_c30_only_post_hands_out_tokens() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = broker
            .call(method.clone(), "/session-token")
            .bearer_auth(KEY)
            .json(&json!({"user_lookup": subject("ann")}));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 405, "{method}");
        assert_eq!(
            header(&response, "allow").replace(' ', ""),
            "POST,OPTIONS",
            "{method}"
        );
        assert_eq!(header(&response, "cache-control"), "no-store", "{method}");
    }
    let in_the_url = broker.post(&format!("/session-token?access_token={KEY}&session={KEY}"));
    refused(in_the_url, 401, "session_missing").await;
    let response = broker
        .call(Method::OPTIONS, "/session-token")
        .bearer_auth(KEY)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 403);
    assert_eq!(tenant.calls(Call::Any), 0);
}

#[tokio::test]
async fn c4_a_401_says_which_scheme_and_whether_something_was_presented() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let challenge = async |request: reqwest::RequestBuilder| {
        header(&request.send().await.unwrap(), "www-authenticate")
    };
    assert_eq!(challenge(broker.post("/session-token")).await, "Bearer");
    let bad = broker.post("/session-token").bearer_auth("nonsense");
    assert_eq!(challenge(bad).await, "Bearer error=\"invalid_token\"");
    refused(broker.post("/session-token"), 401, "session_missing").await;
    refused(
        broker.post("/session-token").bearer_auth("nonsense"),
        401,
        "session_invalid",
    )
    .await;
    refused(
        broker
            .post("/session-token")
            .basic_auth("user", Some("word")),
        401,
        "session_invalid",
    )
    .await;
}

#[tokio::test]
async fn c5_bad_bodies_are_refused_without_an_upstream_call() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let raw = |kind: Option<&str>, body: &str| {
        let request = broker
            .post("/session-token")
            .bearer_auth(KEY)
            .body(body.to_owned());
        match kind {
            Some(kind) => request.header("content-type", kind),
            None => request,
        }
    };
    let good = json!({"user_lookup": subject("ann")}).to_string();
    for kind in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data"),
        Some(""),
    ] {
        refused(raw(kind, &good), 415, "media_type").await;
    }
    let large = format!("{{\"scope\":\"{}\"}}", "x".repeat(16 * 1024));
    refused(raw(Some("application/json"), &large), 413, "body_too_large").await;
    let streamed =
        reqwest::Body::wrap_stream(futures_util::stream::iter(vec![Ok::<_, std::io::Error>(
            large.into_bytes(),
        )]));
    let chunked = broker
        .post("/session-token")
        .bearer_auth(KEY)
        .header("content-type", "application/json")
        .body(streamed);
    refused(chunked, 413, "body_too_large").await;
    for body in [
        "{",
        "[]",
        r#"[["subject","ann"],"acme",null,null]"#,
        "null1",
        "\"x\"",
        r#"{"user":"ann"}"#,
        r#"{"user_lookup":"ann"}"#,
        r#"{"user_lookup":{"field":"email","value":"x"}}"#,
        r#"{"user_lookup":{"field":"subject","value":""}}"#,
        r#"{"user_lookup":{"field":"subject","value":"a\nb"}}"#,
        r#"{"user_lookup":{"field":"subject","value":"a","extra":1}}"#,
        r#"{"user_lookup":{"field":"subject","value":"a"},"user_lookup":{"field":"subject","value":"b"}}"#,
        r#"{"user_lookup":{"field":"subject","value":"a"},"scope":""}"#,
        r#"{"user_lookup":{"field":"subject","value":"a"},"rejected":"short"}"#,
        r#"{"user_lookup":{"field":"subject","value":"a"},"rejected":"======================"}"#,
        r#"{"user_lookup":{"field":"subject","value":7}}"#,
        "{}",
    ] {
        refused(raw(Some("application/json"), body), 400, "request_invalid").await;
    }
    let long = json!({"user_lookup": {"field": "subject", "value": "x".repeat(256)}});
    refused(broker.ask(&long), 400, "request_invalid").await;
    let doubled = broker
        .ask_for("ann")
        .header("authorization", "Bearer other");
    refused(doubled, 400, "request_invalid").await;
    assert_eq!(tenant.calls(Call::Any), 0);
    let with_charset = raw(Some("Application/JSON; charset=utf-8"), &good);
    token(with_charset).await;
}

#[tokio::test]
async fn the_order_of_the_checks_is_size_origin_session_body() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let huge = "x".repeat(17 * 1024);
    let all_wrong = broker
        .post("/session-token")
        .header("origin", super::harness::EVIL)
        .body(huge);
    refused(all_wrong, 413, "body_too_large").await;
    let origin_and_rest = broker
        .post("/session-token")
        .header("origin", super::harness::EVIL)
        .body("{");
    refused(origin_and_rest, 403, "origin_not_allowed").await;
    refused(
        broker.post("/session-token").body("{"),
        401,
        "session_missing",
    )
    .await;
    refused(
        broker.post("/session-token").bearer_auth(KEY).body("{"),
        415,
        "media_type",
    )
    .await;
}

#[tokio::test]
async fn c34_keys_are_bound_to_their_tenants_calls_and_users() {
    let (acme, other) = (tenant().await, tenant().await);
    let portal = Portal::start(Key::p256()).await;
    let limited = "qtb_limited_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";
    let expired = "qtb_expired_CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC";
    let keys = format!(
        "[[session]]\ntype = 'api_key'\nname = 'more'\nkeys = [\n\
         {{ id = 'limited', sha256 = '{}', tenants = ['acme'], allow = ['logout'] }},\n\
         {{ id = 'expired', sha256 = '{}', tenants = ['acme'], expires = '2020-01-01T00:00:00Z' }}]\n",
        sha256(limited),
        sha256(expired)
    );
    let broker = Broker::start(
        &(key_table(&["acme", "other"])
            + &keys
            + &portal.table_with(&format!(
                "jwks_url = '{}/jwks'\ntenant = 'acme'",
                portal.url
            ))
            + &tenant_table("acme", &acme.url())
            + &tenant_table("other", &other.url())),
    );
    let ask = |key: &str, body: Value| broker.post("/session-token").bearer_auth(key).json(&body);
    let user = subject("ann");
    refused(
        ask(KEY, json!({"user_lookup": user})),
        400,
        "request_invalid",
    )
    .await;
    refused(
        ask(KEY, json!({"user_lookup": user, "tenant": "nobody"})),
        403,
        "tenant_not_allowed",
    )
    .await;
    refused(
        ask(KEY, json!({"user_lookup": user, "tenant": "../acme"})),
        403,
        "tenant_not_allowed",
    )
    .await;
    refused(ask(KEY, json!({"tenant": "acme"})), 400, "request_invalid").await;
    refused(
        ask(limited, json!({"user_lookup": user})),
        403,
        "caller_not_allowed",
    )
    .await;
    refused(
        ask(expired, json!({"user_lookup": user})),
        401,
        "session_expired",
    )
    .await;
    let by_expired = broker.post("/logout").bearer_auth(expired);
    let by_expired = by_expired.json(&json!({"user_lookup": user}));
    refused(by_expired, 401, "session_expired").await;
    let of_expired = broker.post("/logout").bearer_auth(KEY);
    refused(
        of_expired.json(&json!({"session": expired})),
        400,
        "request_invalid",
    )
    .await;
    refused(
        ask(&KEY.replace("AAAA", "AAAB"), json!({"user_lookup": user})),
        401,
        "session_invalid",
    )
    .await;
    refused(
        ask("qtb_nobody_AAAA", json!({"user_lookup": user})),
        401,
        "session_invalid",
    )
    .await;
    refused(
        ask("qtb_", json!({"user_lookup": user})),
        401,
        "session_invalid",
    )
    .await;
    for bot in [r"qlikbot\demo", r"QLIKBOT\x", r" qlikbot\x"] {
        let body = json!({"user_lookup": {"field": "subject", "value": bot}, "tenant": "acme"});
        refused(ask(KEY, body), 403, "user_not_allowed").await;
    }
    assert_eq!((acme.calls(Call::Any), other.calls(Call::Any)), (0, 0));
    let at_acme = token(ask(KEY, json!({"user_lookup": user, "tenant": "acme"}))).await;
    let at_other = token(ask(KEY, json!({"user_lookup": user, "tenant": "other"}))).await;
    assert!(
        acme.is_live(&at_acme.text) && other.is_live(&at_other.text),
        "each token is of its own tenant"
    );
    let session = portal.session("ann");
    refused(
        broker.ask_as(&session).json(&json!({"tenant": "acme"})),
        403,
        "tenant_not_allowed",
    )
    .await;
    refused(
        broker.ask_as(&session).json(&json!({"user_lookup": user})),
        403,
        "user_not_allowed",
    )
    .await;
    assert_eq!(
        token(broker.ask_as(&session)).await.id,
        at_acme.id,
        "a person and a key share the user's token"
    );
}

#[tokio::test]
async fn c13_c24_scopes_are_whole_sets_and_never_shared() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let ask = |scope: &str| broker.ask(&json!({"user_lookup": subject("ann"), "scope": scope}));
    let default = broker.token_of("ann").await;
    let narrow = token(ask("apps:read spaces:read")).await;
    assert_eq!(
        (default.scope.as_str(), narrow.scope.as_str()),
        ("user_default", "apps:read spaces:read")
    );
    assert_ne!(default.id, narrow.id);
    assert_eq!(
        token(ask("spaces:read  apps:read")).await.id,
        narrow.id,
        "the order does not matter"
    );
    assert_eq!(token(ask("user_default")).await.id, default.id);
    for scope in [
        "apps:read",
        "user_default apps:read",
        "admin_classic",
        "offline_access",
    ] {
        refused(ask(scope), 403, "scope_not_allowed").await;
    }
    assert_eq!(tenant.calls(Call::TokenImpersonation), 2);
    for request in tenant.requests() {
        assert!(
            request.body.unwrap()["scope"]
                .as_str()
                .is_some_and(|scope| !scope.is_empty()),
            "always explicit"
        );
    }
}

/// The words of a request are remembered, and nothing else of it.
#[tokio::test]
async fn words_that_were_asked_before_are_judged_as_if_they_were_new() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let first = broker.token_of("ann").await;
    assert_eq!(broker.token_of("ann").await.text, first.text);
    let body = json!({"user_lookup": subject("ann")});
    let with = |name, value| broker.ask(&body).header(name, value);
    refused(with("origin", PAGE), 403, "origin_not_allowed").await;
    let unnamed = broker.post("/session-token").bearer_auth(KEY);
    refused(unnamed.body(body.to_string()), 415, "media_type").await;
    let nobody = broker.post("/session-token").json(&body);
    refused(nobody, 401, "session_missing").await;
    assert_eq!(broker.token_of("bob").await.source, "minted");

    let rejecting = json!({"user_lookup": subject("ann"), "rejected": first.id});
    for _ in 0..2 {
        refused(broker.ask(&rejecting), 429, "renewal_too_soon").await;
    }
    let goodbye = broker.post("/logout").bearer_auth(KEY).json(&body);
    assert_eq!(goodbye.send().await.unwrap().status(), 204);
    let next = broker.token_of("ann").await;
    assert_eq!(
        (next.source.as_str(), next.text == first.text),
        ("minted", false)
    );
    assert_eq!(broker.token_of("ann").await.text, next.text);
    assert_eq!(tenant.calls(Call::TokenImpersonation), 3);
}

#[tokio::test]
async fn a_rejected_token_is_examined_and_renewed_once_for_everybody() {
    let tenant = tenant().await;
    let config = format!(
        "[cache]\nrenewal_pause = '1s'\n{}{}",
        key_table(&["acme"]),
        tenant_table("acme", &tenant.url())
    );
    let broker = Broker::start(&config);
    let first = broker.token_of("ann").await;
    let reject = |id: &str| broker.ask(&json!({"user_lookup": subject("ann"), "rejected": id}));
    let wait = refused(reject(&first.id), 429, "renewal_too_soon").await;
    assert_eq!(wait, Some(1));
    assert_eq!(
        token(reject(&"x".repeat(22))).await.id,
        first.id,
        "another token's id gets the current one"
    );
    assert_eq!(tenant.calls(Call::UserMe), 0);

    tokio::time::sleep(Duration::from_millis(1050)).await;
    assert_eq!(
        token(reject(&first.id)).await.id,
        first.id,
        "a good token is handed out again"
    );
    assert_eq!(
        (tenant.calls(Call::UserMe), tenant.calls(Call::Token)),
        (1, 1)
    );
    refused(reject(&first.id), 429, "renewal_too_soon").await;

    assert_eq!(tenant.revoke_user("auth0|ann"), 1);
    tokio::time::sleep(Duration::from_millis(1050)).await;
    let renewed = futures_util::future::join_all((0..20).map(|_| token(reject(&first.id)))).await;
    assert!(
        renewed
            .iter()
            .all(|token| token.id == renewed[0].id && token.id != first.id)
    );
    assert_eq!(
        (tenant.calls(Call::UserMe), tenant.calls(Call::Token)),
        (2, 2)
    );
    assert_eq!(broker.token_of("ann").await.id, renewed[0].id);
}

#[tokio::test]
async fn a_dead_token_is_never_handed_out_again_even_if_the_mint_fails() {
    let tenant = tenant().await;
    let config = format!(
        "[cache]\nrenewal_pause = '1s'\n{}{}",
        key_table(&["acme"]),
        tenant_table("acme", &tenant.url())
    );
    let broker = Broker::start(&usual_budget(&config));
    let first = broker.token_of("ann").await;
    tenant.revoke_user("auth0|ann");
    tenant.on(Call::Token, Fault::Throttle { retry_after: 1 });
    tokio::time::sleep(Duration::from_millis(1050)).await;
    let reject = broker.ask(&json!({"user_lookup": subject("ann"), "rejected": first.id}));
    refused(reject, 503, "tenant_throttled").await;
    refused(broker.ask_for("ann"), 503, "tenant_throttled").await;
    tokio::time::sleep(Duration::from_millis(1050)).await;
    assert_ne!(broker.token_of("ann").await.id, first.id);
}

#[tokio::test]
async fn request_ids_are_taken_when_harmless_and_made_otherwise() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let id = async |given: &str| {
        header(
            &broker
                .call(Method::GET, "/healthz")
                .header("x-request-id", given)
                .send()
                .await
                .unwrap(),
            "x-request-id",
        )
    };
    assert_eq!(id("Abc-1._x").await, "Abc-1._x");
    for bad in ["a b", "a\"b", "<x>", &"x".repeat(65)] {
        let made = id(bad).await;
        assert!(made != bad && made.len() == 32, "{bad}: {made}");
    }
}

#[tokio::test]
async fn c27_c28_every_problem_type_resolves_to_an_explanation() {
    let tenant = tenant().await;
    let config = format!(
        "[server]\npublic_url = 'https://portal.example.com/broker'\n{}{}",
        key_table(&["acme"]),
        tenant_table("acme", &tenant.url())
    );
    let broker = Broker::start(&config);
    let problem: Value = broker
        .post("/session-token")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        problem["type"],
        "https://portal.example.com/broker/problems/session_missing"
    );
    for code in http_codes() {
        let page = broker
            .call(Method::GET, &format!("/problems/{code}"))
            .send()
            .await
            .unwrap();
        assert_eq!(page.status(), 200, "{code}");
        assert_eq!(header(&page, "cache-control"), "public, max-age=300");
        assert_eq!(header(&page, "access-control-allow-origin"), "*");
        assert_eq!(
            header(&page, "cross-origin-resource-policy"),
            "cross-origin"
        );
        assert!(!header(&page, "etag").is_empty());
        assert!(page.text().await.unwrap().contains(code));
    }
    refused(
        broker.call(Method::GET, "/problems/nonsense"),
        404,
        "not_found",
    )
    .await;
}

fn http_codes() -> impl Iterator<Item = &'static str> {
    qlik_token_broker::http::Code::ALL
        .iter()
        .map(|code| code.as_str())
}

#[tokio::test]
async fn c14_c26_every_answer_of_every_route_is_private_and_leaks_no_referrer() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let requests = [
        broker.ask_for("ann"),
        broker.ask_for("nobody"),
        broker.post("/session-token"),
        broker.post("/logout"),
        broker
            .post("/logout")
            .bearer_auth(KEY)
            .json(&json!({"user_lookup": subject("ann")})),
        broker
            .call(Method::OPTIONS, "/session-token")
            .header("origin", PAGE),
        broker.call(Method::GET, "/session-token"),
        broker.call(Method::GET, "/healthz"),
        broker.call(Method::HEAD, "/healthz"),
        broker.call(Method::GET, "/nothing"),
        broker.call(Method::GET, "/problems/%ff"),
        broker.post("/problems/internal"),
    ];
    for request in requests {
        let response = request.header("if-none-match", "*").send().await.unwrap();
        let about = format!("{} {}", response.status(), response.url());
        assert_ne!(response.status(), 304, "{about}");
        for (name, value) in [
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            (
                "content-security-policy",
                "default-src 'none'; frame-ancestors 'none'",
            ),
            ("etag", ""),
            ("last-modified", ""),
            ("location", ""),
        ] {
            assert_eq!(header(&response, name), value, "{about}: {name}");
        }
        assert!(!header(&response, "x-request-id").is_empty(), "{about}");
    }
}

#[tokio::test]
async fn a_listed_page_gets_the_token_of_its_session() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::rsa()).await;
    let broker = Broker::start(&(portal.table() + &tenant_table("acme", &tenant.url())));
    let request = broker.ask_as(&portal.session("ann")).header("origin", PAGE);
    assert!(tenant.is_live(&token(request).await.text));
}
