//! The audit trail, as the program itself writes it: complete, in its documented form, and nothing
//! that a caller sends.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use qlik_token_broker::http::Code;
use qlik_token_broker::simulator::{CLIENT_CREDENTIALS, Call, ClientSetup, Fault, Simulator};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::harness::{
    EVIL, KEY, PAGE, key_table, managed_table, managed_world, sha256, subject, tenant, tenant_table,
};
use super::portal::{Key, Portal, hmac_jwt, now};
use super::program::{Program, audit_lines};

/// Codes of answers that are no decision, and the two that need a broker of their own.
const NOT_HERE: [&str; 4] = ["not_found", "method_not_allowed", "overloaded", "internal"];
/// A key that may do everything, and one that may ask once a minute.
const ALL: &str = "qtb_all_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const MAIL: &str = "a secret of the table that maps by e-mail";
const SLOW: &str = "qtb_slow_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn schema() -> jsonschema::Validator {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/audit.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let options = jsonschema::options().should_validate_formats(true);
    options.build(&schema).unwrap()
}

fn assert_documented(lines: &[Value]) {
    let schema = schema();
    for line in lines {
        let faults: Vec<_> = schema.iter_errors(line).map(|it| it.to_string()).collect();
        assert!(faults.is_empty(), "{line}: {faults:?}");
    }
}

/// What was asked, and what came of it.
#[derive(Default)]
struct Asked(BTreeMap<String, (String, Value)>);

impl Asked {
    /// Sends a request and notes its outcome, which must be this one.
    async fn expect(&mut self, outcome: &str, request: RequestBuilder) -> Value {
        let id = format!("{outcome}.{}", self.0.len());
        let answer = request.header("x-request-id", &id).send().await.unwrap();
        let body: Value = answer.json().await.unwrap_or_default();
        assert_eq!(body["code"].as_str().unwrap_or("ok"), outcome, "{body}");
        self.0.insert(id, (outcome.to_owned(), body.clone()));
        body
    }
}

struct Setup {
    tenant: Simulator,
    portal: Portal,
    program: Program,
}

impl Setup {
    async fn start() -> Self {
        let service = ClientSetup::new("service")
            .secret("service-client-secret")
            .grant(CLIENT_CREDENTIALS)
            .scopes("apps:read")
            .trusted();
        let mut world = managed_world().with_client(service);
        for user in ["dan", "fay", "gil"] {
            world = world.with_user(format!("auth0|{user}"), format!("{user}@acme.test"));
        }
        for twin in ["auth0|one", "auth0|two"] {
            world = world.with_user(twin, "twin@acme.test");
        }
        let tenant = Simulator::start(world).await.unwrap();
        let portal = Portal::start(Key::p256()).await;
        let digests = [ALL, SLOW].map(sha256);
        let config = [
            key_table(&["acme", "globex", "down"]),
            format!(
                "[[session]]\ntype = 'api_key'\nname = 'more'\nkeys = [\n\
                 {{ id = 'all', sha256 = '{}', tenants = ['acme'], allow = ['token', 'sessions', 'service_token', 'logout'] }},\n\
                 {{ id = 'slow', sha256 = '{}', tenants = ['acme'], allow = ['token'], requests_per_minute = 1 }},\n]\n",
                digests[0], digests[1]
            ),
            "[[session]]\ntype = 'handle'\n".into(),
            portal.table_with(&format!(
                "name = 'portal'\ntenant = 'acme'\njwks_url = '{}/jwks'\ncookie = 'sid'",
                portal.url
            )),
            "[[session]]\ntype = 'jwt'\nname = 'lost'\nissuer = 'https://lost'\naudience = 'broker'\nalgorithms = ['ES256']\n\
             tenant = 'acme'\njwks_url = 'http://127.0.0.1:9/jwks'\nuser = [{ field = 'subject', value = '{sub}' }]\n".into(),
            format!(
                "[[session]]\ntype = 'jwt'\nname = 'mail'\nissuer = 'https://mail'\naudience = 'broker'\nalgorithms = ['HS256']\n\
                 tenant = 'acme'\nhmac_secret = '{MAIL}'\nuser = [{{ field = 'email', value = '{{email}}' }}]\n"
            ),
            managed_table("acme", &tenant.url()),
            "service = { client_id = 'service', client_secret = 'service-client-secret', scopes = 'apps:read' }\n".into(),
            tenant_table("globex", &tenant.url()),
            tenant_table("down", "http://127.0.0.1:9"),
        ];
        let program = Program::run(&config.concat(), &[]).await;
        Self {
            tenant,
            portal,
            program,
        }
    }

