//! `explain` and `token --service`, as an operator types them.

use std::io::Write;
use std::process::{Output, Stdio};

use qlik_token_broker::simulator::{CLIENT_CREDENTIALS, Call, ClientSetup, Simulator};
use reqwest::Client;
use serde_json::{Value, json};

use super::cli::program;
use super::harness::{Scratch, key_table, tenant_table, world};

const TABLES: &str = "
    [[session]]
    type = 'jwt'
    name = 'pages'
    issuer = 'https://login.example.com/'
    audience = 'broker'
    algorithms = ['RS256']
    jwks_url = 'https://login.example.com/jwks'
    tenant = '{org.id}'
    deny = ['svc-*']
    refuse_admins = true
    user = [
        { field = 'userId', value = '{qlik}' },
        { field = 'subject', value = '{org.id}/{sub|lower}' },
        { field = 'email', value = '{email}' },
    ]
    [[session]]
    type = 'trusted_header'
    header = 'X-User'
    from = ['10.0.0.0/8']
    shared_secret = { header = 'X-Secret', value = 'canary-proxy-secret' }
    tenant = 'acme'
    scope = 'apps:read spaces:read'
    user = [{ field = 'subject', value = '{sub}' }]
    [[session]]
    type = 'handle'
";

const MANAGEMENT: &str = "management = { client_id = 'm', client_secret = 'canary-management', scopes = 'admin_classic user_default' }\n";
const PROVISION: &str =
    "provision_users = { subject = '{org.id}/{sub|lower}', name = '{name}', email = '{email}' }\n";

/// Nobody listens at the tenants and the issuer: `explain` asks nobody.
fn config() -> Scratch {
    let tenant = |id| tenant_table(id, "http://127.0.0.1:9") + MANAGEMENT;
    Scratch::new(
        &(TABLES.to_owned()
            + &key_table(&["acme"])
            + &tenant("acme")
            + PROVISION
            + &tenant("globex")),
    )
}

fn explain(config: &Scratch, session: &str, claims: &[u8], more: &[&str]) -> Output {
    let mut child = program()
        .args(["explain", "--config", config.0.to_str().unwrap()])
        .args(["--session", session])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have ended before it read anything.
    let _ = child.stdin.take().unwrap().write_all(claims);
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

const ASKED: &str = "a token is asked for";
const ASKED_UNLESS: &str =
    "a token is asked for, unless the tenant says that the user is an administrator";

#[test]
fn a_session_that_gets_a_token_is_explained_line_by_line() {
    let config = config();
    for (session, claims, lines) in [
        (
            "pages",
            json!({"sub": "Ann", "qlik": "id-1", "org": {"id": "globex"}}),
            &[
                ("session", "pages"),
                ("rule", "user[0], by userId"),
                ("tenant", "globex"),
                ("lookup", "userId id-1"),
                ("scopes", "user_default"),
                ("decision", ASKED_UNLESS),
            ][..],
        ),
        (
            "pages",
            json!({"sub": "Ann", "name": "Ann", "email": "ann@acme.test", "org": {"id": "acme"}}),
            &[
                ("session", "pages"),
                ("rule", "user[1], by subject"),
                ("tenant", "acme"),
                ("lookup", "subject acme/ann"),
                ("scopes", "user_default"),
                ("created", "as acme/ann, if the tenant has no such user"),
                ("decision", ASKED_UNLESS),
            ],
        ),
        (
            "pages",
            json!({"email": "Ann@acme.test", "org": {"id": "globex"}}),
            &[
                ("session", "pages"),
                ("rule", "user[2], by email"),
                ("tenant", "globex"),
                (
                    "lookup",
                    "email Ann@acme.test, which the tenant is asked about",
                ),
                ("scopes", "user_default"),
                ("decision", ASKED_UNLESS),
            ],
        ),
        (
            "trusted_header",
            json!({"sub": "ann"}),
            &[
                ("session", "trusted_header"),
                ("rule", "user[0], by subject"),
                ("tenant", "acme"),
                ("lookup", "subject ann"),
                ("scopes", "apps:read spaces:read"),
                ("decision", ASKED),
            ],
        ),
    ] {
        let claims = claims.to_string();
        let output = explain(&config, session, claims.as_bytes(), &[]);
        let (told, errors) = said(&output);
        let got: Vec<_> = told
            .lines()
            .filter_map(|line| line.split_once(' '))
            .collect();
        let got: Vec<_> = got
            .iter()
            .map(|(name, value)| (*name, value.trim_start()))
            .collect();
        assert_eq!(got, lines, "{claims}");
        assert_eq!((output.status.code(), errors.as_str()), (Some(0), ""));

        let output = explain(&config, session, claims.as_bytes(), &["--json"]);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let expected = lines
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)));
        assert_eq!(told, Value::Object(expected.collect()));
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn a_session_that_gets_none_is_told_the_code_and_the_reason() {
    let config = config();
    for (claims, rule, code, why) in [
        (
            json!({"org": {"id": "acme"}}),
            None,
            "user_not_mapped",
            "no mapping rule has all its claims",
        ),
        (
            json!({"org": {"id": "acme"}, "sub": ["ann"]}),
            None,
            "user_not_mapped",
            "no mapping rule",
        ),
        (
            json!({"org": {"id": "acme"}, "sub": "b/c"}),
            Some("user[1], by subject"),
            "user_not_mapped",
            "the text between two claims",
        ),
        (
            json!({"org": {"id": "acme"}, "sub": "a\u{7}"}),
            Some("user[1], by subject"),
            "user_not_mapped",
            "a control character",
        ),
        (
            json!({"org": {"id": "acme"}, "email": "a@b@acme.test"}),
            Some("user[2], by email"),
            "user_not_mapped",
            "several @",
        ),
        (
            json!({"org": {"id": "acme"}, "email": "ann@acme.test", "email_verified": false}),
            Some("user[2], by email"),
            "user_not_mapped",
            "email_verified",
        ),
        (
            json!({"org": {"id": "acme"}, "qlik": "SVC-backup"}),
            None,
            "user_not_allowed",
            "the deny list",
        ),
        (
            json!({"org": {"id": "acme"}, "qlik": "qlikbot\\x"}),
            None,
            "user_not_allowed",
            "the deny list",
        ),
        (
            json!({"org": {"id": "initech"}, "sub": "ann"}),
            None,
            "tenant_not_allowed",
            "no configured tenant",
        ),
        (
            json!({"org": "acme", "sub": "ann"}),
            None,
            "tenant_not_allowed",
            "names the tenant",
        ),
        (
            json!({"sub": "ann"}),
            None,
            "tenant_not_allowed",
            "names the tenant",
        ),
        (json!({}), None, "tenant_not_allowed", "names the tenant"),
    ] {
        let claims = claims.to_string();
        let output = explain(&config, "pages", claims.as_bytes(), &["--json"]);
        let (told, errors) = said(&output);
        let facts: Value = serde_json::from_str(&told).unwrap();
        let decision = facts["decision"].as_str().unwrap();
        assert!(
            decision.starts_with(&format!("{code}: ")) && decision.contains(why),
            "{claims}: {told}"
        );
        assert_eq!(facts.get("rule").and_then(Value::as_str), rule, "{claims}");
        assert!(
            facts.get("lookup").is_none() && facts.get("scopes").is_none(),
            "{told}"
        );
        assert_eq!(output.status.code(), Some(1));
        assert!(errors.contains("such a session gets no token"), "{errors}");

        let (told, _) = said(&explain(&config, "pages", claims.as_bytes(), &[]));
        assert!(told.contains(&format!("decision  {decision}\n")), "{told}");
    }
}

