//! What may stand in the claim of an address, and what is made of it.

use futures_util::future::join_all;
use qlik_token_broker::simulator::{Call, Simulator};
use url::form_urlencoded;

use super::Setup;
use crate::harness::{refused, token, who_is};

/// Could mean one mailbox here and another one there, or none.
fn not_plain() -> Vec<String> {
    let long = format!("{}@acme.test", "x".repeat(250));
    let plain = [
        "ann",
        "@",
        "ann@",
        "@acme.test",
        "ann@bob@acme.test",
        "ann@acme.test@evil.test",
        "ann@@acme.test",
        "\"ann\"@acme.test",
        "\"ann@acme.test\"",
        "\"bob@acme.test\\\" \"@acme.test",
        "ann@acme.test\" or email co \"",
        "ann@acme.test\" or email eq \"bob@acme.test",
        "ann@acme.test\" and (status eq \"active\") or (subject co \"",
        "ann\\@acme.test",
        "ann@acme.test\\",
        "ann\u{0}@acme.test",
        "ann@acme.test\u{0}",
        "\u{0}",
        "ann@acme.test\n",
        "ann@acme.test\r\nX-Evil: 1",
        "ann\t@acme.test",
        "ann@acme.test\u{7f}",
        "ann@acme.test\u{85}",
        " ann@acme.test",
        "ann@acme.test ",
        "ann@acme.test\u{a0}",
        "ann @acme.test",
        "ann@acme.test.",
        "ann@.acme.test",
        "ann@acme..test",
        ".ann@acme.test",
        "ann.@acme.test",
        "a..nn@acme.test",
        "../ann@acme.test",
        "ann(comment)@acme.test",
        "ann@acme.test(comment)",
        "ann@(comment)acme.test",
        "<ann@acme.test>",
        "Ann <ann@acme.test>",
        "mailto:ann@acme.test?",
        "ann@[127.0.0.1]",
        "ann@[IPv6:::1]",
        "ann@acme.test,bob@acme.test",
        "ann@acme.test;bob@acme.test",
        "ann@acme.*",
        "*@*",
        "ann@acme.test%00",
        "ann%40acme.test",
        "ann@acme%2etest",
        "ann@acme.test&filter=email",
        "ann@acme.test#",
        "ann@acme_x.test",
        "ann@-acme.test",
        "ann@acme-.test",
        "\u{e4}nn@acme.test",
        "\u{430}nn@acme.test",
        "ann@\u{430}cme.test",
        "ann@acme.test\u{301}",
        "ann@acme\u{3002}test",
        "ann\u{ff20}acme.test",
        "ann@\u{ff41}cme.test",
        "an\u{200b}n@acme.test",
        "ann@ac\u{200d}me.test",
        "\u{feff}ann@acme.test",
        "\u{202e}ann@acme.test",
        "ann@acme.test\u{202c}",
        "ANN@ACME.\u{212a}",
        "ann@acme.te\u{17f}t",
        &long,
    ];
    plain.map(str::to_owned).into()
}

/// Odd, but each of them one mailbox: it is asked for, byte for byte.
const PLAIN: [&str; 16] = [
    "*@acme.test",
    "ann%40evil.test@acme.test",
    "ann%22@acme.test",
    "ann&limit=1@acme.test",
    "ann+eq+x@acme.test",
    "ann#x@acme.test",
    "ann?x=1@acme.test",
    "a/n/n@acme.test",
    "/etc/ann@acme.test",
    "o'neil@acme.test",
    "{ann}@acme.test",
    "ann|bob@acme.test",
    "`ann`@acme.test",
    "$ann!~^@acme.test",
    "or@acme.test",
    "ann@xn--acme-8qa.test",
];

/// The filters that the tenant was asked with.
fn filters(tenant: &Simulator) -> Vec<String> {
    let requests = tenant.requests().into_iter();
    let asked = requests.filter(|request| request.call == Call::Users);
    asked
        .map(|request| {
            let query = form_urlencoded::parse(request.query.as_bytes()).into_owned();
            let (filters, others): (Vec<_>, Vec<_>) = query.partition(|(name, _)| name == "filter");
            assert_eq!(others, [("limit".to_owned(), "100".to_owned())]);
            assert_eq!(filters.len(), 1);
            filters.into_iter().map(|(_, value)| value).collect()
        })
        .collect()
}

#[tokio::test]
async fn an_address_that_is_not_plain_is_not_looked_up() {
    let setup = Setup::by_email().await;
    assert!(not_plain().len() > 60);
    join_all(not_plain().iter().map(|address| async {
        refused(setup.ask(address), 403, "user_not_mapped").await;
    }))
    .await;
    assert_eq!(setup.tenant.calls(Call::Any), 0);
    token(setup.ask("ann@acme.test")).await;
}

#[tokio::test]
async fn a_plain_address_stands_in_the_filter_as_it_is() {
    let setup = Setup::by_email().await;
    for address in PLAIN {
        refused(setup.ask(address), 403, "user_unknown").await;
        let expected = format!("email eq \"{address}\" and (status eq \"active\")");
        assert_eq!(filters(&setup.tenant).last(), Some(&expected));
    }
    assert_eq!(setup.calls(), [PLAIN.len(), 1, 0]);
}

#[tokio::test]
async fn a_user_with_an_odd_address_gets_its_own_token() {
    let mut world = crate::harness::managed_world();
    for (number, address) in PLAIN.iter().enumerate() {
        world = world.with_user(format!("odd|{number}"), *address);
    }
    let setup = Setup::of(world, super::BY_EMAIL, "").await;
    for (number, address) in PLAIN.iter().enumerate() {
        let theirs = token(setup.ask(address)).await;
        let subject = format!("odd|{number}");
        assert_eq!(who_is(&setup.tenant, &theirs.text).await, subject);
    }
}

/// A claim that is no text, an empty one, and none at all.
#[tokio::test]
async fn without_an_address_nobody_is_looked_up() {
    let setup = Setup::by_email().await;
    for email in [
        serde_json::json!(""),
        serde_json::json!(["ann@acme.test"]),
        serde_json::json!({"address": "ann@acme.test"}),
        serde_json::json!(true),
        serde_json::json!(7),
        serde_json::Value::Null,
    ] {
        let claims = serde_json::json!({"email": email});
        refused(setup.ask_with(&claims), 403, "user_not_mapped").await;
    }
    assert_eq!(setup.tenant.calls(Call::Any), 0);
}
