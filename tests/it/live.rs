//! `check --live`, as an operator types it: a world in which all is well, and what is planted there.

mod plants;
mod stage;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use qlik_token_broker::simulator::{Call, ClientSetup, Fault, IMPERSONATION, Simulator};
use serde_json::Value;
use tokio::net::TcpListener;

use super::harness::{EVIL, PAGE, key_table, managed_table, tenant_table, world};
use stage::{SUBJECT, Stage, check};

/// Calls that the tenant's budget counts.
fn counted(tenant: &Simulator) -> usize {
    tenant.calls(Call::Token) + tenant.calls(Call::Revoke)
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_is_well_every_line_is_ok_and_few_calls_are_made() {
    let stage = Stage::new().await;
    let said = stage.check(&[]).await;
    assert_eq!(
        (said.code, said.problems()),
        (Some(0), Vec::new()),
        "{said:?}"
    );
    let paths: Vec<_> = said
        .findings
        .iter()
        .map(|finding| finding["path"].as_str().unwrap())
        .collect();
    let mut order: Vec<_> = paths
        .iter()
        .map(|path| path.split('.').next().unwrap())
        .collect();
    order.dedup();
    let mut expected = vec![
        "configuration",
        "tenants",
        "session[0]",
        "session[1]",
        "session[2]",
        "session[3]",
    ];
    expected.extend(stage.has_redis().then_some("shared"));
    expected.push("telemetry");
    assert_eq!(order, expected);
    for path in [
        "tenants.acme.url",
        "tenants.acme.client_id",
        "tenants.acme.allowed_origins",
        "tenants.acme.management.client_id",
        "tenants.acme.management.client_secret",
        "tenants.acme.service.client_secret",
        "tenants.acme",
        "session[0].jwks_url",
        "session[1].issuer",
        "session[2].url",
        "session[3].url",
        "telemetry.otlp_endpoint",
    ] {
        assert!(paths.contains(&path), "{path} in {paths:?}");
    }
    assert_eq!(
        counted(&stage.tenant),
        6,
        "a token and its end, for each of three clients"
    );
    let (batches, spans, shown) = stage.collector.took();
    assert_eq!((batches, spans, shown.as_str()), (1, 0, "canary-collector"));
    let live = stage.tenant.requests();
    assert!(live.len() < 20, "{} calls in all", live.len());
    for finding in &said.findings {
        for key in ["level", "code", "path", "message", "remedy"] {
            assert!(finding[key].is_string(), "{finding}");
        }
        assert_eq!(
            (&finding["level"], &finding["code"]),
            (&"ok".into(), &"ok".into())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_found_by_id_and_by_address_as_well() {
    let stage = Stage::new().await;
    let id = stage
        .tenant
        .with_world(|world| world.find_user(SUBJECT).unwrap().id.clone());
    for person in [["--user-id", &id], ["--email", "ann@acme.test"]] {
        let said = stage.check_for(&person, &[]).await;
        assert_eq!(
            (said.code, said.problems()),
            (Some(0), Vec::new()),
            "{person:?}"
        );
    }
    let unknown = stage.check_for(&["--email", "nobody@acme.test"], &[]).await;
    assert_eq!(
        unknown.problems(),
        [("error", "user_unknown", "tenants.acme")]
    );
    stage.tenant.with_world(|world| {
        let id = world.find_user(SUBJECT).unwrap().id.clone();
        world.user_mut(&id).unwrap().status = qlik_token_broker::simulator::UserStatus::Disabled;
    });
    let disabled = stage.check_for(&["--email", "ann@acme.test"], &[]).await;
    assert_eq!(
        disabled.problems(),
        [("error", "user_disabled", "tenants.acme")]
    );
    let never = stage
        .check_for(&["--subject", "qlikbot\\broker"], &[])
        .await;
    assert_eq!((never.code, never.findings.len()), (Some(1), 0));
}

/// What `provision` sets up: a management client that may manage users and no more; and no such client.
#[tokio::test(flavor = "multi_thread")]
async fn without_an_administrators_eye_the_tenant_is_asked_as_a_page_would() {
    let mut small = super::harness::managed_world();
    small.clients[1].scopes = vec!["admin.users".into()];
    small.clients[0].origins = vec![PAGE.into(), EVIL.into()];
    let tenant = Simulator::start(small).await.unwrap();
    let keys = key_table(&["acme"]);
    let managed = managed_table("acme", &tenant.url()).replace(
        "'management-client-secret' }",
        "'management-client-secret', scopes = 'admin.users' }",
    );
    for table in [tenant_table("acme", &tenant.url()), managed] {
        let config = keys.clone() + &table;
        let person = ["--subject", SUBJECT];
        let said = check(&config, &person).await;
        assert_eq!(
            (said.code, said.problems()),
            (Some(0), Vec::new()),
            "{said:?}"
        );
        let unseen = |finding: &&Value| finding["code"] == "not_seen" && finding["level"] == "ok";
        assert!(
            said.findings.iter().any(|finding| unseen(&finding)),
            "{said:?}"
        );
        tenant.with_world(|world| world.clients[0].origins = vec![EVIL.into()]);
        let said = check(&config, &person).await;
        assert_eq!(
            said.problems(),
            [("error", "origin_missing", "tenants.acme.allowed_origins[0]")]
        );
        tenant.with_world(|world| world.clients[0].trusted = false);
        let said = check(&config, &person).await;
        assert_eq!(
            said.problems(),
            [("error", "consent_required", "tenants.acme.client_id")]
        );
        tenant.with_world(|world| {
            world.clients[0].trusted = true;
            world.clients[0].origins = vec![PAGE.into()];
        });
    }
    let said = check(&(keys + &tenant_table("acme", &tenant.url())), &[]).await;
    assert_eq!(said.code, Some(0));
    assert_eq!(
        said.problems(),
        [("warning", "unproven", "tenants.acme.client_id")]
    );
}

/// Which answer an unknown user gets is not documented: one that a wrong secret gets as well proves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_takes_a_wrong_secret_for_a_wrong_user_needs_a_user() {
    let mut alike = world();
    alike.refusals.wrong_secret = alike.refusals.unknown_user.clone();
    alike.clients[0].origins = vec![PAGE.into()];
    let tenant = Simulator::start(alike).await.unwrap();
    let table = tenant_table("acme", &tenant.url());
    let wrong = table.replace("tenant-client-secret", "wrong");
    for config in [&table, &wrong] {
        let said = check(&(key_table(&["acme"]) + config), &[]).await;
        assert_eq!(
            said.problems(),
            [("warning", "unproven", "tenants.acme.client_id")]
        );
        assert!(!format!("{said:?}").contains("accepts it"), "{said:?}");
    }
    // That the wrong one got no answer shows nothing either.
    tenant.on(Call::TokenImpersonation, Fault::Slow { millis: 0 });
    tenant.on_times(Call::TokenImpersonation, Fault::Html5xx, 3);
    let said = check(&(key_table(&["acme"]) + &wrong), &[]).await;
    assert_eq!(
        said.problems(),
        [("error", "tenant_failed", "tenants.acme.client_id")]
    );
    let person = ["--subject", SUBJECT];
    let said = check(&(key_table(&["acme"]) + &table), &person).await;
    assert_eq!((said.code, said.problems()), (Some(0), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tenants_are_asked_at_once_and_told_in_order() {
    let mut slow = world();
    slow.clients[0].origins = (0..16)
        .map(|n| format!("https://portal.t{n:02}.test"))
        .collect();
    let tenant = Simulator::start(slow).await.unwrap();
    tenant.on_until_cleared(Call::Discovery, Fault::Slow { millis: 500 });
    let names: Vec<_> = (0..16).map(|n| format!("t{n:02}")).collect();
    let tables = names.iter().map(|name| tenant_table(name, &tenant.url()));
    let config = key_table(&["t00"]) + &tables.collect::<String>();
    let started = Instant::now();
    let said = check(&config, &["--subject", SUBJECT]).await;
    let took = started.elapsed();
    assert_eq!(
        (said.code, said.problems()),
        (Some(0), Vec::new()),
        "{said:?}"
    );
    assert!(
        took < Duration::from_secs(6),
        "8 s one after the other: {took:?}"
    );
    let paths = said
        .findings
        .iter()
        .filter_map(|finding| finding["path"].as_str()?.strip_prefix("tenants."));
    let mut told: Vec<_> = paths
        .map(|path| path.split('.').next().unwrap().to_owned())
        .collect();
    told.dedup();
    assert_eq!(told, names);
    tenant.reset();
    let one = check(&config, &["--subject", SUBJECT, "--tenant", "t07"]).await;
    assert_eq!((one.code, tenant.calls(Call::Discovery)), (Some(0), 1));
    let none = check(&config, &["--tenant", "nowhere"]).await;
    assert_eq!((none.code, none.findings.len()), (Some(1), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_costs_seconds() {
    let hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", hole.local_addr().unwrap());
    let config = format!(
        "{}[[session]]\ntype = 'portal_check'\nurl = '{address}/whoami'\ncookies = ['sid']\n\
         user = [{{ field = 'subject', value = '{{sub}}' }}]\n[shared]\nurl = '{}'\n\
         encryption_keys = [{{ id = 'k1', key = '{}' }}]\n",
        key_table(&["acme"]),
        address.replace("http", "redis"),
        stage::ENCRYPTION_KEY,
    ) + &tenant_table("acme", &address)
        + &format!("[telemetry]\notlp_endpoint = '{address}'\n");
    let started = Instant::now();
    let said = check(&config, &["--subject", SUBJECT]).await;
    let took = started.elapsed();
    assert_eq!(
        said.problems(),
        [
            ("error", "unreachable", "tenants.acme.url"),
            ("error", "unreachable", "session[1].url"),
            ("error", "store_unreachable", "shared.url"),
            (
                "warning",
                "collector_unreachable",
                "telemetry.otlp_endpoint"
            ),
        ]
    );
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_key_is_proven_and_a_wrong_clock_is_told_once() {
    let folder = super::harness::Folder::new();
    let path = folder.0.join("broker.pem");
    let path = path.to_str().unwrap();
    let keygen = super::cli::program()
        .args(["keygen", "--out", path, "--kid", "k1"])
        .output()
        .unwrap();
    let jwk: Value = serde_json::from_slice(&keygen.stdout).unwrap();
    let mut world = world();
    world.clients.clear();
    let client = ClientSetup::new("broker")
        .public_key(jwk)
        .grant(IMPERSONATION);
    let tenant = Simulator::start(
        world.with_client(
            client
                .scopes("user_default apps:read spaces:read")
                .origin(PAGE)
                .trusted(),
        ),
    )
    .await
    .unwrap();
    let table = tenant_table("acme", &tenant.url()).replace(
        "client_secret = 'tenant-client-secret'",
        &format!(
            "private_key = {{ kid = 'k1', algorithm = 'ES384', pem = {{ file = '{path}' }} }}"
        ),
    );
    let config = key_table(&["acme"]) + &table;
    let person = ["--subject", SUBJECT];
    let said = check(&config, &person).await;
    assert_eq!(
        (said.code, said.problems()),
        (Some(0), Vec::new()),
        "{said:?}"
    );
    tenant.with_world(|world| world.clock_skew_seconds = 600);
    let said = check(&config, &person).await;
    assert_eq!(
        said.problems(),
        [("error", "clock_wrong", "tenants.acme.url")]
    );
    tenant.with_world(|world| {
        world.clock_skew_seconds = 0;
        world.clients[0].public_keys[0]["kid"] = "another".into();
    });
    let said = check(&config, &person).await;
    assert_eq!(
        said.problems(),
        [("error", "key_refused", "tenants.acme.private_key")]
    );
}

/// A tenant that says nasty things.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_tenant_says_is_not_repeated() {
    let canary = "canary\u{1b}[2J\n\"canary";
    let mut odd = super::harness::managed_world();
    odd.clients[0].origins = vec![PAGE.into(), canary.into()];
    odd.clients[0].grants.push(canary.into());
    odd.clients[0].scopes.push(format!("admin.{canary}"));
    let tenant = Simulator::start(odd).await.unwrap();
    let config = key_table(&["acme"]) + &managed_table("acme", &tenant.url());
    let said = check(&config, &["--subject", SUBJECT]).await;
    assert_eq!(
        said.problems(),
        [
            ("warning", "grant_extra", "tenants.acme.client_id"),
            ("warning", "origin_extra", "tenants.acme.allowed_origins"),
        ]
    );
    let refusal = Fault::Status {
        status: 403,
        code: Some(canary.into()),
        title: Some(canary.into()),
    };
    tenant.on_until_cleared(Call::Token, refusal);
    let refused = check(&config, &["--subject", SUBJECT]).await;
    assert_eq!(refused.code, Some(1));
    for text in [&said.text, &refused.text] {
        assert!(
            !text.contains("canary") && !text.contains('\u{1b}'),
            "{text}"
        );
    }
    join_all([tenant.stopped()]).await;
}
