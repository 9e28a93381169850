//! Metrics: each is documented, nobody from outside makes more of them, and Prometheus reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::stream::{StreamExt, iter};
use qlik_token_broker::simulator::{Call, Fault, Simulator};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::cli::free_address;
use super::harness::{
    Broker, EVIL, Folder, KEY, PAGE, key_table, managed_table, managed_world, refused, tenant,
    tenant_table, token,
};
use super::program::Program;

fn repository_file(name: &str) -> String {
    std::fs::read_to_string(format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Name and labels of the metrics in the table of docs/operations.md.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let page = repository_file("docs/operations.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `qtb_"));
    let metrics = rows.map(|row| {
        let (name, rest) = row.split_once("` | ").unwrap();
        let (labels, meaning) = rest.split_once(" | ").unwrap();
        assert!(meaning.len() > 5, "{name} has no meaning");
        // Values stand in brackets behind their label.
        let mut depth = 0;
        let outside: String = labels
            .chars()
            .filter(|c| {
                depth += i32::from(*c == '(') - i32::from(*c == ')');
                depth == 0
            })
            .collect();
        let labels = outside.split('`').skip(1).step_by(2).map(str::to_owned);
        (format!("qtb_{name}"), labels.collect())
    });
    metrics.collect()
}

/// Name and labels of a sample: those of its metric, where it is a part of a histogram.
fn sample(line: &str) -> (String, BTreeSet<String>) {
    let (name, labels) = match line.split_once('{') {
        Some((name, rest)) => (name, rest.rsplit_once('}').unwrap().0),
        None => (line.split(' ').next().unwrap(), ""),
    };
    let is_part = name.contains("_seconds_");
    let name = ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|part| name.strip_suffix(part).filter(|_| is_part))
        .unwrap_or(name);
    let labels = labels
        .split(',')
        .filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
    let labels = labels.filter(|label| label != "le" && label != "quantile");
    (name.to_owned(), labels.collect())
}

