//! Files, directories and variables, and which of them wins.

use std::time::Duration;

use qlik_token_broker::config::{Place, Sources, load};
use qlik_token_broker::qlik::credential::Proof;
use qlik_token_broker::secret::SecretSource;
use qlik_token_broker::tenant::Origin;
use tokio::time::Instant;

use super::{ACME, CANARY, JWT, Scratch, load_all, load_text, minimal, paths};

#[test]
fn later_files_win_tables_merge_and_lists_replace() {
    let scratch = Scratch::new();
    let first = scratch.file(
        "broker.toml",
        &format!(
            "{}\n[server]\nmax_in_flight = 7\nmax_waiting = 8\n",
            minimal()
        ),
    );
    scratch.file(
        "d/20.toml",
        "[server]\nmax_waiting = 20\n[tenants.acme]\nallowed_origins = [\"https://b.example.com\"]",
    );
    scratch.file("d/10.toml", "[server]\nmax_waiting = 10\nreplicas = 1\n");
    scratch.file("d/notes.txt", "not TOML");
    let files = vec![first, scratch.0.join("d")];
    let config = load(&Sources {
        files,
        env: Vec::new(),
    })
    .unwrap();
    assert_eq!(
        (config.server.max_in_flight, config.server.max_waiting),
        (7, 20)
    );
    let acme = &config.tenants.first_key_value().unwrap().1.tenant;
    assert_eq!(
        acme.allowed_origins
            .iter()
            .map(Origin::as_str)
            .collect::<Vec<_>>(),
        ["https://b.example.com"]
    );
    assert_eq!(acme.client_id, "client");
}

#[test]
fn files_that_cannot_be_read_are_all_named() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.0.join("empty")).unwrap();
    let files = vec![
        scratch.0.join("absent.toml"),
        scratch.0.join("empty"),
        scratch.file("bad.toml", "x"),
    ];
    let problems = load(&Sources {
        files,
        env: Vec::new(),
    })
    .unwrap_err();
    assert_eq!(problems.0.len(), 3, "{problems}");
}

#[test]
fn a_syntax_error_shows_where_it_is_and_not_what_stands_there() {
    for text in [
        format!("[server]\n  listen = \"{CANARY}\n"),
        format!("[server]\n  listen {CANARY}\n"),
        format!("[server]\nx = 1\nx = \"{CANARY}\"\n"),
        format!("[server]\nsecret = '{CANARY}' '{CANARY}'\n"),
        "[server]\nmax_waiting = 99999999999999999999999\n".to_owned(),
    ] {
        let problems = load_text(&text).unwrap_err();
        let shown = format!("{problems} {problems:?}");
        assert!(!shown.contains(CANARY), "{shown}");
        let path = &problems.0[0].path;
        assert!(
            path.contains("0.toml:2:") || path.contains("0.toml:3:"),
            "{path}"
        );
    }
}

#[test]
fn problems_name_the_line_or_the_variable() {
    let text = format!("{}\n[server]\nlisten = \"nowhere\"\n", minimal());
    let problems = load_all(&[&text], &[("QTB__OPS__LISTEN", "nowhere")]).unwrap_err();
    assert_eq!(paths(&problems), ["ops.listen", "server.listen"]);
    assert_eq!(
        problems.0[0].place,
        Some(Place::Variable("QTB__OPS__LISTEN".into()))
    );
    let line = text
        .lines()
        .position(|line| line.starts_with("listen"))
        .unwrap()
        + 1;
    assert!(matches!(&problems.0[1].place, Some(Place::File { line: at, .. }) if *at == line));
    let shown = problems.to_string();
    assert_eq!(shown.lines().count(), 2);
    assert!(
        shown.starts_with("ops.listen: is not an IP address with a port; write it like"),
        "{shown}"
    );
}

/// How long a file of so many tenants takes: the least of three, as others may use the machine.
fn reading(tenants: usize) -> Duration {
    let tenant = |number: usize| {
        format!(
            "[tenants.t{number}]\nurl = 'https://t{number}.example.com'\nclient_id = 'c{number}'\n\
             client_secret = 's'\nscopes = 'user_default'\nallowed_origins = ['https://p{number}.example.com']\n"
        )
    };
    let tables: String = (0..tenants).map(tenant).collect();
    let text = format!("{JWT}tenant = '{{org}}'\n{tables}");
    let read = |_| {
        let started = Instant::now();
        let config = load_text(&text).unwrap();
        assert_eq!(config.tenants.len(), tenants);
        started.elapsed()
    };
    (0..3).map(read).min().unwrap()
}

/// Two looks at all keys for each key made it the square of the tenants: five minutes for 5000. Eight
/// times the tenants may take some more than eight times as long, and not 64 times.
#[test]
fn thousands_of_tenants_are_read_in_a_moment() {
    let (few, many) = (reading(500), reading(4000));
    assert!(many < few * 24, "{few:?} and {many:?}");
}

