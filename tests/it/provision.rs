//! `provision`, as an administrator types it, against the simulated tenant.

mod interrupted;

use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};

use qlik_token_broker::simulator::{
    CLIENT_CREDENTIALS, Call, Client as OauthClient, ClientSetup, Fault, IMPERSONATION, Simulator,
    World,
};
use serde_json::{Value, json};

use super::cli::{free_address, program, serve, wait_for};
use super::harness::{Folder, PAGE};

const ISSUING: &str = "qlik-token-broker issuing";
const MANAGEMENT: &str = "qlik-token-broker management";
const ADMIN_SECRET: &str = "canary-of-the-administrator";
/// What changes a tenant.
const WRITES: [Call; 6] = [
    Call::OauthClientCreate,
    Call::OauthClientPatch,
    Call::OauthClientDelete,
    Call::ClientSecretAdd,
    Call::ClientSecretDelete,
    Call::CspOriginCreate,
];

/// A tenant with an administrator's client, one user, and nothing for the broker.
fn empty() -> World {
    let admin = ClientSetup::new("admin")
        .secret(ADMIN_SECRET)
        .grant(CLIENT_CREDENTIALS)
        .scopes("admin_classic")
        .trusted();
    let world = World::default().with_client(admin);
    world.with_user("auth0|ann", "ann@acme.test")
}

/// What the administrator's machine holds.
struct Desk {
    folder: Folder,
    secret: String,
}

impl Desk {
    fn new() -> Self {
        let folder = Folder::new();
        let secret = folder.write("admin.secret", ADMIN_SECRET);
        Self { folder, secret }
    }

    fn out(&self) -> std::path::PathBuf {
        self.folder.0.join("out")
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.out().join(name)).unwrap()
    }

    /// Runs the command for the tenant `acme`, which has one page.
    async fn provision(&self, tenant: &Simulator, more: &[&str]) -> Output {
        let url = tenant.url();
        let mut arguments = vec!["--url", &url, "--tenant", "acme", "--origin", PAGE];
        arguments.extend(["--client-id", "admin", "--client-secret-file", &self.secret]);
        arguments.extend(more);
        self.run(&arguments).await
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut program = program();
        program.arg("provision").args(arguments).arg("--out");
        program.arg(self.out()).stdin(Stdio::null());
        let done = tokio::task::spawn_blocking(move || program.output());
        let output = done.await.unwrap().unwrap();
        let said = said(&output);
        let mut secrets = vec![ADMIN_SECRET.to_owned()];
        for file in std::fs::read_dir(self.out()).into_iter().flatten() {
            let path = file.unwrap().path();
            let is = |kind| path.extension().is_some_and(|extension| extension == kind);
            if is("secret") || is("key") || is("pem") {
                let mode = std::fs::metadata(&path).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600, "{}", path.display());
                let text = std::fs::read_to_string(&path).unwrap();
                // Of a key, a line in its middle.
                secrets.push(text.lines().nth(1).unwrap_or(&text).to_owned());
            }
        }
        for secret in secrets {
            assert!(!said.contains(&secret), "a secret is shown:\n{said}");
        }
        output
    }
}

fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn assert_done(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
}

/// The calls that change a tenant. Trust is set by a call that is counted with the one that reads it.
fn writes(tenant: &Simulator) -> usize {
    let trusts = tenant.requests();
    let trusts = trusts
        .iter()
        .filter(|request| request.call == Call::ConnectionConfig && request.method == "PATCH");
    WRITES.iter().map(|call| tenant.calls(*call)).sum::<usize>() + trusts.count()
}

fn client(tenant: &Simulator, name: &str) -> OauthClient {
    tenant.with_world(|world| {
        let mut named = world.clients.iter().filter(|client| client.name == name);
        let found = named.next().unwrap().clone();
        assert!(named.next().is_none(), "{name} is there twice");
        found
    })
}

