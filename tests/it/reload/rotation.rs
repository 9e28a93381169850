//! Secrets of the tenants' clients that are replaced while they are in use.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use qlik_token_broker::simulator::{Call, ClientSecret, Fault, Simulator};
use qlik_token_broker::tenant::Rate;
use serde_json::Value;

use super::files::accept_only;
use super::ready;
use crate::harness::{
    Broker, PAGE, Scratch, key_table, managed_table, managed_world, refused, tenant, tenant_table,
    token, world,
};

const OFTEN: Duration = Duration::from_millis(50);

fn refusals(tenant: &Simulator) -> usize {
    let requests = tenant.requests().into_iter();
    requests
        .filter(|request| request.status == Some(401))
        .count()
}

fn with_file(config: &str, file: &Scratch) -> String {
    let file = format!("{{ file = '{}' }}", file.0.display());
    config.replace("'tenant-client-secret'", &file)
}

/// The file changes before the tenant knows the new secret, and then the tenant stops accepting the old
/// one; twenty mint new users all the time.
#[tokio::test(flavor = "multi_thread")]
async fn c45_a_secret_is_rotated_under_load_without_a_failed_request() {
    const TASKS: usize = 20;
    const USERS: usize = 15;
    let mut world = world();
    for user in 0..TASKS * USERS {
        world = world.with_user(format!("auth0|u{user}"), format!("u{user}@acme.test"));
    }
    let tenant = Simulator::start(world).await.unwrap();
    let file = Scratch::new("tenant-client-secret");
    let config = key_table(&["acme"]) + &with_file(&tenant_table("acme", &tenant.url()), &file);
    let broker = Broker::start(&config);
    tokio::spawn(Arc::clone(&broker.live).follow(OFTEN));
    let is_rotated = AtomicBool::new(false);
    let minting = (0..TASKS).map(|task| {
        let (broker, is_rotated) = (&broker, &is_rotated);
        async move {
            for user in 0..USERS {
                // However slow the machine is: some come before, between and after the two changes.
                while (user == USERS / 3 && broker.live.app().generation < 2)
                    || (user == 2 * USERS / 3 && !is_rotated.load(Ordering::SeqCst))
                {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                let user = format!("u{}", task * USERS + user);
                assert_eq!(broker.token_of(&user).await.source, "minted");
                tokio::time::sleep(Duration::from_millis(80)).await;
            }
        }
    });
    let rotating = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        std::fs::write(&file.0, "rotated-client-secret").unwrap();
        while broker.live.app().generation < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        accept_only(&tenant, "broker", "rotated-client-secret");
        is_rotated.store(true, Ordering::SeqCst);
    };
    tokio::join!(join_all(minting), rotating);
    // Those in flight when the new secret is not known yet, and when the old one is not known any more.
    let refusals = refusals(&tenant);
    assert!((1..=2 * TASKS).contains(&refusals), "{refusals}");
    assert_eq!(tenant.calls(Call::Token), TASKS * USERS + refusals);
    let ready = ready(&broker).await;
    assert_eq!(ready["reasons"], serde_json::json!([]));
}

/// A tenant that learns of a new secret late: the old one goes on, and each change costs one refusal.
#[tokio::test]
async fn the_old_secret_is_tried_once_when_the_new_one_is_refused() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let config = std::fs::read_to_string(&broker.file.0).unwrap();
    broker.token_of("ann").await;
    let new = config.replace("tenant-client-secret", "new-client-secret");
    broker.reload(&new).await;
    broker.token_of("bob").await;
    assert_eq!(
        tenant.calls(Call::Token),
        3,
        "the new one, then the old one"
    );
    broker.token_of("eve").await;
    assert_eq!(tenant.calls(Call::Token), 4, "which worked");
    broker.reload(&new).await;
    accept_only(&tenant, "broker", "new-client-secret");
    for user in ["u1", "u2"] {
        tenant.with_world(|world| {
            *world = std::mem::take(world).with_user(format!("auth0|{user}"), "u@acme.test");
        });
    }
    broker.token_of("u1").await;
    assert_eq!(tenant.calls(Call::Token), 6);
    broker.token_of("u2").await;
    assert_eq!(tenant.calls(Call::Token), 7);
    assert_eq!(refusals(&tenant), 2);
    // Neither is good: each is tried once.
    accept_only(&tenant, "broker", "another");
    tenant.with_world(|world| {
        *world = std::mem::take(world).with_user("auth0|u3", "u3@acme.test");
    });
    refused(broker.ask_for("u3"), 502, "tenant_refused_client").await;
    assert_eq!(tenant.calls(Call::Token), 9);
}

