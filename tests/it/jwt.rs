//! `jwt` sessions: what is accepted, and everything that must not be.

use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use qlik_token_broker::simulator::{Call, Simulator};
use serde_json::{Value, json};

use super::harness::{Broker, Scratch, header, refused, tenant, tenant_table, token, who_is};
use super::portal::{AUDIENCE, Key, Portal, hmac_jwt, merge, now, part};

async fn setup(key: Key) -> (Simulator, Portal, Broker) {
    let (tenant, portal) = (tenant().await, Portal::start(key).await);
    let broker = Broker::start(&(portal.table() + &tenant_table("acme", &tenant.url())));
    (tenant, portal, broker)
}

#[tokio::test]
async fn a_good_jwt_leads_to_its_user_by_every_kind_of_key() {
    let tenant = tenant().await;
    for key in [Key::rsa(), Key::p256()] {
        let portal = Portal::start(key).await;
        let set = Scratch::new(&json!({"keys": [portal.key.jwk("k1")]}).to_string());
        for keys in [
            format!("jwks_url = '{}/jwks'", portal.url),
            "discovery = true".to_owned(),
            format!("jwks_file = '{}'", set.0.display()),
            format!("public_key = '''{}'''", portal.key.public_pem()),
        ] {
            let broker =
                Broker::start(&(portal.table_with(&keys) + &tenant_table("acme", &tenant.url())));
            let issued = token(broker.ask_as(&portal.session("ann"))).await;
            assert_eq!(who_is(&tenant, &issued.text).await, "auth0|ann", "{keys}");
        }
    }
}

#[tokio::test]
async fn hmac_and_cookies_work_and_the_header_goes_before_the_cookie() {
    let tenant = tenant().await;
    let secret = "a secret of at least thirty-two bytes";
    let config = format!(
        "[[session]]\ntype = 'jwt'\nissuer = 'https://portal'\naudience = '{AUDIENCE}'\nalgorithms = ['HS256']\n\
         hmac_secret = '{secret}'\ncookie = 'sid'\nuser = [{{ field = 'subject', value = 'auth0|{{sub}}' }}]\n"
    );
    let broker = Broker::start(&(config + &tenant_table("acme", &tenant.url())));
    let session = |user: &str| {
        let claims = json!({"iss": "https://portal", "aud": [AUDIENCE, "other"], "sub": user, "exp": now() + 60});
        hmac_jwt(secret.as_bytes(), &json!({"alg": "HS256"}), &claims)
    };
    let cookie = |value: &str| {
        broker
            .post("/session-token")
            .header("cookie", format!("a=b; sid={value}; c=d"))
    };
    let by_bearer = token(broker.ask_as(&session("ann"))).await;
    let by_cookie = token(cookie(&session("ann")).header("x-broker-request", "1")).await;
    assert_eq!(by_bearer.id, by_cookie.id);
    refused(
        cookie(&session("ann"))
            .bearer_auth("nonsense")
            .header("x-broker-request", "1"),
        401,
        "session_invalid",
    )
    .await;
    let both = cookie(&session("ann"))
        .bearer_auth(session("bob"))
        .header("x-broker-request", "1");
    assert_ne!(
        token(both).await.id,
        by_cookie.id,
        "the Authorization header alone counts"
    );
    let twice = cookie(&session("ann"))
        .header("cookie", format!("sid={}", session("eve")))
        .header("x-broker-request", "1");
    refused(twice, 401, "session_invalid").await;
}

