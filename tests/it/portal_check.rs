//! A portal's own cookie, verified by asking the portal who is logged in.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use qlik_token_broker::simulator::{Call, Simulator};
use reqwest::header::HeaderName;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::harness::{
    Broker, KEY, PAGE, header, key_table, refused, subject, tenant, tenant_table, token, who_is,
};
use super::keeper::Keeper;

fn table(keeper: &Keeper, lines: &str) -> String {
    format!(
        "[[session]]\ntype = 'portal_check'\nurl = '{}/whoami?format=json'\ncookies = ['sid']\n\
         user = [{{ field = 'subject', value = 'auth0|{{name}}' }}]\n{lines}\n",
        keeper.url
    )
}

async fn setup_with(lines: &str) -> (Simulator, Keeper, Broker) {
    let (tenant, keeper) = (tenant().await, Keeper::start().await);
    let broker = Broker::start(&(table(&keeper, lines) + &tenant_table("acme", &tenant.url())));
    (tenant, keeper, broker)
}

impl Broker {
    fn with_cookie(&self, cookie: &str) -> RequestBuilder {
        let ask = self.post("/session-token").header("cookie", cookie);
        ask.header("x-broker-request", "1")
    }
}

#[tokio::test]
async fn a_cookie_that_the_portal_knows_gets_the_token_of_its_user() {
    let (tenant, keeper, broker) = setup_with("").await;
    keeper.log_in("s1", json!({"name": "ann"}));
    let got = token(broker.with_cookie("sid=s1").header("origin", PAGE)).await;
    assert_eq!(who_is(&tenant, &got.text).await, "auth0|ann");
    refused(broker.with_cookie("sid=s2"), 401, "session_invalid").await;
    refused(broker.with_cookie("other=s1"), 401, "session_missing").await;
    refused(broker.post("/session-token"), 401, "session_missing").await;
    let bare = broker.post("/session-token").header("cookie", "sid=s1");
    refused(bare, 403, "csrf_rejected").await;
}

/// Whatever else the browser sends, the portal sees what is listed and no more.
#[tokio::test]
async fn only_what_is_listed_is_forwarded() {
    let (_tenant, keeper, broker) = setup_with("forward_headers = ['X-Site', 'X-Csrf']").await;
    keeper.log_in("\"s=1\"", json!({"name": "ann"}));
    let ask = broker
        .with_cookie("theme=dark; sid=\"s=1\"; sids=x; Sid=y")
        .header("x-site", "north")
        .header("x-other", "secret")
        .header("x-forwarded-for", "10.0.0.1")
        .header("origin", PAGE)
        .header("referer", PAGE)
        .header("user-agent", "a browser");
    token(ask).await;
    let asked = &keeper.asked()[0];
    assert_eq!(asked.path, "/whoami");
    let mut names: Vec<_> = asked.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "cookie", "host", "user-agent", "x-site"]);
    assert_eq!(
        asked.headers["cookie"], "sid=\"s=1\"",
        "as it was sent, quotes and all"
    );
    assert_eq!(asked.headers["x-site"], "north");
    assert!(
        asked.headers["user-agent"]
            .to_str()
            .unwrap()
            .starts_with("qlik-token-broker/")
    );
    let preflight = broker
        .call(Method::OPTIONS, "/session-token")
        .header("origin", PAGE)
        .header("access-control-request-method", "POST");
    let allowed = header(
        &preflight.send().await.unwrap(),
        "access-control-allow-headers",
    );
    assert!(allowed.ends_with(", x-site, x-csrf"), "{allowed}");
}