#[test]
fn what_cannot_be_explained_is_said_without_a_word_of_the_claims() {
    let config = config();
    let long = format!("{{\"sub\": \"canary{}\"}}", "y".repeat(1024 * 1024));
    for claims in [
        &b""[..],
        b"canary",
        b"\"canary\"",
        b"[\"canary\"]",
        b"null",
        b"{\"sub\": \"canary\"",
        b"{\"sub\": \"canary\"} canary",
        b"{\"sub\": canary}",
        b"{\"sub\": \"canary\xff\"}",
        long.as_bytes(),
    ] {
        let output = explain(&config, "pages", claims, &[]);
        let (told, errors) = said(&output);
        assert_eq!((output.status.code(), told.as_str()), (Some(1), ""));
        assert!(
            errors.starts_with("error: ") && errors.contains("claims"),
            "{errors}"
        );
        assert!(!errors.contains("canary"), "{errors}");
    }
    for (session, says) in [
        (
            "nothing",
            "there is no such table; configured are pages, trusted_header, handle, api_key",
        ),
        ("Pages", "there is no such table"),
        ("handle", "there is nothing to map"),
        ("api_key", "there is nothing to map"),
    ] {
        let output = explain(&config, session, b"{\"sub\": \"canary\"}", &[]);
        let (told, errors) = said(&output);
        assert_eq!((output.status.code(), told.as_str()), (Some(1), ""));
        assert!(
            errors.contains("--session: ") && errors.contains(says),
            "{errors}"
        );
        assert!(!errors.contains("canary"), "{errors}");
    }
    let output = program()
        .arg("explain")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "--session is required");
}

#[tokio::test(flavor = "multi_thread")]
async fn token_service_prints_a_token_of_the_service_client() {
    let service = ClientSetup::new("service")
        .secret("service-client-secret")
        .grant(CLIENT_CREDENTIALS)
        .scopes("apps:read")
        .trusted();
    let tenant = Simulator::start(world().with_client(service))
        .await
        .unwrap();
    let line = "service = { client_id = 'service', client_secret = 'service-client-secret', scopes = 'apps:read' }\n";
    let without = key_table(&["acme"]) + &tenant_table("acme", &tenant.url());
    let token = |config: String, more: &'static [&'static str]| async move {
        let config = Scratch::new(&config);
        let run = move || {
            let mut command = program();
            command.args(["token", "--config", config.0.to_str().unwrap()]);
            command.args(more).output().unwrap()
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    };
    let output = token(without.clone() + line, &["--service"]).await;
    let (told, errors) = said(&output);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(
        errors.starts_with("scope apps:read, valid for "),
        "{errors}"
    );
    assert!(tenant.is_live(told.trim()));
    let me = Client::new()
        .get(format!("{}/api/v1/users/me", tenant.url()))
        .bearer_auth(told.trim());
    let me: Value = me.send().await.unwrap().json().await.unwrap();
    let subject = me["subject"].as_str().unwrap_or_default();
    assert!(!subject.starts_with("auth0|"), "it is no person's: {me}");
    let calls = [Call::TokenClientCredentials, Call::TokenImpersonation];
    assert_eq!(calls.map(|call| tenant.calls(call)), [1, 0]);

    let output = token(without.clone(), &["--service"]).await;
    let (told, errors) = said(&output);
    assert_eq!((output.status.code(), told.as_str()), (Some(1), ""));
    assert!(errors.contains("has no `service` client"), "{errors}");
    for wrong in [
        &["--service", "--subject", "auth0|ann"][..],
        &["--service", "--user-id", "id"],
        &["--service", "--scope", "apps:read"],
        &[],
    ] {
        let output = token(without.clone() + line, wrong).await;
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
    assert_eq!(calls.map(|call| tenant.calls(call)), [1, 0]);
}
