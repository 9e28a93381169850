//! `trusted_header`: whom a proxy says it is, and whom anybody else says it is.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use qlik_token_broker::simulator::{Call, Simulator};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::harness::{
    Broker, EVIL, KEY, PAGE, header, key_table, refused, subject, tenant, tenant_table, token,
    who_is,
};
use super::keeper::Keeper;
use super::portal::{Key, Portal};
use super::wire::raw;

const USER: &str = "X-Auth-Request-User";
/// Where all tests come from, and where none does.
const NEAR: &str = "from = ['127.0.0.0/8']\n";
const FAR: &str = "from = ['10.0.0.0/8']\n";
const SECRET: &str = "shared_secret = { header = 'X-Proxy-Secret', value = 'proxy-secret-1' }\n";
const FURTHER: &str = "headers = { nick = 'X-Auth-Request-Nick' }\n";

fn table(lines: &str) -> String {
    format!(
        "[[session]]\ntype = 'trusted_header'\nheader = '{USER}'\n\
         user = [{{ field = 'subject', value = 'auth0|{{nick}}' }}, {{ field = 'subject', value = 'auth0|{{sub}}' }}]\n{lines}"
    )
}

async fn setup(lines: &str) -> (Simulator, Broker) {
    let tenant = tenant().await;
    let broker = Broker::start(&(table(lines) + &tenant_table("acme", &tenant.url())));
    (tenant, broker)
}

/// What the proxy sends for a logged-in user.
fn as_user(broker: &Broker, user: &str) -> RequestBuilder {
    let request = broker.post("/session-token").header(USER, user);
    request.header("x-broker-request", "1")
}

/// A request with just these header lines, as no client library would send it.
fn request(lines: &str, connection: &str) -> String {
    format!(
        "POST /session-token HTTP/1.1\r\nHost: x\r\nX-Broker-Request: 1\r\nContent-Length: 0\r\n{lines}Connection: {connection}\r\n\r\n"
    )
}

/// What is answered to such a request: the code of a problem, or the token's subject.
async fn told(tenant: &Simulator, address: SocketAddr, lines: &str) -> String {
    let answer = raw(address, vec![request(lines, "close")]).await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
    match body["code"].as_str() {
        Some(code) => code.to_owned(),
        None => who_is(tenant, body["access_token"].as_str().unwrap()).await,
    }
}

#[tokio::test]
async fn the_header_of_a_listed_peer_names_the_user() {
    let (tenant, broker) = setup(NEAR).await;
    let first = token(as_user(&broker, "ann")).await;
    let second = token(as_user(&broker, "ann")).await;
    assert_eq!(who_is(&tenant, &first.text).await, "auth0|ann");
    assert_eq!((first.id, second.source), (second.id, "local".into()));
    assert_eq!(tenant.calls(Call::TokenImpersonation), 1);
    refused(as_user(&broker, "nobody"), 403, "user_unknown").await;
    let none = broker
        .post("/session-token")
        .header("x-broker-request", "1");
    refused(none, 401, "session_missing").await;
}

#[tokio::test]
async fn further_headers_become_claims_where_they_hold_something() {
    let (tenant, broker) = setup(&(NEAR.to_owned() + FURTHER)).await;
    for (nick, user) in [
        (Some("bob"), "auth0|bob"),
        (Some(""), "auth0|ann"),
        (None, "auth0|ann"),
    ] {
        let mut request = as_user(&broker, "ann");
        if let Some(nick) = nick {
            request = request.header("X-Auth-Request-Nick", nick);
        }
        let token = token(request).await;
        assert_eq!(who_is(&tenant, &token.text).await, user, "{nick:?}");
    }
    let alone = broker.post("/session-token");
    let alone = alone.header("X-Auth-Request-Nick", "bob");
    refused(
        alone.header("x-broker-request", "1"),
        401,
        "session_missing",
    )
    .await;
}