fn samples(exposed: &str) -> impl Iterator<Item = &str> {
    let lines = exposed.lines();
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[tokio::test]
async fn every_metric_is_documented_with_its_labels() {
    let documented = documented();
    let source = repository_file("src/telemetry/metrics.rs");
    let names = source.split("\"qtb_").skip(1);
    let known: BTreeSet<_> = names
        .map(|rest| format!("qtb_{}", rest.split('"').next().unwrap()))
        .collect();
    assert_eq!(documented.keys().cloned().collect::<BTreeSet<_>>(), known);

    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    broker.token_of("ann").await;
    refused(broker.post("/session-token"), 401, "session_missing").await;
    let exposed = broker.ops("/metrics").await.text().await.unwrap();
    let mut seen = 0;
    for line in samples(&exposed) {
        let (name, labels) = sample(line);
        assert_eq!(documented.get(&name), Some(&labels), "{line}");
        seen += 1;
    }
    assert!(seen > 50, "{exposed}");
    for line in exposed.lines() {
        let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|it| it.split_once(' '))
        else {
            continue;
        };
        let unit = match kind {
            "counter" => "_total",
            "histogram" => "_seconds",
            _ => "",
        };
        assert!(name.ends_with(unit), "{name} is a {kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_paths_methods_origins_and_names_make_no_new_series() {
    let tenant = tenant().await;
    let program = Program::start(&tenant, "").await;
    let method = |name: &str| Method::from_bytes(name.as_bytes()).unwrap();
    let odd = |number: usize| {
        let name = format!("ODD{number}");
        let ask = |body: Value| program.post("/session-token").bearer_auth(KEY).json(&body);
        match number % 8 {
            0 => program.post(&format!("/odd{number}/{number}?odd={number}")),
            1 => program.call(method(&name), "/session-token"),
            2 => program
                .post("/session-token")
                .header("origin", format!("{EVIL}:{number}")),
            3 => program.call(Method::GET, &format!("/problems/odd{number}")),
            4 => ask(json!({"tenant": name, "user_lookup": {"field": "subject", "value": "x"}})),
            5 => ask(json!({"scope": name, "user_lookup": {"field": "subject", "value": "x"}})),
            6 => program
                .post("/logout")
                .bearer_auth(&name)
                .header("x-request-id", &name),
            _ => program.call(method(&name), &format!("/{name}")),
        }
    };
    let series = async || {
        let exposed = program.metrics().await;
        let names = samples(&exposed).map(|line| line.rsplit_once(' ').unwrap().0.to_owned());
        names.collect::<BTreeSet<_>>()
    };
    // The outcome of a limit is one that there may be.
    for number in 0..8 {
        odd(number).send().await.unwrap();
    }
    refused(
        program.post("/session-token").bearer_auth("odd"),
        401,
        "session_invalid",
    )
    .await;
    let before = series().await;
    let all = iter(8..1008).map(|number| odd(number).send());
    let answers: Vec<_> = all.buffer_unordered(50).collect().await;
    for answer in answers {
        assert!(answer.unwrap().status().is_client_error());
    }
    let after = series().await;
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "{new:?}");
    assert!(!format!("{after:?}").to_lowercase().contains("odd"));
    program.stop().await;
}

/// The value of a series.
fn value(exposed: &str, series: &str) -> Option<f64> {
    let found = samples(exposed).find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.map(|value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn preflights_and_wrong_methods_are_counted_apart_from_the_route() {
    let tenant = tenant().await;
    let program = Program::start(&tenant, "").await;
    token(program.ask_for("ann")).await;
    for origin in [PAGE, PAGE, PAGE, EVIL] {
        let preflight = program.call(Method::OPTIONS, "/session-token");
        let answer = preflight.header("origin", origin).send().await.unwrap();
        assert_eq!(answer.status(), if origin == PAGE { 204 } else { 403 });
    }
    for (method, path) in [
        (Method::GET, "/session-token"),
        (Method::PUT, "/logout"),
        (Method::POST, "/healthz"),
        (Method::OPTIONS, "/client.js"),
    ] {
        refused(program.call(method, path), 405, "method_not_allowed").await;
    }
    refused(program.post("/nowhere"), 404, "not_found").await;
    let exposed = program.metrics().await;
    for (series, count) in [
        ("{route=\"/session-token\",outcome=\"ok\"}", Some(1.0)),
        (
            "{route=\"/session-token\",outcome=\"method_not_allowed\"}",
            None,
        ),
        (
            "{route=\"/session-token\",outcome=\"origin_not_allowed\"}",
            None,
        ),
        ("{route=\"preflight\",outcome=\"ok\"}", Some(3.0)),
        (
            "{route=\"preflight\",outcome=\"origin_not_allowed\"}",
            Some(1.0),
        ),
        (
            "{route=\"other\",outcome=\"method_not_allowed\"}",
            Some(4.0),
        ),
        ("{route=\"other\",outcome=\"not_found\"}", Some(1.0)),
    ] {
        let series = format!("qtb_requests_total{series}");
        assert_eq!(value(&exposed, &series), count, "{series}");
    }
    for (route, count) in [("/session-token", 1.0), ("preflight", 4.0), ("other", 5.0)] {
        let series = format!("qtb_request_seconds_count{{route=\"{route}\"}}");
        assert_eq!(value(&exposed, &series), Some(count), "{series}");
    }
    program.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_tier_that_was_never_in_reach_is_told_as_away() {
    let tenant = tenant().await;
    let plain = Program::start(&tenant, "").await;
    assert_eq!(value(&plain.metrics().await, "qtb_shared_up"), None);
    plain.stop().await;
    let key = "A".repeat(43) + "=";
    let shared = format!(
        "[shared]\nurl = 'redis://127.0.0.1:1'\nencryption_keys = [{{ id = 'k1', key = '{key}' }}]\n"
    );
    let program = Program::start(&tenant, &shared).await;
    assert_eq!(value(&program.metrics().await, "qtb_shared_up"), Some(0.0));
    program.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tenant_may_throttle_is_counted_from_nothing_on() {
    let tenant = Simulator::start(managed_world()).await.unwrap();
    let tables = managed_table("acme", &tenant.url()) + &tenant_table("plain", &tenant.url());
    let program = Program::run(&(key_table(&["acme"]) + &tables), &[]).await;
    let exposed = program.metrics().await;
    let throttled = |tenant: &str, call: &str| {
        let labels = format!("{{tenant=\"{tenant}\",call=\"{call}\",outcome=\"throttled\"}}");
        format!("qtb_upstream_calls_total{labels}")
    };
    for call in [
        "token",
        "revoke",
        "users",
        "user_create",
        "user_patch",
        "oauth_client",
    ] {
        assert_eq!(
            value(&exposed, &throttled("acme", call)),
            Some(0.0),
            "{call}"
        );
        let there = ["token", "revoke"].contains(&call).then_some(0.0);
        assert_eq!(value(&exposed, &throttled("plain", call)), there, "{call}");
    }
    tenant.on(Call::Token, Fault::Throttle { retry_after: 60 });
    refused(program.ask_for("ann"), 503, "tenant_throttled").await;
    let exposed = program.metrics().await;
    assert_eq!(value(&exposed, &throttled("acme", "token")), Some(1.0));
    program.stop().await;
}

/// Debian's Prometheus, which scrapes one target. It ends with the test.
struct Prometheus {
    child: Child,
    address: String,
    _folder: Folder,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Prometheus {
    /// Whether it can run here. Where it cannot the test says so, and in `scripts/test` it fails.
    fn available() -> bool {
        let ran = Command::new("prometheus").arg("--version").output();
        let found = ran.is_ok_and(|output| output.status.success());
        assert!(
            found || std::env::var_os("QTB_NEEDS_SERVICES").is_none(),
            "prometheus is missing: scripts/test installs it"
        );
        if !found {
            eprintln!("skipped: there is no prometheus");
        }
        found
    }

    fn start(target: &str) -> Self {
        let (folder, address) = (Folder::new(), free_address());
        let config = format!(
            "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms }}\n\
             scrape_configs: [{{ job_name: broker, static_configs: [{{ targets: ['{target}'] }}] }}]\n"
        );
        let config = folder.write("prometheus.yml", &config);
        // It ends with the thread of the test, also when that is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "prometheus"])
            .arg(format!("--config.file={config}"))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.0.join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            address,
            _folder: folder,
        }
    }

    /// What a query returns, once it returns this.
    async fn returns(&self, query: &str, expected: f64) {
        let http = Client::builder().no_proxy().build().unwrap();
        let mut last = Value::Null;
        for _ in 0..300 {
            let url = format!("http://{}/api/v1/query", self.address);
            let url = url::Url::parse_with_params(&url, [("query", query)]).unwrap();
            let answer = http.get(url).send().await;
            if let Ok(answer) = answer {
                last = answer.json().await.unwrap_or_default();
                let value = last["data"]["result"][0]["value"][1].as_str();
                if value.and_then(|value| value.parse().ok()) == Some(expected) {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{query} is not {expected}: {last}");
    }
}

#[tokio::test]
async fn prometheus_scrapes_the_broker_and_its_queries_return_what_happened() {
    if !Prometheus::available() {
        return;
    }
    let tenant = tenant().await;
    let program = Program::start(&tenant, "").await;
    let prometheus = Prometheus::start(&program.ops);
    for user in ["ann", "ann", "ann", "bob"] {
        token(program.ask_for(user)).await;
    }
    refused(program.ask_for("nobody"), 403, "user_unknown").await;
    refused(program.post("/session-token"), 401, "session_missing").await;
    for (query, expected) in [
        ("up{job='broker'}", 1.0),
        (
            "qtb_tokens_issued_total{tenant='acme',source='minted'}",
            2.0,
        ),
        ("qtb_tokens_issued_total{tenant='acme',source='local'}", 2.0),
        ("sum(qtb_requests_total{route='/session-token'})", 6.0),
        (
            "qtb_requests_total{route='/session-token',outcome='user_unknown'}",
            1.0,
        ),
        ("sum(qtb_upstream_calls_total{call='token'})", 3.0),
        ("qtb_upstream_seconds_count{call='token',outcome='ok'}", 2.0),
        ("qtb_request_seconds_count{route='/session-token'}", 6.0),
        ("sum(qtb_token_life_seconds_count)", 4.0),
        ("qtb_cached_users", 2.0),
        ("qtb_config_generation", 1.0),
        ("count(qtb_build_info)", 1.0),
    ] {
        prometheus.returns(query, expected).await;
    }
    program.stop().await;
}
