//! `clients`, as an administrator types it, against the simulated tenant.

use std::process::{Output, Stdio};

use qlik_token_broker::simulator::{Call, ClientSetup, Simulator};
use serde_json::{Value, json};

use super::cli::program;
use super::harness::{Folder, PAGE, key_table, managed_table, managed_world};

/// A tenant with the two clients of a configuration, two of the same name, and one with an odd name.
async fn tenant() -> Simulator {
    let mut world = managed_world();
    for id in ["twin-1", "twin-2"] {
        world = world.with_client(ClientSetup::new(id).name("twin"));
    }
    let odd = ClientSetup::new("odd")
        .name("odd\u{1b}[2J\u{202e}name")
        .origin(PAGE);
    Simulator::start(world.with_client(odd)).await.unwrap()
}

struct Desk {
    folder: Folder,
    config: String,
    url: String,
}

impl Desk {
    fn of(tenant: &Simulator) -> Self {
        let folder = Folder::new();
        let config = key_table(&["acme"]) + &managed_table("acme", &tenant.url());
        let config = folder.write("broker.toml", &config);
        folder.write("secret", "management-client-secret");
        let url = tenant.url();
        Self {
            folder,
            config,
            url,
        }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = program();
        command.arg("clients").args(arguments);
        command.current_dir(&self.folder.0).stdin(Stdio::null());
        let done = tokio::task::spawn_blocking(move || command.output());
        let output = done.await.unwrap().unwrap();
        for secret in ["tenant-client-secret", "management-client-secret"] {
            assert!(!said(&output).contains(secret), "{}", said(&output));
        }
        output
    }

    /// As the configured management client.
    async fn configured(&self, arguments: &[&str]) -> Output {
        let config = ["--config", self.config.as_str()];
        self.run(&[arguments, &config].concat()).await
    }

    /// As a client that is named on the command line.
    async fn named(&self, arguments: &[&str]) -> Output {
        let place = [
            "--url",
            self.url.as_str(),
            "--client-id",
            "management",
            "--client-secret-file",
            "secret",
        ];
        self.run(&[arguments, &place].concat()).await
    }
}

fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_clients_are_listed_with_what_they_may_and_what_proves_them() {
    let tenant = tenant().await;
    let desk = Desk::of(&tenant);
    for listed in [
        desk.configured(&["list"]).await,
        desk.named(&["list"]).await,
    ] {
        assert!(listed.status.success(), "{}", said(&listed));
        let text = said(&listed);
        let row = |id: &str| text.lines().find(|line| line.starts_with(id)).unwrap();
        let issuing = row("broker");
        for part in ["impersonation", "user_default", "trusted", "ecret ("] {
            assert!(issuing.contains(part), "{part} is missing in\n{text}");
        }
        assert!(row("management").contains("client_credentials"));
        assert!(row("twin-1").contains("required"));
        assert!(row("odd").contains(PAGE));
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
    }
    let text = said(&desk.configured(&["list"]).await);
    assert!(text.contains("tenants.acme (issuing)") && text.contains("tenants.acme (management)"));
    let listed = desk.configured(&["list", "--json"]).await;
    let lines = String::from_utf8(listed.stdout).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 5);
    let issuing = lines.iter().find(|line| line["id"] == "broker").unwrap();
    assert_eq!(issuing["secrets"][0]["hint"], "ecret");
    assert!(issuing["secrets"][0]["age_seconds"].is_i64());
    assert_eq!(issuing["used_by"], json!(["tenants.acme (issuing)"]));
    assert_eq!(issuing["consent"], "trusted");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_is_shown_by_its_id_or_a_name_that_only_it_has() {
    let tenant = tenant().await;
    let desk = Desk::of(&tenant);
    let shown = said(&desk.configured(&["show", "broker"]).await);
    for line in [
        "consent  trusted",
        "secret   ecret (",
        "used by  tenants.acme (issuing)",
    ] {
        assert!(shown.contains(line), "{line} is missing in\n{shown}");
    }
    let shown = desk.named(&["show", "twin-2", "--json"]).await;
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(
        (&shown["name"], &shown["used_by"]),
        (&json!("twin"), &json!([]))
    );
    for (client, part) in [("twin", "twin-1"), ("nobody", "no client")] {
        let refused = desk.configured(&["show", client]).await;
        assert_eq!(refused.status.code(), Some(1));
        assert!(said(&refused).contains(part), "{}", said(&refused));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_client_that_is_meant_and_not_in_use_is_deleted() {
    let tenant = tenant().await;
    let desk = Desk::of(&tenant);
    for (arguments, part) in [
        (&["delete", "twin", "--yes"][..], "several clients"),
        (&["delete", "twin-1"], "--yes"),
        (&["delete", "broker", "--yes"], "tenants.acme (issuing)"),
        (
            &["delete", "broker", "--yes", "--force", "brok"],
            "--force with its full id",
        ),
        (&["delete", "nobody", "--yes"], "no client"),
    ] {
        let refused = desk.configured(arguments).await;
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        assert!(said(&refused).contains(part), "{}", said(&refused));
    }
    assert_eq!(tenant.calls(Call::OauthClientDelete), 0);
    assert!(
        desk.configured(&["delete", "twin-1", "--yes"])
            .await
            .status
            .success()
    );
    // Now the name is one client's.
    assert!(
        desk.named(&["delete", "twin", "--yes"])
            .await
            .status
            .success()
    );
    let forced = ["delete", "broker", "--yes", "--force", "broker"];
    assert!(desk.configured(&forced).await.status.success());
    let left = tenant.with_world(|world| world.clients.len());
    assert_eq!((left, tenant.calls(Call::OauthClientDelete)), (2, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_has_to_be_named_and_to_be_allowed() {
    let tenant = tenant().await;
    let desk = Desk::of(&tenant);
    let url = tenant.url();
    for (arguments, part) in [
        (vec!["list"], "name a tenant"),
        (vec!["list", "--url", &url], "--token-file"),
        (
            vec!["list", "--url", &url, "--token-file", "secret"],
            "has not expired",
        ),
        (
            vec![
                "list",
                "--url",
                "http://acme.example",
                "--token-file",
                "secret",
            ],
            "must be https",
        ),
        (
            vec!["list", "--config", &desk.config, "--tenant", "other"],
            "no such tenant",
        ),
    ] {
        let refused = desk.run(&arguments).await;
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        assert!(said(&refused).contains(part), "{}", said(&refused));
    }
}
