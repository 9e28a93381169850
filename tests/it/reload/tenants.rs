//! Tenants that come, change and go.

use std::time::Duration;

use qlik_token_broker::simulator::{Call, Simulator};
use serde_json::json;

use crate::directory::{BY_SUBJECT, mapped};
use crate::harness::{
    Broker, KEY, PAGE, header, managed_table, managed_world, refused, subject, tenant,
    tenant_table, token,
};
use crate::portal::{Key, Portal};

const CLIENT_PAGE: &str = "https://embed.acme.test";
const OFTEN: Duration = Duration::from_millis(50);

#[tokio::test]
async fn users_of_a_removed_tenant_are_refused_and_others_notice_nothing() {
    let (acme, globex) = (tenant().await, tenant().await);
    let portal = Portal::start(Key::p256()).await;
    let keys = format!("jwks_url = '{}/jwks'\ntenant = '{{org}}'", portal.url);
    let one = portal.table_with(&keys) + &tenant_table("acme", &acme.url());
    let both = one.clone() + &tenant_table("globex", &globex.url());
    let broker = Broker::start(&both);
    let session = |org: &str| portal.session_with("ann", &json!({"org": org}));
    let (here, there) = (session("acme"), session("globex"));
    token(broker.ask_as(&here)).await;
    let before = token(broker.ask_as(&there)).await;
    broker.reload(&one).await;
    refused(broker.ask_as(&there), 403, "tenant_not_allowed").await;
    assert_eq!(token(broker.ask_as(&here)).await.source, "local");
    broker.reload(&both).await;
    let after = token(broker.ask_as(&there)).await;
    assert_eq!((after.text, after.source.as_str()), (before.text, "local"));
    assert_eq!((acme.calls(Call::Any), globex.calls(Call::Any)), (1, 1));
}

/// Another address is another tenant: what was cached is of no use there, and is not shown there.
#[tokio::test]
async fn a_tenant_that_moves_gives_new_tokens_and_sees_no_old_ones() {
    let (here, there) = (tenant().await, tenant().await);
    let broker = Broker::with(&here);
    let config = std::fs::read_to_string(&broker.file.0).unwrap();
    let before = broker.token_of("ann").await;
    broker
        .reload(&config.replace(&here.url(), &there.url()))
        .await;
    let after = broker.token_of("ann").await;
    assert!(there.is_live(&after.text) && !there.is_live(&before.text));
    assert_eq!((here.calls(Call::Any), there.calls(Call::Any)), (1, 1));
    let ending = broker.post("/logout").bearer_auth(KEY);
    let ending = ending.json(&json!({"user_lookup": subject("ann")}));
    assert_eq!(ending.send().await.unwrap().status(), 204);
    super::revoked(&there, &after.text).await;
    tokio::time::sleep(OFTEN * 4).await;
    assert_eq!((here.calls(Call::Any), there.calls(Call::Revoke)), (1, 1));
}

/// A wrong address that is put right again: who logged out in between has no token from before.
#[tokio::test]
async fn a_logout_counts_for_the_address_that_was_there_before() {
    let (here, there) = (tenant().await, tenant().await);
    let broker = Broker::with(&here);
    let config = std::fs::read_to_string(&broker.file.0).unwrap();
    let (ann, bob) = (broker.token_of("ann").await, broker.token_of("bob").await);
    broker
        .reload(&config.replace(&here.url(), &there.url()))
        .await;
    let ending = broker.post("/logout").bearer_auth(KEY);
    let ending = ending.json(&json!({"user_lookup": subject("ann")}));
    assert_eq!(ending.send().await.unwrap().status(), 204);
    broker.reload(&config).await;
    assert_ne!(broker.token_of("ann").await.id, ann.id);
    assert_eq!(broker.token_of("bob").await.id, bob.id);
    assert_eq!((here.calls(Call::Any), there.calls(Call::Any)), (3, 0));
}