/// Every row is a signed or forged JWT that must not be accepted.
#[tokio::test]
async fn c36_nothing_but_a_verified_jwt_of_the_right_issuer_and_audience_is_accepted() {
    let (tenant, portal, broker) = setup(Key::rsa()).await;
    let with = |changes: Value| portal.session_with("ann", &changes);
    let with_header = |changes: Value| {
        let mut header = portal.header();
        merge(&mut header, &changes);
        portal.key.jwt(&header, &portal.claims("ann"))
    };
    let stranger = Key::rsa();
    let unsigned = format!(
        "{}.{}.",
        part(&json!({"alg": "none", "typ": "JWT"})),
        part(&portal.claims("ann"))
    );
    let good = portal.session("ann");
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let evil_claims = part(&portal.claims("eve"));
    let swapped = format!(
        "{}.{evil_claims}.{signature}",
        signed.split('.').next().unwrap()
    );
    let pem = portal.key.public_pem();
    let confused = hmac_jwt(
        pem.as_bytes(),
        &json!({"alg": "HS256", "kid": "k1"}),
        &portal.claims("ann"),
    );
    let jwk = part(&stranger.jwk("k1"));
    let rows = [
        (
            "expired",
            with(json!({"exp": now() - 31})),
            "session_expired",
        ),
        ("no exp", with(json!({"exp": null})), "session_invalid"),
        (
            "exp is text",
            with(json!({"exp": (now() + 60).to_string()})),
            "session_invalid",
        ),
        (
            "exp is null in JSON",
            portal.key.jwt(&portal.header(), &{
                let mut c = portal.claims("ann");
                c["exp"] = Value::Null;
                c
            }),
            "session_invalid",
        ),
        ("nbf is text", with(json!({"nbf": "0"})), "session_invalid"),
        (
            "not valid yet",
            with(json!({"nbf": now() + 90})),
            "session_invalid",
        ),
        (
            "from the future",
            with(json!({"iat": now() + 90})),
            "session_invalid",
        ),
        ("no issuer", with(json!({"iss": null})), "session_invalid"),
        (
            "another issuer",
            with(json!({"iss": "https://evil.test"})),
            "session_invalid",
        ),
        (
            "issuer with a slash",
            with(json!({"iss": format!("{}/", portal.url)})),
            "session_invalid",
        ),
        (
            "issuer in a list",
            with(json!({"iss": [portal.url]})),
            "session_invalid",
        ),
        ("no audience", with(json!({"aud": null})), "session_invalid"),
        (
            "another audience",
            with(json!({"aud": "other"})),
            "session_invalid",
        ),
        (
            "audience as prefix",
            with(json!({"aud": "broker2"})),
            "session_invalid",
        ),
        (
            "audience in an object",
            with(json!({"aud": {"broker": true}})),
            "session_invalid",
        ),
        ("alg none", unsigned.clone(), "session_invalid"),
        (
            "alg None",
            format!(
                "{}.{}.",
                part(&json!({"alg": "None"})),
                part(&portal.claims("ann"))
            ),
            "session_invalid",
        ),
        ("HS256 with the public key", confused, "session_invalid"),
        (
            "an algorithm that is not listed",
            with_header(json!({"alg": "RS512"})),
            "session_invalid",
        ),
        (
            "another family",
            with_header(json!({"alg": "ES256"})),
            "session_invalid",
        ),
        (
            "crit",
            with_header(json!({"crit": ["exp"]})),
            "session_invalid",
        ),
        (
            "a stranger's key",
            stranger.jwt(&portal.header(), &portal.claims("ann")),
            "session_invalid",
        ),
        (
            "a key in the header",
            stranger.jwt(
                &{
                    let mut h = portal.header();
                    h["jwk"] = stranger.jwk("k1");
                    h
                },
                &portal.claims("ann"),
            ),
            "session_invalid",
        ),
        (
            "jku",
            stranger.jwt(
                &{
                    let mut h = portal.header();
                    h["jku"] = json!("http://127.0.0.1:1/jwks");
                    h["x5u"] = json!("http://127.0.0.1:1/");
                    h
                },
                &portal.claims("ann"),
            ),
            "session_invalid",
        ),
        ("no signature", signed.to_owned(), "session_invalid"),
        ("empty signature", format!("{signed}."), "session_invalid"),
        (
            "another signature",
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode([1_u8; 256])),
            "session_invalid",
        ),
        ("claims swapped", swapped, "session_invalid"),
        ("five parts", format!("{good}.{jwk}.x"), "session_invalid"),
        ("padding", format!("{good}=="), "session_invalid"),
        (
            "too long",
            format!("{good}{}", "A".repeat(17_000)),
            "session_invalid",
        ),
    ];
    for (what, jwt, code) in rows {
        let response = broker.ask_as(&jwt).send().await.unwrap();
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        assert_eq!(
            (status.as_u16(), body["code"].as_str()),
            (401, Some(code)),
            "{what}: {body}"
        );
    }
    assert_eq!(tenant.calls(Call::Any), 0);
    token(broker.ask_as(&good)).await;
}

