//! What operators get wrong, planted one by one in a world in which all else is well.

use std::sync::Arc;

use qlik_token_broker::simulator::{CLIENT_CREDENTIALS, UserStatus, World};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::super::certificates::Authority;
use super::super::harness::PAGE;
use super::super::redis::Redis;
use super::stage::{SUBJECT, Stage, front, run, shared};

/// So many worlds at a time.
const AT_ONCE: usize = 4;
const OTHER_PAGE: &str = "https://other.acme.test";

/// What is planted, and the one line that tells it: level, code, path, and what the message names.
struct Plant(
    &'static str,
    fn(&mut Stage),
    [&'static str; 3],
    &'static str,
);

fn plants() -> Vec<Plant> {
    vec![
        Plant(
            "a wrong secret",
            |stage| issuing(stage, |client| client.secrets.clear()),
            ["error", "secret_refused", "tenants.acme.client_secret"],
            "OAUTH-22",
        ),
        Plant(
            "a wrong secret of the management client",
            |stage| stage.set("'canary-management'", "'canary-wrong'"),
            [
                "error",
                "secret_refused",
                "tenants.acme.management.client_secret",
            ],
            "OAUTH-22",
        ),
        Plant(
            "a dead secret in the list",
            |stage| {
                stage.set(
                    "client_secret = 'tenant-client-secret'",
                    "client_secrets = ['canary-wrong', 'tenant-client-secret']",
                );
            },
            ["warning", "secret_dead", "tenants.acme.client_secrets[0]"],
            "OAUTH-22",
        ),
        Plant(
            "another client's id",
            |stage| stage.set("client_id = 'broker'", "client_id = 'brocker'"),
            ["error", "client_unknown", "tenants.acme.client_id"],
            "no such OAuth client",
        ),
        Plant(
            "a host that is no tenant",
            |stage| {
                let url = stage.whoami.url.clone();
                stage.set_url(&url);
            },
            ["error", "no_tenant", "tenants.acme.url"],
            "404",
        ),
        Plant(
            "a name that does not resolve",
            |stage| stage.set_url("https://acme.invalid"),
            ["error", "name_unknown", "tenants.acme.url"],
            "does not resolve",
        ),
        Plant(
            "nobody at the address",
            |stage| stage.set_url("http://127.0.0.1:1"),
            ["error", "unreachable", "tenants.acme.url"],
            "no connection",
        ),
        Plant(
            "a page that the OAuth client does not allow",
            |stage| issuing(stage, |client| client.origins.clear()),
            ["error", "origin_missing", "tenants.acme.allowed_origins[0]"],
            PAGE,
        ),
        Plant(
            "a page that only the OAuth client allows",
            |stage| issuing(stage, |client| client.origins.push(OTHER_PAGE.into())),
            ["warning", "origin_extra", "tenants.acme.allowed_origins"],
            OTHER_PAGE,
        ),
        Plant(
            "a page that is no CSP origin, beside one that is",
            |stage| {
                stage.set(
                    "allowed_origins = [",
                    &format!("allowed_origins = ['{OTHER_PAGE}', "),
                );
                issuing(stage, |client| client.origins.push(OTHER_PAGE.into()));
                // One that is for something else.
                let origins = [
                    json!({"origin": PAGE, "frameAncestors": true}),
                    json!({"origin": OTHER_PAGE, "imgSrc": true}),
                ];
                let set = |world: &mut World| world.csp_origins = origins.into();
                stage.tenant.with_world(set);
            },
            ["warning", "csp_missing", "tenants.acme.allowed_origins[0]"],
            OTHER_PAGE,
        ),
        Plant(
            "consent that is required",
            |stage| issuing(stage, |client| client.trusted = false),
            ["error", "consent_required", "tenants.acme.client_id"],
            "consent",
        ),
        Plant(
            "no impersonation grant",
            |stage| issuing(stage, |client| client.grants.clear()),
            ["error", "grant_missing", "tenants.acme.client_id"],
            "user-impersonation",
        ),
        Plant(
            "both grants",
            |stage| {
                issuing(stage, |client| {
                    client.grants.push(CLIENT_CREDENTIALS.into());
                });
            },
            ["warning", "grant_extra", "tenants.acme.client_id"],
            "client_credentials",
        ),
        Plant(
            "a scope that the client does not have",
            |stage| {
                issuing(stage, |client| {
                    client.scopes.retain(|scope| scope != "apps:read");
                });
            },
            ["error", "scope_missing", "tenants.acme.optional_scopes[0]"],
            "apps:read",
        ),
        Plant(
            "a scope of the service client",
            |stage| {
                stage
                    .tenant
                    .with_world(|world| world.clients[2].scopes.clear());
            },
            ["error", "scope_missing", "tenants.acme.service.scopes"],
            "apps:read",
        ),
        Plant(
            "the scopes of an administrator",
            |stage| issuing(stage, |client| client.scopes.push("admin_classic".into())),
            ["warning", "scope_extra", "tenants.acme.client_id"],
            "admin_classic",
        ),
        Plant(
            "an unknown user",
            |stage| {
                stage
                    .tenant
                    .with_world(|world| world.users.retain(|user| user.subject != SUBJECT));
            },
            ["error", "user_unknown", "tenants.acme"],
            "--subject",
        ),
        Plant(
            "a disabled user",
            |stage| {
                stage.tenant.with_world(|world| {
                    let id = world.find_user(SUBJECT).unwrap().id.clone();
                    world.user_mut(&id).unwrap().status = UserStatus::Disabled;
                });
            },
            ["error", "user_disabled", "tenants.acme"],
            "--subject",
        ),
        Plant(
            "a clock that is wrong",
            |stage| {
                stage
                    .tenant
                    .with_world(|world| world.clock_skew_seconds = 300);
            },
            ["error", "clock_wrong", "tenants.acme.url"],
            "behind",
        ),
        Plant(
            "a clock that is off",
            |stage| {
                stage
                    .tenant
                    .with_world(|world| world.clock_skew_seconds = -45);
            },
            ["warning", "clock_off", "tenants.acme.url"],
            "ahead of",
        ),
        Plant(
            "tokens that are always renewed",
            |stage| {
                stage
                    .tenant
                    .with_world(|world| world.token_life = std::time::Duration::from_secs(300));
            },
            ["warning", "token_short", "cache.refresh_margin"],
            "acme live for",
        ),
        Plant(
            "a key set out of reach",
            |stage| {
                stage.set(
                    "jwks_url = 'http://127.0.0.1:",
                    "jwks_url = 'http://127.0.0.1:1/",
                );
            },
            ["error", "unreachable", "session[0].jwks_url"],
            "no connection",
        ),
        Plant(
            "an issuer that calls itself otherwise",
            |stage| stage.portal.claim_issuer("https://login.acme.test/"),
            ["error", "issuer_other", "session[1].issuer"],
            "another issuer",
        ),
        Plant(
            "an algorithm that the issuer has no key for",
            |stage| stage.set("algorithms = ['ES256']", "algorithms = ['RS256']"),
            ["error", "keys_unfit", "session[0].algorithms"],
            "none of the issuer's keys",
        ),
        Plant(
            "one algorithm too many",
            |stage| stage.set("algorithms = ['ES256']", "algorithms = ['ES256', 'RS256']"),
            ["warning", "algorithm_unused", "session[0].algorithms"],
            "RS256",
        ),
        Plant(
            "an issuer that refuses our client",
            |stage| stage.issuer.answer(Some((401, ""))),
            ["error", "asker_refused", "session[2].client_id"],
            "refuses our client",
        ),
        Plant(
            "an issuer that knows every token",
            |stage| stage.issuer.answer(Some((200, "{\"active\": true}"))),
            ["error", "sessions_open", "session[2].url"],
            "nobody has",
        ),
        Plant(
            "a portal that lets everybody in",
            |stage| stage.whoami.answer(Some((200, "{\"sub\": \"ann\"}"))),
            ["error", "sessions_open", "session[3].url"],
            "nobody has",
        ),
        Plant(
            "a portal that shows a login page",
            |stage| stage.whoami.answer(Some((200, "<html>"))),
            ["error", "answer_odd", "session[3].url"],
            "JSON",
        ),
        Plant(
            "nobody at the collector's address",
            |stage| {
                stage.set(
                    "otlp_endpoint = 'http://127.0.0.1:",
                    "otlp_endpoint = 'http://127.0.0.1:1/",
                );
            },
            [
                "warning",
                "collector_unreachable",
                "telemetry.otlp_endpoint",
            ],
            "no connection",
        ),
        Plant(
            "a collector behind TLS that is not trusted",
            |stage| {
                let url = stage
                    .config
                    .split("[tenants.acme]\nurl = '")
                    .nth(1)
                    .unwrap();
                let url = url.split('\'').next().unwrap().to_owned();
                let collector = stage.collector.url.clone();
                stage.set(&collector, &url);
            },
            [
                "warning",
                "collector_unreachable",
                "telemetry.otlp_endpoint",
            ],
            "signed by no authority",
        ),
        Plant(
            "a collector that wants to be shown something else",
            |stage| stage.collector.refuse(401),
            ["warning", "collector_refused", "telemetry.otlp_endpoint"],
            "401",
        ),
        Plant(
            "something else at the collector's address",
            |stage| {
                let (collector, other) = (stage.collector.url.clone(), stage.whoami.url.clone());
                stage.set(&collector, &other);
            },
            ["warning", "collector_refused", "telemetry.otlp_endpoint"],
            "404",
        ),
    ]
}

fn issuing(stage: &mut Stage, change: fn(&mut qlik_token_broker::simulator::Client)) {
    stage
        .tenant
        .with_world(|world| change(&mut world.clients[0]));
}

/// The one line that is not ok, and the same in both forms.
async fn assert_found(stage: &Stage, Plant(name, _, [level, code, path], says): &Plant) {
    let said = stage.check(&[]).await;
    assert_eq!(
        said.problems(),
        [(*level, *code, *path)],
        "{name}: {}",
        said.text
    );
    let exit = i32::from(*level == "error");
    assert_eq!(said.code, Some(exit), "{name}");
    let finding = said
        .findings
        .iter()
        .find(|finding| finding["level"] != "ok")
        .unwrap();
    let text = |key: &str| finding[key].as_str().unwrap();
    assert!(text("message").contains(says), "{name}: {finding}");
    assert!(text("remedy").len() > 15, "{name}: {finding}");
    let line = format!("{level:7} {path}: {}; {}", text("message"), text("remedy"));
    let (code, said) = run(&stage.config, &["--subject", SUBJECT]).await;
    assert_eq!(code, Some(exit));
    let lines: Vec<_> = said
        .lines()
        .filter(|line| !line.starts_with("ok ") && *line != "error: 1 error")
        .collect();
    // Seconds pass between the two.
    let words = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    let lines: Vec<_> = lines.into_iter().map(words).collect();
    assert_eq!(lines, [words(&line)], "{name}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_planted_misconfiguration_is_the_one_finding() {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut runs = JoinSet::new();
    for plant in plants() {
        let room = Arc::clone(&room);
        runs.spawn(async move {
            let _place = room.acquire_owned().await.unwrap();
            let mut stage = Stage::new().await;
            plant.1(&mut stage);
            assert_found(&stage, &plant).await;
        });
    }
    while let Some(run) = runs.join_next().await {
        run.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_a_certificate_is_told_apart() {
    let mut stage = Stage::new().await;
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(5 * 24);
    let soon = soon.to_zoned(jiff::tz::TimeZone::UTC).date();
    let day = |number: i8| u8::try_from(number).unwrap();
    let soon = (i32::from(soon.year()), day(soon.month()), day(soon.day()));
    let authority = &stage.authority;
    for (signed, level, code) in [
        (
            authority.server_until("localhost", (2020, 1, 1)),
            "error",
            "certificate_expired",
        ),
        (
            authority.server_until("localhost", soon),
            "warning",
            "certificate_ends",
        ),
        (
            authority.server_until("another.test", (2090, 1, 1)),
            "error",
            "certificate_name",
        ),
        (Authority::new().server(), "error", "certificate_untrusted"),
    ] {
        let url = front(stage.tenant.address(), &signed).await;
        let config = stage.config.clone();
        stage.set_url(&url);
        assert_found(
            &stage,
            &Plant(
                code,
                |_| {},
                [level, code, "tenants.acme.url"],
                "certificate",
            ),
        )
        .await;
        stage.config = config;
    }
    let plain = format!("https://{}", stage.whoami.url.trim_start_matches("http://"));
    stage.set_url(&plain);
    assert_found(
        &stage,
        &Plant(
            "no TLS",
            |_| {},
            ["error", "tls_failed", "tenants.acme.url"],
            "TLS",
        ),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_a_store_is_told_apart() {
    let mut stage = Stage::new().await;
    if !stage.has_redis() {
        return;
    }
    let locked = Redis::with_password("canary-store").await;
    let full = Redis::start().await;
    let words = |words: &'static str| words.split(' ').map(str::as_bytes).collect::<Vec<_>>();
    let after = stage.config.find("[[session]]").unwrap();
    let rest = stage.config[after..].to_owned();
    let wrong = shared(&locked.url()) + "password = 'canary-wrong'\n";
    let user = shared(&locked.url()) + "username = 'weak'\npassword = 'canary-store'\n";
    locked
        .command(&words("ACL SETUSER weak on >canary-store ~* &* +@all -set"))
        .unwrap();
    let address = ([127, 0, 0, 1], full.port).into();
    let tls = front(address, &Authority::new().server()).await;
    let tls = shared(&tls.replace("https:", "rediss:"));
    for (table, setting, found, says) in [
        (
            wrong,
            "",
            ["error", "store_refused", "shared.password"],
            "password",
        ),
        (
            shared(&locked.url()),
            "",
            ["error", "store_refused", "shared.password"],
            "password",
        ),
        (user, "", ["error", "store_denied", "shared.url"], "SET"),
        (
            shared("redis://127.0.0.1:1"),
            "",
            ["error", "store_unreachable", "shared.url"],
            "out of reach",
        ),
        (tls, "", ["error", "store_tls", "shared.url"], "TLS"),
        (
            shared(&full.url()),
            "CONFIG SET maxmemory-policy allkeys-lru maxmemory 100mb",
            ["warning", "store_evicts", "shared.url"],
            "allkeys-lru",
        ),
    ] {
        if !setting.is_empty() {
            full.command(&words(setting)).unwrap();
        }
        stage.config = table + &rest;
        assert_found(&stage, &Plant(found[1], |_| {}, found, says)).await;
    }
    assert!(full.keys().is_empty(), "what is written to try is removed");
}