/// The clients as they should be, and files that prove them.
fn assert_provisioned(tenant: &Simulator, desk: &Desk) {
    assert_eq!(tenant.with_world(|world| world.clients.len()), 3);
    let issuing = client(tenant, ISSUING);
    assert_eq!(issuing.grants, [IMPERSONATION]);
    assert_eq!(issuing.scopes, ["user_default"]);
    assert_eq!(issuing.origins, [PAGE]);
    let management = client(tenant, MANAGEMENT);
    assert_eq!(management.grants, [CLIENT_CREDENTIALS]);
    assert_eq!(management.scopes, ["admin.users"]);
    for (client, file) in [
        (issuing, "acme-issuing.secret"),
        (management, "acme-management.secret"),
    ] {
        assert!(client.trusted && client.app_type == "web");
        let secret = desk.read(file);
        assert!(client.secrets.iter().any(|known| known.value == secret));
        assert!(desk.read("acme.toml").contains(&client.id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_an_empty_tenant_to_a_token_in_three_commands() {
    let tenant = Simulator::start(empty()).await.unwrap();
    let desk = Desk::new();
    // One.
    let made = desk
        .provision(
            &tenant,
            &["--yes", "--subject", "auth0|ann", "--api-key", "portal"],
        )
        .await;
    assert_done(&made);
    assert_provisioned(&tenant, &desk);
    assert!(
        said(&made).contains("a token was minted"),
        "{}",
        said(&made)
    );
    for client in [ISSUING, MANAGEMENT] {
        assert_eq!(client_secrets(&tenant, client), 1);
    }
    // Two. The ports are changed by the environment, to free ones.
    let (public, ops) = (free_address(), free_address());
    let running = serve(&desk.out(), &public, &ops);
    wait_for(&format!("http://{ops}/readyz")).await;
    // Three.
    let asked = reqwest::Client::new()
        .post(format!("http://{public}/session-token"))
        .bearer_auth(desk.read("portal.key"))
        .json(&json!({"user_lookup": {"field": "subject", "value": "auth0|ann"}}));
    let answer = asked.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let token: Value = answer.json().await.unwrap();
    let token = token["access_token"].as_str().unwrap();
    assert_eq!(tenant.owner(token).as_deref(), Some("auth0|ann"));
    drop(running);
    // And once more: nothing is left to do.
    tenant.reset();
    let again = desk
        .provision(&tenant, &["--api-key", "portal", "--json"])
        .await;
    assert_done(&again);
    assert_eq!(writes(&tenant), 0, "{}", said(&again));
    let line: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(line["outcome"], "unchanged");
    assert_eq!(line["changes"], json!([]));
}

fn client_secrets(tenant: &Simulator, name: &str) -> usize {
    client(tenant, name).secrets.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn private_keys_prove_the_clients_where_that_is_asked_for() {
    let tenant = Simulator::start(empty()).await.unwrap();
    let desk = Desk::new();
    let with_key = ["--yes", "--private-key", "--subject", "auth0|ann"];
    assert_done(&desk.provision(&tenant, &with_key).await);
    for name in [ISSUING, MANAGEMENT] {
        let client = client(&tenant, name);
        assert_eq!(client.auth_methods, ["private_key_jwt"]);
        assert_eq!((client.public_keys.len(), client.secrets.len()), (1, 0));
        assert!(client.public_keys[0].get("d").is_none());
    }
    assert!(desk.read("acme.toml").contains("private_key = {"));
    tenant.reset();
    assert_done(&desk.provision(&tenant, &with_key[1..]).await);
    assert_eq!(writes(&tenant), 0);
    // From keys to secrets: both ways stay open, so that the running broker does not fall silent.
    assert_done(&desk.provision(&tenant, &["--yes"]).await);
    let client = client(&tenant, ISSUING);
    assert_eq!(client.auth_methods, ["private_key_jwt", "client_secret"]);
    assert_eq!(client.secrets[0].value, desk.read("acme-issuing.secret"));
    assert_eq!(client.secrets.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_and_an_unanswered_question_change_nothing() {
    let tenant = Simulator::start(empty()).await.unwrap();
    let desk = Desk::new();
    let dry = desk.provision(&tenant, &["--dry-run"]).await;
    assert_done(&dry);
    let text = said(&dry);
    for part in [
        "+ issuing client",
        "+ management client",
        "create: scopes",
        PAGE,
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let odd_key = desk
        .provision(&tenant, &["--yes", "--api-key", "../portal"])
        .await;
    assert!(said(&odd_key).contains("not an id"), "{}", said(&odd_key));
    let unasked = desk.provision(&tenant, &[]).await;
    assert_eq!(unasked.status.code(), Some(1));
    assert!(said(&unasked).contains("--yes"), "{}", said(&unasked));
    assert_eq!(writes(&tenant), 0);
    assert!(!desk.out().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_of_one_name_are_refused_with_their_ids() {
    let mut world = empty();
    for id in ["first", "second"] {
        world = world.with_client(ClientSetup::new(id).name(ISSUING));
    }
    // Enough of them for several pages.
    for other in 0..150 {
        world = world.with_client(ClientSetup::new(format!("other-{other}")));
    }
    world = world.with_client(ClientSetup::new("third").name(ISSUING));
    let tenant = Simulator::start(world).await.unwrap();
    let desk = Desk::new();
    let refused = desk.provision(&tenant, &["--yes"]).await;
    assert_eq!(refused.status.code(), Some(1));
    for part in ["first", "second", "third", "delete or rename"] {
        assert!(said(&refused).contains(part), "{}", said(&refused));
    }
    assert_eq!(writes(&tenant), 0);
    let other_name = ["--yes", "--issuing-name", "of my own"];
    assert_done(&desk.provision(&tenant, &other_name).await);
    assert_eq!(client(&tenant, "of my own").origins, [PAGE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_drifted_is_shown_and_repaired() {
    let tenant = Simulator::start(empty()).await.unwrap();
    let desk = Desk::new();
    assert_done(&desk.provision(&tenant, &["--yes"]).await);
    tenant.with_world(|world| {
        let ids = [0, 1, 2].map(|index| world.clients[index].id.clone());
        for id in &ids[1..] {
            let client = world.client_mut(id).unwrap();
            client.scopes.push("admin_classic".to_owned());
            client.grants = vec![CLIENT_CREDENTIALS.to_owned(), IMPERSONATION.to_owned()];
            client.origins = vec!["https://old.test".to_owned()];
            client.trusted = false;
        }
    });
    tenant.reset();
    let dry = desk.provision(&tenant, &["--dry-run"]).await;
    let text = said(&dry);
    for part in [
        "allowedScopes: user_default admin_classic -> user_default",
        "consentMethod: required -> trusted",
        "allowedOrigins: https://old.test -> https://portal.acme.test",
        "allowedGrantTypes: client_credentials urn:qlik:oauth:user-impersonation -> client_credentials",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert_eq!(writes(&tenant), 0);
    assert_done(&desk.provision(&tenant, &["--yes"]).await);
    assert_provisioned(&tenant, &desk);
    assert_eq!(client_secrets(&tenant, ISSUING), 1, "secrets did not drift");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_not_at_hand_is_added_up_to_five() {
    let tenant = Simulator::start(empty()).await.unwrap();
    let desk = Desk::new();
    assert_done(&desk.provision(&tenant, &["--yes"]).await);
    for secrets in 2..=5 {
        std::fs::remove_file(desk.out().join("acme-issuing.secret")).unwrap();
        assert_done(&desk.provision(&tenant, &["--yes"]).await);
        assert_eq!(client_secrets(&tenant, ISSUING), secrets);
        assert_provisioned(&tenant, &desk);
    }
    std::fs::remove_file(desk.out().join("acme-issuing.secret")).unwrap();
    tenant.reset();
    let full = desk.provision(&tenant, &["--yes"]).await;
    assert_eq!(full.status.code(), Some(1));
    assert!(said(&full).contains("has 5 secrets"), "{}", said(&full));
    assert_eq!(writes(&tenant), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_a_client_that_is_gone_is_not_replaced() {
    let tenant = Simulator::start(empty()).await.unwrap();
    let desk = Desk::new();
    assert_done(&desk.provision(&tenant, &["--yes"]).await);
    let before = desk.read("acme-issuing.secret");
    tenant.with_world(|world| world.clients.retain(|client| client.name != ISSUING));
    tenant.reset();
    let refused = desk.provision(&tenant, &["--yes"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said(&refused).contains("move the file away"),
        "{}",
        said(&refused)
    );
    assert_eq!(
        (writes(&tenant), desk.read("acme-issuing.secret")),
        (0, before)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn origins_that_cannot_be_set_at_creation_are_patched_or_said() {
    let mut world = empty();
    world.origins_at_creation = false;
    let tenant = Simulator::start(world.clone()).await.unwrap();
    let desk = Desk::new();
    assert_done(&desk.provision(&tenant, &["--yes"]).await);
    assert_provisioned(&tenant, &desk);

    let tenant = Simulator::start(world).await.unwrap();
    let refusal = Fault::Status {
        status: 400,
        code: None,
        title: None,
    };
    tenant.on_until_cleared(Call::OauthClientPatch, refusal);
    let desk = Desk::new();
    let left = desk.provision(&tenant, &["--yes"]).await;
    assert_eq!(left.status.code(), Some(1));
    let text = said(&left);
    assert!(
        text.contains("in its console") && text.contains(PAGE),
        "{text}"
    );
    tenant.with_world(|world| {
        for client in &mut world.clients {
            if client.name == ISSUING {
                client.origins.push(PAGE.to_owned());
            }
        }
    });
    assert_done(&desk.provision(&tenant, &["--yes"]).await);
    assert_provisioned(&tenant, &desk);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_may_be_let_frame_the_tenant() {
    let tenant = Simulator::start(empty()).await.unwrap();
    let desk = Desk::new();
    assert_done(&desk.provision(&tenant, &["--yes", "--csp"]).await);
    let entries = tenant.with_world(|world| world.csp_origins.clone());
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["origin"], PAGE);
    assert_eq!(entries[0]["frameAncestors"], true);
    tenant.reset();
    assert_done(&desk.provision(&tenant, &["--csp"]).await);
    assert_eq!(writes(&tenant), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrators_token_does_as_well_and_no_other() {
    let tenant = Simulator::start(empty()).await.unwrap();
    let desk = Desk::new();
    let mint = |scope: &'static str| {
        let asked = reqwest::Client::new()
            .post(format!("{}/oauth/token", tenant.url()))
            .json(&json!({"grant_type": "client_credentials", "client_id": "admin", "client_secret": ADMIN_SECRET, "scope": scope}));
        async move {
            let token: Value = asked.send().await.unwrap().json().await.unwrap();
            token["access_token"].as_str().unwrap().to_owned()
        }
    };
    let good = desk.folder.write("token", &mint("admin_classic").await);
    let bad = desk.folder.write("bad", "not-a-token");
    let url = tenant.url();
    let with = |file: &str| {
        [
            "--url",
            &url,
            "--tenant",
            "acme",
            "--origin",
            PAGE,
            "--yes",
            "--token-file",
            file,
        ]
        .map(str::to_owned)
    };
    let run = async |file: &str| {
        let arguments = with(file);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        desk.run(&arguments).await
    };
    let refused = run(&bad).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said(&refused).contains("has not expired"),
        "{}",
        said(&refused)
    );
    let refused = run("/nowhere").await;
    assert!(
        said(&refused).contains("--token-file"),
        "{}",
        said(&refused)
    );
    assert_done(&run(&good).await);
    assert_provisioned(&tenant, &desk);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_tenants_come_from_one_file_and_one_that_fails_stops_no_other() {
    let desk = Desk::new();
    let [one, two, three] = [(); 3].map(|()| Simulator::start(empty()));
    let tenants = [one.await.unwrap(), two.await.unwrap(), three.await.unwrap()];
    let mut text = format!(
        "[defaults]\nclient_id = 'admin'\nclient_secret = {{ file = '{}' }}\n",
        desk.secret
    );
    for (id, tenant) in ["a", "b", "c"].iter().zip(&tenants) {
        let url = tenant.url();
        let table = format!("[tenants.{id}]\nurl = '{url}'\norigins = ['https://{id}.test']\n");
        text.push_str(&table);
    }
    let file = desk.folder.write("tenants.toml", &text);
    let down = Fault::Status {
        status: 503,
        code: None,
        title: None,
    };
    tenants[1].on_until_cleared(Call::OauthClientCreate, down);
    let first = desk.run(&["--file", &file, "--yes"]).await;
    assert_eq!(first.status.code(), Some(1));
    let text = said(&first);
    let word = |id: &str| {
        let line = text
            .lines()
            .rfind(|line| line.starts_with(&format!("{id}  ")));
        line.unwrap().split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(
        [word("a"), word("b"), word("c")],
        ["provisioned", "failed", "provisioned"]
    );
    tenants.iter().for_each(Simulator::reset);
    let second = desk
        .run(&["--file", &file, "--yes", "--api-key", "portal"])
        .await;
    assert_done(&second);
    assert_eq!((writes(&tenants[0]), writes(&tenants[2])), (0, 0));
    for (id, tenant) in ["a", "b", "c"].iter().zip(&tenants) {
        assert_eq!(
            client(tenant, ISSUING).origins,
            [format!("https://{id}.test")]
        );
    }
    let mut check = program();
    check.arg("check").arg("--config").arg(desk.out());
    let checked = check.output().unwrap();
    assert_done(&checked);
}
