//! Opaque tokens, verified by asking their issuer (RFC 7662).

use std::time::Duration;

use futures_util::future::join_all;
use qlik_token_broker::simulator::{Call, Simulator};
use serde_json::{Value, json};

use super::harness::{
    Broker, KEY, header, key_table, refused, tenant, tenant_table, token, who_is,
};
use super::keeper::Keeper;
use super::portal::{merge, now};

fn table(keeper: &Keeper, lines: &str) -> String {
    format!(
        "[[session]]\ntype = 'introspection'\nurl = '{}/introspect'\nclient_id = 'bro:ker'\nclient_secret = 'canary secret/%'\n\
         audience = 'broker'\nuser = [{{ field = 'subject', value = 'auth0|{{sub}}' }}]\n{lines}\n",
        keeper.url
    )
}

async fn setup_with(lines: &str) -> (Simulator, Keeper, Broker) {
    let (tenant, keeper) = (tenant().await, Keeper::start().await);
    let config =
        table(&keeper, lines) + &key_table(&["acme"]) + &tenant_table("acme", &tenant.url());
    let broker = Broker::start(&config);
    (tenant, keeper, broker)
}

fn claims(user: &str, changes: &Value) -> Value {
    let mut claims = json!({
        "active": true, "sub": user, "aud": "broker", "iss": "https://issuer.test",
        "scope": "openid analytics", "exp": now() + 600, "iat": now(), "client_id": "portal",
    });
    merge(&mut claims, changes);
    claims
}

