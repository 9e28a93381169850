//! How often callers may ask, and that nobody's limit is another one's.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use futures_util::future::join_all;
use futures_util::stream::{StreamExt, iter};
use qlik_token_broker::simulator::{Call, Simulator};
use qlik_token_broker::tenant::Rate;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::harness::{
    Broker, KEY, PAGE, header, in_process, key_table, refused, sha256, subject, tenant,
    tenant_table, token, world,
};
use super::keeper::Keeper;
use super::portal::{Key, Portal, now};

const OTHER_KEY: &str = "qtb_batch_CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC";
/// Whoever comes from here says where somebody else is.
const PROXIED: &str = "[server]\ntrusted_proxies = ['127.0.0.0/8']\n";

/// Few at once, and then one in 3 s, which is longer than it takes to use them up.
const SESSIONS: &str = "[limits]\nsession_per_minute = 20\nfailures_per_minute = 0\n";
const FAILURES: &str = "[limits]\nsession_per_minute = 0\nfailures_per_minute = 20\n";
const BURST: usize = 4;
const INTERVAL: u64 = 3;

async fn setup(limits: &str) -> (Simulator, Portal, Broker) {
    let (tenant, portal) = (tenant().await, Portal::start(Key::p256()).await);
    let config = limits.to_owned()
        + &key_table(&["acme"])
        + &portal.table()
        + &tenant_table("acme", &tenant.url());
    (tenant, portal, Broker::start(&config))
}

/// How many of these get a 200 before one is `rate_limited`, and that one's `Retry-After`.
async fn served(ask: impl Fn() -> RequestBuilder) -> (usize, u64) {
    for count in 0..1000 {
        let answer = ask().send().await.unwrap();
        if answer.status() != 429 {
            assert!(answer.status().is_success(), "{}", answer.status());
            continue;
        }
        let wait = header(&answer, "retry-after").parse().unwrap();
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["code"], "rate_limited");
        return (count, wait);
    }
    panic!("nobody counts");
}

#[tokio::test]
async fn c40_a_session_may_call_so_often_and_takes_nothing_from_another_one() {
    let (tenant, portal, broker) = setup(SESSIONS).await;
    let [one, other] = ["1", "2"].map(|jti| portal.session_with("ann", &json!({"jti": jti})));
    assert_eq!(served(|| broker.ask_as(&one)).await, (BURST, INTERVAL));
    assert_eq!(
        served(|| broker.ask_as(&other)).await,
        (BURST, INTERVAL),
        "another session of the same person"
    );
    assert_eq!(
        broker
            .post("/logout")
            .bearer_auth(&one)
            .send()
            .await
            .unwrap()
            .status(),
        204,
        "a logout is never one too many"
    );
    broker.token_of("ann").await;
    assert_eq!(tenant.calls(Call::TokenImpersonation), 2);
}

#[tokio::test]
async fn c29_who_comes_back_when_it_was_told_is_served() {
    let fast = "[limits]\nsession_per_minute = 600\nfailures_per_minute = 600\n";
    let (tenant, portal, broker) = setup(&(PROXIED.to_owned() + fast)).await;
    let session = portal.session("ann");
    let (count, wait) = served(|| broker.ask_as(&session)).await;
    assert!(count >= 120 && wait == 1, "{count} {wait}");
    let junk = || broker.ask_as("junk").send();
    while junk().await.unwrap().status() == 401 {}
    let new = portal.session("bob");
    refused(broker.ask_as(&new), 429, "rate_limited").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    token(broker.ask_as(&session)).await;
    token(broker.ask_as(&new)).await;
    assert_eq!(tenant.calls(Call::TokenImpersonation), 2);
}

/// Somebody behind the same address goes on guessing while the configuration is read again, and again.
#[tokio::test]
async fn a_reload_locks_nobody_out_who_was_proven_before() {
    let (tenant, portal, broker) = setup(&(PROXIED.to_owned() + FAILURES)).await;
    let session = portal.session("ann");
    let first = token(broker.ask_as(&session)).await;
    while broker.ask_as("junk").send().await.unwrap().status() == 401 {}
    let config = std::fs::read_to_string(&broker.file.0).unwrap();
    for text in ["# another text", "# yet another"] {
        let config = config.replace(
            "failures_per_minute",
            &format!("{text}\nfailures_per_minute"),
        );
        broker.reload(&config).await;
    }
    assert_eq!(token(broker.ask_as(&session)).await.id, first.id);
    refused(broker.ask_as(&portal.session("bob")), 429, "rate_limited").await;
    assert_eq!(tenant.calls(Call::TokenImpersonation), 1);
}

