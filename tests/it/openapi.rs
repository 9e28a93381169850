//! The OpenAPI document, held to the routes and to what a running broker answers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use qlik_token_broker::http::Code;
use qlik_token_broker::ops;
use qlik_token_broker::simulator::{CLIENT_CREDENTIALS, Call, ClientSetup, Simulator};
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::cli::program;
use super::harness::{
    Broker, EVIL, KEY, PAGE, header, key_table, refused, tenant, tenant_table, world,
};
use super::portal::{Key, Portal};

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(&ops::openapi::document()).unwrap());

const METHODS: [Method; 8] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
];

fn repository_file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// What a reference leads to, or the value itself.
fn resolved(value: &Value) -> &Value {
    match value["$ref"].as_str() {
        Some(reference) => DOCUMENT.pointer(&reference[1..]).unwrap(),
        None => value,
    }
}

/// Panics unless the value is one of this schema.
fn validate(what: &str, schema: &Value, value: &Value) {
    let mut schema = schema.clone();
    schema["components"] = DOCUMENT["components"].clone();
    let options = jsonschema::options().should_validate_formats(true);
    let validator = options.build(&schema).unwrap();
    let faults: Vec<_> = validator
        .iter_errors(value)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{what}: {faults:?}\n{value:#}");
}

/// The documented path that this one is one of.
fn path_item(path: &str) -> Option<(&'static str, &'static Value)> {
    let same = |template: &str| match template.split_once("{code}") {
        Some((start, "")) => path.starts_with(start) && path.len() > start.len(),
        _ => template == path,
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let found = paths.iter().find(|(template, _)| same(template));
    found.map(|(template, item)| (template.as_str(), item))
}

fn is_public(item: &Value) -> bool {
    item["servers"].is_null() || item["servers"].to_string().contains(":8080")
}

fn key_of(method: &Method) -> String {
    method.as_str().to_lowercase()
}

/// Panics unless the document says that this request may be answered like this: its status, its
/// headers, its media type, its body, and for a problem the code. Other paths are not its concern.
pub fn conforms(method: &Method, path: &str, status: u16, headers: &HeaderMap, body: &[u8]) {
    let what = format!("{method} {path} {status}");
    let components = &DOCUMENT["components"]["responses"];
    let answer = match (path_item(path), status) {
        (None, 404) => &components["not_found"],
        // Where the operators have it, the public has nothing.
        (Some((_, item)), 404) if !is_public(item) => &components["not_found"],
        (None, _) => return,
        (Some((_, item)), _) => match item.get(key_of(method)) {
            Some(operation) => &operation["responses"][status.to_string()],
            None if !is_public(item) => &components["operators_method_not_allowed"],
            None if method == Method::TRACE || status == 405 => &components["method_not_allowed"],
            None => panic!("{what}: the method is not documented"),
        },
    };
    let answer = resolved(answer);
    assert!(answer.is_object(), "{what}: the status is not documented");
    for (name, about) in answer["headers"].as_object().into_iter().flatten() {
        let about = resolved(about);
        let values = headers.get_all(name).iter();
        let values: Vec<_> = values.map(|value| value.to_str().unwrap()).collect();
        assert!(
            !values.is_empty() || about["required"] != true,
            "{what}: {name} is missing"
        );
        for value in values {
            let value = match about["schema"]["type"].as_str() {
                Some("integer") => json!(value.parse::<u64>().unwrap()),
                _ => json!(value),
            };
            validate(&format!("{what}: {name}"), &about["schema"], &value);
        }
    }
    let Some(contents) = answer["content"].as_object() else {
        assert!(body.is_empty(), "{what}: the body is not documented");
        return;
    };
    let kind = headers["content-type"].to_str().unwrap();
    let kind = kind.split(';').next().unwrap();
    let content = contents.get(kind);
    let content = content.unwrap_or_else(|| panic!("{what}: {kind} is not documented"));
    let value = if kind.ends_with("json") {
        serde_json::from_slice(body).unwrap()
    } else {
        json!(std::str::from_utf8(body).unwrap())
    };
    validate(&what, &content["schema"], &value);
    let schema = &content["schema"];
    if let (Some(known), Some(members)) = (members_of(schema), value.as_object()) {
        let unknown: Vec<_> = members
            .keys()
            .filter(|name| !known.contains(*name))
            .collect();
        assert!(unknown.is_empty(), "{what}: {unknown:?} are not documented");
    }
}

/// The members that a schema of an object has; none if it is any object.
fn members_of(schema: &Value) -> Option<BTreeSet<String>> {
    if let Some(all) = schema["allOf"].as_array() {
        return Some(all.iter().filter_map(members_of).flatten().collect());
    }
    let members = resolved(schema)["properties"].as_object()?;
    Some(members.keys().cloned().collect())
}

/// Sends it, and panics unless the document says that it may be answered so.
async fn documented(request: RequestBuilder) -> (u16, Value) {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let answer = client.execute(request).await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = answer.bytes().await.unwrap();
    conforms(&method, &path, status, &headers, &body);
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// A broker that takes every kind of credential and answers every route, before a tenant with a
/// service client.
async fn setup() -> (Simulator, Portal, Broker) {
    let service = ClientSetup::new("service")
        .secret("service-client-secret")
        .grant(CLIENT_CREDENTIALS)
        .scopes("apps:read")
        .trusted();
    let tenant = Simulator::start(world().with_client(service))
        .await
        .unwrap();
    let portal = Portal::start(Key::p256()).await;
    let keys = key_table(&["acme"]).replace(
        "'token', 'logout'",
        "'token', 'sessions', 'logout', 'service_token'",
    );
    let config = keys
        + "[[session]]\ntype = 'handle'\n"
        + &portal.table()
        + &tenant_table("acme", &tenant.url())
        + "service = { client_id = 'service', client_secret = 'service-client-secret', scopes = 'apps:read' }\n";
    (tenant, portal, Broker::start(&config))
}

#[test]
fn the_committed_document_is_the_one_that_the_program_prints() {
    let printed = program().arg("openapi").output().unwrap();
    assert!(
        repository_file("docs/openapi.json").as_bytes() == printed.stdout,
        "write it anew: qlik-token-broker openapi > docs/openapi.json"
    );
}

#[tokio::test]
async fn operators_are_served_the_document_and_nobody_else_is() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let served = broker.ops("/openapi.json").await;
    assert_eq!(header(&served, "content-type"), "application/json");
    assert_eq!(served.json::<Value>().await.unwrap(), *DOCUMENT);
    assert_eq!(DOCUMENT["openapi"], "3.1.0");
    refused(broker.call(Method::GET, "/openapi.json"), 404, "not_found").await;
}

/// The paths that a router is given in this file. The router itself does not tell.
fn routes(file: &str) -> BTreeSet<String> {
    let text = repository_file(file);
    let routes = text.split(".route(").skip(1);
    let path = |route: &str| route.split('"').nth(1).unwrap().to_owned();
    routes.map(path).collect()
}

#[tokio::test]
async fn the_document_has_every_route_with_its_methods_and_no_other() {
    let (_tenant, _portal, broker) = setup().await;
    let (public, ops) = (routes("src/http.rs"), routes("src/ops.rs"));
    assert!(public.len() > 8 && ops.len() > 3);
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let documented: BTreeSet<_> = paths.keys().cloned().collect();
    assert_eq!(documented, public.union(&ops).cloned().collect());
    for (path, item) in paths {
        let methods: BTreeSet<_> = METHODS
            .iter()
            .filter(|method| item.get(key_of(method)).is_some())
            .map(|method| method.as_str().to_owned())
            .collect();
        let servers = item["servers"].to_string();
        assert_eq!(is_public(item), public.contains(path), "{path}");
        assert_eq!(servers.contains(":9090"), ops.contains(path), "{path}");
        let at = path.replace("{code}", "not_found");
        let public = is_public(item).then(|| broker.url(&at));
        let ops = ops
            .contains(path)
            .then(|| format!("http://{}{at}", broker.ops));
        for (url, method) in public
            .iter()
            .chain(&ops)
            .flat_map(|url| METHODS.map(|m| (url, m)))
        {
            let answer = broker
                .http
                .request(method.clone(), url)
                .send()
                .await
                .unwrap();
            let status = answer.status().as_u16();
            if methods.contains(method.as_str()) {
                assert!(![404, 405].contains(&status), "{method} {url}: {status}");
                continue;
            }
            assert_eq!(status, 405, "{method} {url}");
            let allow = header(&answer, "allow");
            let allowed = allow.split(',').map(|method| method.trim().to_owned());
            assert_eq!(allowed.collect::<BTreeSet<_>>(), methods, "{method} {url}");
        }
    }
}

/// Every answer that some operation may give, with its status; and those that no operation owns.
fn answers() -> Vec<(String, &'static Value)> {
    let components = DOCUMENT["components"]["responses"].as_object().unwrap();
    let elsewhere = components
        .iter()
        .filter_map(|(name, answer)| Some((status_of(name)?.to_string(), answer)));
    let paths = DOCUMENT["paths"].as_object().unwrap().values();
    let items = paths.flat_map(|item| item.as_object().unwrap().values());
    let operations = items.filter_map(|operation| operation["responses"].as_object());
    let answers = operations.flatten();
    let answers = answers.map(|(status, answer)| (status.clone(), resolved(answer)));
    elsewhere.chain(answers).collect()
}

fn status_of(code: &str) -> Option<u16> {
    let code = Code::ALL.iter().find(|known| known.as_str() == code);
    code.map(|code| code.status().as_u16())
}

#[test]
fn every_code_has_an_example_and_a_place_under_its_own_status() {
    let examples = DOCUMENT["components"]["examples"].as_object().unwrap();
    let known: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let named: BTreeSet<_> = examples.keys().map(String::as_str).collect();
    assert_eq!(known, named);
    let mut placed = BTreeSet::new();
    for (status, answer) in answers() {
        let problem = &answer["content"]["application/problem+json"];
        let Some(codes) = problem["examples"].as_object() else {
            assert!(
                status.as_str() < "400" || answer["content"]["application/problem+json"].is_null()
            );
            continue;
        };
        for (code, example) in codes {
            assert_eq!(status_of(code).unwrap().to_string(), status, "{code}");
            let example = resolved(example);
            validate(code, &problem["schema"], &example["value"]);
            assert_eq!(example["value"]["code"], **code);
            placed.insert(code.as_str());
        }
        let allowed = &problem["schema"]["allOf"][1]["properties"]["code"]["enum"];
        assert_eq!(allowed.as_array().unwrap().len(), codes.len(), "{status}");
    }
    assert_eq!(placed, known);
}

#[tokio::test]
async fn an_example_of_a_problem_is_what_is_answered() {
    let (tenant, portal, broker) = setup().await;
    let ask = || broker.post("/session-token");
    let origin = |origin: &str| ask().header("origin", origin);
    let mut rows = BTreeMap::from([
        ("session_missing", ask()),
        ("request_invalid", ask().bearer_auth(KEY)),
        ("origin_not_allowed", origin(EVIL)),
        ("not_found", broker.post("/nowhere")),
        ("method_not_allowed", broker.call(Method::PUT, "/sessions")),
        ("media_type", ask().bearer_auth(KEY).body("{}")),
        ("body_too_large", ask().body(" ".repeat(20_000))),
        ("user_unknown", broker.ask_for("nobody")),
    ]);
    let handle = format!("qtbs_{}", "A".repeat(43));
    rows.insert("session_invalid", ask().bearer_auth(handle));
    let late = portal.session_with("ann", &json!({"exp": 1_700_000_000}));
    rows.insert("session_expired", ask().bearer_auth(late));
    let unmapped = portal.session_with("ann", &json!({"sub": null}));
    rows.insert("user_not_mapped", ask().bearer_auth(unmapped));
    for (code, request) in rows {
        let (_, mut answered) = documented(request).await;
        let example = &DOCUMENT["components"]["examples"][code]["value"];
        answered["request_id"] = example["request_id"].clone();
        assert_eq!(answered, *example, "{code}");
    }
    // Only for the user that nobody knows.
    assert_eq!(tenant.calls(Call::Token), 1);
}

#[tokio::test]
async fn every_documented_request_is_taken() {
    let (tenant, portal, broker) = setup().await;
    let mut sent = 0;
    for (path, person) in [
        ("/session-token", "ann"),
        ("/sessions", "ann"),
        ("/service-token", "ann"),
        // Last, because it ends what the others use.
        ("/logout", "bob"),
    ] {
        let body = &DOCUMENT["paths"][path]["post"]["requestBody"];
        let content = &body["content"]["application/json"];
        for (name, example) in content["examples"].as_object().unwrap() {
            validate(name, &content["schema"], &example["value"]);
            let credential = match name.split('_').next() {
                Some("page") => portal.session(person),
                _ => KEY.to_owned(),
            };
            let request = broker.post(path).bearer_auth(credential);
            let (status, answered) = documented(request.json(&example["value"])).await;
            assert!(status < 300, "{path} {name}: {answered}");
            sent += 1;
        }
    }
    assert_eq!(sent, 11);
    assert_eq!(tenant.calls(Call::TokenImpersonation), 1);
    assert_eq!(tenant.calls(Call::TokenClientCredentials), 1);
}

#[tokio::test]
async fn what_is_read_is_answered_as_documented() {
    let (tenant, _portal, broker) = setup().await;
    let listed = [
        "/healthz",
        "/client.js",
        "/client.global.js",
        "/client.d.ts",
        "/problems/not_found",
    ];
    for path in listed {
        for method in [Method::GET, Method::HEAD] {
            let (status, _) = documented(broker.call(method, path)).await;
            assert_eq!(status, 200, "{path}");
        }
        let first = broker.call(Method::GET, path).send().await.unwrap();
        let tag = header(&first, "etag");
        let again = broker.call(Method::GET, path).header("if-none-match", &tag);
        let (status, _) = documented(again).await;
        assert_eq!(status, if tag.is_empty() { 200 } else { 304 }, "{path}");
    }
    assert_eq!(
        documented(broker.call(Method::GET, "/problems/x")).await.0,
        404
    );
    for path in ["/session-token", "/sessions", "/logout", "/service-token"] {
        let preflight = |origin| broker.call(Method::OPTIONS, path).header("origin", origin);
        assert_eq!(documented(preflight(PAGE)).await.0, 204);
        assert_eq!(documented(preflight(EVIL)).await.0, 403);
    }
    let text = broker.ask_for("ann").header("accept", "text/plain");
    assert_eq!(documented(text).await.0, 200);
    assert_eq!(tenant.calls(Call::Token), 1);
}

#[tokio::test]
async fn operators_are_answered_as_documented() {
    let (tenant, _portal, broker) = setup().await;
    let ops = |method, path: &str| {
        let url = format!("http://{}{path}", broker.ops);
        broker.http.request(method, url)
    };
    let readable = [
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/",
        "/status.css",
        "/status.svg",
    ];
    for path in readable {
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(documented(ops(method, path)).await.0, 200, "{path}");
        }
    }
    for (method, path) in [(Method::POST, "/readyz"), (Method::GET, "/reload")] {
        assert_eq!(documented(ops(method, path)).await.0, 405, "{path}");
    }
    for path in ["/", "/readyz", "/metrics", "/openapi.json"] {
        let page = ops(Method::GET, path).header("host", "evil.test");
        let page = page.header("accept-language", "en");
        assert_eq!(documented(page).await.0, 403, "{path}");
    }
    let nothing = ops(Method::GET, "/nowhere").send().await.unwrap();
    assert_eq!(nothing.status(), 404);
    assert!(nothing.bytes().await.unwrap().is_empty());
    // Whether this process has a recorder depends on the tests that ran before.
    documented(ops(Method::GET, "/metrics")).await;
    assert_eq!(documented(ops(Method::POST, "/reload")).await.0, 403);
    assert_eq!(documented(broker.ask_to_reload()).await.0, 200);
    std::fs::write(&broker.file.0, "[server]\nlisen = 1\n").unwrap();
    assert_eq!(documented(broker.ask_to_reload()).await.0, 422);
    let (status, ready) = documented(ops(Method::GET, "/readyz")).await;
    assert_eq!((status, &ready["status"]), (200, &json!("degraded")));
    assert_eq!(tenant.calls(Call::Any), 0);
}

#[test]
fn the_reading_version_names_the_same_paths_codes_and_fields() {
    let text = repository_file("docs/api.md");
    assert!(text.contains("(openapi.json)"));
    let rows: BTreeMap<_, _> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|row| row.split_once("` | "))
        .collect();
    for code in Code::ALL {
        let status = code.status().as_u16().to_string();
        let row = rows.get(code.as_str()).copied().unwrap_or_default();
        assert!(row.starts_with(&status), "{}: {row}", code.as_str());
    }
    for (name, item) in DOCUMENT["paths"].as_object().unwrap() {
        assert!(text.contains(&format!("{name}`")), "{name}");
        for method in ["get", "post"] {
            let heading = format!("{} {name}`", method.to_uppercase());
            let joint = name.starts_with("/client.");
            assert!(
                item.get(method).is_none() || joint || text.contains(&heading),
                "{heading}"
            );
        }
    }
    for (name, schema) in DOCUMENT["components"]["schemas"].as_object().unwrap() {
        for member in schema["properties"].as_object().unwrap().keys() {
            let is_told = ["field", "value"].contains(&member.as_str())
                || text.contains(&format!("`{member}`"))
                || text.contains(&format!("\"{member}\""));
            assert!(is_told, "{name}: {member}");
        }
    }
    // And no path that is not there.
    let routed: BTreeSet<_> = text
        .split('`')
        .filter_map(|word| {
            let (method, path) = word.split_once(' ')?;
            (["GET", "POST", "OPTIONS"].contains(&method) && path.starts_with('/')).then_some(path)
        })
        .filter(|path| !path.starts_with("/api/"))
        .collect();
    for path in routed {
        let path = path.trim_end_matches(',');
        assert!(DOCUMENT["paths"].get(path).is_some(), "{path}");
    }
}
