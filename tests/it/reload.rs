//! Reading the configuration again: what stays, what changes, and what a broken one does.

mod access;
mod changes;
mod files;
mod process;
mod replicas;
mod rotation;
mod tenants;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use qlik_token_broker::simulator::{Call, Fault, Simulator};
use serde_json::{Value, json};

use super::harness::{
    Broker, KEY, Token, key_table, refused, sha256, subject, tenant, tenant_table, token,
    usual_budget,
};
use super::keeper::Keeper;
use super::portal::{Key, Portal};

/// A key that may register sessions.
const REGISTRAR: &str = "qtb_registrar_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";

fn registrar(lines: &str) -> String {
    let digest = sha256(REGISTRAR);
    format!(
        "[[session]]\ntype = 'api_key'\nname = 'registrar'\nkeys = [{{ id = 'registrar', sha256 = '{digest}', \
         tenants = ['acme'], allow = ['sessions'] }}]\n[[session]]\ntype = 'handle'\n{lines}\n"
    )
}

async fn registered(broker: &Broker, user: &str) -> (String, u64) {
    let asking = broker.post("/sessions").bearer_auth(REGISTRAR);
    let answer = asking.json(&json!({"user_lookup": subject(user)})).send();
    let body: Value = answer.await.unwrap().json().await.unwrap();
    let handle = body["session"].as_str().unwrap().to_owned();
    (handle, body["expires_in"].as_u64().unwrap())
}

async fn ready(broker: &Broker) -> Value {
    broker.ops("/readyz").await.json().await.unwrap()
}

/// The token of a user of this tenant, for a key that holds several.
async fn token_in(broker: &Broker, tenant: &str, user: &str) -> Token {
    token(broker.ask(&json!({"user_lookup": subject(user), "tenant": tenant}))).await
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
async fn cached_tokens_survive_when_a_tenant_is_added() {
    let (acme, globex) = (tenant().await, tenant().await);
    let broker = Broker::with(&acme);
    let before = broker.token_of("ann").await;
    let both = key_table(&["acme", "globex"])
        + &tenant_table("acme", &acme.url())
        + &tenant_table("globex", &globex.url());
    let answer = broker.reload(&both).await;
    assert_eq!(
        answer,
        json!({"generation": 2, "restart_needed": [], "warnings": []})
    );
    let after = token_in(&broker, "acme", "ann").await;
    assert_eq!(
        (&after.text, after.source.as_str()),
        (&before.text, "local")
    );
    assert_eq!(token_in(&broker, "globex", "ann").await.source, "minted");
    assert_eq!((acme.calls(Call::Any), globex.calls(Call::Any)), (1, 1));
}

#[tokio::test]
async fn a_mint_in_flight_is_shared_by_who_came_before_and_who_comes_after() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    tenant.on(Call::Token, Fault::Slow { millis: 700 });
    let config = std::fs::read_to_string(&broker.file.0).unwrap();
    // Another table of keys, and another configuration of the tenant.
    let other = config.replace("['token', 'logout']", "['token']");
    let other = other.replace("https://portal.acme.test", "https://other.acme.test");
    let before = broker.token_of("ann");
    let after = async {
        while tenant.calls(Call::Token) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        broker.reload(&other).await;
        broker.token_of("ann").await
    };
    let (before, after) = tokio::join!(before, after);
    assert_eq!(before.text, after.text);
    assert_eq!(after.source, "minted", "it waited");
    assert_eq!(tenant.calls(Call::Token), 1);
}

#[tokio::test]
async fn handles_survive_and_later_ones_keep_to_the_new_rules() {
    let tenant = tenant().await;
    let table = tenant_table("acme", &tenant.url());
    let broker = Broker::start(&(registrar("ttl = '1h'") + &table));
    let (handle, life) = registered(&broker, "ann").await;
    assert_eq!(life, 3600);
    token(broker.ask_as(&handle)).await;
    // The same table, then another one under another name.
    broker.reload(&(registrar("ttl = '1h'") + &table)).await;
    assert_eq!(token(broker.ask_as(&handle)).await.source, "local");
    let lines = "name = 'other'\nttl = '2h'\ncookie = 'sid'";
    broker.reload(&(registrar(lines) + &table)).await;
    assert_eq!(token(broker.ask_as(&handle)).await.source, "local");
    let by_cookie = broker
        .post("/session-token")
        .header("x-broker-request", "1");
    let by_cookie = by_cookie.header("cookie", format!("sid={handle}"));
    assert_eq!(token(by_cookie).await.source, "local");
    let (later, life) = registered(&broker, "ann").await;
    assert_eq!(life, 7200);
    token(broker.ask_as(&later)).await;
    assert_eq!(tenant.calls(Call::Any), 1);
    let gone = key_table(&["acme"]) + &table;
    broker.reload(&gone).await;
    refused(broker.ask_as(&handle), 401, "session_invalid").await;
}