#[tokio::test]
async fn c29_a_page_can_read_when_to_come_back() {
    let (_tenant, portal, broker) = setup(SESSIONS).await;
    let session = portal.session("ann");
    let ask = || broker.ask_as(&session).header("origin", PAGE);
    served(ask).await;
    let answer = ask().send().await.unwrap();
    assert_eq!(answer.status(), 429);
    assert_eq!(header(&answer, "access-control-allow-origin"), PAGE);
    let exposed = header(&answer, "access-control-expose-headers");
    assert!(exposed.contains("Retry-After"), "{exposed}");
    assert_eq!(header(&answer, "retry-after"), INTERVAL.to_string());
    let metrics = broker.ops("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("qtb_limited_total{limit=\"session\"}"));
}

#[tokio::test]
async fn limits_come_last_and_what_was_refused_before_takes_nothing() {
    let (_tenant, portal, broker) = setup(SESSIONS).await;
    let session = portal.session("ann");
    for _ in 0..2 * BURST {
        let wrong = broker.ask_as(&session).json(&json!({"tenant": "acme"}));
        refused(wrong, 403, "tenant_not_allowed").await;
        let wrong = broker.ask_as(&session).json(&json!({"scope": "apps:read"}));
        refused(wrong, 403, "scope_not_allowed").await;
        let wrong = broker.ask_as(&session).json(&json!({"surprise": 1}));
        refused(wrong, 400, "request_invalid").await;
    }
    assert_eq!(served(|| broker.ask_as(&session)).await.0, BURST);
    let wrong = broker.ask_as(&session).json(&json!({"tenant": "acme"}));
    refused(wrong, 403, "tenant_not_allowed").await;
}

/// ECDSA signatures can be rewritten, and headers that some table looks at can be added at will.
#[tokio::test]
async fn a_session_in_other_words_is_the_same_session() {
    let (tenant, portal) = (tenant().await, Portal::start(Key::p256()).await);
    let proxy = "[[session]]\ntype = 'trusted_header'\nheader = 'X-User'\nfrom = ['10.0.0.0/8']\n\
                 user = [{ field = 'subject', value = 'auth0|{sub}' }]\n";
    let tables = portal.table() + proxy + &tenant_table("acme", &tenant.url());
    let broker = Broker::start(&(SESSIONS.to_owned() + &tables));
    let session = portal.session("ann");
    let (signed, _) = session.rsplit_once('.').unwrap();
    let mut served = 0;
    for count in 0..2 * BURST {
        let signature = base64::Engine::encode(
            &base64::engine::general_purpose::URL_SAFE_NO_PAD,
            portal.key.sign(signed.as_bytes()),
        );
        let ask = broker.ask_as(&format!("{signed}.{signature}"));
        let answer = ask.header("x-user", count).send().await.unwrap();
        served += usize::from(answer.status() == 200);
    }
    assert_eq!(served, BURST);
}

#[tokio::test]
async fn where_a_proxy_keeps_the_session_its_user_counts() {
    let tenant = tenant().await;
    let table = "[[session]]\ntype = 'trusted_header'\nheader = 'X-User'\nfrom = ['127.0.0.0/8']\n\
                 headers = { tab = 'X-Tab' }\nuser = [{ field = 'subject', value = 'auth0|{sub}' }]\n";
    let config = SESSIONS.to_owned() + table + &tenant_table("acme", &tenant.url());
    let broker = Broker::start(&config);
    let ask = |user: &'static str, tab: &'static str| {
        let ask = broker.post("/session-token").header("x-user", user);
        ask.header("x-broker-request", "1").header("x-tab", tab)
    };
    assert_eq!(served(|| ask("ann", "1")).await.0, BURST);
    refused(ask("ann", "2"), 429, "rate_limited").await;
    assert_eq!(served(|| ask("bob", "1")).await.0, BURST);
}

