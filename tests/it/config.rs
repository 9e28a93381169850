//! The configuration: what it is once it is loaded. Layers, schema and faults are next door.

mod faults;
mod layers;
mod recipes;
mod schema;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use qlik_token_broker::config::{Config, Problems, SessionKind, Sources, load};
use qlik_token_broker::outbound::Proxy;
use qlik_token_broker::session::jwt::KeySource;
use serde_json::Value;

/// A value that must never come back in a message.
const CANARY: &str = "c4nary-s3cret-0123456789-0123456789";

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "qtb-config-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Loads these texts as files, in this order, with these variables on top.
fn load_all(texts: &[&str], env: &[(&str, &str)]) -> Result<Config, Problems> {
    let scratch = Scratch::new();
    let files = texts
        .iter()
        .enumerate()
        .map(|(index, text)| scratch.file(&format!("{index}.toml"), text));
    let env = env
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    load(&Sources {
        files: files.collect(),
        env: env.collect(),
    })
}

fn load_text(text: &str) -> Result<Config, Problems> {
    load_all(&[text], &[])
}

fn paths(problems: &Problems) -> Vec<&str> {
    problems
        .0
        .iter()
        .map(|problem| problem.path.as_str())
        .collect()
}

const JWT: &str = r#"
[[session]]
type = "jwt"
issuer = "https://login.example.com/"
audience = "broker"
algorithms = ["RS256"]
jwks_url = "https://login.example.com/jwks"
user = [{ field = "subject", value = "{sub}" }]
"#;

const ACME: &str = r#"
[tenants.acme]
url = "https://acme.eu.qlikcloud.com"
client_id = "client"
client_secret = "secret"
scopes = "user_default"
optional_scopes = ["apps:read spaces:read"]
allowed_origins = ["https://portal.example.com"]
"#;

fn minimal() -> String {
    format!("{JWT}{ACME}")
}

fn repository_file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_minimal_configuration_has_the_defaults() {
    let config = load_text(&minimal()).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.ops.listen.to_string(), "127.0.0.1:9090");
    assert_eq!(config.server.request_timeout.as_secs(), 10);
    assert_eq!(config.server.public_url, "");
    assert_eq!(
        (config.log.level, config.log.format),
        ("info".parse().unwrap(), None)
    );
    assert!(matches!(config.proxy, Proxy::None));
    assert_eq!(config.cache.max_users, 200_000);
    let limits = [config.limits.sessions, config.limits.failures];
    assert_eq!(limits.map(|limit| limit.unwrap().get()), [600, 120]);
    assert_eq!(&*config.sessions[0].name, "jwt");
    assert_eq!(config.warnings, []);
    let (id, acme) = config.tenants.first_key_value().unwrap();
    assert_eq!(id.as_str(), "acme");
    assert_eq!(acme.tenant.url, "https://acme.eu.qlikcloud.com");
}

#[test]
fn the_example_loads_without_a_warning() {
    let config = load_text(&repository_file("config/example.toml")).unwrap();
    assert_eq!(config.warnings, []);
    assert_eq!(config.sessions.len(), 6);
}

#[test]
fn the_redacted_configuration_is_complete_and_shows_no_secret() {
    let text = format!(
        "[audit]\nkey = \"{CANARY}\"\n[upstream]\nproxy = \"http://u:{CANARY}@proxy:1\"\n{}",
        minimal().replace("\"secret\"", &format!("{CANARY:?}"))
    );
    let config = load_text(&text).unwrap();
    let redacted = config.redacted();
    assert!(!redacted.to_string().contains(CANARY));
    assert!(!format!("{config:?}").contains(CANARY));
    for (pointer, expected) in [
        ("/audit/key", "(secret)"),
        ("/upstream/proxy", "(secret)"),
        ("/tenants/acme/client_secret", "(secret)"),
        ("/tenants/acme/url", "https://acme.eu.qlikcloud.com"),
        ("/server/listen", "127.0.0.1:8080"),
        ("/cache/idle", "6h"),
        ("/session/0/leeway", "30s"),
    ] {
        assert_eq!(
            redacted.pointer(pointer).and_then(Value::as_str),
            Some(expected),
            "{pointer}"
        );
    }
    assert_eq!(
        redacted.pointer("/tenants/acme/allow_admin_scopes"),
        Some(&Value::Bool(false))
    );
    assert_eq!(
        redacted.pointer("/limits/session_per_minute"),
        Some(&Value::from(600))
    );
    assert_eq!(redacted.get("shared"), None);
    let config = load_all(&[&minimal()], &[("QTB__UPSTREAM__PROXY", "env")]).unwrap();
    assert_eq!(
        config
            .redacted()
            .pointer("/upstream/proxy")
            .and_then(Value::as_str),
        Some("env")
    );
    assert!(matches!(config.proxy, Proxy::Environment));
}

#[test]
fn keys_of_back_ends_are_typed() {
    let text = format!(
        r#"{ACME}
        [[session]]
        type = "api_key"
        keys = [
            {{ id = "a", sha256 = "{0}", expires = 2027-01-01 }},
            {{ id = "b", sha256 = "{0}", expires = "2027-01-01T01:00:00+01:00", allow = ["logout"] }},
        ]"#,
        "0F".repeat(32)
    );
    let config = load_text(&text).unwrap();
    let SessionKind::ApiKey(keys) = &config.sessions[0].kind else {
        panic!("it is an api_key table")
    };
    assert_eq!(keys[0].digest, [15; 32]);
    assert_eq!(keys[0].back_end.tenants[0].as_str(), "acme");
    assert_eq!(keys[0].expires, keys[1].expires);
    let at = keys[0]
        .expires
        .unwrap()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert_eq!(at.as_secs(), 1_798_761_600);
}