/// A session that was logged out stays so, whatever is reloaded.
/// What was logged out is the session itself, wherever it is asked about.
#[tokio::test]
async fn logouts_survive_where_sessions_are_asked_about_elsewhere() {
    let (tenant, keeper) = (tenant().await, Keeper::start().await);
    let user = "user = [{ field = 'subject', value = 'auth0|{sub}' }]";
    let config = format!(
        "[[session]]\ntype = 'introspection'\nurl = '{0}/introspect'\nclient_id = 'one'\nclient_secret = 's'\n\
         audience = 'broker'\n{user}\n[[session]]\ntype = 'portal_check'\nurl = '{0}/whoami'\ncookies = ['sid']\n{user}\n{1}",
        keeper.url,
        tenant_table("acme", &tenant.url())
    );
    let broker = Broker::start(&config);
    for session in ["opaque-of-ann", "cookie-of-ann"] {
        keeper.log_in(
            session,
            json!({"active": true, "aud": "broker", "sub": "ann"}),
        );
    }
    let shown = [
        ("authorization", "Bearer opaque-of-ann"),
        ("cookie", "sid=cookie-of-ann"),
    ];
    let ask = |path: &str, (name, value): (&str, &str)| {
        broker
            .post(path)
            .header(name, value)
            .header("x-broker-request", "1")
    };
    for session in shown {
        token(ask("/session-token", session)).await;
        assert_eq!(ask("/logout", session).send().await.unwrap().status(), 204);
    }
    let elsewhere = config
        .replace("/introspect'", "/introspect?v=2'")
        .replace("/whoami'", "/whoami?v=2'")
        .replace("client_id = 'one'", "client_id = 'other'");
    assert_ne!(config, elsewhere);
    broker.reload(&elsewhere).await;
    for session in shown {
        refused(ask("/session-token", session), 401, "session_expired").await;
    }
}

#[tokio::test]
async fn logouts_survive() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    let table = tenant_table("acme", &tenant.url());
    let config = registrar("") + &key_table(&["acme"]) + &portal.table() + &table;
    let broker = Broker::start(&config);
    let (ann, bob) = (portal.session("ann"), portal.session("bob"));
    let (handle, _) = registered(&broker, "eve").await;
    for session in [&ann, &bob, &handle] {
        token(broker.ask_as(session)).await;
    }
    for session in [&ann, &handle] {
        let ending = broker.post("/logout").bearer_auth(session);
        assert_eq!(ending.send().await.unwrap().status(), 204);
    }
    let everywhere = broker.post("/logout").bearer_auth(KEY);
    let everywhere = everywhere.json(&json!({"user_lookup": subject("bob")}));
    assert_eq!(everywhere.send().await.unwrap().status(), 204);
    for changed in [
        config.clone(),
        config.replace("'ES256'", "'ES256', 'RS256'"),
    ] {
        broker.reload(&changed).await;
        for session in [&ann, &bob, &handle] {
            refused(broker.ask_as(session), 401, "session_expired").await;
        }
    }
    assert_eq!(tenant.calls(Call::Token), 3);
}

#[tokio::test]
async fn a_broken_configuration_changes_nothing_and_says_so_until_it_is_mended() {
    const CANARY: &str = "canary-4f1c";
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    broker.token_of("ann").await;
    let good = std::fs::read_to_string(&broker.file.0).unwrap();
    let scopes = format!("[tenants.acme]\nscopes = 'admin {CANARY}'\nsurprise = '{CANARY}'\n");
    let faulty = good.replace("[tenants.acme]\n", &scopes);
    let faulty = faulty.replace("\nscopes = 'user_default'\n", "\n");
    let syntax = format!("{good}\nclient_secret = \"{CANARY}");
    let missing = good.replace(
        "'tenant-client-secret'",
        "{ file = '/nowhere/canary-4f1c' }",
    );
    for (config, paths) in [
        (
            &faulty,
            vec!["tenants.acme.scopes", "tenants.acme.surprise"],
        ),
        (&syntax, vec![""]),
        (&missing, vec!["tenants.acme.client_secret"]),
    ] {
        std::fs::write(&broker.file.0, config).unwrap();
        let answer = broker.ask_to_reload().send().await.unwrap();
        assert_eq!(answer.status(), 422);
        let body: Value = answer.json().await.unwrap();
        assert!(body["error"].as_str().unwrap().contains("the old one"));
        let problems = body["problems"].as_array().unwrap();
        assert_eq!(problems.len(), paths.len(), "{body}");
        for (problem, path) in problems.iter().zip(paths) {
            let told = problem["path"].as_str().unwrap();
            assert!(told == path || path.is_empty(), "{problem}");
            assert!(problem["message"].is_string() && problem["remedy"].is_string());
        }
        if *config != missing {
            assert!(!body.to_string().contains(CANARY), "{body}");
        }
        let ready = ready(&broker).await;
        let path = &problems[0]["path"];
        let reasons = json!([{"config": path, "reason": "reload_refused"}]);
        let expected = json!({"status": "degraded", "reasons": reasons, "generation": 1});
        assert_eq!(ready, expected);
        assert_eq!(broker.token_of("ann").await.source, "local");
    }
    broker.token_of("bob").await;
    assert_eq!(tenant.calls(Call::Any), 2, "the old secret is in use");
    assert_eq!(broker.reload(&good).await["generation"], 2);
    let expected = json!({"status": "ready", "reasons": [], "generation": 2});
    assert_eq!(ready(&broker).await, expected);
}