#[test]
fn variables_are_read_as_the_schema_wants_them() {
    let env = [
        ("QTB__SERVER__MAX_WAITING", "12"),
        ("QTB__SERVER__REQUEST_TIMEOUT", "30s"),
        ("QTB__CACHE__REVOKE_ON_LOGOUT", "false"),
        ("QTB__LOG__LEVEL", "debug"),
        ("QTB__TENANTS__ACME__CLIENT_SECRET", "0012"),
        ("QTB__TENANTS__ACME__CLIENT_ID", "42"),
        ("QTB__AUDIT__KEY", "12345678901234567890"),
        ("QTB_OTHER", "ignored"),
        ("PATH", "/bin"),
    ];
    let config = load_all(&[&minimal()], &env).unwrap();
    assert_eq!(config.server.max_waiting, 12);
    assert_eq!(config.server.request_timeout.as_secs(), 30);
    assert!(!config.cache.revoke_on_logout);
    assert_eq!(config.log.level, "debug".parse().unwrap());
    assert!(config.audit.key.unwrap().matches("12345678901234567890"));
    let credential = &config.tenants.first_key_value().unwrap().1.credential;
    assert_eq!(credential.client_id, "42");
    let Proof::Secrets(secrets) = &credential.proof else {
        panic!("a secret was set")
    };
    assert!(secrets[0].read().unwrap().matches("0012"));
}

#[test]
fn variables_that_set_nothing_are_all_reported_by_name() {
    let env = [
        ("QTB__SESSION__0__ISSUER", CANARY),
        ("QTB__SERVER__TRUSTED_PROXIES", CANARY),
        ("QTB__SERVER__LISTN", CANARY),
        ("QTB__SERVER", CANARY),
        ("QTB__SERVER__", CANARY),
        ("QTB__SERVER__LISTEN__PORT", CANARY),
        ("QTB__SERVER__MAX_WAITING", CANARY),
        ("QTB__CACHE__REVOKE_ON_LOGOUT", "TRUE"),
        ("QTB__TENANTS__ACME__CLIENT_SECRET", CANARY),
        ("QTB__TENANTS__ACME__CLIENT_SECRET__FILE", CANARY),
        ("QTB__LOG__LEVEL", "info"),
        ("QTB__log__level", "info"),
    ];
    let problems = load_all(&[&minimal()], &env).unwrap_err();
    let shown = format!("{problems} {problems:?}");
    assert!(!shown.contains(CANARY), "{shown}");
    assert_eq!(
        paths(&problems),
        [
            "QTB__CACHE__REVOKE_ON_LOGOUT",
            "QTB__SERVER",
            "QTB__SERVER__",
            "QTB__SERVER__LISTEN__PORT",
            "QTB__SERVER__LISTN",
            "QTB__SERVER__MAX_WAITING",
            "QTB__SERVER__TRUSTED_PROXIES",
            "QTB__SESSION__0__ISSUER",
            "QTB__TENANTS__ACME__CLIENT_SECRET__FILE",
            "QTB__log__level",
        ]
    );
    assert!(
        shown.contains(
            "QTB__SESSION__0__ISSUER: is a path into a list; set the whole list in a file"
        ),
        "{shown}"
    );
}

#[test]
fn a_secret_of_one_form_replaces_one_of_another() {
    let scratch = Scratch::new();
    let file = scratch.file("secret", "from the file\n");
    let with_file = format!(
        "[tenants.acme]\nclient_secret = {{ file = {:?} }}\n",
        file.to_str().unwrap()
    );
    let with_env = "[tenants.acme]\nclient_secret = { env = \"QTB_TEST_NO_SUCH_VARIABLE\" }\n";
    let source = |texts: &[&str], env: &[(&str, &str)]| {
        let config = load_all(texts, env).unwrap_or_else(|problems| panic!("{problems}"));
        let Proof::Secrets(secrets) = &config.tenants.first_key_value().unwrap().1.credential.proof
        else {
            panic!("a secret was set")
        };
        (secrets[0].clone(), secrets[0].read().unwrap())
    };
    let minimal = minimal();
    let (source_kept, secret) = source(&[&minimal, with_env, &with_file], &[]);
    assert!(matches!(source_kept, SecretSource::File(path) if path == file));
    assert!(secret.matches("from the file"));
    let (_, secret) = source(
        &[&minimal, &with_file],
        &[("QTB__TENANTS__ACME__CLIENT_SECRET", "text")],
    );
    assert!(secret.matches("text"));
    let variable = (
        "QTB__TENANTS__ACME__CLIENT_SECRET__FILE",
        file.to_str().unwrap(),
    );
    let (_, secret) = source(&[&minimal, with_env], &[variable]);
    assert!(secret.matches("from the file"));
    let (source_kept, _) = source(&[&minimal, with_env, ACME], &[]);
    assert!(matches!(source_kept, SecretSource::Value(_)));
    let problems = load_all(&[&minimal, with_env], &[]).unwrap_err();
    assert_eq!(paths(&problems), ["tenants.acme.client_secret"]);
    assert!(
        problems
            .to_string()
            .contains("QTB_TEST_NO_SUCH_VARIABLE is not set")
    );
}

#[test]
fn tenants_named_like_a_form_of_a_secret_are_tables() {
    let named = minimal().replace("[tenants.acme]", "[tenants.file]");
    let config = load_all(&[&named, "[tenants.file]\nclient_id = \"other\"\n"], &[]).unwrap();
    let tenant = &config.tenants.first_key_value().unwrap().1.tenant;
    assert_eq!(
        (tenant.id.as_str(), tenant.client_id.as_str()),
        ("file", "other")
    );
}
