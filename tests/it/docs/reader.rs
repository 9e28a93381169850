//! A reader of the documentation: a folder with the files that the pages name, a tenant, a broker, and a
//! shell to type into.

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use jsonwebtoken::{EncodingKey, Header};
use qlik_token_broker::simulator::{Simulator, World};
use reqwest::Client;
use serde_json::{Value, json};

use super::page::{Mark, Step, blocks};
use crate::cli::program;
use crate::harness::{Broker, Folder, KEY, PAGE, sha256};

const DEMO_KEY: &str = "qtb_demo_ZGVtby1vbmx5LWtleS1uZXZlci11c2UtaXQtZWxzZXd";
/// The tenant of the pages.
const TENANT: &str = "https://acme.eu.qlikcloud.com";
const PORTAL_SECRET: &str = "demo only: whoever knows this text is anybody";
/// Stands between what two commands print.
const END: &str = "\u{1}";
const TELL_STATUS: &str = "printf '\\1%s\\1' $?\n";
/// What is to go on for ever is ended once it listens, which is well, as long as it is still there. It gets no
/// port that others may have.
const SERVE: &str = r#"serve() {
    QTB__SERVER__LISTEN=127.0.0.1:0 QTB__OPS__LISTEN=127.0.0.1:0 "$@" > served 2>&1 &
    local pid=$! status
    for _ in {1..200}; do
        kill -0 $pid 2> /dev/null || break
        if grep -qi listen served; then sleep 0.5; break; fi
        sleep 0.1
    done
    kill $pid 2> /dev/null; status=$?
    wait $pid
    cat served
    return $status
}
"#;

/// What the pages call a broken configuration.
const FAULTY: &str = "[server]\nlisten = \"8080\"\n[[session]]\ntype = \"api_key\"\n\
    keys = [{ id = \"portal\", sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\", allow = [\"token\", \"sessions\"] }]\n\
    [tenants.acme]\nurl = \"https://acme.eu.qlikcloud.com\"\nclient_id = \"0123456789abcdef0123456789abcdef\"\n\
    scopes = \"user_default\"\nallowed_origins = [\"https://portal.example.com\"]\n";

pub struct Reader {
    page: String,
    folder: Folder,
    tenant: Simulator,
    broker: Broker,
}

impl Reader {
    /// Somebody who opens this page.
    pub async fn of(page: &str) -> Self {
        let tenant = Simulator::start(World::demo()).await.unwrap();
        let url = tenant.url();
        let broker = Broker::start(&(demo_sessions() + &table("demo", &url)));
        let folder = Folder::new();
        let reader = Self {
            page: page.to_owned(),
            folder,
            tenant,
            broker,
        };
        let listeners = "[server]\nlisten = '127.0.0.1:0'\n[ops]\nlisten = '127.0.0.1:0'\n";
        for (name, text) in [
            (
                "broker.toml",
                &(listeners.to_owned() + &demo_sessions() + &table("acme", &url)),
            ),
            (
                "tenants.d/acme.toml",
                &"[tenants.acme]\noptional_scopes = ['apps:read']\n".to_owned(),
            ),
            // It is not a terminal, where curl would show no progress.
            (".curlrc", &"silent\nshow-error\n".to_owned()),
            ("faulty.toml", &FAULTY.to_owned()),
            ("expected.txt", &"auth0|ann\n".to_owned()),
            (
                "secrets/broker_key",
                &format!("Authorization: Bearer {KEY}\n"),
            ),
            (
                "secrets/ops_header",
                &"Authorization: Bearer none is set here\n".to_owned(),
            ),
        ] {
            reader.write(name, text);
        }
        if read(page).contains("admin.token") {
            reader.write("admin.token", &administrator(&reader.tenant.url()).await);
        }
        if page == "docs/rotation.md" {
            reader.provision().await;
        }
        for name in [
            "config/demo.toml",
            "config/example.toml",
            "examples/broker.toml",
        ] {
            reader.copy(name);
        }
        for entry in std::fs::read_dir(repository("config/recipes")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            reader.copy(&format!("config/recipes/{name}"));
        }
        reader
    }

    /// Somebody who has `broker.toml` from `provision`, with a management client that may rotate.
    async fn provision(&self) {
        let mut program = program();
        program.args(["provision", "--yes", "--tenant", "acme", "--out", "."]);
        program.args(["--api-key", "portal"]);
        program.args(["--url", &self.tenant.url(), "--origin", PAGE]);
        program.args(["--management-scopes", "admin_classic"]);
        program.args(["--client-id", "demo-management"]);
        program.args(["--client-secret-env", "ADMIN_SECRET"]);
        program.env("ADMIN_SECRET", World::DEMO_MANAGEMENT_SECRET);
        program.current_dir(&self.folder.0);
        let done = tokio::task::spawn_blocking(move || program.output());
        let done = done.await.unwrap().unwrap();
        assert!(done.status.success(), "{done:?}");
        let written = ["api-key-portal.toml", "acme.toml"].map(|name| {
            let path = self.folder.0.join(name);
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::remove_file(path).unwrap();
            text
        });
        self.write("broker.toml", &written.concat());
    }