#[tokio::test]
async fn a_key_has_a_limit_of_its_own_for_all_that_it_may_do() {
    let tenant = tenant().await;
    let allow = "allow = ['token', 'sessions', 'logout']";
    let config = format!(
        "[limits]\nsession_per_minute = 1\n[[session]]\ntype = 'api_key'\nkeys = [\n\
         {{ id = 'portal', sha256 = '{}', requests_per_minute = 20, {allow} }},\n\
         {{ id = 'batch', sha256 = '{}', {allow} }}]\n[[session]]\ntype = 'handle'\n{}",
        sha256(KEY),
        sha256(OTHER_KEY),
        tenant_table("acme", &tenant.url())
    );
    let broker = Broker::start(&config);
    let ann = json!({"user_lookup": subject("ann")});
    let call = |key: &str, path: &str| broker.post(path).bearer_auth(key).json(&ann);
    let paths = ["/session-token", "/sessions", "/logout"];
    for count in 0..BURST {
        let answer = call(KEY, paths[count % 3]).send().await.unwrap();
        assert!(answer.status().is_success(), "{count}");
    }
    for path in paths {
        let wait = refused(call(KEY, path), 429, "rate_limited").await;
        assert_eq!(wait, Some(INTERVAL), "{path}");
        let other = call(OTHER_KEY, path).send().await.unwrap();
        assert!(other.status().is_success(), "{path}");
    }
    for _ in 0..100 {
        let free = call(OTHER_KEY, "/session-token").send().await.unwrap();
        assert_eq!(free.status(), 200, "no limit unless there is one");
    }
}

const NEAR: &str = "203.0.113.7";

/// Everything that a caller can do from an address whose failures are used up.
#[tokio::test]
async fn c40_an_address_with_too_many_refusals_is_closed_to_what_is_not_proven() {
    let (tenant, keeper) = (tenant().await, Keeper::start().await);
    let portal = Portal::start(Key::p256()).await;
    let config = format!(
        "{PROXIED}{FAILURES}[[session]]\ntype = 'api_key'\nkeys = [{{ id = 'portal', sha256 = '{}', allow = ['token', 'sessions'] }}]\n\
         [[session]]\ntype = 'handle'\n{}[[session]]\ntype = 'introspection'\nurl = '{}/introspect'\nclient_id = 'broker'\n\
         client_secret = 's'\naudience = '*'\nuser = [{{ field = 'subject', value = 'auth0|{{sub}}' }}]\n{}",
        sha256(KEY),
        portal.table(),
        keeper.url,
        tenant_table("acme", &tenant.url())
    );
    let broker = Broker::start(&config);
    let from = |address: &str, bearer: &str| {
        let ask = broker.ask_as(bearer);
        ask.header("x-forwarded-for", address)
    };
    let of_key = |key: &str, path: &str| {
        let ask = broker.post(path).bearer_auth(key);
        let ask = ask.header("x-forwarded-for", NEAR);
        ask.json(&json!({"user_lookup": subject("ann")}))
    };
    let known = portal.session("bob");
    token(from(NEAR, &known)).await;
    let made: Value = of_key(KEY, "/sessions")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let handle = made["session"].as_str().unwrap();

    for count in 0..BURST {
        refused(from(NEAR, &format!("junk-{count}")), 401, "session_invalid").await;
    }
    assert_eq!(keeper.questions(), BURST);
    let new = portal.session("ann");
    for bearer in [
        "junk",
        &new,
        &Key::p256().jwt(&portal.header(), &portal.claims("eve")),
    ] {
        let wait = refused(from(NEAR, bearer), 429, "rate_limited").await;
        assert_eq!(wait, Some(INTERVAL));
    }
    let wrong_key = KEY.replace('A', "B");
    refused(of_key(&wrong_key, "/session-token"), 429, "rate_limited").await;
    let wrong_handle = format!("qtbs_{}", "x".repeat(43));
    refused(from(NEAR, &wrong_handle), 429, "rate_limited").await;
    assert_eq!(keeper.questions(), BURST, "nobody is asked");

    token(from(NEAR, &known)).await;
    token(from(NEAR, handle)).await;
    token(of_key(KEY, "/session-token")).await;
    let nothing = broker
        .post("/session-token")
        .header("x-forwarded-for", NEAR);
    refused(nothing, 401, "session_missing").await;
    token(from("203.0.113.8", &new)).await;
    token(from(NEAR, &new)).await;
}