/// A release may change a secret and something else of the tenant at once.
#[tokio::test]
async fn a_secret_that_changes_along_with_its_tenant_is_rotated_as_well() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let config = std::fs::read_to_string(&broker.file.0).unwrap();
    broker.token_of("ann").await;
    let new = config.replace("tenant-client-secret", "new-client-secret");
    let pages =
        ["https://one.acme.test", "https://other.acme.test"].map(|page| new.replace(PAGE, page));
    broker.reload(&pages[0]).await;
    broker.token_of("bob").await;
    assert_eq!(tenant.calls(Call::Token), 3, "the old one goes on");
    broker.reload(&pages[1]).await;
    broker.token_of("eve").await;
    assert_eq!(tenant.calls(Call::Token), 4, "and is known to work");
}

/// Who was refused with a stale secret goes on with the next one, before those who came later.
#[tokio::test]
async fn a_stale_secret_costs_one_turn_however_many_wait() {
    const CROWD: usize = 12;
    let mut world = world();
    for user in 0..CROWD {
        world = world.with_user(format!("auth0|u{user}"), format!("u{user}@acme.test"));
    }
    let tenant = Simulator::start(world).await.unwrap();
    let list = "client_secrets = ['stale', 'tenant-client-secret']";
    let config = "[server]\nrequest_timeout = '5s'\n".to_owned()
        + &key_table(&["acme"])
        + &tenant_table("acme", &tenant.url());
    let config = config.replace("client_secret = 'tenant-client-secret'", list);
    let rate = Rate {
        per_minute: NonZeroU32::new(600).unwrap(),
        burst: NonZeroU32::MIN,
    };
    let broker = Broker::start_paced(&config, rate);
    let crowd = (0..CROWD).map(|user| broker.ask_for(&format!("u{user}")).send());
    for answer in join_all(crowd).await {
        assert_eq!(answer.unwrap().status(), 200);
    }
    assert_eq!(
        (tenant.calls(Call::Token), refusals(&tenant)),
        (CROWD + 1, 1)
    );
}

/// A refused secret is not tried again within a request, whatever else goes wrong in between.
#[tokio::test]
async fn nothing_is_tried_twice_for_one_request() {
    let tenant = tenant().await;
    let list = "client_secrets = ['stale', 'tenant-client-secret']";
    let config = key_table(&["acme"]) + &tenant_table("acme", &tenant.url());
    let broker = Broker::start(&config.replace("client_secret = 'tenant-client-secret'", list));
    let failed = Fault::Status {
        status: 503,
        code: None,
        title: None,
    };
    tenant.on(Call::Token, Fault::WrongSecret);
    tenant.on(Call::Token, failed);
    broker.token_of("ann").await;
    assert_eq!((tenant.calls(Call::Token), refusals(&tenant)), (3, 1));
}