#[tokio::test]
async fn c19_a_page_of_another_site_cannot_use_what_the_proxy_adds() {
    let (tenant, broker) = setup(NEAR).await;
    for path in ["/session-token", "/logout"] {
        let bare = || broker.post(path).header(USER, "ann");
        let ask = || bare().header("x-broker-request", "1");
        let cross = || ask().header("sec-fetch-site", "cross-site");
        refused(bare(), 403, "csrf_rejected").await;
        refused(bare().header("origin", PAGE), 403, "csrf_rejected").await;
        refused(cross(), 403, "csrf_rejected").await;
        refused(cross().header("origin", EVIL), 403, "origin_not_allowed").await;
        refused(ask().header("origin", EVIL), 403, "origin_not_allowed").await;
        refused(ask().header("origin", "null"), 403, "origin_not_allowed").await;
    }
    assert_eq!(tenant.calls(Call::Any), 0);
    let ask = as_user(&broker, "ann").header("sec-fetch-site", "cross-site");
    let answer = ask.header("origin", PAGE).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "access-control-allow-credentials"), "true");
}

#[tokio::test]
async fn nobody_becomes_a_listed_peer_by_saying_so() {
    let tenant = tenant().await;
    let config = format!(
        "[server]\ntrusted_proxies = ['127.0.0.0/8', '10.0.0.0/8']\n{}{}",
        table(FAR),
        tenant_table("acme", &tenant.url())
    );
    let believed = Broker::start(&config);
    let (other, plain) = setup(FAR).await;
    for claim in [
        None,
        Some(("X-Forwarded-For", "10.0.0.1")),
        Some(("X-Forwarded-For", "10.0.0.1, 10.0.0.2")),
        Some(("Forwarded", "for=10.0.0.1")),
        Some(("X-Real-IP", "10.0.0.1")),
        Some(("X-Client-IP", "10.0.0.1")),
    ] {
        for broker in [&believed, &plain] {
            let mut request = as_user(broker, "ann");
            if let Some((name, value)) = claim {
                request = request.header(name, value);
            }
            refused(request, 401, "session_invalid").await;
        }
    }
    assert_eq!(tenant.calls(Call::Any) + other.calls(Call::Any), 0);
}

#[tokio::test]
async fn an_ipv4_peer_of_a_dual_stack_listener_is_an_ipv4_peer() {
    let tenant = tenant().await;
    let config = table(NEAR) + &tenant_table("acme", &tenant.url());
    let listener = TcpListener::bind("[::]:0").unwrap();
    let broker = Broker::start_on(listener, &config);
    let ask = || as_user(&broker, "ann");
    token(ask()).await;
    // What is remembered of one peer is not said to another.
    let other = format!("http://[::1]:{}/session-token", broker.address.port());
    let other = broker.http.post(other).header(USER, "ann");
    refused(
        other.header("x-broker-request", "1"),
        401,
        "session_invalid",
    )
    .await;
    assert_eq!(token(ask()).await.source, "local");
    assert_eq!(tenant.calls(Call::TokenImpersonation), 1);
}