    /// Asks as the back end for the token of a user of a tenant.
    fn ask(&self, tenant: &str, user: &str) -> RequestBuilder {
        self.ask_with(&json!({"tenant": tenant, "user_lookup": subject(user)}))
    }

    fn ask_with(&self, body: &Value) -> RequestBuilder {
        self.program
            .post("/session-token")
            .bearer_auth(KEY)
            .json(body)
    }

    fn ask_as(&self, session: &str) -> RequestBuilder {
        self.program.post("/session-token").bearer_auth(session)
    }

    async fn successes(&self, asked: &mut Asked) {
        let minted = asked.expect("ok", self.ask("acme", "ann")).await;
        asked.expect("ok", self.ask("acme", "ann")).await;
        let page = self
            .ask_as(&self.portal.session("bob"))
            .header("origin", PAGE);
        asked.expect("ok", page).await;
        let post = |path: &str| self.program.post(path).bearer_auth(ALL);
        let body = json!({"user_lookup": subject("bob")});
        let handle = asked.expect("ok", post("/sessions").json(&body)).await;
        asked.expect("ok", post("/service-token")).await;
        let rejected = json!({"tenant": "acme", "user_lookup": subject("ann"), "rejected": minted["token_id"]});
        asked
            .expect("renewal_too_soon", self.ask_with(&rejected))
            .await;
        let body = json!({"session": handle["session"]});
        asked.expect("ok", post("/logout").json(&body)).await;
    }

    async fn refusals(&self, asked: &mut Asked) {
        let Self {
            portal, program, ..
        } = self;
        let ann = portal.session("ann");
        let expired = portal.session_with("ann", &json!({"exp": now() - 3600}));
        let lost =
            json!({"iss": "https://lost", "aud": "broker", "sub": "ann", "exp": now() + 600});
        let lost = portal.key.jwt(&portal.header(), &lost);
        let nobody = portal.session_with("ann", &json!({"sub": null}));
        let cookie = program
            .post("/session-token")
            .header("cookie", format!("sid={ann}"));
        let named = json!({"user_lookup": subject("bob")});
        let text = |kind: &'static str, body: String| {
            let request = self.program.post("/session-token").bearer_auth(KEY);
            request.header("content-type", kind).body(body)
        };
        let scope = json!({"tenant": "acme", "user_lookup": subject("ann"), "scope": "nope"});
        let twin = json!({"iss": "https://mail", "aud": "broker", "exp": now() + 600, "email": "twin@acme.test", "email_verified": true});
        let twin = hmac_jwt(MAIL.as_bytes(), &json!({"alg": "HS256"}), &twin);
        for (outcome, request) in [
            ("request_invalid", text("application/json", "{".into())),
            ("media_type", text("text/plain", "{}".into())),
            (
                "body_too_large",
                text("application/json", " ".repeat(17 * 1024)),
            ),
            ("session_missing", program.post("/session-token")),
            ("session_invalid", self.ask_as("nonsense")),
            ("session_expired", self.ask_as(&expired)),
            ("session_service_unavailable", self.ask_as(&lost)),
            (
                "origin_not_allowed",
                self.ask_as(&ann).header("origin", EVIL),
            ),
            ("csrf_rejected", cookie),
            (
                "caller_not_allowed",
                program.post("/sessions").bearer_auth(KEY).json(&named),
            ),
            ("tenant_not_allowed", self.ask("initech", "ann")),
            ("scope_not_allowed", self.ask_with(&scope)),
            ("user_not_allowed", self.ask_as(&ann).json(&named)),
            ("user_not_mapped", self.ask_as(&nobody)),
            ("user_unknown", self.ask("acme", "nobody")),
            ("user_ambiguous", self.ask_as(&twin)),
            (
                "ok",
                program
                    .post("/session-token")
                    .bearer_auth(SLOW)
                    .json(&named),
            ),
            (
                "rate_limited",
                program
                    .post("/session-token")
                    .bearer_auth(SLOW)
                    .json(&named),
            ),
            ("tenant_unavailable", self.ask("down", "ann")),
        ] {
            asked.expect(outcome, request).await;
        }
        for (outcome, tenant, user, fault) in [
            ("user_disabled", "globex", "dan", Fault::Disabled),
            ("user_token_limit", "acme", "fay", Fault::TooManyTokens),
            ("tenant_malformed", "globex", "gil", Fault::NotJson),
            ("tenant_refused_client", "globex", "eve", Fault::WrongSecret),
            (
                "tenant_throttled",
                "acme",
                "eve",
                Fault::Throttle { retry_after: 30 },
            ),
        ] {
            self.tenant
                .on_until_cleared(Call::TokenImpersonation, fault);
            asked.expect(outcome, self.ask(tenant, user)).await;
            self.tenant.clear_faults();
        }
    }
}