    fn copy(&self, name: &str) {
        let text = read(name);
        self.write(name, &self.here(&text));
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// What stands on the page, with the addresses, keys and folders that are here.
    fn here(&self, text: &str) -> String {
        let [broker, ops] = [self.broker.address, self.broker.ops].map(|at| at.to_string());
        let tenant = self.tenant.url();
        let secrets = self.folder.0.join("secrets");
        let replaced = [
            ("https://broker.example.com", format!("http://{broker}")),
            ("http://127.0.0.1:9400", tenant),
            ("127.0.0.1:8080", broker),
            ("127.0.0.1:9090", ops.clone()),
            ("10.1.2.3:9090", ops),
            ("/run/secrets", secrets.to_str().unwrap().to_owned()),
            ("eyJ0eXAiOiJKV1Qi…", portal_session()),
            ("qtb_portal_…", KEY.to_owned()),
            ("cargo run --release --", "qlik-token-broker".to_owned()),
        ];
        let replace = |text: String, (from, to): &(&str, String)| text.replace(from, to);
        replaced.iter().fold(text.to_owned(), replace)
    }

    /// A command with the pages' tenant, which is the simulated one. That has an address without a name, and a
    /// client that nobody uses.
    fn at_the_tenant(&self, command: &str) -> String {
        let url = format!("--url {}", self.tenant.url());
        command
            .replace(
                "provision --url https://acme",
                "provision --tenant acme --url https://acme",
            )
            .replace(&format!("--url {TENANT}"), &url)
            .replace("delete 8f1c…", "delete demo-broker")
    }

    fn as_on_the_page(&self, printed: &str) -> String {
        let folder = self.folder.0.to_str().unwrap();
        printed
            .replace(&self.tenant.url(), TENANT)
            .replace(folder, "/home/ann")
    }

    /// Does what the page says, block by block. Tells what went otherwise than it says.
    pub fn follow(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let text = read(&self.page);
        for block in blocks(&text) {
            if block.runs_elsewhere() {
                continue;
            }
            if let Some(Mark::File(name)) = &block.mark {
                self.write(name, &self.here(&block.text));
            }
            let steps = block.steps();
            if !steps.is_empty()
                && let Err(fault) = self.type_in(&steps)
            {
                faults.push(format!("{}:{}: {fault}", self.page, block.line));
            }
        }
        faults
    }

    /// One shell for all of a block.
    fn type_in(&self, steps: &[Step]) -> Result<(), String> {
        let mut script = SERVE.to_owned() + "exec 2>&1\n";
        for step in steps {
            let command = unasked(&self.here(&self.at_the_tenant(&step.command)));
            let before = if serves(&step.command) { "serve " } else { "" };
            script.extend([before, &command, "\n", TELL_STATUS]);
        }
        let output = Command::new("bash")
            .args(["-c", &script])
            .current_dir(&self.folder.0)
            .env_clear()
            .env("PATH", path())
            .env("HOME", &self.folder.0)
            .env("NEW", "a-new-secret")
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut parts = printed.split(END);
        for step in steps {
            let (Some(printed), Some(status)) = (parts.next(), parts.next()) else {
                return Err(format!("no end of {}\n{printed}", step.command));
            };
            if status == "127" && std::env::var_os("QTB_NEEDS_SERVICES").is_none() {
                eprintln!("skipped: {}: {printed}", self.page);
                return Ok(());
            }
            let failed = status != "0";
            let is_shown = step.shown.lines().any(|line| line.starts_with("error"));
            let page = self.as_on_the_page(printed);
            let shown = step.shown.replace("Do this? [y/N] y\n", "");
            if failed != is_shown || !(shows(printed, &shown) || shows(&page, &shown)) {
                return Err(format!(
                    "{}\nends with {status}, and prints\n{printed}\nwhere the page shows\n{}",
                    step.command, step.shown
                ));
            }
        }
        Ok(())
    }
}

/// A token as the tenant's administrator has it.
async fn administrator(tenant: &str) -> String {
    let client = json!({
        "client_id": "demo-management", "client_secret": World::DEMO_MANAGEMENT_SECRET,
        "grant_type": "client_credentials", "scope": "admin_classic",
    });
    let asked = Client::new().post(format!("{tenant}/oauth/token"));
    let answer = asked.json(&client).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}

/// There is no terminal to answer at, and no broker to wait for.
fn unasked(command: &str) -> String {
    let mut command = command.to_owned();
    for (asks, answer) in [
        ("qlik-token-broker provision ", "--yes "),
        ("qlik-token-broker clients delete ", "--yes "),
        ("qlik-token-broker rotate-secret ", "--yes --wait 0s "),
    ] {
        if !command.contains(" --yes") {
            command = command.replace(asks, &format!("{asks}{answer}"));
        }
    }
    command
}

fn read(name: &str) -> String {
    std::fs::read_to_string(repository(name)).unwrap()
}

fn repository(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// This program first, and then what the machine has.
fn path() -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_qlik-token-broker"));
    let others = std::env::var("PATH").unwrap();
    format!("{}:{others}", program.parent().unwrap().display())
}

/// Whether it goes on until somebody ends it.
fn serves(command: &str) -> bool {
    let ours = command.strip_prefix("qlik-token-broker ");
    let ours = ours.or_else(|| command.strip_prefix("cargo run --release -- "));
    let name = ours.and_then(|rest| rest.split(' ').next());
    matches!(name, Some("serve" | "demo" | "simulate"))
}

/// Whether the output has all that the page shows, in this order. What differs each time may: white space,
/// numbers, long words, and anything in the place of `…`.
fn shows(printed: &str, shown: &str) -> bool {
    let (printed, shown) = (bones(printed), bones(shown));
    let mut rest = printed.as_str();
    shown.split('…').all(|piece| match rest.find(piece) {
        Some(at) => {
            rest = &rest[at + piece.len()..];
            true
        }
        None => false,
    })
}

fn bones(text: &str) -> String {
    let in_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '.');
    let mut bones = String::new();
    for part in text.split_inclusive(|c| !in_word(c)) {
        let word = part.trim_end_matches(|c| !in_word(c));
        if word.len() >= 22 && !word.contains('.') {
            bones.push('#');
        } else {
            for c in word.chars() {
                match c {
                    '0'..='9' if bones.ends_with('0') => {}
                    '0'..='9' => bones.push('0'),
                    c => bones.push(c),
                }
            }
        }
        bones.extend(part[word.len()..].chars().filter(|c| !c.is_whitespace()));
    }
    bones
}