#[tokio::test]
async fn what_one_client_chooses_among_is_one_address() {
    let (_tenant, _portal, broker) = setup(&(PROXIED.to_owned() + FAILURES)).await;
    let junk = |address: &str| broker.ask_as("junk").header("x-forwarded-for", address);
    for count in 0..BURST {
        let address = format!("2001:db8:0:7::{count:x}");
        refused(junk(&address), 401, "session_invalid").await;
    }
    refused(junk("2001:db8:0:7:ffff::1"), 429, "rate_limited").await;
    refused(junk("2001:db8:0:8::1"), 401, "session_invalid").await;
    for count in 0..BURST {
        let address = ["198.51.100.1", "::ffff:198.51.100.1"][count % 2];
        refused(junk(address), 401, "session_invalid").await;
    }
    refused(junk("198.51.100.1"), 429, "rate_limited").await;
    refused(junk("::ffff:198.51.100.1"), 429, "rate_limited").await;
    refused(junk("198.51.100.2"), 401, "session_invalid").await;
    // What the client itself claims to be is not believed.
    let spoofed = junk("192.0.2.1, 198.51.100.1");
    refused(spoofed, 429, "rate_limited").await;
}

#[tokio::test]
async fn what_honest_pages_show_takes_nothing() {
    let (tenant, keeper) = (tenant().await, Keeper::start().await);
    let portal = Portal::start(Key::p256()).await;
    let config = format!(
        "{PROXIED}{FAILURES}{}{}[[session]]\ntype = 'introspection'\nurl = '{}/introspect'\nclient_id = 'broker'\n\
         client_secret = 's'\naudience = '*'\nuser = [{{ field = 'subject', value = 'auth0|{{sub}}' }}]\n{}",
        key_table(&["acme"]),
        portal.table(),
        keeper.url,
        tenant_table("acme", &tenant.url())
    );
    let broker = Broker::start(&config);
    let from = |ask: RequestBuilder| ask.header("x-forwarded-for", "203.0.113.7");
    keeper.answer(Some((503, "")));
    let gone = |user: usize| portal.session_with(&format!("u{user}"), &json!({"exp": now() - 600}));
    for count in 0..2 * BURST {
        let expired = from(broker.ask_as(&gone(count)));
        refused(expired, 401, "session_expired").await;
        refused(from(broker.post("/session-token")), 401, "session_missing").await;
        let down = from(broker.ask_as(&format!("opaque-{count}")));
        refused(down, 503, "session_service_unavailable").await;
        // A back end may hand over what it found in a browser.
        let handed = broker.post("/logout").bearer_auth(KEY);
        let handed = from(handed.json(&json!({"session": "junk.junk.junk"})));
        assert!(!handed.send().await.unwrap().status().is_success());
    }
    token(from(broker.ask_as(&portal.session("ann")))).await;
}

/// Otherwise everybody behind a proxy that nobody named would be closed out by one of them.
#[tokio::test]
async fn a_private_peer_closes_nobody_out_where_no_proxy_is_named() {
    let (_tenant, portal, broker) = setup(FAILURES).await;
    for count in 0..3 * BURST {
        let junk = broker.ask_as(&format!("junk-{count}"));
        let junk = junk.header("x-forwarded-for", "203.0.113.7");
        refused(junk, 401, "session_invalid").await;
    }
    token(broker.ask_as(&portal.session("ann"))).await;
}