#[tokio::test]
async fn c16_leeway_holds_at_both_edges() {
    let (_tenant, portal, broker) = setup(Key::p256()).await;
    token(broker.ask_as(&portal.session_with("ann", &json!({"exp": now() - 25})))).await;
    refused(
        broker.ask_as(&portal.session_with("ann", &json!({"exp": now() - 31}))),
        401,
        "session_expired",
    )
    .await;
    token(broker.ask_as(&portal.session_with("ann", &json!({"nbf": now() + 25})))).await;
    refused(
        broker.ask_as(&portal.session_with("ann", &json!({"nbf": now() + 35}))),
        401,
        "session_invalid",
    )
    .await;
}

#[tokio::test]
async fn a_remembered_session_ends_when_it_ends() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    let table = portal.table_with(&format!("jwks_url = '{}/jwks'\nleeway = '0s'", portal.url));
    let broker = Broker::start(&(table + &tenant_table("acme", &tenant.url())));
    let session = portal.session_with("ann", &json!({"exp": now() + 2}));
    token(broker.ask_as(&session)).await;
    assert_eq!(token(broker.ask_as(&session)).await.source, "local");
    tokio::time::sleep(Duration::from_millis(2050)).await;
    refused(broker.ask_as(&session), 401, "session_expired").await;
}

#[tokio::test]
async fn typ_is_exact_where_it_is_configured() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    let table = portal.table_with(&format!("jwks_url = '{}/jwks'\ntyp = 'at+jwt'", portal.url));
    let broker = Broker::start(&(table + &tenant_table("acme", &tenant.url())));
    refused(
        broker.ask_as(&portal.session("ann")),
        401,
        "session_invalid",
    )
    .await;
    let mut header = portal.header();
    header["typ"] = json!("at+jwt");
    token(broker.ask_as(&portal.key.jwt(&header, &portal.claims("ann")))).await;
}

#[tokio::test]
async fn ten_thousand_unknown_kids_cause_one_fetch_and_hold_nobody_up() {
    let (_tenant, portal, broker) = setup(Key::p256()).await;
    let good = portal.session("ann");
    token(broker.ask_as(&good)).await;
    assert_eq!(portal.fetches(), 1);
    let claims = portal.claims("ann");
    let storm = (0..10_000).map(|number| {
        let mut header = portal.header();
        header["kid"] = json!(format!("invented-{number}"));
        let jwt = format!("{}.{}.c2ln", part(&header), part(&claims));
        let request = broker.ask_as(&jwt);
        async move { request.send().await.unwrap().status().as_u16() }
    });
    let storm =
        futures_util::stream::StreamExt::buffer_unordered(futures_util::stream::iter(storm), 64);
    let counting = futures_util::stream::StreamExt::fold(
        storm,
        [0, 0],
        |[refused, later], status| async move {
            match status {
                401 => [refused + 1, later],
                503 => [refused, later + 1],
                other => panic!("{other}"),
            }
        },
    );
    let valid = async {
        for _ in 0..50 {
            let started = std::time::Instant::now();
            token(broker.ask_as(&good)).await;
            assert!(
                started.elapsed() < Duration::from_secs(2),
                "a valid caller waits for no fetch"
            );
        }
    };
    let ([refused, later], ()) = tokio::join!(counting, valid);
    assert_eq!(refused + later, 10_000);
    assert_eq!(
        portal.fetches(),
        1,
        "the set is seconds old: nobody may look again yet"
    );
}