fn demo_sessions() -> String {
    format!(
        "[[session]]\ntype = 'api_key'\nkeys = [\n  {{ id = 'demo', sha256 = '{}', allow = ['token', 'logout'] }},\n  \
         {{ id = 'portal', sha256 = '{}', allow = ['token', 'sessions', 'logout', 'service_token'] }},\n]\n\
         [[session]]\ntype = 'handle'\n\
         [[session]]\ntype = 'jwt'\nissuer = 'https://portal.example.com'\naudience = 'qlik-token-broker'\n\
         algorithms = ['HS256']\nhmac_secret = '{PORTAL_SECRET}'\ncookie = 'portal'\n\
         user = [{{ field = 'subject', value = 'auth0|{{sub}}' }}]\n",
        sha256(DEMO_KEY),
        sha256(KEY)
    )
}

fn table(id: &str, url: &str) -> String {
    format!(
        "[tenants.{id}]\nurl = '{url}'\nclient_id = 'demo-broker'\nclient_secret = 'demo-broker-secret'\n\
         scopes = 'user_default'\nallowed_origins = ['http://localhost:3000']\n\
         service = {{ client_id = 'demo-management', client_secret = 'demo-management-secret', scopes = 'user_default' }}\n"
    )
}

/// Ann's session at the portal.
fn portal_session() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let claims = json!({
        "iss": "https://portal.example.com", "aud": "qlik-token-broker", "sub": "ann",
        "exp": now.unwrap().as_secs() + 600,
    });
    let key = EncodingKey::from_secret(PORTAL_SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap()
}

#[test]
fn what_is_shown_may_differ_in_what_differs_each_time() {
    let printed = "HTTP/1.1 200 OK\ndate: Sat, 21 Nov\n\n{\"token\":\"2MI28kco-6FYby6pANmnTO\",\"left\":21599}\n";
    for shown in [
        "",
        "HTTP/1.1 200 OK\n…",
        "HTTP/1.1 200 OK\n…\n{\"token\":\"p2ppMAyRFZqLCTqzL6MfnI\",\n \"left\":7}",
        "…\"left\":1",
    ] {
        assert!(shows(printed, shown), "{shown}");
    }
    for shown in [
        "HTTP/1.1 200 No",
        "{\"left\":1,…\"token\"",
        "{\"token\":\"short\"",
        "\"left\":1.5",
    ] {
        assert!(!shows(printed, shown), "{shown}");
    }
}
