//! Who may have the configuration read again.

use std::net::TcpListener;

use qlik_token_broker::simulator::Call;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::harness::{Broker, header, key_table, tenant, tenant_table};
use crate::wire::raw;

type Headers<'a> = &'a [(&'a str, &'a str)];

const TOKEN: &str = "ops-token-0123456789";

async fn generation(broker: &Broker) -> u64 {
    let ready: Value = broker.ops("/readyz").await.json().await.unwrap();
    ready["generation"].as_u64().unwrap()
}

#[tokio::test]
async fn who_may_reload() {
    let tenant = tenant().await;
    let config = key_table(&["acme"]) + &tenant_table("acme", &tenant.url());
    let keyed = format!("[ops]\ntoken = '{TOKEN}'\n{config}");
    let everywhere = || TcpListener::bind("0.0.0.0:0").unwrap();
    let local = || TcpListener::bind("127.0.0.1:0").unwrap();
    let brokers = [
        Broker::start_with_ops(local(), &config),
        Broker::start_with_ops(local(), &keyed),
        Broker::start_with_ops(everywhere(), &config),
        Broker::start_with_ops(everywhere(), &keyed),
    ];
    let good = format!("Bearer {TOKEN}");
    // Of the four: on a loopback listener without and with a token, and on all networks.
    let none: Headers<'_> = &[];
    let table: [(Headers<'_>, [u16; 4]); 16] = [
        (&[("x-broker-request", "1")], [200, 401, 403, 401]),
        (
            &[("x-broker-request", "1"), ("authorization", &good)],
            [200, 200, 403, 200],
        ),
        (
            &[
                ("x-broker-request", "1"),
                ("authorization", "Bearer ops-token-012345678"),
            ],
            [200, 401, 403, 401],
        ),
        (
            &[
                ("x-broker-request", "1"),
                ("authorization", "Bearer ops-token-01234567890"),
            ],
            [200, 401, 403, 401],
        ),
        (
            &[("x-broker-request", "1"), ("authorization", "Bearer ")],
            [200, 401, 403, 401],
        ),
        (
            &[
                ("x-broker-request", "1"),
                ("authorization", "Basic ops-token-0123456789"),
            ],
            [200, 401, 403, 401],
        ),
        (
            &[
                ("x-broker-request", "1"),
                ("authorization", &good),
                ("authorization", &good),
            ],
            [200, 401, 403, 401],
        ),
        (none, [403; 4]),
        (&[("authorization", &good)], [403; 4]),
        (
            &[
                ("x-broker-request", "1"),
                ("authorization", &good),
                ("host", "evil.test"),
            ],
            [403; 4],
        ),
        (
            &[
                ("x-broker-request", "1"),
                ("authorization", &good),
                ("host", "evil.test:9090"),
            ],
            [403; 4],
        ),
        (
            &[
                ("x-broker-request", "1"),
                ("authorization", &good),
                ("host", "127.0.0.1.evil.test"),
            ],
            [403; 4],
        ),
        (
            &[
                ("x-broker-request", "1"),
                ("authorization", &good),
                ("host", "localhost."),
            ],
            [403; 4],
        ),
        (
            &[
                ("x-broker-request", "1"),
                ("authorization", &good),
                ("host", "broker:9090"),
            ],
            [200, 200, 403, 200],
        ),
        (
            &[
                ("x-broker-request", "1"),
                ("authorization", &good),
                ("host", "[::1]:9090"),
            ],
            [200, 200, 403, 200],
        ),
        (
            &[
                ("x-broker-request", "1"),
                ("authorization", &good),
                ("host", "localhost"),
            ],
            [200, 200, 403, 200],
        ),
    ];
    for (index, broker) in brokers.iter().enumerate() {
        let url = format!("http://127.0.0.1:{}/reload", broker.ops.port());
        let mut reloads = 1;
        for (headers, statuses) in &table {
            let mut request = broker.http.post(&url);
            for (name, value) in *headers {
                request = request.header(*name, *value);
            }
            let answer = request.send().await.unwrap();
            let status = answer.status();
            assert_eq!(status, statuses[index], "{index} {headers:?}");
            let challenge = header(&answer, "www-authenticate");
            assert_eq!(challenge == "Bearer", status == StatusCode::UNAUTHORIZED);
            let body: Value = answer.json().await.unwrap();
            assert_eq!(body["error"].is_string(), status != StatusCode::OK);
            assert!(!body.to_string().contains(TOKEN));
            reloads += u64::from(status == StatusCode::OK);
        }
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let request = broker.http.request(method.clone(), &url);
            let request = request.header("x-broker-request", "1").bearer_auth(TOKEN);
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 405, "{method}");
            assert_eq!(header(&answer, "allow"), "POST");
            assert_eq!(header(&answer, "access-control-allow-origin"), "");
        }
        assert_eq!(generation(broker).await, reloads, "{index}");
        let elsewhere = broker.post("/reload").header("x-broker-request", "1");
        assert_eq!(
            elsewhere.send().await.unwrap().status(),
            404,
            "not for the public"
        );
    }
    assert_eq!(tenant.calls(Call::Any), 0);
}

/// What a client of a library does not send.
#[tokio::test]
async fn odd_hosts_are_refused() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    for (target, hosts, status) in [
        ("/reload", "Host: localhost\r\n", "200"),
        ("/reload", "Host: evil.test\r\n", "403"),
        ("/reload", "Host: localhost\r\nHost: evil.test\r\n", "403"),
        ("/reload", "Host: evil.test\r\nHost: localhost\r\n", "403"),
        ("/reload", "Host:\r\n", "403"),
        ("http://evil.test/reload", "Host: localhost\r\n", "403"),
        ("http://localhost/reload", "Host: evil.test\r\n", "403"),
        ("http://localhost/reload", "Host: localhost\r\n", "200"),
    ] {
        let request = format!(
            "POST {target} HTTP/1.1\r\n{hosts}X-Broker-Request: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let answer = raw(broker.ops, vec![request]).await;
        let got = answer.split(' ').nth(1).unwrap_or_default();
        assert!(
            got == status || (got == "400" && status == "403"),
            "{target} {hosts}: {answer}"
        );
    }
    assert_eq!(generation(&broker).await, 3);
}

/// The token itself can be replaced by a reload, and taken away.
#[tokio::test]
async fn a_new_token_counts_from_the_reload_that_brought_it() {
    let tenant = tenant().await;
    let config = key_table(&["acme"]) + &tenant_table("acme", &tenant.url());
    let keyed = |token: &str| format!("[ops]\ntoken = '{token}'\n{config}");
    let broker = Broker::start(&keyed(TOKEN));
    let reload = async |token: &str| {
        let asking = broker.ask_to_reload().bearer_auth(token);
        asking.send().await.unwrap().status().as_u16()
    };
    let newer = "newer-token-0123456789";
    std::fs::write(&broker.file.0, keyed(newer)).unwrap();
    assert_eq!(reload(newer).await, 401);
    assert_eq!(reload(TOKEN).await, 200);
    assert_eq!((reload(TOKEN).await, reload(newer).await), (401, 200));
    std::fs::write(&broker.file.0, &config).unwrap();
    assert_eq!((reload(newer).await, reload("").await), (200, 200));
}