/// All three clients of a tenant, each with the cached tokens that it has.
#[tokio::test]
async fn management_and_service_secrets_are_rotated_as_well() {
    use qlik_token_broker::simulator::{CLIENT_CREDENTIALS, ClientSetup};
    let service = ClientSetup::new("service")
        .secret("service-client-secret")
        .grant(CLIENT_CREDENTIALS)
        .scopes("apps:read")
        .trusted();
    let tenant = Simulator::start(managed_world().with_client(service))
        .await
        .unwrap();
    let line = "service = { client_id = 'service', client_secret = 'service-client-secret', scopes = 'apps:read' }\n";
    let keys = key_table(&["rotating"]).replace("'logout'", "'service_token'");
    let config = keys + &managed_table("rotating", &tenant.url()) + line;
    let broker = Broker::start(&config);
    let service_token = || {
        token(
            broker
                .post("/service-token")
                .bearer_auth(crate::harness::KEY),
        )
    };
    let before = service_token().await;
    broker.token_of("ann").await;
    let calls = tenant.calls(Call::Any);
    let rotated = config.replace("-client-secret'", "-client-secret-2'");
    broker.reload(&rotated).await;
    for client in ["broker", "management", "service"] {
        let secret = match client {
            "broker" => "tenant-client-secret-2".to_owned(),
            client => format!("{client}-client-secret-2"),
        };
        accept_only(&tenant, client, &secret);
    }
    assert_eq!(service_token().await.text, before.text, "its token is kept");
    broker.token_of("bob").await;
    assert_eq!(tenant.calls(Call::Any), calls + 1);
    assert_eq!(refusals(&tenant), 0);
    let metrics = broker.ops("/metrics").await.text().await.unwrap();
    for client in ["issuing", "management", "service"] {
        let line = format!("qtb_client_secret_in_use{{tenant=\"rotating\",client=\"{client}\"}} 1");
        assert!(metrics.contains(&line), "{line}");
    }
}

#[tokio::test]
async fn metrics_say_which_secret_is_in_use() {
    let tenant = tenant().await;
    let config = key_table(&["listed"]) + &tenant_table("listed", &tenant.url());
    let listed = |list: &str| {
        let list = format!("client_secrets = [{list}]");
        config.replace("client_secret = 'tenant-client-secret'", &list)
    };
    let broker = Broker::start(&listed("'new', 'tenant-client-secret'"));
    let place = async || {
        let metrics = broker.ops("/metrics").await.text().await.unwrap();
        let name = "qtb_client_secret_in_use{tenant=\"listed\",client=\"issuing\"} ";
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().to_owned()
    };
    assert_eq!(place().await, "1");
    broker.token_of("ann").await;
    assert_eq!(place().await, "2");
    broker.reload(&listed("'new'")).await;
    broker.token_of("bob").await;
    assert_eq!(place().await, "0", "the one that works is no longer listed");
    let with_page = listed("'new'").replace(
        "allowed_origins = [",
        "allowed_origins = ['https://more.test', ",
    );
    assert_ne!(with_page, listed("'new'"));
    broker.reload(&with_page).await;
    assert_eq!(place().await, "0", "another change says nothing of it");
    tenant.with_world(|world| {
        let client = world.client_mut("broker").unwrap();
        let made = client.secrets[0].created_at;
        client.secrets.push(ClientSecret::new("new", made));
    });
    broker.reload(&listed("'newest', 'new'")).await;
    broker.token_of("eve").await;
    assert_eq!(place().await, "2");
}

/// A tenant that refused our client is asked again at once when the client has another secret, and
/// not sooner because something else was reloaded.
#[tokio::test]
async fn a_mended_secret_ends_the_pause_of_the_tenant() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let config = std::fs::read_to_string(&broker.file.0).unwrap();
    accept_only(&tenant, "broker", "another");
    refused(broker.ask_for("ann"), 502, "tenant_refused_client").await;
    let reasons = async || ready(&broker).await["reasons"].clone();
    let paused: Value = serde_json::json!([{"tenant": "acme", "reason": "client_refused"}]);
    assert_eq!(reasons().await, paused);
    broker.reload(&format!("# the same\n{config}")).await;
    assert_eq!(reasons().await, paused);
    refused(broker.ask_for("bob"), 502, "tenant_refused_client").await;
    assert_eq!(tenant.calls(Call::Any), 1);
    let mended = config.replace("tenant-client-secret", "another");
    broker.reload(&mended).await;
    assert_eq!(reasons().await, serde_json::json!([]));
    broker.token_of("eve").await;
    assert_eq!(tenant.calls(Call::Any), 2);
}
