//! A canary in the place of every secret, token and session, looked for in all that the program
//! writes while it runs at its most talkative.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use qlik_token_broker::identity::Claims;
use qlik_token_broker::mapping::{LookupField, UserLookup};
use qlik_token_broker::session::Presented;
use qlik_token_broker::simulator::{Call, ClientSetup, Fault, IMPERSONATION, Simulator};
use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::harness::{KEY, PAGE, Scratch, key_table, subject, tenant_table, world};
use super::portal::{Key, Portal, hmac_jwt, now};

const CLIENT_SECRET: &str = "canary-client-secret-5d1f";
const HMAC_SECRET: &str = "canary-hmac-secret-5d1f-5d1f-5d1f-5d1f";
const AUDIT_KEY: &str = "canary-audit-key-5d1f-5d1f";
const OPS_TOKEN: &str = "canary-ops-token-5d1f-5d1f";

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_token_session_or_user_reaches_logs_errors_metrics_or_answers() {
    let mut canaries = world();
    let client = ClientSetup::new("broker2")
        .secret(CLIENT_SECRET)
        .grant(IMPERSONATION)
        .scopes("user_default apps:read spaces:read")
        .trusted();
    canaries = canaries
        .with_client(client)
        .with_user("auth0|canary-user-5d1f", "canary-mail-5d1f@acme.test");
    let tenant = Simulator::start(canaries).await.unwrap();
    let portal = Portal::start(Key::p256()).await;
    let mut serving = Serving::start(&tenant, &portal).await;
    let mut secrets: Vec<String> = [
        CLIENT_SECRET,
        HMAC_SECRET,
        AUDIT_KEY,
        OPS_TOKEN,
        KEY,
        "canary-user-5d1f",
        "canary-mail-5d1f",
    ]
    .map(str::to_owned)
    .into();

    let by_key = portal.session("canary-user-5d1f");
    let claims = json!({"iss": "https://hmac", "aud": "broker", "sub": "canary-user-5d1f", "exp": now() + 600});
    let by_cookie = hmac_jwt(HMAC_SECRET.as_bytes(), &json!({"alg": "HS256"}), &claims);
    let forged = Key::p256().jwt(&portal.header(), &portal.claims("canary-user-5d1f"));
    secrets.extend([by_key.clone(), by_cookie.clone(), forged.clone()]);
    let mut answers = String::new();
    for fault in [
        None,
        Some(Fault::WrongSecret),
        Some(Fault::NotJson),
        Some(Fault::Disabled),
        Some(Fault::Disconnect),
    ] {
        let scope = if fault.is_none() {
            "user_default"
        } else {
            "apps:read spaces:read"
        };
        if let Some(fault) = fault {
            tenant.on_until_cleared(Call::Token, fault);
        }
        for bearer in [&by_key, &forged, KEY, "canary-garbage-5d1f"] {
            let mut body = json!({"scope": scope});
            if bearer == KEY {
                body["user_lookup"] = subject("canary-user-5d1f");
            }
            let request = serving
                .post("/session-token")
                .bearer_auth(bearer)
                .json(&body);
            answers += &serving.answer(request, &mut secrets).await;
        }
        let cookie = serving
            .post("/session-token")
            .header("cookie", format!("sid={by_cookie}"))
            .header("x-broker-request", "1")
            .header("origin", PAGE);
        answers += &serving.answer(cookie, &mut secrets).await;
        tenant.clear_faults();
    }
    for body in [
        "{\"canary-body-5d1f\":1}",
        "canary-body-5d1f",
        "{\"user_lookup\":{\"field\":\"canary-body-5d1f\",\"value\":\"x\"}}",
    ] {
        let request = serving
            .post("/session-token")
            .bearer_auth(KEY)
            .header("content-type", "application/json")
            .body(body);
        answers += &serving.answer(request, &mut secrets).await;
    }
    let logout = serving.post("/logout").bearer_auth(&by_key);
    answers += &serving.answer(logout, &mut secrets).await;
    for shown in [OPS_TOKEN, "canary-garbage-5d1f"] {
        let request = serving.http.post(format!("{}/reload", serving.ops));
        let request = request.header("x-broker-request", "1").bearer_auth(shown);
        answers += &serving.answer(request, &mut secrets).await;
    }
    secrets.extend(["canary-garbage-5d1f", "canary-body-5d1f"].map(str::to_owned));
    // A JWT is recognised by each of its parts as well.
    let parts: Vec<String> = secrets
        .iter()
        .filter(|secret| secret.matches('.').count() == 2)
        .flat_map(|jwt| jwt.split('.').skip(1).map(str::to_owned))
        .collect();
    secrets.extend(parts);

    let ops = async |path: &str| {
        let asking = serving.http.get(format!("{}{path}", serving.ops)).send();
        asking.await.unwrap().text().await.unwrap()
    };
    answers += &(ops("/metrics").await + &ops("/readyz").await);
    // For the operator, who may know more than the caller.
    let page = ops("/").await;
    assert!(page.contains("401 session_invalid"));
    let logs = serving.stop();
    assert!(
        logs.lines().count() > 25 && logs.contains("\"target\":\"audit\""),
        "{logs}"
    );
    assert!(secrets.len() > 20, "tokens were seen");
    assert!(
        logs.contains("\"why\":\"the JWT's signature is wrong\""),
        "the operator is told which check failed"
    );
    assert!(!answers.contains("signature"), "and the caller is not");
    for secret in &secrets {
        assert!(!logs.contains(secret.as_str()), "in the logs: {secret}");
        assert!(!answers.contains(secret.as_str()), "in an answer: {secret}");
        assert!(!page.contains(secret.as_str()), "on the page: {secret}");
    }
    for line in logs.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["timestamp"].is_string() && line["level"].is_string());
    }
}

