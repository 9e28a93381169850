//! `rotate-secret`, as an operator types it, against the simulated tenant.

mod interrupted;
mod load;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use qlik_token_broker::simulator::{
    Call, Client as OauthClient, ClientSecret, ClientSetup, Fault, Simulator, World,
};
use serde_json::{Value, json};

use super::cli::program;
use super::harness::{Folder, key_table, managed_table, managed_world};

const OLD: &str = "tenant-client-secret";
const OLD_HINT: &str = "ecret";
const FAST: [&str; 5] = ["--yes", "--wait", "0s", "--patience", "1s"];
const WRITES: [Call; 4] = [
    Call::OauthClientPatch,
    Call::ClientSecretAdd,
    Call::ClientSecretDelete,
    Call::OauthClientDelete,
];

/// What proves the issuing client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    Secret,
    Key,
}

/// The operator's machine: a configuration, and the file that it names.
struct Desk {
    folder: Folder,
    proof: Proof,
    /// What the tenant knows of the key at the start.
    jwk: Value,
}

impl Desk {
    fn new(proof: Proof) -> Self {
        let folder = Folder::new();
        let mut jwk = Value::Null;
        if proof == Proof::Secret {
            let file = folder.write("issuing", OLD);
            let mode = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(file, mode).unwrap();
        } else {
            let out = folder.0.join("issuing");
            let made = program().arg("keygen").arg("--out").arg(out).output();
            jwk = serde_json::from_slice(&made.unwrap().stdout).unwrap();
        }
        Self { folder, proof, jwk }
    }

    /// A tenant whose issuing client is proven by what is in the file, and by nothing else.
    async fn tenant(&self) -> Simulator {
        Simulator::start(self.world()).await.unwrap()
    }

    fn world(&self) -> World {
        let mut world = managed_world();
        if self.proof == Proof::Key {
            let client = world.client_mut("broker").unwrap();
            client.secrets.clear();
            client.auth_methods = vec!["private_key_jwt".to_owned()];
            client.public_keys.push(self.jwk.clone());
        }
        world
    }

    fn file(&self) -> PathBuf {
        self.folder.0.join("issuing")
    }

    fn read(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    fn table(&self, tenant: &Simulator) -> String {
        let file = self.file().display().to_string();
        let proof = match self.proof {
            Proof::Secret => format!("client_secret = {{ file = '{file}' }}"),
            Proof::Key => {
                format!("private_key = {{ algorithm = 'ES384', pem = {{ file = '{file}' }} }}")
            }
        };
        let table = managed_table("acme", &tenant.url());
        key_table(&["acme"]) + &table.replace("client_secret = 'tenant-client-secret'", &proof)
    }

    fn configure(&self, tenant: &Simulator) -> String {
        self.folder.write("broker.toml", &self.table(tenant))
    }

    fn command(&self, config: &str, more: &[&str]) -> Command {
        let mut program = program();
        program
            .args(["rotate-secret", "--config", config])
            .args(more);
        program.current_dir(&self.folder.0).stdin(Stdio::null());
        program
    }

    async fn rotate(&self, tenant: &Simulator, more: &[&str]) -> Output {
        let config = self.configure(tenant);
        self.rotate_with(&config, more).await
    }

    async fn rotate_with(&self, config: &str, more: &[&str]) -> Output {
        let before = self.read();
        let output = ended(self.command(config, more)).await;
        let said = said(&output);
        for secret in [before, self.read()] {
            // Of a key, a line in its middle.
            let part = secret.lines().nth(1).unwrap_or(&secret);
            assert!(!said.contains(part), "a secret is shown:\n{said}");
        }
        output
    }

    /// What lies beside the file.
    fn beside(&self) -> Vec<String> {
        let files = std::fs::read_dir(&self.folder.0).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.contains("issuing")).collect();
        names.retain(|name| name != "issuing");
        names
    }

