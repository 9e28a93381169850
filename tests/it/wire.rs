//! Bytes that no well-behaved client sends: nothing of it yields a token.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use qlik_token_broker::simulator::Call;

use super::harness::{Broker, KEY, tenant};

/// Sends raw bytes and returns all that comes back until the connection closes or 2 s pass.
fn exchange(address: SocketAddr, parts: &[&str]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    for part in parts {
        // The other side may have hung up already, which is an answer as well.
        let _ = stream.write_all(part.as_bytes());
    }
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read) = stream.read(&mut buffer) {
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The same from a task.
pub async fn raw(address: SocketAddr, parts: Vec<String>) -> String {
    let task = tokio::task::spawn_blocking(move || {
        exchange(
            address,
            &parts.iter().map(String::as_str).collect::<Vec<_>>(),
        )
    });
    task.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn c32_broken_framing_and_oversized_heads_are_refused() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let body = r#"{"user_lookup":{"field":"subject","value":"auth0|ann"}}"#;
    let head = format!(
        "POST /session-token HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"
    );
    let length = body.len();
    let rows = [
        (
            "two lengths",
            format!("{head}Content-Length: {length}\r\nContent-Length: 5\r\n\r\n{body}"),
        ),
        (
            "a length with a sign",
            format!("{head}Content-Length: +{length}\r\n\r\n{body}"),
        ),
        (
            "a length in hex",
            format!("{head}Content-Length: 0x37\r\n\r\n{body}"),
        ),
        (
            "an unknown coding",
            format!("{head}Transfer-Encoding: gzip\r\n\r\n{body}"),
        ),
        (
            "chunked not last",
            format!("{head}Transfer-Encoding: chunked, gzip\r\n\r\n{body}"),
        ),
        (
            "a chunk that is none",
            format!("{head}Transfer-Encoding: chunked\r\n\r\nZZ\r\n{body}\r\n0\r\n\r\n"),
        ),
        (
            "a header without a colon",
            format!("{head}Nonsense\r\nContent-Length: {length}\r\n\r\n{body}"),
        ),
        (
            "a space before the colon",
            format!("{head}Content-Length : {length}\r\n\r\n{body}"),
        ),
        (
            "a NUL in a header",
            format!("{head}X-Y: a\0b\r\nContent-Length: {length}\r\n\r\n{body}"),
        ),
        ("no version", format!("POST /session-token\r\n\r\n{body}")),
        (
            "an oversized head",
            format!(
                "{head}X-Y: {}\r\nContent-Length: {length}\r\n\r\n{body}",
                "y".repeat(70 * 1024)
            ),
        ),
    ];
    for (what, bytes) in rows {
        let answer = raw(broker.address, vec![bytes]).await;
        assert!(!answer.contains("access_token"), "{what}: {answer}");
        let status = answer.split(' ').nth(1).unwrap_or("none").to_owned();
        let expected: &[&str] = if what == "an oversized head" {
            &["431"]
        } else {
            &["400", "none"]
        };
        assert!(expected.contains(&status.as_str()), "{what}: {answer}");
    }
    // Length and chunked together: whichever wins, what follows must not be read as a request.
    let smuggled = format!(
        "{head}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
         GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    );
    let answer = raw(broker.address, vec![smuggled]).await;
    assert!(
        answer.matches("HTTP/1.1").count() <= 1 && !answer.contains("200 OK"),
        "{answer}"
    );
    assert_eq!(tenant.calls(Call::Any), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_are_cut_by_the_deadline() {
    let tenant = tenant().await;
    let config = format!(
        "[server]\nrequest_timeout = '1s'\n{}{}",
        super::harness::key_table(&["acme"]),
        super::harness::tenant_table("acme", &tenant.url())
    );
    let broker = Broker::start(&config);
    let head = format!(
        "POST /session-token HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{{"
    );
    let started = Instant::now();
    let answer = raw(broker.address, vec![head]).await;
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("did not arrive in time"),
        "{answer}"
    );
    assert!(started.elapsed() < Duration::from_secs(4));
    assert_eq!(tenant.calls(Call::Any), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_and_silent_connections_are_cut_and_only_http_1_is_spoken() {
    let tenant = tenant().await;
    let config =
        super::harness::key_table(&["acme"]) + &super::harness::tenant_table("acme", &tenant.url());
    let broker = Broker::start_with(&config, Duration::from_millis(300));
    for sent in [
        "",
        "P",
        "POST /session-token HTTP/1.1\r\nHost: x\r\nX-Y: ",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let started = Instant::now();
        let answer = raw(broker.address, vec![sent.to_owned()]).await;
        assert!(!answer.contains(" 200 "), "{sent:?}: {answer:?}");
        assert!(
            started.elapsed() < Duration::from_millis(1500),
            "{sent:?}: still open"
        );
    }
}

/// A place in flight is for callers with a session: nobody else gets to hold one by being slow.
#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_without_a_session_hold_no_place() {
    let tenant = tenant().await;
    let config = format!(
        "[server]\nmax_in_flight = 4\n{}{}",
        super::harness::key_table(&["acme"]),
        super::harness::tenant_table("acme", &tenant.url())
    );
    let broker = Broker::start(&config);
    let head = "POST /session-token HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n";
    let mut silent: Vec<_> = (0..20)
        .map(|_| TcpStream::connect(broker.address).unwrap())
        .collect();
    for stream in &mut silent {
        stream.write_all(head.as_bytes()).unwrap();
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    broker.token_of("ann").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_or_user_agent_reaches_a_token_without_a_session() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let paths = [
        "/session-token",
        "//session-token",
        "/session-token/",
        "/./session-token",
        "/x/../session-token",
        "/%73ession-token",
        "/session-token%2e",
        "/session-token%00",
        "/session-token;x",
        "/session-token?x=/healthz",
        "/session-token#/healthz",
        "/healthz/../session-token",
        "/healthz%2f..%2fsession-token",
        "/ping",
        "/ready",
        "/SESSION-TOKEN",
        "/session-token/healthz",
        "/problems/../session-token",
        "http://x/session-token",
    ];
    for path in paths {
        for agent in ["kube-probe/1.30", "GoogleHC/1.0", "ELB-HealthChecker/2.0"] {
            for method in ["POST", "GET"] {
                let head = format!(
                    "{method} {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: {agent}\r\nX-Forwarded-For: 127.0.0.1\r\n\
                     X-Original-URL: /healthz\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                );
                let answer = raw(broker.address, vec![head]).await;
                assert!(
                    !answer.contains("access_token") && !answer.contains(" 200 "),
                    "{method} {path}: {answer}"
                );
            }
        }
    }
    assert_eq!(tenant.calls(Call::Any), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_carries_no_token_from_one_request_to_the_next() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let body = r#"{"user_lookup":{"field":"subject","value":"auth0|ann"}}"#;
    let first = format!(
        "POST /session-token HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let second =
        "POST /session-token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            .to_owned();
    let answer = raw(broker.address, vec![first, second]).await;
    assert_eq!(answer.matches("\"access_token\"").count(), 1, "{answer}");
    assert!(answer.contains("session_missing"), "{answer}");
}