#[test]
fn a_limit_of_0_is_none_and_keys_have_limits_of_their_own() {
    let zero = "[limits]\nsession_per_minute = 0\nfailures_per_minute = 0\n";
    let key = |id: &str, limit: &str| {
        let sha256 = "0F".repeat(32);
        format!("{{ id = '{id}', sha256 = '{sha256}'{limit} }}")
    };
    let keys = [key("a", ", requests_per_minute = 60"), key("b", "")].join(", ");
    let text = format!("{zero}{ACME}[[session]]\ntype = 'api_key'\nkeys = [{keys}]\n");
    let config = load_text(&text).unwrap();
    assert_eq!(
        (config.limits.sessions, config.limits.failures),
        (None, None)
    );
    let SessionKind::ApiKey(keys) = &config.sessions[0].kind else {
        panic!("it is an api_key table")
    };
    let taken = |key: usize| {
        (0..100)
            .filter(|_| keys[key].back_end.take().is_ok())
            .count()
    };
    assert_eq!((taken(0), taken(1)), (12, 100));
    let none = text.replace("requests_per_minute = 60", "requests_per_minute = 0");
    let problems = load_text(&none).unwrap_err();
    assert_eq!(paths(&problems), ["session[0].keys[0].requests_per_minute"]);
}

#[test]
fn plain_http_is_for_loopback_or_by_decision() {
    for host in ["localhost:9400", "app.localhost", "127.0.0.2", "[::1]:1"] {
        let config = load_text(
            &minimal().replace("https://acme.eu.qlikcloud.com", &format!("http://{host}/")),
        )
        .unwrap();
        assert_eq!(config.warnings, []);
        assert_eq!(
            config.tenants.first_key_value().unwrap().1.tenant.url,
            format!("http://{host}")
        );
    }
    let plain = minimal()
        .replace("https://acme.eu", "http://acme.eu")
        .replace(
            "https://login.example.com/jwks",
            "http://login.example.com/jwks",
        );
    assert_eq!(
        paths(&load_text(&plain).unwrap_err()),
        ["session[0].jwks_url", "tenants.acme.url"]
    );
    let decided = plain
        .replace("client_id", "allow_http = true\nclient_id")
        .replace("audience", "allow_http = true\naudience");
    let warnings = load_text(&decided).unwrap().warnings;
    let warned: BTreeSet<_> = warnings
        .iter()
        .map(|warning| warning.path.as_str())
        .collect();
    assert_eq!(
        warned,
        BTreeSet::from(["session[0].jwks_url", "tenants.acme.url"])
    );
}

#[test]
fn what_is_odd_is_warned_of() {
    let text = minimal()
        .replace("{sub}", "viewer")
        .replace("allowed_origins", "# allowed_origins");
    let warnings = load_text(&text).unwrap().warnings;
    let warned: BTreeSet<_> = warnings
        .iter()
        .map(|warning| warning.path.as_str())
        .collect();
    assert_eq!(
        warned,
        BTreeSet::from(["session[0].user[0].value", "tenants.acme.allowed_origins"])
    );
}

#[test]
fn c34_a_table_that_finds_people_by_e_mail_alone_is_warned_of() {
    let managed = minimal().replace(
        "[tenants.acme]\n",
        "[tenants.acme]\nmanagement = { client_id = \"m\", client_secret = \"s\" }\n",
    );
    let by_email = "{ field = \"email\", value = \"{email}\" }";
    let by_subject = "{ field = \"subject\", value = \"{sub}\" }";
    for (rules, is_warned) in [
        (by_email.to_owned(), true),
        (format!("{by_subject}, {by_email}"), false),
        (by_subject.to_owned(), false),
    ] {
        let text = managed.replace(by_subject, &rules);
        let warnings = load_text(&text).unwrap().warnings;
        let warned = warnings.iter().map(|warning| warning.path.as_str());
        assert_eq!(
            warned.eq(["session[0].user"]),
            is_warned,
            "{rules}: {warnings:?}"
        );
    }
}

#[test]
fn c13_c34_admin_scopes_are_refused_and_where_they_are_allowed_warned_of() {
    let with = |scopes: &str, more: &str| {
        let scopes = format!("scopes = \"{scopes}\"\n{more}");
        load_text(&minimal().replace("scopes = \"user_default\"\n", &scopes))
    };
    for risky in ["admin_classic", "user_default admin.apps", "offline_access"] {
        let problems = with(risky, "").unwrap_err().to_string();
        assert!(problems.contains("tenants.acme.scopes"), "{problems}");
        let warnings = with(risky, "allow_admin_scopes = true\n").unwrap().warnings;
        let warned = warnings.iter().map(|warning| warning.path.as_str());
        assert!(warned.eq(["tenants.acme.scopes"]), "{warnings:?}");
    }
    let warnings = with("user_default", "allow_admin_scopes = true\n");
    assert_eq!(warnings.unwrap().warnings, []);
}

#[test]
fn hmac_sessions_read_their_secret_at_load() {
    let text = minimal().replace("RS256", "HS256").replace(
        "jwks_url = \"https://login.example.com/jwks\"",
        &format!("hmac_secret = \"{CANARY}\""),
    );
    let config = load_text(&text).unwrap();
    let SessionKind::Jwt(rules) = &config.sessions[0].kind else {
        panic!("it is a jwt table")
    };
    assert!(matches!(&rules.keys, KeySource::Hmac(secret) if secret.matches(CANARY)));
}