    /// How many secrets or keys the client has; what is in the file is one of them.
    fn assert_works(&self, tenant: &Simulator) -> usize {
        let client = client(tenant, "broker");
        let text = self.read();
        if self.proof == Proof::Secret {
            assert!(client.secrets.iter().any(|known| known.value == text));
            return client.secrets.len();
        }
        let key = qlik_token_broker::qlik::key_pair::KeyPair::read(
            qlik_token_broker::qlik::AssertionAlgorithm::Es384,
            qlik_token_broker::secret::Secret::new(text),
        );
        assert!(client.public_keys.contains(&key.unwrap().jwk));
        client.public_keys.len()
    }

    /// One secret or key, another than before, and nothing left over.
    fn assert_rotated(&self, tenant: &Simulator, before: &str) {
        assert_eq!(self.assert_works(tenant), 1);
        assert_ne!(self.read(), before);
        assert_eq!(self.beside(), Vec::<String>::new());
        let mode = std::fs::metadata(self.file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

async fn ended(mut command: Command) -> Output {
    let done = tokio::task::spawn_blocking(move || command.output());
    done.await.unwrap().unwrap()
}

fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn assert_done(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
}

/// It ended with a failure that says all of this, and changed nothing in the tenant.
fn assert_refused(tenant: &Simulator, output: &Output, parts: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    assert_eq!(writes(tenant), 0, "{said}");
}

fn writes(tenant: &Simulator) -> usize {
    WRITES.iter().map(|call| tenant.calls(*call)).sum()
}

fn client(tenant: &Simulator, id: &str) -> OauthClient {
    tenant.with_world(|world| world.client_mut(id).unwrap().clone())
}

fn add_secrets(tenant: &Simulator, secrets: &[&str]) {
    tenant.with_world(|world| {
        let client = world.client_mut("broker").unwrap();
        let made = client.created_at;
        let secrets = secrets.iter().map(|text| ClientSecret::new(*text, made));
        client.secrets.extend(secrets);
    });
}

/// How long a new secret takes to work. The one that is there has its hour behind it.
fn set_delay(tenant: &Simulator, seconds: u64) {
    tenant.with_world(|world| {
        world.secret_delay = std::time::Duration::from_secs(seconds);
        let clients = world.clients.iter_mut();
        for secret in clients.flat_map(|client| &mut client.secrets) {
            secret.created_at -= jiff::SignedDuration::from_hours(1);
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn another_secret_or_key_takes_the_place_of_the_old_one() {
    for proof in [Proof::Secret, Proof::Key] {
        let desk = Desk::new(proof);
        let tenant = desk.tenant().await;
        let before = desk.read();
        let dry = desk.rotate(&tenant, &["--dry-run"]).await;
        assert_done(&dry);
        assert!(
            said(&dry).contains("in the old one's place"),
            "{}",
            said(&dry)
        );
        let unasked = desk.rotate(&tenant, &[]).await;
        assert_refused(&tenant, &unasked, &["--yes"]);
        assert_eq!((desk.read(), desk.beside().len()), (before.clone(), 0));
        assert_done(&desk.rotate(&tenant, &FAST).await);
        desk.assert_rotated(&tenant, &before);
        // For a user who is there, whose token does not stay.
        let before = desk.read();
        let named = [&FAST[..], &["--subject", "auth0|ann", "--json"]].concat();
        let done = desk.rotate(&tenant, &named).await;
        assert_done(&done);
        desk.assert_rotated(&tenant, &before);
        let line: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(line["outcome"], "rotated");
        assert!(line["dropped"].is_string(), "{line}");
        assert!(tenant.calls(Call::Revoke) > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_management_and_the_service_client_are_rotated_as_well() {
    let desk = Desk::new(Proof::Secret);
    let service = ClientSetup::new("service")
        .secret("service-client-secret")
        .grant(qlik_token_broker::simulator::CLIENT_CREDENTIALS)
        .scopes("apps:read")
        .trusted();
    let world = desk.world().with_client(service);
    let tenant = Simulator::start(world).await.unwrap();
    let mut config = desk.table(&tenant)
        + "service = { client_id = 'service', client_secret = 'service-client-secret', scopes = 'apps:read' }\n";
    for name in ["management", "service"] {
        let secret = format!("{name}-client-secret");
        let file = desk.folder.write(name, &secret);
        config = config.replace(&format!("'{secret}'"), &format!("{{ file = '{file}' }}"));
    }
    let config = desk.folder.write("broker.toml", &config);
    for name in ["management", "service"] {
        let more = [&FAST[..], &["--client", name]].concat();
        assert_done(&desk.rotate_with(&config, &more).await);
        let text = std::fs::read_to_string(desk.folder.0.join(name)).unwrap();
        let secrets = client(&tenant, name).secrets;
        assert_eq!((secrets.len(), &secrets[0].value), (1, &text));
        assert_eq!(text.len(), 64);
    }
    let absent = desk.rotate(&tenant, &["--client", "service"]).await;
    assert!(
        said(&absent).contains("no `service` client"),
        "{}",
        said(&absent)
    );
}

/// Where the secret is kept decides whether the command can put another in its place.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_replaced_is_refused_before_anything_changes() {
    let desk = Desk::new(Proof::Secret);
    let tenant = desk.tenant().await;
    let file = format!("{{ file = '{}' }}", desk.file().display());
    let table = desk.table(&tenant);
    let pem = desk.folder.0.join("pem");
    let made = program().arg("keygen").arg("--out").arg(&pem).output();
    assert!(made.unwrap().status.success());
    let with = |proof: &str| table.replace(&format!("client_secret = {file}"), proof);
    let shared = "management = { client_id = 'management', client_secret = ";
    let value = format!("{shared}'management-client-secret'");
    let link = desk.folder.0.join("link");
    symlink(desk.file(), &link).unwrap();
    let cases = [
        (
            with("client_secret = 'tenant-client-secret'"),
            "written in the configuration",
        ),
        (
            with("client_secret = { env = 'PATH' }"),
            "comes from the environment",
        ),
        (
            with(&format!("client_secrets = [{file}, 'other']")),
            "names several",
        ),
        (
            with(&format!(
                "private_key = {{ kid = 'k', algorithm = 'ES384', pem = {{ file = '{}' }} }}",
                pem.display()
            )),
            "take `kid` out",
        ),
        (
            with(&format!(
                "client_secret = {{ file = '{}' }}",
                link.display()
            )),
            "is a link",
        ),
        (
            table.replace(&value, &format!("{shared}{file}")),
            "a file of its own",
        ),
        (
            table.replace(
                &value,
                "management = { client_id = 'broker', client_secret = 'other'",
            ),
            "would be dead",
        ),
    ];
    for (config, part) in cases {
        let config = desk.folder.write("broker.toml", &config);
        let refused = desk.rotate_with(&config, &FAST).await;
        assert_refused(&tenant, &refused, &[part]);
        assert_eq!(desk.beside().len(), 0);
    }
    let folder = std::fs::File::open(&desk.folder.0).unwrap();
    folder.lock().unwrap();
    let second = desk.rotate(&tenant, &FAST).await;
    assert_refused(&tenant, &second, &["another command is at work"]);
    drop(folder);
    // Not an administrator, and nobody at all.
    let weak = desk
        .table(&tenant)
        .replace("secret' }", "secret', scopes = 'user_default' }");
    let weak = desk.folder.write("broker.toml", &weak);
    let refused = desk.rotate_with(&weak, &FAST).await;
    assert_refused(&tenant, &refused, &["admin_classic"]);
    let nobody = desk.table(&tenant);
    let nobody = nobody.split("management = ").next().unwrap();
    let nobody = desk.folder.write("broker.toml", nobody);
    let refused = desk.rotate_with(&nobody, &FAST).await;
    assert_refused(&tenant, &refused, &["--token-file"]);
    assert_eq!(desk.read(), OLD);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_five_secrets_one_that_nobody_uses_is_dropped_first() {
    let desk = Desk::new(Proof::Secret);
    let tenant = desk.tenant().await;
    add_secrets(
        &tenant,
        &["other-11111", "other-22222", "other-33333", "other-44444"],
    );
    let full = desk.rotate(&tenant, &FAST).await;
    assert_refused(
        &tenant,
        &full,
        &[
            "has 5 secrets",
            "11111",
            "44444",
            "ecret is in the file",
            "--drop",
        ],
    );
    for (hint, why) in [(OLD_HINT, "the one in use"), ("99999", "has no secret")] {
        let refused = desk
            .rotate(&tenant, &[&FAST[..], &["--drop", hint]].concat())
            .await;
        assert_refused(&tenant, &refused, &[why]);
    }
    let dropping = [&FAST[..], &["--drop", "22222"]].concat();
    assert_done(&desk.rotate(&tenant, &dropping).await);
    assert_eq!(desk.assert_works(&tenant), 4);
    let hints: Vec<_> = client(&tenant, "broker")
        .secrets
        .into_iter()
        .map(|one| one.hint)
        .collect();
    assert!(!hints.contains(&"22222".to_owned()) && !hints.contains(&OLD_HINT.to_owned()));
}

/// A hint need not be a part of its secret.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_whose_hint_cannot_be_told_is_named_or_proven() {
    let desk = Desk::new(Proof::Secret);
    let tenant = desk.tenant().await;
    let hint = |hint: &str| {
        tenant.with_world(|world| {
            world.client_mut("broker").unwrap().secrets[0].hint = hint.to_owned();
        });
    };
    hint("first");
    // The only one there is, and it works.
    assert_done(&desk.rotate(&tenant, &FAST).await);
    desk.assert_rotated(&tenant, OLD);
    hint("again");
    add_secrets(&tenant, &["other-11111"]);
    tenant.reset();
    let untold = desk.rotate(&tenant, &FAST).await;
    assert_refused(
        &tenant,
        &untold,
        &["cannot be told", "11111", "again", "--old"],
    );
    let wrong = desk
        .rotate(&tenant, &[&FAST[..], &["--old", "xxxxx"]].concat())
        .await;
    assert_refused(&tenant, &wrong, &["name one of these"]);
    assert_done(
        &desk
            .rotate(&tenant, &[&FAST[..], &["--old", "again"]].concat())
            .await,
    );
    assert_eq!(desk.assert_works(&tenant), 2);
    // One that the tenant dropped already, because it leaked: the others are not ours.
    std::fs::write(desk.file(), "leaked-and-dropped").unwrap();
    let done = desk.rotate(&tenant, &FAST).await;
    assert_done(&done);
    assert!(
        said(&done).contains("nothing is dropped"),
        "{}",
        said(&done)
    );
    assert_eq!(desk.assert_works(&tenant), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_takes_a_while_to_work_is_waited_for() {
    let desk = Desk::new(Proof::Secret);
    let tenant = desk.tenant().await;
    set_delay(&tenant, 1);
    let patient = ["--yes", "--wait", "0s", "--patience", "20s"];
    assert_done(&desk.rotate(&tenant, &patient).await);
    desk.assert_rotated(&tenant, OLD);
    set_delay(&tenant, 0);
    // And one that never works stays beside the one that does, until it works.
    let before = desk.read();
    tenant.on_until_cleared(Call::TokenImpersonation, Fault::WrongSecret);
    let failed = desk.rotate(&tenant, &FAST).await;
    assert_eq!(failed.status.code(), Some(1));
    assert!(
        said(&failed).contains("goes on from here"),
        "{}",
        said(&failed)
    );
    assert_eq!(
        (desk.read(), desk.assert_works(&tenant)),
        (before.clone(), 2)
    );
    tenant.clear_faults();
    let added = tenant.calls(Call::ClientSecretAdd);
    let resumed = desk.rotate(&tenant, &FAST).await;
    assert_done(&resumed);
    assert!(said(&resumed).contains("goes on"), "{}", said(&resumed));
    assert_eq!(
        tenant.calls(Call::ClientSecretAdd),
        added,
        "the one that is there"
    );
    desk.assert_rotated(&tenant, &before);
}

/// Replicas on other machines get the new one before the old one is dropped.
#[tokio::test(flavor = "multi_thread")]
async fn the_old_one_may_be_kept_until_the_command_is_run_again() {
    for proof in [Proof::Secret, Proof::Key] {
        let desk = Desk::new(proof);
        let tenant = desk.tenant().await;
        let before = desk.read();
        let keeping = [&FAST[..], &["--keep-old", "--json"]].concat();
        let kept = desk.rotate(&tenant, &keeping).await;
        assert_done(&kept);
        let line: Value = serde_json::from_slice(&kept.stdout).unwrap();
        assert_eq!(
            (&line["outcome"], &line["dropped"]),
            (&json!("old one kept"), &json!(null))
        );
        let new = desk.read();
        assert_ne!(new, before);
        assert_eq!(desk.assert_works(&tenant), 2);
        assert_done(&desk.rotate(&tenant, &keeping).await);
        assert_eq!((desk.assert_works(&tenant), desk.read()), (2, new.clone()));
        assert_done(&desk.rotate(&tenant, &FAST).await);
        assert_eq!(desk.read(), new);
        desk.assert_rotated(&tenant, &before);
    }
}

/// What a backup or a tool for configurations does.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_secret_that_is_put_back_meanwhile_is_not_dropped() {
    let desk = Desk::new(Proof::Secret);
    let tenant = desk.tenant().await;
    let slowly = ["--yes", "--wait", "2s", "--patience", "1s"];
    let put_back = async {
        while desk.read() == OLD {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        desk.folder.write("issuing", OLD);
    };
    let (refused, ()) = tokio::join!(desk.rotate(&tenant, &slowly), put_back);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("put the old secret back"));
    assert_eq!(desk.read(), OLD);
    assert_eq!(desk.assert_works(&tenant), 2);
}

/// A file that is there and not ours is not touched, nor what another rotation left.
#[tokio::test(flavor = "multi_thread")]
async fn what_lies_beside_and_cannot_be_explained_is_left_alone() {
    let desk = Desk::new(Proof::Secret);
    let tenant = desk.tenant().await;
    desk.folder.write("issuing.next", "whose?");
    let refused = desk.rotate(&tenant, &FAST).await;
    assert_refused(&tenant, &refused, &["nothing says why", "move"]);
    desk.folder.write("issuing.rotation", "{}");
    let refused = desk.rotate(&tenant, &FAST).await;
    assert_refused(&tenant, &refused, &["not as it was written"]);
    let other = json!({"client_id": "other", "old": null, "known": [], "digest": "", "began": "2026-01-01T00:00:00Z"});
    desk.folder.write("issuing.rotation", &other.to_string());
    let refused = desk.rotate(&tenant, &FAST).await;
    assert_refused(&tenant, &refused, &["of another client"]);
    assert_eq!(desk.read(), OLD);
}

/// Which answer an unknown user gets is not documented: one that a wrong secret gets as well proves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_takes_a_wrong_secret_for_a_wrong_user_needs_a_user() {
    let desk = Desk::new(Proof::Secret);
    let mut world = desk.world();
    world.refusals.wrong_secret = world.refusals.unknown_user.clone();
    let tenant = Simulator::start(world).await.unwrap();
    let refused = desk.rotate(&tenant, &FAST).await;
    assert_refused(&tenant, &refused, &["--subject"]);
    let named = [&FAST[..], &["--subject", "auth0|nobody"]].concat();
    let failed = desk.rotate(&tenant, &named).await;
    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(
        (desk.read(), desk.assert_works(&tenant)),
        (OLD.to_owned(), 2)
    );
    let named = [&FAST[..], &["--subject", "auth0|ann"]].concat();
    assert_done(&desk.rotate(&tenant, &named).await);
    desk.assert_rotated(&tenant, OLD);
}