#[tokio::test]
async fn an_unknown_kid_is_looked_for_once_and_a_new_key_is_found() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    let broker = Broker::start(&(portal.table() + &tenant_table("acme", &tenant.url())));
    // Nothing is known yet: the first look is this request's own, so the answer is final.
    let mut header = portal.header();
    header["kid"] = json!("k2");
    let rotated = Key::p256();
    let session = rotated.jwt(&header, &portal.claims("ann"));
    refused(broker.ask_as(&session), 401, "session_invalid").await;
    portal.publish("k2", &rotated);
    let wait = refused(broker.ask_as(&session), 503, "session_service_unavailable").await;
    assert!(
        wait.is_some_and(|wait| (50..=60).contains(&wait)),
        "{wait:?}"
    );
    assert_eq!(portal.fetches(), 1);
}

#[tokio::test]
async fn a_rotated_key_is_found_by_its_first_jwt() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    let table = portal.table_with(&format!(
        "jwks_url = '{}/jwks'\njwks_refresh = '2s'",
        portal.url
    ));
    let broker = Broker::start(&(table + &tenant_table("acme", &tenant.url())));
    token(broker.ask_as(&portal.session("ann"))).await;
    let rotated = Key::p256();
    portal.publish("k2", &rotated);
    let mut header = portal.header();
    header["kid"] = json!("k2");
    let session = rotated.jwt(&header, &portal.claims("bob"));
    refused(broker.ask_as(&session), 503, "session_service_unavailable").await;
    assert_eq!(portal.fetches(), 1);
    // Where the set is refreshed every 2 s, a look is due after 2 s: not by the refresh behind a hit,
    // but by the JWT that needs it.
    tokio::time::sleep(Duration::from_millis(2050)).await;
    let asked = (0..10).map(|_| token(broker.ask_as(&session)));
    let issued = futures_util::future::join_all(asked).await;
    assert!(issued.iter().all(|token| token.id == issued[0].id));
    assert!(portal.fetches() <= 3, "{}", portal.fetches());
}

#[tokio::test]
async fn two_keys_of_one_name_serve_their_own_algorithms() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    let rsa = Key::rsa();
    let set = json!({"keys": [rsa.jwk("k1"), portal.key.jwk("k1")]}).to_string();
    portal.answer(Some((StatusCode::OK, set)));
    let broker = Broker::start(&(portal.table() + &tenant_table("acme", &tenant.url())));
    token(broker.ask_as(&portal.session("ann"))).await;
}

/// A key that can never verify is found at the start, not by every user.
#[tokio::test]
async fn a_public_key_of_another_curve_or_kind_is_refused_at_load() {
    let portal = Portal::start(Key::p256()).await;
    let keys = format!("public_key = '''{}'''", portal.key.public_pem());
    for (algorithm, fits) in [
        ("ES256", true),
        ("ES384", false),
        ("RS256", false),
        ("EdDSA", false),
    ] {
        let table = portal.table_with(&keys).replace("ES256", algorithm);
        let file = Scratch::new(&(table + &tenant_table("acme", "http://127.0.0.1:9")));
        let sources = qlik_token_broker::config::Sources {
            files: vec![file.0.clone()],
            env: Vec::new(),
        };
        let loaded = qlik_token_broker::config::load(&sources);
        assert_eq!(loaded.is_ok(), fits, "{algorithm}");
        if let Err(problems) = loaded {
            assert_eq!(problems.0[0].path, "session[0].public_key");
        }
    }
}

