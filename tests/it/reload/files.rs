//! Files that change: what starts a reload without anybody asking for it.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use qlik_token_broker::config::Sources;
use qlik_token_broker::simulator::{Call, ClientSecret, Simulator};
use serde_json::json;

use super::{ready, token_in};
use crate::harness::{Broker, Folder, key_table, refused, tenant, tenant_table};

/// Files are looked at this often.
const OFTEN: Duration = Duration::from_millis(50);

fn follow(broker: &Broker) {
    tokio::spawn(Arc::clone(&broker.live).follow(OFTEN));
}

async fn reaches(broker: &Broker, generation: u64) {
    for _ in 0..100 {
        if broker.live.app().generation >= generation {
            return;
        }
        tokio::time::sleep(OFTEN).await;
    }
    panic!("there was no reload");
}

async fn becomes(broker: &Broker, status: &str) {
    for _ in 0..100 {
        if ready(broker).await["status"] == status {
            return;
        }
        tokio::time::sleep(OFTEN).await;
    }
    panic!("it is not {status}");
}

/// From now on the tenant accepts this secret and no other.
pub fn accept_only(tenant: &Simulator, client: &str, secret: &str) {
    tenant.with_world(|world| {
        let client = world.client_mut(client).unwrap();
        let made = client.secrets[0].created_at;
        client.secrets = vec![ClientSecret::new(secret, made)];
    });
}

/// As an orchestrator mounts secrets: the file is a link into a folder that is a link, which is
/// replaced at once.
fn mount(folder: &Path, version: &str, secret: &str) {
    std::fs::create_dir(folder.join(version)).unwrap();
    std::fs::write(folder.join(version).join("secret"), secret).unwrap();
    symlink(version, folder.join("..next")).unwrap();
    std::fs::rename(folder.join("..next"), folder.join("..data")).unwrap();
    if !folder.join("secret").exists() {
        symlink("..data/secret", folder.join("secret")).unwrap();
    }
}

#[tokio::test]
async fn c45_a_secret_in_a_mount_that_is_swapped_is_used_for_the_next_mint() {
    let (tenant, folder) = (tenant().await, Folder::new());
    mount(&folder.0, "..1", "tenant-client-secret");
    let file = folder.0.join("secret").display().to_string();
    let table = tenant_table("acme", &tenant.url());
    let table = table.replace("'tenant-client-secret'", &format!("{{ file = '{file}' }}"));
    let broker = Broker::start(&(key_table(&["acme"]) + &table));
    follow(&broker);
    broker.token_of("ann").await;
    mount(&folder.0, "..2", "rotated-client-secret");
    reaches(&broker, 2).await;
    accept_only(&tenant, "broker", "rotated-client-secret");
    broker.token_of("bob").await;
    assert_eq!(tenant.calls(Call::Any), 2, "nothing was refused");
    assert_eq!(broker.token_of("ann").await.source, "local");
    tokio::time::sleep(OFTEN * 6).await;
    assert_eq!(broker.live.app().generation, 2, "once");
}

#[tokio::test]
async fn a_new_file_in_a_directory_brings_its_tenant() {
    let (acme, globex) = (tenant().await, tenant().await);
    let (folder, tenants) = (Folder::new(), Folder::new());
    let main = folder.write("broker.toml", &key_table(&["acme"]));
    tenants.write("acme.toml", &tenant_table("acme", &acme.url()));
    let broker = Broker::start_from(Sources {
        files: vec![main.clone().into(), tenants.0.clone()],
        env: Vec::new(),
    });
    follow(&broker);
    broker.token_of("ann").await;
    tenants.write("globex.toml", &tenant_table("globex", &globex.url()));
    reaches(&broker, 2).await;
    std::fs::write(&main, key_table(&["acme", "globex"])).unwrap();
    reaches(&broker, 3).await;
    token_in(&broker, "globex", "ann").await;
    std::fs::remove_file(tenants.0.join("globex.toml")).unwrap();
    becomes(&broker, "degraded").await;
    assert_eq!(
        broker.live.app().generation,
        3,
        "the key names a tenant that is gone"
    );
    assert_eq!(token_in(&broker, "globex", "ann").await.source, "local");
    std::fs::write(&main, key_table(&["acme"])).unwrap();
    reaches(&broker, 4).await;
    let asking =
        broker.ask(&json!({"user_lookup": crate::harness::subject("ann"), "tenant": "globex"}));
    refused(asking, 403, "tenant_not_allowed").await;
    assert_eq!(broker.token_of("ann").await.source, "local");
    assert_eq!((acme.calls(Call::Any), globex.calls(Call::Any)), (1, 1));
}

/// A file that only the broken configuration names heals it when it appears.
#[tokio::test]
async fn a_broken_configuration_is_tried_again_when_one_of_its_files_is_mended() {
    let (tenant, folder) = (tenant().await, Folder::new());
    let broker = Broker::with(&tenant);
    follow(&broker);
    let file = folder.0.join("later").display().to_string();
    let config = std::fs::read_to_string(&broker.file.0).unwrap();
    let named = config.replace("'tenant-client-secret'", &format!("{{ file = '{file}' }}"));
    std::fs::write(&broker.file.0, named).unwrap();
    becomes(&broker, "degraded").await;
    folder.write("later", "tenant-client-secret");
    becomes(&broker, "ready").await;
    assert_eq!(broker.live.app().generation, 2);
    // What is not TOML names no files: mending it is a change of itself.
    std::fs::write(&broker.file.0, "[").unwrap();
    becomes(&broker, "degraded").await;
    std::fs::write(&broker.file.0, &config).unwrap();
    becomes(&broker, "ready").await;
    broker.token_of("ann").await;
    assert_eq!(tenant.calls(Call::Any), 1);
}

/// What a reload that was asked for has read is no change any more.
#[tokio::test]
async fn a_change_is_read_once() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let config = std::fs::read_to_string(&broker.file.0).unwrap();
    for generation in 2..5 {
        let answer = broker.reload(&format!("# {generation}\n{config}")).await;
        assert_eq!(answer["generation"], generation);
    }
    // From here on, since whoever follows may be faster than the call.
    follow(&broker);
    tokio::time::sleep(OFTEN * 6).await;
    assert_eq!(broker.live.app().generation, 4);
}