#[tokio::test]
async fn a_tenant_that_is_gone_raises_no_alert() {
    let tenant = tenant().await;
    let table = |id: &str| tenant_table(id, &tenant.url());
    let keys = crate::harness::key_table(&["stays"]);
    let stays = keys + &table("stays");
    let broker = Broker::start(&(stays.clone() + &table("goes-away")));
    let gauges = async || -> Vec<String> {
        let text = broker.ops("/metrics").await.text().await.unwrap();
        let gauges = [
            "qtb_waiting{",
            "qtb_budget_available{",
            "qtb_client_secret_in_use{",
        ];
        let of_it = |line: &&str| {
            line.contains("tenant=\"goes-away\"")
                && gauges.iter().any(|gauge| line.starts_with(gauge))
        };
        text.lines().filter(of_it).map(str::to_owned).collect()
    };
    let before = gauges().await;
    assert!(
        before.len() >= 3 && !before.iter().any(|line| line.ends_with("NaN")),
        "{before:?}"
    );
    broker.reload(&stays).await;
    let after = gauges().await;
    assert!(after.iter().all(|line| line.ends_with("NaN")), "{after:?}");
}

async fn following() -> (Simulator, Portal, Broker, String) {
    let mut world = managed_world();
    world.clients[0].origins = vec![CLIENT_PAGE.into()];
    let tenant = Simulator::start(world).await.unwrap();
    let portal = Portal::start(Key::p256()).await;
    let config = mapped(&portal, BY_SUBJECT, "")
        + &managed_table("acme", &tenant.url())
        + "origins_from_client = true\n";
    let broker = Broker::start_following(&config, OFTEN).await;
    (tenant, portal, broker, config)
}

async fn allows(portal: &Portal, broker: &Broker, page: &str) -> bool {
    let asking = broker.ask_as(&portal.session("ann")).header("origin", page);
    let answer = asking.send().await.unwrap();
    assert_eq!(
        answer.status() == 200,
        header(&answer, "access-control-allow-origin") == page
    );
    answer.status() == 200
}

#[tokio::test]
async fn the_pages_of_an_oauth_client_stay_allowed_while_its_tenant_changes() {
    let (tenant, portal, broker, config) = following().await;
    assert!(allows(&portal, &broker, CLIENT_PAGE).await);
    // The tenant does not answer any more; it is made anew nevertheless.
    tenant.on_until_cleared(
        Call::OauthClient,
        qlik_token_broker::simulator::Fault::Disconnect,
    );
    broker
        .reload(&config.replace(PAGE, "https://later.acme.test"))
        .await;
    assert!(allows(&portal, &broker, CLIENT_PAGE).await);
    assert!(!allows(&portal, &broker, PAGE).await);
    broker
        .reload(&config.replace("origins_from_client = true\n", ""))
        .await;
    assert!(
        !allows(&portal, &broker, CLIENT_PAGE).await,
        "it is turned off"
    );
    tenant.clear_faults();
    broker.reload(&config).await;
    assert!(
        allows(&portal, &broker, CLIENT_PAGE).await,
        "read before it counts"
    );
}

#[tokio::test]
async fn nobody_reads_the_pages_of_a_tenant_that_is_gone() {
    let (tenant, _portal, broker, config) = following().await;
    let reads = async || {
        let before = tenant.calls(Call::OauthClient);
        tokio::time::sleep(OFTEN * 8).await;
        tenant.calls(Call::OauthClient) - before
    };
    assert!(reads().await > 2);
    broker.reload(&format!("# the same\n{config}")).await;
    assert!(reads().await > 2, "the same task goes on");
    broker
        .reload(&config.replace("origins_from_client = true\n", ""))
        .await;
    tokio::time::sleep(OFTEN).await;
    assert_eq!(reads().await, 0);
}

/// What a page of users costs is not paid again for a change of something else.
#[tokio::test]
async fn users_that_were_looked_up_stay_known() {
    let tenant = Simulator::start(managed_world()).await.unwrap();
    let portal = Portal::start(Key::p256()).await;
    let by_email = "{ field = 'email', value = '{email}' }";
    let config = mapped(&portal, by_email, "") + &managed_table("acme", &tenant.url());
    let broker = Broker::start(&config);
    let session = portal.session_with("ann", &json!({"email": "ann@acme.test"}));
    token(broker.ask_as(&session)).await;
    let calls = tenant.calls(Call::Any);
    broker
        .reload(&format!("[cache]\nmin_life = '10s'\n{config}"))
        .await;
    assert_eq!(token(broker.ask_as(&session)).await.source, "local");
    assert_eq!(tenant.calls(Call::Any), calls);
}