/// The program itself, logging all it can.
struct Serving {
    child: std::process::Child,
    url: String,
    ops: String,
    http: Client,
    _config: Scratch,
}

impl Serving {
    async fn start(tenant: &Simulator, portal: &Portal) -> Self {
        let [public, ops] = [(); 2].map(|()| {
            std::net::TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
        });
        let table = tenant_table("acme", &tenant.url())
            .replace("client_id = 'broker'", "client_id = 'broker2'")
            .replace("tenant-client-secret", CLIENT_SECRET);
        let hmac = format!(
            "[[session]]\ntype = 'jwt'\nname = 'hmac'\nissuer = 'https://hmac'\naudience = 'broker'\nalgorithms = ['HS256']\n\
             hmac_secret = '{HMAC_SECRET}'\ncookie = 'sid'\nuser = [{{ field = 'subject', value = 'auth0|{{sub}}' }}]\n"
        );
        let config = format!(
            "[server]\nlisten = '{public}'\n[ops]\nlisten = '{ops}'\ntoken = '{OPS_TOKEN}'\n[log]\nlevel = 'trace'\n[audit]\nkey = '{AUDIT_KEY}'\n{}{}{hmac}{table}",
            key_table(&["acme"]),
            portal.table()
        );
        let config = Scratch::new(&config);
        let child = Command::new(env!("CARGO_BIN_EXE_qlik-token-broker"))
            .args(["serve", "--config"])
            .arg(&config.0)
            .env("RUST_LOG", "trace")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let http = Client::builder().no_proxy().build().unwrap();
        let serving = Self {
            child,
            url: format!("http://{public}"),
            ops: format!("http://{ops}"),
            http,
            _config: config,
        };
        for _ in 0..200 {
            if serving
                .http
                .get(format!("{}/healthz", serving.ops))
                .send()
                .await
                .is_ok()
            {
                return serving;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("the broker did not come up");
    }

    fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.post(format!("{}{path}", self.url))
    }

    /// What is answered; a token in it is a secret from now on, and taken out.
    async fn answer(&self, request: reqwest::RequestBuilder, secrets: &mut Vec<String>) -> String {
        let response = request.send().await.unwrap();
        let headers = format!("{:?}", response.headers());
        let body = response.text().await.unwrap();
        let token = serde_json::from_str::<Value>(&body)
            .ok()
            .and_then(|body| Some(body["access_token"].as_str()?.to_owned()));
        let Some(token) = token else {
            return headers + &body;
        };
        let rest = body.replace(&token, "");
        secrets.push(token);
        headers + &rest
    }

    fn stop(&mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        let mut written = String::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut written)
            .unwrap();
        let mut errors = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut errors)
            .unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{errors}");
        assert_eq!(errors, "");
        written
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.child.kill());
    }
}

#[tokio::test]
async fn nothing_shows_its_secrets_in_debug_output() {
    let config = format!(
        "[audit]\nkey = '{AUDIT_KEY}'\n[upstream]\nproxy = 'http://user:{CLIENT_SECRET}@127.0.0.1:1'\n\
         [telemetry]\notlp_endpoint = 'http://127.0.0.1:1'\nheaders = {{ authorization = 'Bearer {CLIENT_SECRET}' }}\n\
         [[session]]\ntype = 'jwt'\nissuer = 'https://hmac'\naudience = 'broker'\nalgorithms = ['HS256']\nhmac_secret = '{HMAC_SECRET}'\n\
         user = [{{ field = 'subject', value = '{{sub}}' }}]\n{}",
        tenant_table("acme", "http://127.0.0.1:1").replace("tenant-client-secret", CLIENT_SECRET)
    );
    let file = Scratch::new(&config);
    let sources = qlik_token_broker::config::Sources {
        files: vec![file.0.clone()],
        env: Vec::new(),
    };
    let config = qlik_token_broker::config::load(&sources).unwrap();
    let shown = format!("{config:?} {config:#?} {}", config.redacted());
    let app = qlik_token_broker::app::App::build(config, None).unwrap();
    let headers = HeaderMap::from_iter([(
        HeaderName::from_static("x-user"),
        HeaderValue::from_static("canary-header"),
    )]);
    let presented = Presented {
        cookies: vec![("sid", "canary-cookie")],
        ..Presented::bearer("canary-bearer", &headers)
    };
    let Value::Object(claims) = json!({"sub": "canary-claim", "canary-name": 1}) else {
        unreachable!()
    };
    let user = UserLookup::new(LookupField::Subject, "canary-user").unwrap();
    let rest = (presented, Claims::verified(claims), user);
    let shown = format!("{shown} {app:?} {app:#?} {rest:?} {rest:#?}");
    for secret in [
        AUDIT_KEY,
        CLIENT_SECRET,
        HMAC_SECRET,
        "canary-bearer",
        "canary-cookie",
        "canary-header",
        "canary-claim",
        "canary-name",
        "canary-user",
    ] {
        assert!(!shown.contains(secret), "{secret}");
    }
}