/// As many requests as an attacker cares to send, from as many addresses as it has.
#[tokio::test(flavor = "multi_thread")]
async fn junk_evicts_nobody_and_asks_nobody() {
    const USERS: usize = 50;
    const JUNK: usize = 20_000;
    let mut world = world();
    for user in 0..USERS {
        world = world.with_user(format!("auth0|u{user}"), format!("u{user}@acme.test"));
    }
    let (tenant, keeper) = (
        Simulator::start(world).await.unwrap(),
        Keeper::start().await,
    );
    let config = format!(
        "{PROXIED}[cache]\nmax_users = {USERS}\n{FAILURES}{}[[session]]\ntype = 'handle'\n[[session]]\ntype = 'introspection'\n\
         url = '{}/introspect'\nclient_id = 'broker'\nclient_secret = 's'\naudience = '*'\ncache = '1h'\n\
         user = [{{ field = 'subject', value = 'auth0|{{sub}}' }}]\n{}",
        key_table(&["acme"]),
        keeper.url,
        tenant_table("acme", &tenant.url())
    );
    let router = in_process(&config).of(([127, 0, 0, 1], 1).into());
    let ask = |bearer: String, address: String| {
        let request = Request::post("/session-token")
            .header("authorization", format!("Bearer {bearer}"))
            .header("x-forwarded-for", address)
            .body(Body::empty())
            .unwrap();
        let answering = router.clone().oneshot(request);
        async move { answering.await.unwrap().status().as_u16() }
    };
    let warm = |user| ask(format!("opaque-{user}"), "192.0.2.1".into());
    for user in 0..USERS {
        keeper.log_in(
            &format!("opaque-{user}"),
            json!({"active": true, "sub": format!("u{user}")}),
        );
        assert_eq!(warm(user).await, 200);
    }
    let before = (tenant.calls(Call::Any), keeper.questions());
    let junk = (0..JUNK).map(|count| {
        let bearer = match count % 4 {
            0 => format!("junk-{count}"),
            1 => format!("qtb_portal_{count:043}"),
            2 => format!("qtbs_{count:043}"),
            _ => format!("e30.e30.{count}"),
        };
        // 100 addresses: what they may fail at is less than what is remembered.
        ask(bearer, format!("198.51.100.{}", count % 100))
    });
    let answers: Vec<_> = iter(junk).buffer_unordered(64).collect().await;
    assert!(answers.iter().all(|status| [401, 429].contains(status)));
    let closed = answers.iter().filter(|status| **status == 429).count();
    assert!(closed > JUNK / 2, "{closed}");
    let asked = keeper.questions() - before.1;
    let again = join_all((0..USERS).map(warm)).await;
    assert_eq!(again, [200; USERS]);
    assert_eq!(
        tenant.calls(Call::Any),
        before.0,
        "every token is still there"
    );
    assert_eq!(
        keeper.questions() - before.1,
        asked,
        "and so is every session"
    );
    assert!(asked < JUNK / 4, "{asked}");
}

/// A proxy's session is the proxy's to end, so that its user can come back at once, again and again.
#[tokio::test]
async fn who_logs_out_and_in_all_the_time_gets_what_others_leave() {
    const AT_ONCE: u32 = 20;
    let mut world = world();
    for user in 0..AT_ONCE {
        world = world.with_user(format!("auth0|u{user}"), format!("u{user}@acme.test"));
    }
    let tenant = Simulator::start(world).await.unwrap();
    let table = "[[session]]\ntype = 'trusted_header'\nheader = 'X-User'\nfrom = ['127.0.0.0/8']\n\
                 user = [{ field = 'subject', value = 'auth0|{sub}' }]\n";
    let config = "[server]\nrequest_timeout = '1s'\n".to_owned()
        + table
        + &key_table(&["acme"])
        + &tenant_table("acme", &tenant.url());
    let rate = Rate {
        per_minute: NonZeroU32::new(1).unwrap(),
        burst: NonZeroU32::new(AT_ONCE).unwrap(),
    };
    let broker = Broker::start_paced(&config, rate);
    let call = |path: &str, user: &'static str| {
        let ask = broker.post(path).header("x-user", user);
        ask.header("x-broker-request", "1").send()
    };
    let mut rounds = 0;
    loop {
        let answer = call("/session-token", "ann").await.unwrap();
        assert_eq!(call("/logout", "ann").await.unwrap().status(), 204);
        if answer.status() != 200 {
            let wait: u64 = header(&answer, "retry-after").parse().unwrap();
            assert!((1..=30).contains(&wait), "{wait}");
            break;
        }
        rounds += 1;
        assert!(rounds < AT_ONCE, "it took all");
    }
    assert!(rounds >= 3, "as long as there is enough, nobody waits");
    // Neither does coming back later help.
    assert_eq!(call("/session-token", "ann").await.unwrap().status(), 503);
    let spent = tenant.calls(Call::TokenImpersonation) + tenant.calls(Call::Revoke);
    assert!(spent <= AT_ONCE as usize / 2, "{spent}");
    let started = Instant::now();
    for user in 0..AT_ONCE / 2 {
        broker.token_of(&format!("u{user}")).await;
    }
    assert!(started.elapsed() < Duration::from_secs(1), "others wait");
}