#[tokio::test]
async fn nobody_is_logged_in_when_the_portal_says_so_or_sends_to_its_login() {
    let (tenant, keeper, broker) = setup_with("").await;
    keeper.log_in("s1", json!({"name": "ann"}));
    for status in [401, 403, 301, 302, 303, 307, 308] {
        keeper.answer(Some((status, r#"{"name":"ann"}"#)));
        refused(broker.with_cookie("sid=s1"), 401, "session_invalid").await;
    }
    assert_eq!((keeper.questions(), tenant.calls(Call::Any)), (7, 0));
}

#[tokio::test]
async fn a_portal_that_makes_no_sense_is_never_a_yes_nor_a_no() {
    let (tenant, keeper, broker) = setup_with("").await;
    let long = format!("{{\"name\":\"ann\",\"x\":\"{}\"}}", "x".repeat(70_000));
    let answers = [
        (200, "null"),
        (200, "[]"),
        (200, "\"ann\""),
        (200, "<html>Log in</html>"),
        (200, ""),
        (200, long.as_str()),
        (201, r#"{"name":"ann"}"#),
        (204, ""),
        (206, r#"{"name":"ann"}"#),
        (304, ""),
        (400, r#"{"name":"ann"}"#),
        (404, r#"{"name":"ann"}"#),
        (429, ""),
        (500, r#"{"name":"ann"}"#),
    ];
    for (index, (status, body)) in answers.into_iter().enumerate() {
        keeper.answer(Some((status, body)));
        let ask = broker.with_cookie(&format!("sid=s{index}"));
        refused(ask, 503, "session_service_unavailable").await;
    }
    assert_eq!((keeper.questions(), tenant.calls(Call::Any)), (14, 0));
}

#[tokio::test]
async fn fifty_tabs_of_one_session_ask_once_and_the_answer_is_remembered_for_a_moment() {
    let (tenant, keeper, broker) = setup_with("cache = '1s'").await;
    keeper.log_in("s1", json!({"name": "ann"}));
    keeper.slow(Duration::from_millis(100));
    let all = join_all((0..50).map(|_| token(broker.with_cookie("sid=s1")))).await;
    assert!(all.iter().all(|one| one.id == all[0].id));
    assert_eq!(
        (keeper.questions(), tenant.calls(Call::TokenImpersonation)),
        (1, 1)
    );
    keeper.log_out("s1");
    token(broker.with_cookie("sid=s1")).await;
    assert_eq!(keeper.questions(), 1);
    // C37: the documented bound on a logout at the portal is `cache`.
    tokio::time::sleep(Duration::from_secs(1)).await;
    refused(broker.with_cookie("sid=s1"), 401, "session_invalid").await;
    assert_eq!(keeper.questions(), 2);
}

#[tokio::test]
async fn a_no_is_shared_by_those_who_wait_and_remembered_only_where_configured() {
    let (_tenant, keeper, broker) = setup_with("").await;
    keeper.slow(Duration::from_millis(100));
    let all = (0..50).map(|_| refused(broker.with_cookie("sid=s1"), 401, "session_invalid"));
    join_all(all).await;
    assert_eq!(keeper.questions(), 1);
    keeper.log_in("s1", json!({"name": "ann"}));
    token(broker.with_cookie("sid=s1")).await;
    assert_eq!(keeper.questions(), 2, "a login is seen at once");

    let (_tenant, keeper, broker) = setup_with("negative_cache = '10s'").await;
    for _ in 0..5 {
        refused(broker.with_cookie("sid=s1"), 401, "session_invalid").await;
    }
    assert_eq!(keeper.questions(), 1);
}

#[tokio::test]
async fn without_a_cache_every_request_is_asked_about_but_those_who_wait_share() {
    let (_tenant, keeper, broker) = setup_with("cache = '0s'").await;
    keeper.log_in("s1", json!({"name": "ann"}));
    for asked in 1..4 {
        token(broker.with_cookie("sid=s1")).await;
        assert_eq!(keeper.questions(), asked);
    }
    keeper.slow(Duration::from_millis(200));
    join_all((0..20).map(|_| token(broker.with_cookie("sid=s1")))).await;
    assert_eq!(keeper.questions(), 4);
}

/// Every cache key holds every input: cookies and headers alike.
#[tokio::test]
async fn what_was_answered_to_one_request_is_never_served_to_another() {
    let (tenant, keeper, broker) = setup_with("forward_headers = ['X-Site']\ncache = '1m'").await;
    keeper.log_in("s1", json!({"name": "ann"}));
    keeper.log_in("s2", json!({"name": "bob"}));
    let ann = token(broker.with_cookie("sid=s1")).await;
    assert_eq!(who_is(&tenant, &ann.text).await, "auth0|ann");
    let bob = token(broker.with_cookie("sid=s2")).await;
    assert_eq!(who_is(&tenant, &bob.text).await, "auth0|bob");
    keeper.answer(Some((200, r#"{"name":"eve"}"#)));
    let eve = token(broker.with_cookie("sid=s1").header("x-site", "north")).await;
    assert_eq!(who_is(&tenant, &eve.text).await, "auth0|eve");
    assert_eq!(token(broker.with_cookie("sid=s1")).await.id, ann.id);
    assert_eq!(token(broker.with_cookie("a=b; sid=s1")).await.id, ann.id);
    assert_eq!(keeper.questions(), 3);
}

#[tokio::test]
async fn a_planted_second_cookie_is_refused_and_other_credentials_are_left_alone() {
    let (_tenant, keeper, broker) = setup_with("").await;
    keeper.log_in("s1", json!({"name": "ann"}));
    refused(broker.with_cookie("sid=s1; sid=s2"), 401, "session_invalid").await;
    refused(
        broker.with_cookie("sid=s1").header("cookie", "sid=s1"),
        401,
        "session_invalid",
    )
    .await;
    let handle = format!("qtbs_{}", "A".repeat(43));
    for ours in [KEY, handle.as_str(), "\"qtb_x\""] {
        refused(
            broker.with_cookie(&format!("sid={ours}")),
            401,
            "session_missing",
        )
        .await;
    }
    for scheme in ["Bearer x", "Basic eDp5", "Bearer", "Negotiate"] {
        let ask = broker.with_cookie("sid=s1").header("authorization", scheme);
        refused(ask, 401, "session_invalid").await;
    }
    assert_eq!(keeper.questions(), 0);
}

/// A session id that was logged out stays ended, so the portal has to give a new one at login.
#[tokio::test]
async fn a_session_that_was_logged_out_stays_ended_and_a_renewed_one_does_not() {
    let (tenant, keeper, broker) = setup_with("cache = '0s'\nforward_headers = ['X-Site']").await;
    keeper.log_in("s1", json!({"name": "ann"}));
    let first = token(broker.with_cookie("sid=s1")).await;
    let ended = broker.post("/logout").header("cookie", "sid=s1");
    refused(ended, 403, "csrf_rejected").await;
    let ended = broker
        .post("/logout")
        .header("cookie", "sid=s1")
        .header("x-broker-request", "1");
    assert_eq!(ended.send().await.unwrap().status(), 204);
    refused(broker.with_cookie("sid=s1"), 401, "session_expired").await;
    let elsewhere = broker.with_cookie("sid=s1").header("x-site", "another");
    refused(elsewhere, 401, "session_expired").await;
    keeper.log_in("s2", json!({"name": "ann"}));
    let second = token(broker.with_cookie("sid=s2")).await;
    assert_ne!(second.id, first.id);
    for _ in 0..100 {
        if !tenant.is_live(&first.text) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the token was not revoked");
}

/// Session fixation: who knows the id from before the login is the same person to the portal after
/// it. The broker adds nothing: a person who changes under one id is seen when the answer is old.
#[tokio::test]
async fn a_person_who_changes_under_one_id_is_seen_when_the_answer_is_old() {
    let (tenant, keeper, broker) = setup_with("cache = '1s'").await;
    keeper.log_in("planted", json!({"name": "ann"}));
    token(broker.with_cookie("sid=planted")).await;
    keeper.log_in("planted", json!({"name": "bob"}));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let got = token(broker.with_cookie("sid=planted")).await;
    assert_eq!(who_is(&tenant, &got.text).await, "auth0|bob");
}

#[tokio::test]
async fn no_more_questions_are_in_flight_than_may_be() {
    let (_tenant, keeper, broker) = setup_with("max_in_flight = 3").await;
    keeper.slow(Duration::from_millis(50));
    let sessions: Vec<_> = (0..12).map(|index| format!("s{index}")).collect();
    for session in &sessions {
        keeper.log_in(session, json!({"name": "ann"}));
    }
    let asking = sessions
        .iter()
        .map(|session| token(broker.with_cookie(&format!("sid={session}"))));
    join_all(asking).await;
    assert_eq!((keeper.questions(), keeper.most_in_flight()), (12, 3));
}

#[tokio::test]
async fn a_portal_that_is_down_is_left_alone_and_asked_again_later() {
    let (_tenant, keeper, broker) = setup_with("").await;
    keeper.log_in("known", json!({"name": "ann"}));
    token(broker.with_cookie("sid=known")).await;
    keeper.answer(Some((503, "")));
    let ask = async |index: usize| {
        let ask = broker.with_cookie(&format!("sid=s{index}"));
        refused(ask, 503, "session_service_unavailable").await
    };
    for index in 0..10 {
        let wait = ask(index).await.unwrap();
        assert!(wait >= 1);
    }
    assert_eq!(
        keeper.questions(),
        4,
        "three went unanswered, then it was left alone"
    );
    let ready: Value = broker.ops("/readyz").await.json().await.unwrap();
    assert_eq!(ready["status"], "degraded");
    assert_eq!(ready["reasons"][0]["session"], "portal_check");
    keeper.answer(None);
    token(broker.with_cookie("sid=known")).await;
    let since = Instant::now();
    keeper.log_in("s99", json!({"name": "bob"}));
    while broker.with_cookie("sid=s99").send().await.unwrap().status() != 200 {
        assert!(
            since.elapsed() < Duration::from_secs(5),
            "it recovers by itself"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_portal_that_cannot_be_reached_is_no_reason_to_log_in() {
    let tenant = tenant().await;
    let gone = Keeper::start().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let config = table(&gone, "").replace(&gone.url, &address);
    let broker = Broker::start(&(config + &tenant_table("acme", &tenant.url())));
    let started = Instant::now();
    for index in 0..20 {
        let ask = broker.with_cookie(&format!("sid=s{index}"));
        refused(ask, 503, "session_service_unavailable").await;
    }
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "nobody waits for a portal that is down"
    );
}

/// One session that the portal stumbles over says nothing of the others.
#[tokio::test]
async fn one_odd_session_never_stops_the_others() {
    let (_tenant, keeper, broker) = setup_with("").await;
    keeper.answer(Some((500, "")));
    for index in 0..10 {
        let ask = broker.with_cookie(&format!("sid=odd{index}"));
        refused(ask, 503, "session_service_unavailable").await;
    }
    keeper.answer(None);
    keeper.log_in("good", json!({"name": "ann"}));
    token(broker.with_cookie("sid=good")).await;
    refused(
        broker.with_cookie("sid=odd3"),
        503,
        "session_service_unavailable",
    )
    .await;
    assert_eq!(keeper.questions(), 11, "the odd one has its own pause");
}

/// C37: a logout everywhere does not wait until an old answer of the portal is forgotten.
#[tokio::test]
async fn c37_a_logout_everywhere_makes_old_answers_worthless_at_once() {
    let (tenant, keeper) = (tenant().await, Keeper::start().await);
    let config = table(&keeper, "cache = '2s'")
        + &key_table(&["acme"])
        + &tenant_table("acme", &tenant.url());
    let broker = Broker::start(&config);
    keeper.log_in("s1", json!({"name": "ann"}));
    token(broker.with_cookie("sid=s1")).await;
    keeper.log_out("s1");
    let everywhere = json!({"user_lookup": subject("ann")});
    let ended = broker.post("/logout").bearer_auth(KEY).json(&everywhere);
    assert_eq!(ended.send().await.unwrap().status(), 204);
    refused(broker.with_cookie("sid=s1"), 401, "session_invalid").await;
    assert_eq!(
        (keeper.questions(), tenant.calls(Call::TokenImpersonation)),
        (2, 1)
    );
    // One that the portal did not end lives on, if the portal says so again.
    keeper.log_in("s2", json!({"name": "ann"}));
    token(broker.with_cookie("sid=s2")).await;
}
