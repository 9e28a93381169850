//! The command line, as an operator types it.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use qlik_token_broker::simulator::{Call, Fault, Simulator, World};
use reqwest::Client;
use serde_json::Value;

use super::harness::{KEY, PAGE, Scratch, header, key_table, subject, tenant, tenant_table};

pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_qlik-token-broker"))
}

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_bad_configuration_ends_within_a_second_with_all_its_problems_and_no_secret() {
    let config = Scratch::new(
        "[server]\nlisten = 'nowhere'\nsurprise = 1\n[[session]]\ntype = 'jwt'\nissuer = ''\naudience = 'a'\nalgorithms = ['none']\n\
         hmac_secret = 'canary-7c1a'\nuser = []\n[tenants.acme]\nurl = 'http://acme.example'\nclient_id = 'c'\n\
         client_secret = { file = '/nowhere' }\nscopes = 'admin_classic'\nallowed_origins = ['https://*.example.com']\n",
    );
    for command in ["serve", "check"] {
        let started = Instant::now();
        let output = run(&[command, "--config", config.0.to_str().unwrap()]);
        assert!(
            started.elapsed() < Duration::from_secs(1),
            "{command}: {:?}",
            started.elapsed()
        );
        assert_eq!(output.status.code(), Some(1), "{command}");
        let said = text(&output.stdout) + &text(&output.stderr);
        for path in [
            "server.listen",
            "server.surprise",
            "session[0].algorithms[0]",
            "session[0].issuer",
            "session[0].user",
            "session[0].hmac_secret",
            "tenants.acme.url",
            "tenants.acme.client_secret",
            "tenants.acme.scopes",
            "tenants.acme.allowed_origins[0]",
        ] {
            assert!(
                said.contains(path),
                "{command}: {path} is missing in\n{said}"
            );
        }
        assert!(!said.contains("canary-7c1a"), "{said}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    assert_eq!(run(&["nonsense"]).status.code(), Some(2));
    assert_eq!(run(&["token"]).status.code(), Some(2));
    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(
        run(&["serve"]).status.code(),
        Some(1),
        "no configuration is a finding, not a wrong call"
    );
    assert_eq!(run(&["--version"]).status.code(), Some(0));
}

#[test]
fn api_key_new_makes_a_key_that_its_own_lines_accept() {
    let output = run(&["api-key", "new", "portal-1"]);
    let said = text(&output.stdout);
    let key = said
        .lines()
        .find(|line| line.starts_with("qtb_portal-1_"))
        .unwrap();
    assert_eq!(key.len(), "qtb_portal-1_".len() + 43);
    let lines = &said[said.find("[[session]]").unwrap()..];
    let config =
        Scratch::new(&(lines.to_owned() + "\n" + &tenant_table("acme", "http://127.0.0.1:9")));
    assert!(
        run(&["check", "--config", config.0.to_str().unwrap()])
            .status
            .success()
    );
    assert!(lines.contains(&super::harness::sha256(key)));
    assert_eq!(run(&["api-key", "new", "Not_An_Id"]).status.code(), Some(1));
}

#[test]
fn keygen_writes_a_private_file_and_replaces_none() {
    use std::os::unix::fs::PermissionsExt;
    let out = Scratch::new("");
    let path = out.0.to_str().unwrap();
    let kept = run(&["keygen", "--out", path]);
    assert_eq!(
        (
            kept.status.code(),
            std::fs::read_to_string(path).unwrap().as_str()
        ),
        (Some(1), "")
    );
    std::fs::remove_file(path).unwrap();
    let made = run(&["keygen", "--out", path]);
    assert!(made.status.success());
    assert_eq!(
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let jwk: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(
        (&jwk["kty"], &jwk["crv"], &jwk["use"]),
        (&"EC".into(), &"P-384".into(), &"sig".into())
    );
    assert!(jwk.get("d").is_none() && !text(&made.stderr).contains("PRIVATE KEY-----"));
}

#[tokio::test(flavor = "multi_thread")]
async fn token_prints_a_token_that_the_tenant_accepts() {
    let tenant = tenant().await;
    let config = Scratch::new(&(key_table(&["acme"]) + &tenant_table("acme", &tenant.url())));
    let path = config.0.to_str().unwrap().to_owned();
    let mint = |arguments: &'static [&'static str]| {
        let path = path.clone();
        tokio::task::spawn_blocking(move || {
            program()
                .arg("token")
                .args(["--config", &path])
                .args(arguments)
                .output()
                .unwrap()
        })
    };
    let made = mint(&["--subject", "auth0|ann", "--scope", "apps:read spaces:read"])
        .await
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    assert!(tenant.is_live(text(&made.stdout).trim()));
    let id = tenant.with_world(|world| world.find_user("auth0|ann").unwrap().id.clone());
    let id: &'static str = id.leak();
    let by_id: &'static [&'static str] = vec!["--tenant", "acme", "--user-id", id].leak();
    assert!(mint(by_id).await.unwrap().status.success());
    for refused in [
        &["--subject", "auth0|nobody"][..],
        &["--subject", "qlikbot\\x"],
        &["--subject", "auth0|ann", "--tenant", "x"],
        &["--subject", "auth0|ann", "--scope", "admin"],
    ] {
        let output = mint(refused).await.unwrap();
        assert_eq!(
            (output.status.code(), text(&output.stdout).as_str()),
            (Some(1), ""),
            "{refused:?}"
        );
        assert!(!text(&output.stderr).contains("tenant-client-secret"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_live_tells_what_is_wrong_and_what_to_do() {
    let mut world = super::harness::world();
    world.clients[0].origins = vec![PAGE.into()];
    let tenant = Simulator::start(world).await.unwrap();
    let config = Scratch::new(&(key_table(&["acme"]) + &tenant_table("acme", &tenant.url())));
    let path = config.0.to_str().unwrap().to_owned();
    let check = |arguments: &'static [&'static str]| {
        let path = path.clone();
        tokio::task::spawn_blocking(move || {
            program()
                .arg("check")
                .args(["--config", &path])
                .args(arguments)
                .output()
                .unwrap()
        })
    };
    let good = check(&["--live"]).await.unwrap();
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    let minted = check(&["--live", "--subject", "auth0|ann", "--json"])
        .await
        .unwrap();
    assert!(minted.status.success());
    for line in text(&minted.stdout).lines() {
        let finding: Value = serde_json::from_str(line).unwrap();
        assert_eq!(finding["level"], "ok", "{finding}");
    }
    assert_eq!(
        tenant.calls(Call::Revoke),
        1,
        "what was minted to try is revoked again"
    );
    tenant.on(Call::Token, Fault::WrongSecret);
    let refused = check(&["--live"]).await.unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stdout).contains("error   tenants.acme.client_secret: the tenant refuses our client: status 401, code OAUTH-22"), "{refused:?}");
    let unknown = check(&["--live", "--subject", "auth0|nobody"])
        .await
        .unwrap();
    assert_eq!(unknown.status.code(), Some(1));
}

/// A started program that is killed when dropped.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
    }
}

