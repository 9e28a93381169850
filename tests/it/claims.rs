//! What the services behind the kinds say of a person, and what becomes of it.

use qlik_token_broker::simulator::Call;
use serde_json::json;

use super::chain::Chain;
use super::harness::{Broker, refused, tenant_table, token, who_is};
use super::portal::AUDIENCE;

/// What one service says of a person means nothing in the words of another.
#[tokio::test]
async fn claims_count_only_for_the_table_that_they_came_from() {
    let chain = Chain::start().await;
    let introspected = [
        (
            json!({"active": true, "username": "ann", "sub": "eve", "login": "eve", "iss": chain.idp.url}),
            "opaque|ann",
        ),
        (
            json!({"active": true, "sub": "ann", "login": "ann", "user": "ann"}),
            "user_not_mapped",
        ),
        (
            json!({"active": true, "username": ["ann"]}),
            "user_not_mapped",
        ),
        (
            json!({"active": true, "username": {"sub": "ann"}}),
            "user_not_mapped",
        ),
        (json!({"active": true, "username": true}), "user_not_mapped"),
        (json!({"active": true, "username": ""}), "user_not_mapped"),
        (
            json!({"active": true, "username": "ann\n"}),
            "user_not_mapped",
        ),
        (
            json!({"active": true, "username": "jwt|ann"}),
            "user_unknown",
        ),
        (
            json!({"active": true, "username": "{login}", "login": "ann"}),
            "user_unknown",
        ),
        (
            json!({"active": "true", "username": "ann"}),
            "session_invalid",
        ),
        (json!({"active": 1, "username": "ann"}), "session_invalid"),
        (json!({"username": "ann"}), "session_invalid"),
    ];
    for (index, (claims, code)) in introspected.into_iter().enumerate() {
        let name = format!("t{index}");
        chain.issuer.log_in(&name, claims);
        let request = chain.broker.ask_as(&name);
        let status = match code {
            "opaque|ann" => {
                let token = token(request).await;
                assert_eq!(who_is(&chain.tenant, &token.text).await, code);
                continue;
            }
            "session_invalid" => 401,
            _ => 403,
        };
        refused(request, status, code).await;
    }
    for (index, claims) in [
        json!({"sub": "ann", "username": "ann"}),
        json!({"active": true}),
    ]
    .into_iter()
    .enumerate()
    {
        let sid = format!("s{index}");
        chain.portal.log_in(&sid, claims);
        let request = chain.ask().header("cookie", format!("sid={sid}"));
        refused(request, 403, "user_not_mapped").await;
    }
    let jwt = chain.idp.session_with(
        "ann",
        &json!({"sub": null, "login": "ann", "username": "ann", "active": true}),
    );
    refused(chain.broker.ask_as(&jwt), 403, "user_not_mapped").await;
}

#[tokio::test]
async fn a_mail_address_of_any_kind_is_plain_before_the_tenant_is_asked() {
    let chain = Chain::start_plain().await;
    let by_mail = |lines: &str| {
        format!("[[session]]\n{lines}\nuser = [{{ field = 'email', value = '{{email}}' }}]\n")
    };
    let (idp, algorithm) = (&chain.idp.url, chain.idp.key.algorithm());
    let config = by_mail(&format!(
        "type = 'jwt'\nissuer = '{idp}'\naudience = '{AUDIENCE}'\nalgorithms = ['{algorithm}']\njwks_url = '{idp}/jwks'"
    )) + &by_mail(&format!(
        "type = 'introspection'\nurl = '{}/introspect'\nclient_id = 'c'\nclient_secret = 's'\naudience = '*'",
        chain.issuer.url
    )) + &by_mail(&format!(
        "type = 'portal_check'\nurl = '{}/whoami'\ncookies = ['sid']",
        chain.portal.url
    )) + &by_mail(
        "type = 'trusted_header'\nheader = 'X-User'\nfrom = ['127.0.0.0/8']\nheaders = { email = 'X-Mail' }",
    ) + &tenant_table("acme", &chain.tenant.url())
        + "management = { client_id = 'm', client_secret = 's', scopes = 'admin_classic user_default' }\n";
    let broker = Broker::start(&config);
    for (index, mail) in [
        "ann@evil.test@acme.test",
        "ann@@acme.test",
        "\"ann@evil.test\"@acme.test",
        "ann@acme.test,@evil.test",
        "ann@acme.test.",
        "ann@acme.test@",
        "@ann@acme.test",
        "ann%40evil.test@acme.test@x",
        "a\u{308}nn@acme.test",
        "ann@acme\u{3002}test",
        "<ann@acme.test>",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("m{index}");
        chain
            .issuer
            .log_in(&name, json!({"active": true, "email": mail}));
        chain.portal.log_in(&name, json!({"email": mail}));
        let ask = || {
            broker
                .post("/session-token")
                .header("x-broker-request", "1")
        };
        let proxied = ask().header("x-user", "ann");
        let mail_bytes = reqwest::header::HeaderValue::from_bytes(mail.as_bytes()).unwrap();
        for request in [
            ask().bearer_auth(chain.idp.session_with("ann", &json!({"email": mail}))),
            ask().bearer_auth(&name),
            ask().header("cookie", format!("sid={name}")),
            proxied.header("x-mail", mail_bytes),
        ] {
            refused(request, 403, "user_not_mapped").await;
        }
    }
    assert_eq!(chain.tenant.calls(Call::Any), 0);
    let plain = chain
        .idp
        .session_with("ann", &json!({"email": "ann@acme.test"}));
    broker.ask_as(&plain).send().await.unwrap();
    assert_ne!(chain.tenant.calls(Call::Any), 0, "a plain one is looked up");
}
