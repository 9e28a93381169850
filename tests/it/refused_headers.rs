//! What operators see of identity headers that were not believed. Counters belong to a process, so this
//! one is the real program.

use std::collections::BTreeMap;

use reqwest::Client;

use super::cli::{free_address, serve, wait_for};
use super::harness::{Scratch, tenant, tenant_table};
use super::wire::raw;

const TABLES: &str = "
    [[session]]
    type = 'trusted_header'
    name = 'far'
    header = 'X-Far-User'
    from = ['10.0.0.0/8']
    user = [{ field = 'subject', value = 'auth0|{sub}' }]
    [[session]]
    type = 'trusted_header'
    name = 'near'
    header = 'X-Near-User'
    from = ['127.0.0.0/8']
    shared_secret = { header = 'X-Secret', value = 'proxy-secret-1' }
    headers = { nick = 'X-Nick' }
    user = [{ field = 'subject', value = 'auth0|{sub}' }]
";

async fn counts(ops: &str) -> BTreeMap<String, u64> {
    let answer = Client::new().get(format!("http://{ops}/metrics"));
    let text = answer.send().await.unwrap().text().await.unwrap();
    let lines = text.lines();
    let counted = lines.filter_map(|line| {
        let line = line.strip_prefix("qtb_identity_headers_refused_total{reason=\"")?;
        let (reason, count) = line.split_once("\"} ")?;
        Some((reason.to_owned(), count.parse().unwrap()))
    });
    counted.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_identity_header_that_is_not_believed_is_counted_with_its_reason() {
    let tenant = tenant().await;
    let (public, ops) = (free_address(), free_address());
    let trusting = "[server]\ntrusted_proxies = ['127.0.0.0/8']\n";
    let config =
        Scratch::new(&(trusting.to_owned() + TABLES + &tenant_table("acme", &tenant.url())));
    let _running = serve(&config.0, &public, &ops);
    wait_for(&format!("http://{ops}/readyz")).await;
    let mut expected = BTreeMap::new();
    let near = "X-Near-User: ann\r\nX-Secret: proxy-secret-1\r\n";
    for (lines, reason, status) in [
        (near.to_owned(), "", 200),
        (String::new(), "", 401),
        (
            "X-Near-User:\r\nX-Secret: proxy-secret-1\r\n".into(),
            "",
            401,
        ),
        ("X_Near_User: ann\r\n".into(), "", 401),
        ("X-Far-User: ann\r\n".into(), "peer", 401),
        (
            "X-Far-User: ann\r\nX-Forwarded-For: 10.0.0.1\r\n".into(),
            "peer",
            401,
        ),
        (format!("X-Far-User: ann\r\n{near}"), "peer", 200),
        (
            "X-Far-User: ann\r\nX-Far-User: ann\r\n".into(),
            "doubled",
            401,
        ),
        (
            "X-Far-User: ann\r\nX_Far_User: ann\r\n".into(),
            "look_alike",
            401,
        ),
        (format!("{near}X-Near-User: ann\r\n"), "doubled", 401),
        (
            format!("{near}X-Secret: proxy-secret-1\r\n"),
            "doubled",
            401,
        ),
        (format!("{near}X-Nick: a\r\nX-Nick: a\r\n"), "doubled", 401),
        (format!("{near}x-near_USER: ann\r\n"), "look_alike", 401),
        (
            format!("{near}X_Secret: proxy-secret-1\r\n"),
            "look_alike",
            401,
        ),
        (format!("{near}X_Nick: a\r\n"), "look_alike", 401),
        ("X-Near-User: ann\r\n".into(), "secret", 401),
        (
            "X-Near-User: ann\r\nX-Secret: wrong\r\n".into(),
            "secret",
            401,
        ),
    ] {
        let head = format!(
            "POST /session-token HTTP/1.1\r\nHost: x\r\nX-Broker-Request: 1\r\nContent-Length: 0\r\n{lines}Connection: close\r\n\r\n"
        );
        let answer = raw(public.parse().unwrap(), vec![head]).await;
        let start = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&start), "{lines}: {answer}");
        if !reason.is_empty() {
            *expected.entry(reason.to_owned()).or_insert(0) += 1;
        }
        assert_eq!(counts(&ops).await, expected, "{lines}");
    }
}