/// Header lines that a proxy in front may not have seen as the one it replaces.
const CONFUSING: [&str; 10] = [
    "X-Auth-Request-User: eve\r\n",
    "x-auth-request-user: ann\r\n",
    "X_Auth_Request_User: eve\r\n",
    "X-Auth_Request-User: eve\r\n",
    "x_auth_request_user: ann\r\n",
    "X_AUTH-REQUEST_USER: \r\n",
    "X-Auth-Request-Nick: bob\r\nX-Auth-Request-Nick: eve\r\n",
    "X-Auth_Request-Nick: eve\r\n",
    "X-Proxy-Secret: proxy-secret-1\r\n",
    "x_proxy_secret: proxy-secret-1\r\n",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_doubled_header_or_a_look_alike_is_refused_from_anybody() {
    for from in [NEAR, FAR] {
        let (tenant, broker) = setup(&(from.to_owned() + SECRET + FURTHER)).await;
        let good = "X-Auth-Request-User: ann\r\nX-Proxy-Secret: proxy-secret-1\r\n";
        for line in CONFUSING {
            for lines in [good.to_owned() + line, line.to_owned() + good] {
                let told = told(&tenant, broker.address, &lines).await;
                assert_eq!(told, "session_invalid", "{lines}");
            }
        }
        assert_eq!(tenant.calls(Call::Any), 0);
        // The same lines without the odd one, and with one that only resembles them.
        let near = if from == NEAR {
            "auth0|ann"
        } else {
            "session_invalid"
        };
        for line in [
            "",
            "X-Auth-Request-Users: eve\r\n",
            "X-Auth-Request.User: eve\r\n",
        ] {
            let told = told(&tenant, broker.address, &(good.to_owned() + line)).await;
            assert_eq!(told, near, "{line}");
        }
        // What was remembered just now does not help.
        let doubled = good.to_owned() + CONFUSING[2];
        assert_eq!(
            told(&tenant, broker.address, &doubled).await,
            "session_invalid"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_says_nothing_is_nobody() {
    let (tenant, broker) = setup(NEAR).await;
    for (lines, code) in [
        ("X_Auth_Request_User: ann\r\n", "session_missing"),
        ("X-Auth_Request-User: ann\r\n", "session_missing"),
        ("X-Auth-Request-User:\r\n", "session_invalid"),
        ("X-Auth-Request-User: \t \r\n", "session_invalid"),
    ] {
        let told = told(&tenant, broker.address, lines).await;
        assert_eq!(told, code, "{lines}");
    }
    let unreadable = as_user(&broker, "ann");
    let name = reqwest::header::HeaderName::from_static("x-auth-request-user");
    let mut unreadable = unreadable.build().unwrap();
    let bytes = reqwest::header::HeaderValue::from_bytes(b"ann\xff").unwrap();
    unreadable.headers_mut().insert(name, bytes);
    let answer = broker.http.execute(unreadable).await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(tenant.calls(Call::Any), 0);
}

#[tokio::test]
async fn only_the_whole_shared_secret_proves_the_proxy() {
    let (tenant, broker) = setup(&(NEAR.to_owned() + SECRET)).await;
    for secrets in [
        &[][..],
        &[""],
        &["wrong"],
        &["proxy-secret-"],
        &["proxy-secret-11"],
        &["PROXY-SECRET-1"],
        &["proxy-secret-1", "proxy-secret-1"],
        &["proxy-secret-1", "wrong"],
        &["wrong", "proxy-secret-1"],
        &["proxy-secret-1, proxy-secret-1"],
    ] {
        let mut request = as_user(&broker, "ann");
        for secret in secrets {
            request = request.header("X-Proxy-Secret", *secret);
        }
        refused(request, 401, "session_invalid").await;
    }
    assert_eq!(tenant.calls(Call::Any), 0);
    let good = as_user(&broker, "ann").header("X-Proxy-Secret", "proxy-secret-1");
    token(good).await;
    // And what it proved is not remembered of the user alone.
    refused(as_user(&broker, "ann"), 401, "session_invalid").await;
    assert_eq!(tenant.calls(Call::TokenImpersonation), 1);
}

#[tokio::test]
async fn a_refused_header_ends_the_search_and_an_ignored_one_does_not() {
    let (tenant, keeper) = (tenant().await, Keeper::start().await);
    keeper.log_in("s1", json!({"sub": "bob"}));
    let portal = format!(
        "[[session]]\ntype = 'portal_check'\nurl = '{}/whoami'\ncookies = ['sid']\n\
         user = [{{ field = 'subject', value = 'auth0|{{sub}}' }}]\n",
        keeper.url
    );
    for from in [NEAR, FAR] {
        let config = table(from) + &portal + &tenant_table("acme", &tenant.url());
        let broker = Broker::start(&config);
        let ask = || as_user(&broker, "ann").header("cookie", "sid=s1");
        refused(ask().header(USER, "ann"), 401, "session_invalid").await;
        let look_alike = ask().header("x_auth_request_user", "ann");
        refused(look_alike, 401, "session_invalid").await;
        assert_eq!((keeper.questions(), tenant.calls(Call::Any)), (0, 0));
    }
    let config = table(FAR) + &portal + &tenant_table("acme", &tenant.url());
    let broker = Broker::start(&config);
    let ignored = token(as_user(&broker, "ann").header("cookie", "sid=s1")).await;
    assert_eq!(who_is(&tenant, &ignored.text).await, "auth0|bob");
}

#[tokio::test]
async fn a_jwt_or_a_key_from_the_same_peer_works_beside_the_header() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    let tables = table(NEAR) + &portal.table() + &key_table(&["acme"]);
    let broker = Broker::start(&(tables + &tenant_table("acme", &tenant.url())));
    let session = portal.session("bob");
    let by_jwt = token(broker.ask_as(&session)).await;
    assert_eq!(who_is(&tenant, &by_jwt.text).await, "auth0|bob");
    // With both, the order of the tables decides, whatever was remembered.
    for _ in 0..2 {
        let both = token(as_user(&broker, "ann").bearer_auth(&session)).await;
        assert_eq!(who_is(&tenant, &both.text).await, "auth0|ann");
        let alone = token(broker.ask_as(&session)).await;
        assert_eq!(alone.id, by_jwt.id);
    }
    let key = broker.ask_for("eve").header(USER, "ann");
    let key = token(key.header("x-broker-request", "1")).await;
    assert_eq!(who_is(&tenant, &key.text).await, "auth0|eve");
    let wrong = as_user(&broker, "ann").bearer_auth(KEY.replace('A', "B"));
    refused(wrong, 401, "session_invalid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_that_share_a_connection_each_get_their_own_token() {
    let (tenant, broker) = setup(NEAR).await;
    let users = ["ann", "bob", "ann", "bob", "eve", "ann"];
    let last = users.len() - 1;
    let requests = users.iter().enumerate().map(|(index, user)| {
        let connection = if index == last { "close" } else { "keep-alive" };
        request(&format!("{USER}: {user}\r\n"), connection)
    });
    let answer = raw(broker.address, requests.collect()).await;
    let tokens = answer.split("\"access_token\":\"").skip(1);
    let tokens: Vec<_> = tokens.map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(tokens.len(), users.len(), "{answer}");
    for (user, token) in users.iter().zip(&tokens) {
        assert_eq!(who_is(&tenant, token).await, format!("auth0|{user}"));
    }
    assert_eq!(tenant.calls(Call::TokenImpersonation), 3);
}

#[tokio::test]
async fn a_logout_ends_the_tokens_and_the_proxy_s_session_gets_a_new_one() {
    let tenant = tenant().await;
    let tables = table(NEAR) + &key_table(&["acme"]);
    let broker = Broker::start(&(tables + &tenant_table("acme", &tenant.url())));
    let bob = token(as_user(&broker, "bob")).await;
    let mut ended = Vec::new();
    for round in 0..2 {
        let ann = token(as_user(&broker, "ann")).await;
        assert!(!ended.contains(&ann.text), "a new one");
        let by_itself = broker.post("/logout").header(USER, "ann");
        let by_key = broker.post("/logout").bearer_auth(KEY);
        let logout = match round {
            0 => by_itself.header("x-broker-request", "1"),
            _ => by_key.json(&json!({"user_lookup": subject("ann")})),
        };
        assert_eq!(logout.send().await.unwrap().status(), 204);
        for _ in 0..100 {
            if !tenant.is_live(&ann.text) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!tenant.is_live(&ann.text), "revoked upstream");
        ended.push(ann.text);
    }
    let new = token(as_user(&broker, "ann")).await;
    assert!(!ended.contains(&new.text) && tenant.is_live(&new.text));
    assert_eq!(token(as_user(&broker, "bob")).await.text, bob.text);
    let calls = [Call::TokenImpersonation, Call::Revoke].map(|call| tenant.calls(call));
    assert_eq!(calls, [4, 2]);
}