/// The program as it serves on these addresses: the environment goes over the file.
pub fn serve(config: &Path, public: &str, ops: &str) -> Running {
    let child = program()
        .args(["serve", "--config", config.to_str().unwrap()])
        .env("QTB__SERVER__LISTEN", public)
        .env("QTB__OPS__LISTEN", ops)
        .stdout(Stdio::null())
        .spawn();
    Running(child.unwrap())
}

impl Running {
    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    pub fn signal(&self, signal: &str) {
        assert!(
            Command::new("kill")
                .args([signal, &self.0.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
    }

    pub async fn ended(mut self) -> Option<i32> {
        tokio::task::spawn_blocking(move || self.0.wait().unwrap().code())
            .await
            .unwrap()
    }
}

pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string()
}

pub async fn wait_for(url: &str) {
    let http = Client::new();
    for _ in 0..200 {
        if http
            .get(url)
            .send()
            .await
            .is_ok_and(|answer| answer.status() == 200)
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{url} does not answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_finishes_what_is_in_flight_and_exits_0_on_sigterm() {
    let tenant = tenant().await;
    let (public, ops) = (free_address(), free_address());
    let config = Scratch::new(&(key_table(&["acme"]) + &tenant_table("acme", &tenant.url())));
    let running = serve(&config.0, &public, &ops);
    wait_for(&format!("http://{ops}/readyz")).await;
    let healthy = program()
        .args(["healthcheck", "--address", &ops])
        .output()
        .unwrap();
    assert_eq!(
        (healthy.status.code(), text(&healthy.stdout).as_str()),
        (Some(0), "ok\n")
    );
    tenant.on(Call::Token, Fault::Slow { millis: 600 });
    let in_flight = Client::new()
        .post(format!("http://{public}/session-token"))
        .bearer_auth(KEY);
    let in_flight = tokio::spawn(
        in_flight
            .json(&serde_json::json!({"user_lookup": subject("ann")}))
            .send(),
    );
    tokio::time::sleep(Duration::from_millis(200)).await;
    running.terminate();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert!(
        Client::new()
            .get(format!("http://{public}/healthz"))
            .send()
            .await
            .is_err(),
        "nobody new is let in"
    );
    assert_eq!(
        in_flight.await.unwrap().unwrap().status(),
        200,
        "who was in is served"
    );
    assert_eq!(running.ended().await, Some(0));
}

/// As after `systemctl restart`.
#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_waits_for_a_broker_that_does_not_listen_yet() {
    let tenant = tenant().await;
    let (public, ops) = (free_address(), free_address());
    let config = Scratch::new(&(key_table(&["acme"]) + &tenant_table("acme", &tenant.url())));
    let mut asking = program();
    asking.args(["healthcheck", "--ready", "--address", &ops]);
    let asked = tokio::task::spawn_blocking(move || asking.output().unwrap());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!asked.is_finished(), "it gave up at once");
    let running = serve(&config.0, &public, &ops);
    let asked = asked.await.unwrap();
    assert_eq!(asked.status.code(), Some(0), "{}", text(&asked.stderr));
    assert_eq!(text(&asked.stdout), "ok\n");
    running.terminate();
    assert_eq!(running.ended().await, Some(0));

    let asked = run(&["healthcheck", "--address", &ops]);
    assert_eq!(asked.status.code(), Some(1));
    let said = text(&asked.stderr);
    assert!(said.contains(&format!("nobody listens on {ops}")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_said_at_once() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let config =
        Scratch::new(&(key_table(&["acme"]) + &tenant_table("acme", "http://127.0.0.1:9")));
    let output = program()
        .args(["serve", "--config", config.0.to_str().unwrap()])
        .env(
            "QTB__SERVER__LISTEN",
            taken.local_addr().unwrap().to_string(),
        )
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("server.listen: cannot listen on"),
        "{output:?}"
    );
}

/// The README's first command: the lines it prints are run as they stand.
#[tokio::test(flavor = "multi_thread")]
async fn every_curl_line_of_the_demo_fetches_a_token() {
    let mut child = program()
        .arg("demo")
        .args(["--seconds", "20"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let running = Running(child);
    let printed = tokio::task::spawn_blocking(move || {
        let mut printed = String::new();
        while !printed.contains("Ctrl-C") {
            assert_ne!(lines.read_line(&mut printed).unwrap(), 0, "{printed}");
        }
        // Goes on reading: a full pipe would hold the demo up.
        std::thread::spawn(move || drop(lines.read_to_end(&mut Vec::new())));
        printed
    });
    let printed = printed.await.unwrap();
    let commands: Vec<String> = printed
        .replace("\\\n", " ")
        .lines()
        .filter(|line| line.starts_with("curl "))
        .map(str::to_owned)
        .collect();
    assert_eq!(commands.len(), 4, "{printed}");
    let mut ids = Vec::new();
    for command in commands {
        let output = tokio::task::spawn_blocking(move || {
            Command::new("sh").args(["-c", &command]).output().unwrap()
        })
        .await
        .unwrap();
        let body: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        assert_eq!(body["token_type"], "Bearer", "{body}");
        ids.push(body["token_id"].as_str().unwrap().to_owned());
    }
    assert!(
        ids[0] == ids[2] && ids[1] == ids[3] && ids[0] != ids[1],
        "two users, each with one token: {ids:?}"
    );
    running.terminate();
    assert_eq!(running.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn simulate_answers_as_a_tenant() {
    let address = free_address();
    let child = program()
        .args(["simulate", "--listen", &address])
        .args(["--url", "https://tenant.test"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let running = Running(child);
    wait_for(&format!("http://{address}/_simulator/")).await;
    let discovery = format!("http://{address}/.well-known/oauth-authorization-server");
    let discovery = Client::new().get(discovery).send().await.unwrap();
    let discovery = discovery.text().await.unwrap();
    assert!(
        discovery.contains("\"https://tenant.test/oauth/token\""),
        "{discovery}"
    );
    let minted = Client::new()
        .post(format!("http://{address}/oauth/token"))
        .json(&serde_json::json!({
            "client_id": "demo-management", "client_secret": World::DEMO_MANAGEMENT_SECRET, "grant_type": "client_credentials",
        }))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            minted.status().as_u16(),
            header(&minted, "content-type").contains("json")
        ),
        (200, true)
    );
    running.terminate();
    assert_eq!(running.ended().await, Some(0));
}