#[tokio::test]
async fn an_active_token_gets_the_token_of_its_user() {
    let (tenant, keeper, broker) =
        setup_with("issuer = 'https://issuer.test'\nrequired_scope = 'analytics'").await;
    keeper.log_in("opaque-1", claims("ann", &json!({})));
    let got = token(broker.ask_as("opaque-1")).await;
    assert_eq!(who_is(&tenant, &got.text).await, "auth0|ann");
    let asked = &keeper.asked()[0];
    assert_eq!(asked.body, "token=opaque-1&token_type_hint=access_token");
    assert_eq!(
        asked.headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    assert_eq!(asked.headers["accept"], "application/json");
    // RFC 6749, 2.3.1: `bro%3Aker` and `canary+secret%2F%25`.
    assert_eq!(
        asked.headers["authorization"],
        "Basic YnJvJTNBa2VyOmNhbmFyeStzZWNyZXQlMkYlMjU="
    );
    assert_eq!(asked.headers.get("cookie"), None);
}

/// The answers that are not a yes, and what the caller hears.
#[tokio::test]
async fn c9_nothing_but_a_whole_and_fitting_yes_is_one() {
    let (tenant, keeper, broker) =
        setup_with("issuer = 'https://issuer.test'\nrequired_scope = 'analytics'\ncache = '0s'")
            .await;
    let rows = [
        (
            "active is missing",
            json!({"active": null}),
            "session_invalid",
        ),
        (
            "active is false",
            json!({"active": false}),
            "session_invalid",
        ),
        (
            "active is text",
            json!({"active": "true"}),
            "session_invalid",
        ),
        ("active is 1", json!({"active": 1}), "session_invalid"),
        (
            "active is a list",
            json!({"active": [true]}),
            "session_invalid",
        ),
        ("no audience", json!({"aud": null}), "session_invalid"),
        (
            "another audience",
            json!({"aud": "brokers"}),
            "session_invalid",
        ),
        (
            "audiences without ours",
            json!({"aud": ["a", "b"]}),
            "session_invalid",
        ),
        (
            "audience in an object",
            json!({"aud": {"broker": 1}}),
            "session_invalid",
        ),
        ("no issuer", json!({"iss": null}), "session_invalid"),
        (
            "another issuer",
            json!({"iss": "https://issuer.test/"}),
            "session_invalid",
        ),
        ("no scope", json!({"scope": null}), "session_invalid"),
        (
            "scope as a list",
            json!({"scope": ["analytics"]}),
            "session_invalid",
        ),
        (
            "scope as part of another",
            json!({"scope": "analytics2 openid"}),
            "session_invalid",
        ),
        (
            "exp is text",
            json!({"exp": (now() + 60).to_string()}),
            "session_invalid",
        ),
        ("expired", json!({"exp": now() - 1}), "session_expired"),
        ("expires now", json!({"exp": now()}), "session_expired"),
        (
            "not valid yet",
            json!({"nbf": now() + 90}),
            "session_invalid",
        ),
        ("nbf is text", json!({"nbf": "0"}), "session_invalid"),
        (
            "issued in the future",
            json!({"iat": now() + 90}),
            "session_invalid",
        ),
    ];
    for (index, (what, changes, code)) in rows.iter().enumerate() {
        let opaque = format!("opaque-{index}");
        keeper.log_in(&opaque, claims("ann", changes));
        let answer = broker.ask_as(&opaque).send().await.unwrap();
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        assert_eq!(
            (status.as_u16(), body["code"].as_str()),
            (401, Some(*code)),
            "{what}"
        );
    }
    for (index, changes) in [
        json!({"aud": ["other", "broker"]}),
        json!({"exp": null}),
        json!({"iat": null, "nbf": now()}),
    ]
    .iter()
    .enumerate()
    {
        let opaque = format!("good-{index}");
        keeper.log_in(&opaque, claims("ann", changes));
        token(broker.ask_as(&opaque)).await;
    }
    assert_eq!(tenant.calls(Call::TokenImpersonation), 1);
}

#[tokio::test]
async fn an_issuer_that_gives_no_answer_is_never_a_yes_nor_a_no() {
    let (tenant, keeper, broker) = setup_with("").await;
    keeper.log_in("opaque", claims("ann", &json!({})));
    let long = format!("{{\"active\":true,\"x\":\"{}\"}}", "x".repeat(70_000));
    let answers = [
        (200, "[]"),
        (200, "true"),
        (200, "not json"),
        (200, ""),
        (200, long.as_str()),
        (201, r#"{"active":true}"#),
        (204, ""),
        (302, r#"{"active":true}"#),
        (400, r#"{"active":true}"#),
        (401, r#"{"active":true}"#),
        (403, ""),
        (404, r#"{"active":true}"#),
        (429, ""),
        (500, r#"{"active":true}"#),
    ];
    for (index, (status, body)) in answers.into_iter().enumerate() {
        keeper.answer(Some((status, body)));
        let opaque = format!("opaque-{index}");
        refused(broker.ask_as(&opaque), 503, "session_service_unavailable").await;
    }
    assert_eq!((keeper.questions(), tenant.calls(Call::Any)), (14, 0));
    keeper.answer(None);
    token(broker.ask_as("opaque")).await;
}

#[tokio::test]
async fn fifty_who_show_one_token_ask_once_and_the_answer_is_remembered() {
    let (tenant, keeper, broker) = setup_with("").await;
    keeper.log_in("opaque", claims("ann", &json!({})));
    keeper.slow(Duration::from_millis(100));
    let all = join_all((0..50).map(|_| token(broker.ask_as("opaque")))).await;
    assert!(all.iter().all(|one| one.id == all[0].id));
    keeper.log_out("opaque");
    token(broker.ask_as("opaque")).await;
    assert_eq!(
        (keeper.questions(), tenant.calls(Call::TokenImpersonation)),
        (1, 1)
    );
}

#[tokio::test]
async fn an_answer_is_never_remembered_past_the_token_s_end() {
    let (_tenant, keeper, broker) = setup_with("cache = '30s'").await;
    let soon = std::time::SystemTime::now() + Duration::from_millis(900);
    let exp = soon
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    keeper.log_in("opaque", claims("ann", &json!({"exp": exp})));
    token(broker.ask_as("opaque")).await;
    token(broker.ask_as("opaque")).await;
    assert_eq!(keeper.questions(), 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    refused(broker.ask_as("opaque"), 401, "session_expired").await;
    assert_eq!(keeper.questions(), 2, "it was asked about again");
}

#[tokio::test]
async fn a_token_taken_back_is_refused_when_the_answer_is_old() {
    let (_tenant, keeper, broker) = setup_with("cache = '1s'").await;
    keeper.log_in("opaque", claims("ann", &json!({})));
    token(broker.ask_as("opaque")).await;
    keeper.log_out("opaque");
    tokio::time::sleep(Duration::from_secs(1)).await;
    refused(broker.ask_as("opaque"), 401, "session_invalid").await;
}

#[tokio::test]
async fn two_issuers_are_asked_in_turn_and_their_answers_kept_apart() {
    let (tenant, one, other) = (tenant().await, Keeper::start().await, Keeper::start().await);
    let config = table(&one, "name = 'one'")
        + &table(&other, "name = 'other'").replace("auth0|{sub}", "auth0|b{sub}")
        + &tenant_table("acme", &tenant.url());
    let broker = Broker::start(&config);
    one.log_in("of-one", claims("ann", &json!({})));
    other.log_in("of-other", claims("ob", &json!({})));
    let got = token(broker.ask_as("of-one")).await;
    assert_eq!(who_is(&tenant, &got.text).await, "auth0|ann");
    let got = token(broker.ask_as("of-other")).await;
    assert_eq!(who_is(&tenant, &got.text).await, "auth0|bob");
    assert_eq!((one.questions(), other.questions()), (2, 1));
    one.answer(Some((500, "")));
    refused(
        broker.ask_as("of-nobody"),
        503,
        "session_service_unavailable",
    )
    .await;
    assert_eq!(
        other.questions(),
        1,
        "one that may be the first issuer's is not shown to the next"
    );
}

#[tokio::test]
async fn keys_and_handles_are_never_shown_to_an_issuer() {
    let (_tenant, keeper, broker) = setup_with("cookie = 'opaque'").await;
    let handle = format!("qtbs_{}", "A".repeat(43));
    for bearer in [KEY, "qtb_", "qtb_x_y", &handle, "qtbs_x"] {
        broker.ask_as(bearer).send().await.unwrap();
        let cookie = format!("opaque={bearer}");
        let by_cookie = broker.post("/session-token").header("cookie", cookie);
        refused(
            by_cookie.header("x-broker-request", "1"),
            401,
            "session_invalid",
        )
        .await;
    }
    assert_eq!(keeper.questions(), 0);
}

#[tokio::test]
async fn a_cookie_may_hold_the_token_and_counts_only_without_a_bearer() {
    let (tenant, keeper, broker) = setup_with("cookie = 'opaque'").await;
    keeper.log_in("by-cookie", claims("ann", &json!({})));
    keeper.log_in("by-bearer", claims("bob", &json!({})));
    let ask = || {
        let ask = broker
            .post("/session-token")
            .header("cookie", "opaque=by-cookie");
        ask.header("x-broker-request", "1")
    };
    let got = token(ask()).await;
    assert_eq!(who_is(&tenant, &got.text).await, "auth0|ann");
    let got = token(ask().bearer_auth("by-bearer")).await;
    assert_eq!(who_is(&tenant, &got.text).await, "auth0|bob");
    refused(ask().bearer_auth("unknown"), 401, "session_invalid").await;
}

#[tokio::test]
async fn c37_a_token_that_was_logged_out_stays_ended_whatever_its_issuer_says() {
    let (tenant, keeper, broker) = setup_with("cache = '0s'").await;
    keeper.log_in("opaque", claims("ann", &json!({})));
    keeper.log_in("undated", claims("ann", &json!({"iat": null})));
    keeper.log_in("other", claims("ann", &json!({"iat": now() - 60})));
    let first = token(broker.ask_as("opaque")).await;
    let answer = broker
        .post("/logout")
        .bearer_auth("opaque")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            answer.status().as_u16(),
            header(&answer, "cache-control").as_str()
        ),
        (204, "no-store")
    );
    refused(broker.ask_as("opaque"), 401, "session_expired").await;
    assert_ne!(token(broker.ask_as("other")).await.id, first.id);
    let everywhere = json!({"user_lookup": super::harness::subject("ann")});
    let answer = broker
        .post("/logout")
        .bearer_auth(KEY)
        .json(&everywhere)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 204);
    refused(broker.ask_as("other"), 401, "session_expired").await;
    // Nobody knows when it was issued: its issuer is asked, and ends it.
    token(broker.ask_as("undated")).await;
    assert!(!tenant.is_live(&first.text) || tenant.calls(Call::Revoke) > 0);
}