#[tokio::test]
async fn a_budget_is_not_refilled() {
    let tenant = tenant().await;
    let config = |budget: &str, origin: &str| {
        let table = usual_budget(&tenant_table("acme", &tenant.url()));
        let table = table.replace("https://portal.acme.test", origin);
        format!(
            "[server]\nrequest_timeout = '1s'\n{}{table}budget = {budget}\n",
            key_table(&["acme"])
        )
    };
    let broker = Broker::start(&config("{ per_minute = 1, burst = 2 }", "https://a.test"));
    broker.token_of("ann").await;
    broker.token_of("bob").await;
    for (budget, origin) in [
        ("{ per_minute = 1, burst = 2 }", "https://a.test"),
        ("{ per_minute = 1, burst = 2 }", "https://b.test"),
        ("{ per_minute = 10, burst = 400 }", "https://b.test"),
        ("{ per_minute = 1, burst = 2 }", "https://b.test"),
    ] {
        broker.reload(&config(budget, origin)).await;
        let wait = refused(broker.ask_for("eve"), 503, "tenant_throttled").await;
        assert!(wait > Some(5), "{wait:?}");
    }
    assert_eq!(tenant.calls(Call::Any), 2);
}

#[tokio::test]
async fn what_needs_a_restart_is_told_and_keeps_its_value() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let config = std::fs::read_to_string(&broker.file.0).unwrap();
    let changed = "[server]\nlisten = '127.0.0.1:1'\nrequest_timeout = '7s'\n[ops]\nlisten = '127.0.0.1:2'\n\
                   [log]\nlevel = 'debug'\n[cache]\nmax_users = 7\nidle = '7s'\nmin_life = '7s'\n";
    for _ in 0..2 {
        let answer = broker.reload(&(changed.to_owned() + &config)).await;
        let keys = [
            "server.listen",
            "ops.listen",
            "log",
            "cache.max_users",
            "cache.idle",
        ];
        assert_eq!(answer["restart_needed"], json!(keys));
    }
    let app = broker.live.app();
    assert_eq!(app.server.listen.port(), 8080);
    assert_eq!(
        app.request_timeout(),
        Duration::from_secs(7),
        "and this does not"
    );
    assert_eq!(broker.reload(&config).await["restart_needed"], json!([]));
}

/// Hits, mints, refusals and sessions of either configuration, while it changes all the time.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_reloads_under_load_fail_no_request() {
    const RELOADS: u64 = 200;
    let mut world = super::harness::world();
    for user in 0..400 {
        world = world.with_user(format!("auth0|u{user}"), format!("u{user}@acme.test"));
    }
    let tenant = Simulator::start(world).await.unwrap();
    let portal = Portal::start(Key::p256()).await;
    let table = tenant_table("acme", &tenant.url());
    let limits = "[limits]\nsession_per_minute = 0\n";
    let one = limits.to_owned() + &key_table(&["acme"]) + &portal.table() + &table;
    // Other tables, another chain, another configuration of the tenant.
    let other = limits.to_owned()
        + &registrar("")
        + &portal.table_with(&format!(
            "jwks_url = '{}/jwks'\nscope = 'user_default'",
            portal.url
        ))
        + &key_table(&["acme"])
        + &table.replace("['https://portal", "['https://new.test', 'https://portal");
    let broker = Broker::start(&one);
    let stop = tokio::sync::watch::channel(false);
    let hits = (0..4).map(|task| {
        let (broker, portal, stopped) = (&broker, &portal, stop.1.clone());
        async move {
            let mut answers = 0;
            let session = portal.session(["ann", "bob"][task % 2]);
            while !*stopped.borrow() {
                let asking = match task {
                    0 | 1 => broker.ask_as(&session),
                    _ => broker.ask_for("eve"),
                };
                token(asking).await;
                answers += 1;
            }
            answers
        }
    });
    let mints = async {
        for user in 0..400 {
            if *stop.1.borrow() {
                return user;
            }
            broker.token_of(&format!("u{user}")).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        400
    };
    let reloads = async {
        let started = Instant::now();
        let configs = [&other, &one].into_iter().cycle();
        for (generation, config) in (2..RELOADS + 2).zip(configs) {
            assert_eq!(broker.reload(config).await["generation"], generation);
        }
        stop.0.send(true).unwrap();
        started.elapsed()
    };
    let (hits, minted, took) = tokio::join!(join_all(hits), mints, reloads);
    assert!(hits.iter().all(|answers| *answers > 20), "{hits:?}");
    assert_eq!(
        tenant.calls(Call::Token),
        minted + 3,
        "one call each, {took:?}"
    );
    assert_eq!(ready(&broker).await["status"], "ready");
}