/// The HTTP library refuses some such heads by itself, as they come in; it depends on the pieces.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_counted_and_audited_as_a_refusal() {
    let tenant = tenant().await;
    let program = Program::start(&tenant, "").await;
    let large = "y".repeat(65 * 1024);
    for _ in 0..10 {
        let ask = program.ask_for("ann").header("x-y", &large);
        let answer = ask.send().await.unwrap();
        assert_eq!(answer.status(), 431);
        assert!(answer.bytes().await.unwrap().is_empty());
    }
    let exposed = program.metrics().await;
    let count = |outcome: &str| {
        let series =
            format!("qtb_requests_total{{route=\"/session-token\",outcome=\"{outcome}\"}} ");
        let mut lines = exposed.lines();
        lines.find_map(|line| line.strip_prefix(&series)?.parse::<usize>().ok())
    };
    let lines = audit_lines(&program.stop().await);
    assert_documented(&lines);
    assert!(!lines.is_empty(), "at least one of them reached the broker");
    for line in &lines {
        assert_eq!(line["outcome"], "head_too_large", "{line}");
        assert_eq!(line["action"], "POST /session-token", "{line}");
    }
    assert_eq!(count("head_too_large"), Some(lines.len()));
    assert_eq!(count("ok"), Some(0));
    assert_eq!(tenant.calls(Call::Any), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn c39_every_success_and_refusal_has_one_audit_line_in_the_documented_form() {
    let setup = Setup::start().await;
    let mut asked = Asked::default();
    setup.successes(&mut asked).await;
    setup.refusals(&mut asked).await;
    let written = setup.program.stop().await;
    let lines = audit_lines(&written);
    assert_documented(&lines);
    let (revoked, decisions): (Vec<_>, Vec<_>) =
        lines.iter().partition(|line| line["action"] == "revoke");
    assert_eq!(decisions.len(), asked.0.len());
    for line in decisions {
        let id = line["request_id"].as_str().unwrap();
        let (outcome, body) = &asked.0[id];
        assert_eq!(line["outcome"], outcome.as_str(), "{line}");
        let Some(token) = body["access_token"].as_str() else {
            assert_eq!(
                (&line["token_id"], &line["source"]),
                (&"".into(), &"".into())
            );
            continue;
        };
        assert!(!written.contains(token), "a token is in the lines");
        let mut hash = URL_SAFE_NO_PAD.encode(hex::decode(sha256(token)).unwrap());
        hash.truncate(22);
        assert_eq!(line["token_id"], hash.as_str(), "{line}");
    }
    assert_eq!(
        revoked.len(),
        1,
        "of the session that was logged out: {revoked:?}"
    );
    let outcomes: BTreeSet<_> = asked
        .0
        .values()
        .map(|(outcome, _)| outcome.as_str())
        .collect();
    let known = Code::ALL.iter().map(|code| code.as_str());
    let missing: Vec<_> = known
        .filter(|code| !outcomes.contains(code) && !NOT_HERE.contains(code))
        .collect();
    assert!(missing.is_empty(), "no request had the outcome {missing:?}");
    for value in ["auth0|", "@acme.test", "client-secret"] {
        assert!(!written.contains(value), "{value} is in the lines");
    }
}

#[test]
fn the_documented_outcomes_are_the_codes_of_decisions() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/audit.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let documented = &schema["oneOf"][0]["properties"]["outcome"]["enum"];
    // One answer has no body, so it is no code of the API.
    let codes = Code::ALL.iter().map(|code| code.as_str());
    let codes = codes.chain(["head_too_large"]);
    let no_decisions = ["not_found", "method_not_allowed"];
    let codes = codes.filter(|code| !no_decisions.contains(code));
    let expected: Vec<_> = std::iter::once("ok").chain(codes).collect();
    assert_eq!(documented, &json!(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn c39_a_request_that_is_shed_has_an_audit_line_too() {
    let tenant = tenant().await;
    let program = Program::start(&tenant, "[server]\nmax_in_flight = 1\n").await;
    // A body that does not come holds the only place.
    let head = format!(
        "POST /session-token HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n"
    );
    let hold = || {
        let mut holding = TcpStream::connect(&program.public).unwrap();
        holding.write_all(head.as_bytes()).unwrap();
        holding
    };
    let mut holding = hold();
    let shed = |number: usize| {
        let id = format!("shed.{number}");
        program.ask_for("ann").header("x-request-id", id).send()
    };
    let mut number = 0;
    while shed(number).await.unwrap().status() != 503 {
        number += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
        // It may have come while the place was taken, and been shed itself.
        holding = hold();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // These are none of those that are audited.
    for path in ["/client.js", "/nothing"] {
        assert_eq!(program.post(path).send().await.unwrap().status(), 503);
    }
    drop(holding);
    let lines = audit_lines(&program.stop().await);
    assert_documented(&lines);
    let overloaded: Vec<_> = lines
        .iter()
        .filter(|line| line["outcome"] == "overloaded")
        .filter(|line| line["request_id"].as_str().unwrap().starts_with("shed."))
        .collect();
    assert_eq!(overloaded.len(), 1, "{lines:?}");
    assert_eq!(overloaded[0]["request_id"], format!("shed.{number}"));
    assert_eq!(overloaded[0]["action"], "POST /session-token");
}

/// Begins a line of its own, colours the terminal, ends a text and an object, turns the text around.
const HOSTILE: [&str; 6] = [
    "canary\r\n{\"target\":\"audit\",\"outcome\":\"ok\",\"action\":\"canary\"}\n",
    "canary\n\u{1b}[31mred\u{1b}]0;title\u{7}",
    "canary\"}\n{\"target\":\"audit\"",
    "canary\\u000a\\\",\"outcome\":\"ok",
    "canary\u{9b}31m\u{85}\u{2028}\u{202e}",
    "canary\u{0}\u{8}\u{7f}\t\u{e9}",
];

#[tokio::test(flavor = "multi_thread")]
async fn c39_nothing_that_a_caller_sends_gets_into_a_line() {
    for format in ["json", "pretty"] {
        let tenant = tenant().await;
        let portal = Portal::start(Key::p256()).await;
        let more = format!(
            "[log]\nlevel = 'trace'\nformat = '{format}'\n{}",
            portal.table()
        );
        let program = Program::start(&tenant, &more).await;
        let mut sent = 0;
        for hostile in HOSTILE {
            let lookup =
                |field: &str, value: &str| json!({"user_lookup": {"field": field, "value": value}});
            let bodies = [
                lookup("subject", hostile),
                lookup("email", hostile),
                lookup(hostile, "x"),
                json!({"user_lookup": subject("ann"), "tenant": hostile}),
                json!({"user_lookup": subject("ann"), "scope": hostile}),
                json!({"user_lookup": subject("ann"), "rejected": hostile}),
                json!({hostile: hostile}),
            ];
            let post = || program.post("/session-token");
            let mut requests: Vec<_> = bodies
                .iter()
                .map(|body| post().bearer_auth(KEY).json(body))
                .collect();
            requests.push(post().bearer_auth(portal.session(hostile)));
            let odd_issuer = portal.session_with("ann", &json!({"iss": hostile, "kid": hostile}));
            requests.push(post().bearer_auth(odd_issuer));
            // What HTTP lets into a header: no control characters but the tab.
            let header: String = hostile.chars().filter(|c| !c.is_ascii_control()).collect();
            for name in [
                "x-request-id",
                "origin",
                "authorization",
                "cookie",
                "user-agent",
                "x-forwarded-for",
                "traceparent",
                "accept",
            ] {
                requests.push(post().header(name, header.as_bytes()));
            }
            sent += requests.len();
            let answers = join_all(requests.into_iter().map(RequestBuilder::send)).await;
            assert!(answers.iter().all(Result::is_ok));
        }
        let written = program.stop().await;
        let lines = audit_lines(&written);
        assert_eq!(lines.len(), sent, "one line each, and no other");
        assert_documented(&lines);
        assert!(!written.contains("canary"), "{written}");
        let odd = |c: char| c != '\n' && (c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c));
        assert!(!written.contains(odd));
        if format == "json" {
            for line in written.lines() {
                assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
            }
        }
    }
}