#[tokio::test]
async fn a_cookie_that_is_no_text_hides_no_session() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    let table = portal.table_with(&format!("jwks_url = '{}/jwks'\ncookie = 'sid'", portal.url));
    let broker = Broker::start(&(table + &tenant_table("acme", &tenant.url())));
    let mut cookie = b"name=Jos\xe9; sid=".to_vec();
    cookie.extend(portal.session("ann").into_bytes());
    let cookie = reqwest::header::HeaderValue::from_bytes(&cookie).unwrap();
    token(
        broker
            .post("/session-token")
            .header("cookie", cookie)
            .header("x-broker-request", "1"),
    )
    .await;
}

#[tokio::test]
async fn several_keys_need_a_kid_and_one_does_not() {
    let (_tenant, portal, broker) = setup(Key::p256()).await;
    let mut header = portal.header();
    merge(&mut header, &json!({"kid": null}));
    let without_kid = portal.key.jwt(&header, &portal.claims("ann"));
    token(broker.ask_as(&without_kid)).await;
    let (_tenant, portal, broker) = setup(Key::p256()).await;
    portal.publish("k2", &Key::p256());
    let mut header = portal.header();
    merge(&mut header, &json!({"kid": null}));
    refused(
        broker.ask_as(&portal.key.jwt(&header, &portal.claims("ann"))),
        401,
        "session_invalid",
    )
    .await;
}

#[tokio::test]
async fn a_withdrawn_key_ends_the_sessions_that_were_remembered_with_it() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    portal.publish("k2", &Key::p256());
    let table = portal.table_with(&format!(
        "jwks_url = '{}/jwks'\njwks_refresh = '1s'",
        portal.url
    ));
    let broker = Broker::start(&(table + &tenant_table("acme", &tenant.url())));
    let session = portal.session("ann");
    token(broker.ask_as(&session)).await;
    assert_eq!(token(broker.ask_as(&session)).await.source, "local");
    portal.withdraw("k1");
    tokio::time::sleep(Duration::from_millis(1050)).await;
    // Served once more with the old set, while the refresh runs behind it.
    let _ = broker.ask_as(&session).send().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let response = broker.ask_as(&session).send().await.unwrap();
    assert!(
        matches!(response.status().as_u16(), 401 | 503),
        "the key is gone, and so is what it vouched for"
    );
}

#[tokio::test]
async fn an_issuer_out_of_reach_is_never_a_401_and_never_forgets_live_keys() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    let table = portal.table_with(&format!(
        "jwks_url = '{}/jwks'\njwks_refresh = '1s'",
        portal.url
    ));
    let broker = Broker::start(&(table + &tenant_table("acme", &tenant.url())));
    for broken in [
        (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
        (StatusCode::FOUND, String::new()),
        (StatusCode::OK, "not json".to_owned()),
        (StatusCode::OK, json!({"keys": []}).to_string()),
        (
            StatusCode::OK,
            json!({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}]}).to_string(),
        ),
        (StatusCode::OK, "x".repeat(300 * 1024)),
    ] {
        portal.answer(Some(broken.clone()));
        let fresh = Broker::start(&(portal.table() + &tenant_table("acme", &tenant.url())));
        let request = fresh.ask_as(&portal.session("ann"));
        refused(request, 503, "session_service_unavailable").await;
    }
    portal.answer(None);
    token(broker.ask_as(&portal.session("ann"))).await;
    portal.answer(Some((StatusCode::INTERNAL_SERVER_ERROR, String::new())));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    token(broker.ask_as(&portal.session("bob"))).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    token(broker.ask_as(&portal.session("eve"))).await;
}

#[tokio::test]
async fn discovery_must_name_the_issuer_itself() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    portal.claim_issuer("https://evil.test");
    let broker = Broker::start(
        &(portal.table_with("discovery = true") + &tenant_table("acme", &tenant.url())),
    );
    refused(
        broker.ask_as(&portal.session("ann")),
        503,
        "session_service_unavailable",
    )
    .await;
    assert_eq!(portal.fetches(), 0);
}

