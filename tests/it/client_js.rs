//! The browser helper, as pages load it.

use reqwest::Method;

use super::harness::{Broker, EVIL, header, refused, tenant};

const FILES: [(&str, &str, &str); 3] = [
    (
        "/client.js",
        "text/javascript; charset=utf-8",
        include_str!("../../web/dist/client.js"),
    ),
    (
        "/client.global.js",
        "text/javascript; charset=utf-8",
        include_str!("../../web/dist/client.global.js"),
    ),
    (
        "/client.d.ts",
        "application/typescript; charset=utf-8",
        include_str!("../../web/client.d.ts"),
    ),
];

#[tokio::test]
async fn any_page_may_load_the_helper() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    for (path, kind, text) in FILES {
        for method in [Method::GET, Method::HEAD] {
            let call = broker.call(method.clone(), path).header("origin", EVIL);
            let answer = call.send().await.unwrap();
            assert_eq!(answer.status(), 200, "{method} {path}");
            for (name, value) in [
                ("content-type", kind),
                ("content-length", text.len().to_string().as_str()),
                ("access-control-allow-origin", "*"),
                ("access-control-allow-credentials", ""),
                ("cross-origin-resource-policy", "cross-origin"),
                ("cache-control", "public, max-age=300"),
                ("vary", ""),
                ("x-content-type-options", "nosniff"),
                ("referrer-policy", "no-referrer"),
                (
                    "content-security-policy",
                    "default-src 'none'; frame-ancestors 'none'",
                ),
            ] {
                assert_eq!(header(&answer, name), value, "{method} {path}: {name}");
            }
            assert!(!header(&answer, "x-request-id").is_empty());
            let body = answer.text().await.unwrap();
            assert_eq!(body, if method == Method::GET { text } else { "" });
        }
    }
}

#[tokio::test]
async fn who_has_the_helper_already_is_sent_nothing() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let mut tags = Vec::new();
    for (path, ..) in FILES {
        let first = broker.call(Method::GET, path).send().await.unwrap();
        let tag = header(&first, "etag");
        assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
        for (known, status) in [
            (tag.clone(), 304),
            (format!("\"other\", {tag}"), 304),
            (format!("W/{tag}"), 304),
            ("\"other\"".to_owned(), 200),
        ] {
            for method in [Method::GET, Method::HEAD] {
                let call = broker.call(method, path).header("if-none-match", &known);
                let answer = call.send().await.unwrap();
                assert_eq!(answer.status(), status, "{path} {known}");
                assert_eq!(header(&answer, "etag"), tag);
                assert_eq!(header(&answer, "access-control-allow-origin"), "*");
                assert_eq!(header(&answer, "cache-control"), "public, max-age=300");
                if status == 304 {
                    assert_eq!(answer.text().await.unwrap(), "");
                }
            }
        }
        tags.push(tag);
    }
    tags.dedup();
    assert_eq!(tags.len(), FILES.len());
}

#[tokio::test]
async fn the_helper_is_only_read() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    for (path, ..) in FILES {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let call = || broker.call(method.clone(), path).header("origin", EVIL);
            let answer = call().send().await.unwrap();
            assert_eq!(header(&answer, "allow"), "GET,HEAD", "{method} {path}");
            assert_eq!(header(&answer, "access-control-allow-origin"), "");
            assert_eq!(header(&answer, "cache-control"), "no-store");
            refused(call(), 405, "method_not_allowed").await;
        }
    }
    for path in [
        "/client.js/",
        "/client.mjs",
        "/Client.js",
        "/client.d.ts.map",
    ] {
        refused(broker.call(Method::GET, path), 404, "not_found").await;
    }
}