#[tokio::test]
async fn the_chain_asks_each_table_in_turn_and_our_own_prefixes_go_to_no_other() {
    let tenant = tenant().await;
    let (one, two) = (
        Portal::start(Key::p256()).await,
        Portal::start(Key::rsa()).await,
    );
    let table = |portal: &Portal, name: &str| {
        portal
            .table()
            .replace("type = 'jwt'", &format!("type = 'jwt'\nname = '{name}'"))
    };
    let broker = Broker::start(
        &(super::harness::key_table(&["acme"])
            + &table(&one, "one")
            + &table(&two, "two")
            + &tenant_table("acme", &tenant.url())),
    );
    let first = token(broker.ask_as(&one.session("ann"))).await;
    let second = token(broker.ask_as(&two.session("ann"))).await;
    assert_eq!(first.id, second.id, "one user, whoever vouches");
    let forged = one.key.jwt(&one.header(), &two.claims("ann"));
    refused(broker.ask_as(&forged), 401, "session_invalid").await;
    for prefix in ["qtb_", "qtbs_"] {
        refused(
            broker.ask_as(&format!("{prefix}{}", one.session("ann"))),
            401,
            "session_invalid",
        )
        .await;
    }
    assert_eq!(broker.token_of("ann").await.id, first.id);
}

#[tokio::test]
async fn claims_choose_the_tenant_and_a_page_cannot() {
    let (acme, globex) = (tenant().await, tenant().await);
    let portal = Portal::start(Key::p256()).await;
    let table = portal.table_with(&format!(
        "jwks_url = '{}/jwks'\ntenant = '{{org.id}}'\ndeny = ['auth0|svc-*']",
        portal.url
    ));
    let broker = Broker::start(
        &(table + &tenant_table("acme", &acme.url()) + &tenant_table("globex", &globex.url())),
    );
    let of = |org: Value| portal.session_with("ann", &json!({"org": {"id": org}}));
    let issued = token(
        broker
            .ask_as(&of(json!("globex")))
            .header("origin", "https://portal.globex.test"),
    )
    .await;
    assert!(globex.is_live(&issued.text) && acme.calls(Call::Any) == 0);
    for nobody in [
        json!("initech"),
        json!(""),
        json!("ACME"),
        json!(["acme"]),
        Value::Null,
        json!("acme "),
    ] {
        refused(broker.ask_as(&of(nobody)), 403, "tenant_not_allowed").await;
    }
    let elsewhere = broker
        .ask_as(&of(json!("globex")))
        .header("origin", "https://portal.acme.test");
    let response = elsewhere.send().await.unwrap();
    assert_eq!(
        (
            response.status().as_u16(),
            header(&response, "access-control-allow-origin").as_str()
        ),
        (403, "")
    );
    let of_user =
        |user: Value| portal.session_with("ann", &json!({"org": {"id": "acme"}, "sub": user}));
    refused(
        broker.ask_as(&of_user(json!("svc-backup"))),
        403,
        "user_not_allowed",
    )
    .await;
    refused(
        broker.ask_as(&of_user(json!({"a": 1}))),
        403,
        "user_not_mapped",
    )
    .await;
    refused(
        broker.ask_as(&of_user(json!("x".repeat(300)))),
        403,
        "user_not_mapped",
    )
    .await;
    refused(
        broker.ask_as(&of_user(json!("a\u{0}b"))),
        403,
        "user_not_mapped",
    )
    .await;
    assert_eq!(acme.calls(Call::Any), 0);
}

#[tokio::test]
async fn a_table_with_scopes_of_its_own_is_bound_to_them() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    let table = portal.table_with(&format!(
        "jwks_url = '{}/jwks'\nscope = 'apps:read spaces:read'",
        portal.url
    ));
    let broker = Broker::start(&(table + &tenant_table("acme", &tenant.url())));
    let session = portal.session("ann");
    assert_eq!(
        token(broker.ask_as(&session)).await.scope,
        "apps:read spaces:read"
    );
    let wider = broker
        .ask_as(&session)
        .json(&json!({"scope": "user_default"}));
    refused(wider, 403, "scope_not_allowed").await;
}
