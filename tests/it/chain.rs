//! All seven kinds side by side: each credential is judged by its own table, and shown to nobody else.
//! Every table makes users of its own prefix, so the token's subject tells who judged.

use qlik_token_broker::simulator::{Call, Simulator};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use super::certificates::Authority;
use super::harness::{
    Broker, Folder, KEY, PAGE, https, key_table, refused, tenant_table, token, who_is, world,
};
use super::keeper::Keeper;
use super::portal::{AUDIENCE, Key, Portal};
use super::wire::raw;

const REGISTRAR: &str = "qtb_registrar_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";
const CLIENT: &str = "portal.acme.internal";
/// All cookies that any table looks at.
const COOKIES: [&str; 5] = ["handle", "jwt", "opaque", "sid", "sid.1"];

pub struct Chain {
    pub tenant: Simulator,
    pub broker: Broker,
    /// A client of the same broker that has a listed certificate.
    certified: Client,
    pub idp: Portal,
    pub issuer: Keeper,
    pub portal: Keeper,
    _folder: Folder,
}

impl Chain {
    /// All seven over TLS.
    pub async fn start() -> Self {
        let (folder, authority) = (Folder::new(), Authority::new());
        let server = authority.server();
        let files = [&server.certificate, &server.key, &authority.pem()];
        let files = ["certificate", "key", "client_ca"].into_iter().zip(files);
        let files =
            files.map(|(key, text)| format!("{key} = {{ file = '{}' }}", folder.write(key, text)));
        let tls = format!(
            "[server]\ntls = {{ {} }}\n",
            files.collect::<Vec<_>>().join(", ")
        );
        let identity = authority.client(&[CLIENT]).identity();
        let certified = https(&authority.pem(), Some(&identity));
        let start = |config: String| {
            let certificates = format!(
                "[[session]]\ntype = 'client_certificate'\nclients = [{{ name = '{CLIENT}' }}]\n"
            );
            let client = https(&authority.pem(), None);
            let never = std::time::Duration::from_secs(3600);
            Broker::start_tls(&(tls + &config + &certificates), client, never)
        };
        Self::launch(start, certified, folder).await
    }

    /// The six that need no TLS, for requests that are written by hand.
    pub async fn start_plain() -> Self {
        Self::launch(
            |config| Broker::start(&config),
            Client::new(),
            Folder::new(),
        )
        .await
    }

    async fn launch(
        start: impl FnOnce(String) -> Broker,
        certified: Client,
        folder: Folder,
    ) -> Self {
        let mut world = world();
        for prefix in ["key", "cert", "handle", "jwt", "opaque", "portal", "proxy"] {
            world = world.with_user(format!("{prefix}|ann"), format!("{prefix}@acme.test"));
        }
        let tenant = Simulator::start(world).await.unwrap();
        let (idp, issuer, portal) = (
            Portal::start(Key::p256()).await,
            Keeper::start().await,
            Keeper::start().await,
        );
        let registrar = super::harness::sha256(REGISTRAR);
        let (idp_url, algorithm) = (&idp.url, idp.key.algorithm());
        let (issuer_url, portal_url) = (&issuer.url, &portal.url);
        let config = key_table(&["acme"])
            + &format!(
                "[[session]]\ntype = 'api_key'\nname = 'logins'\nkeys = [{{ id = 'registrar', sha256 = '{registrar}', allow = ['sessions'] }}]\n\
             [[session]]\ntype = 'handle'\ncookie = 'handle'\n\
             [[session]]\ntype = 'jwt'\nissuer = '{idp_url}'\naudience = '{AUDIENCE}'\nalgorithms = ['{algorithm}']\n\
             jwks_url = '{idp_url}/jwks'\ncookie = 'jwt'\nuser = [{{ field = 'subject', value = 'jwt|{{sub}}' }}]\n\
             [[session]]\ntype = 'introspection'\nurl = '{issuer_url}/introspect'\nclient_id = 'c'\nclient_secret = 's'\naudience = '*'\n\
             cookie = 'opaque'\nuser = [{{ field = 'subject', value = 'opaque|{{username}}' }}]\n\
             [[session]]\ntype = 'portal_check'\nurl = '{portal_url}/whoami'\ncookies = ['sid', 'sid.1']\n\
             user = [{{ field = 'subject', value = 'portal|{{login}}' }}]\n\
             [[session]]\ntype = 'trusted_header'\nheader = 'X-Auth-Request-User'\nfrom = ['127.0.0.0/8']\n\
             user = [{{ field = 'subject', value = 'proxy|{{sub}}' }}]\n"
            )
            + &tenant_table("acme", &tenant.url());
        issuer.log_in("opaque-ann", json!({"active": true, "username": "ann"}));
        portal.log_in("portal-ann", json!({"login": "ann"}));
        Self {
            broker: start(config),
            tenant,
            certified,
            idp,
            issuer,
            portal,
            _folder: folder,
        }
    }

    pub fn ask(&self) -> RequestBuilder {
        self.broker
            .post("/session-token")
            .header("x-broker-request", "1")
    }

    async fn handle(&self) -> String {
        let body = json!({"user_lookup": {"field": "subject", "value": "handle|ann"}});
        let made = self
            .broker
            .post("/sessions")
            .bearer_auth(REGISTRAR)
            .json(&body);
        let made: Value = made.send().await.unwrap().json().await.unwrap();
        made["session"].as_str().unwrap().to_owned()
    }

    /// How often the issuer, the portal and the key set were asked.
    pub fn asked(&self) -> [usize; 3] {
        [
            self.issuer.questions(),
            self.portal.questions(),
            self.idp.fetches(),
        ]
    }
}

fn named(subject: &str) -> Value {
    json!({"user_lookup": {"field": "subject", "value": subject}})
}

#[tokio::test]
async fn every_credential_reaches_its_own_table_and_no_other() {
    let chain = Chain::start().await;
    let (handle, jwt) = (chain.handle().await, chain.idp.session("ann"));
    let cookie = |name: &str, value: &str| chain.ask().header("cookie", format!("{name}={value}"));
    let certified = chain.certified.post(chain.broker.url("/session-token"));
    let certified = certified
        .header("x-broker-request", "1")
        .json(&named("cert|ann"));
    chain
        .issuer
        .log_in("opaque-too", json!({"active": true, "username": "ann"}));
    let proxied = chain.ask().header("x-auth-request-user", "ann");
    for (what, request, subject, questions) in [
        (
            "a key",
            chain.ask().bearer_auth(KEY).json(&named("key|ann")),
            "key|ann",
            [0, 0, 0],
        ),
        (
            "a handle",
            chain.ask().bearer_auth(&handle),
            "handle|ann",
            [0, 0, 0],
        ),
        (
            "its cookie",
            cookie("handle", &handle),
            "handle|ann",
            [0, 0, 0],
        ),
        ("a JWT", chain.ask().bearer_auth(&jwt), "jwt|ann", [0, 0, 1]),
        ("its cookie", cookie("jwt", &jwt), "jwt|ann", [0, 0, 0]),
        (
            "an opaque token",
            chain.ask().bearer_auth("opaque-ann"),
            "opaque|ann",
            [1, 0, 0],
        ),
        (
            "its cookie",
            cookie("opaque", "opaque-too"),
            "opaque|ann",
            [1, 0, 0],
        ),
        (
            "a portal's cookie",
            cookie("sid", "portal-ann"),
            "portal|ann",
            [0, 1, 0],
        ),
        ("a proxy's header", proxied, "proxy|ann", [0, 0, 0]),
        ("a certificate", certified, "cert|ann", [0, 0, 0]),
    ] {
        let before = chain.asked();
        let again = request.try_clone().unwrap();
        let token = token(request).await;
        assert_eq!(who_is(&chain.tenant, &token.text).await, subject, "{what}");
        let expected = [0, 1, 2].map(|index: usize| before[index] + questions[index]);
        assert_eq!(chain.asked(), expected, "{what}");
        let again = super::harness::token(again).await;
        assert_eq!(
            (again.text, again.source),
            (token.text, "local".into()),
            "{what}"
        );
        assert_eq!(chain.asked(), expected, "{what} is remembered");
    }
    assert_eq!(
        chain.tenant.calls(Call::TokenImpersonation),
        7,
        "one for each user"
    );
    for asked in chain.portal.asked() {
        assert!(!asked.headers.contains_key("authorization"), "{asked:?}");
        assert_eq!(asked.headers["cookie"], "sid=portal-ann");
    }
}

#[tokio::test]
async fn keys_and_handles_are_shown_to_nobody_else_wherever_they_stand() {
    let chain = Chain::start().await;
    let (wrong_key, unknown) = (KEY.replace('A', "C"), format!("qtbs_{}", "D".repeat(43)));
    let ended = chain.handle().await;
    let logout = chain.broker.post("/logout").bearer_auth(&ended);
    assert_eq!(logout.send().await.unwrap().status(), 204);
    let handle = chain.handle().await;
    let ours = [
        KEY,
        &wrong_key,
        &unknown,
        &ended,
        &handle,
        "qtb_",
        "qtbs_",
        "qtb_x.y.z",
        "qtbs_x",
    ];
    for text in ours {
        for scheme in ["Bearer", "bearer", "BEARER  "] {
            let request = chain
                .ask()
                .header("authorization", format!("{scheme} {text}"));
            request.send().await.unwrap();
        }
        for cookie in COOKIES {
            for value in [text.to_owned(), format!("\"{text}\"")] {
                let request = chain.ask().header("cookie", format!("{cookie}={value}"));
                let status = request.send().await.unwrap().status();
                let is_good = text == handle && cookie == "handle";
                assert_eq!(status, if is_good { 200 } else { 401 }, "{cookie}={value}");
            }
        }
    }
    assert_eq!(chain.asked(), [0, 0, 0]);
    assert_eq!(
        chain.tenant.calls(Call::TokenImpersonation),
        1,
        "the handle's"
    );
    // Nor are they taken along where there is something to ask.
    let cookies = format!("sid=portal-ann; sid.1={KEY}; opaque={handle}; jwt={unknown}");
    token(chain.ask().header("cookie", cookies)).await;
    let asked = chain.portal.asked();
    assert_eq!((asked.len(), chain.asked()), (1, [0, 1, 0]));
    assert_eq!(asked[0].headers["cookie"], "sid=portal-ann");
}

#[tokio::test]
async fn a_bearer_never_reaches_the_portal_and_makes_cookies_count_for_nothing() {
    let chain = Chain::start().await;
    let handle = chain.handle().await;
    let good = [
        ("handle", handle.as_str()),
        ("jwt", &chain.idp.session("ann")),
        ("opaque", "opaque-ann"),
        ("sid", "portal-ann"),
    ];
    let cookies = good
        .map(|(name, value)| format!("{name}={value}"))
        .join("; ");
    let foreign = Key::p256().jwt(
        &chain.idp.header(),
        &json!({"iss": "https://other", "sub": "ann"}),
    );
    for (authorization, questions) in [
        ("Bearer of-nobody", 1),
        (&format!("Bearer {foreign}"), 1),
        ("Bearer portal-ann", 1),
        ("Basic YW5uOmFubg==", 0),
        ("Bearer", 0),
        ("Bearer ", 0),
        ("opaque-ann", 0),
        ("", 0),
    ] {
        let before = chain.asked();
        let request = chain.ask().header("authorization", authorization);
        refused(request.header("cookie", &cookies), 401, "session_invalid").await;
        let expected = [before[0] + questions, before[1], before[2]];
        assert_eq!(chain.asked(), expected, "{authorization}");
    }
    let doubled = chain
        .ask()
        .bearer_auth("opaque-ann")
        .bearer_auth("opaque-ann");
    refused(doubled, 400, "request_invalid").await;
    assert_eq!(
        (
            chain.portal.questions(),
            chain.tenant.calls(Call::TokenImpersonation)
        ),
        (0, 0)
    );
    // The same cookies alone are a session.
    let alone = token(chain.ask().header("cookie", &cookies)).await;
    assert_eq!(who_is(&chain.tenant, &alone.text).await, "handle|ann");
}

#[tokio::test]
async fn without_a_credential_nobody_is_asked() {
    let chain = Chain::start().await;
    for (name, value) in [
        (
            "cookie",
            "other=portal-ann; SID=portal-ann; sid2=portal-ann",
        ),
        ("cookie", "sid"),
        ("cookie", ""),
        ("x-api-key", KEY),
        ("proxy-authorization", "Bearer opaque-ann"),
        ("x-forwarded-user", "ann"),
        ("x-client-cert", "CN=portal.acme.internal"),
        ("x-ssl-client-s-dn", "CN=portal.acme.internal"),
        ("origin", PAGE),
    ] {
        let request = chain.ask().header(name, value).json(&named("cert|ann"));
        refused(request, 401, "session_missing").await;
    }
    assert_eq!(
        (chain.asked(), chain.tenant.calls(Call::Any)),
        ([0, 0, 0], 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_or_query_leads_any_kind_around_its_check() {
    let chain = Chain::start_plain().await;
    let handle = chain.handle().await;
    let jwt = chain.idp.session("ann");
    let secrets = [KEY, &handle, &jwt, "opaque-ann", "portal-ann"];
    let mut paths: Vec<String> = [
        "//session-token",
        "/session-token/",
        "/./session-token",
        "/x/../session-token",
        "/%73ession-token",
        "/session-token%2e",
        "/session-token%2f",
        "/session-token%00",
        "/session-token;x",
        "/session-token?/healthz",
        "/session-token#/healthz",
        "/healthz/../session-token",
        "/healthz%2f..%2fsession-token",
        "/session-token.css",
        "/session-token/healthz",
        "/problems/../session-token",
        "/SESSION-TOKEN",
        "http://x/session-token",
        "*",
    ]
    .map(str::to_owned)
    .into();
    for secret in secrets {
        for name in [
            "access_token",
            "token",
            "session",
            "sid",
            "cookie",
            "authorization",
        ] {
            paths.push(format!("/session-token?{name}={secret}"));
        }
    }
    for path in paths {
        let agents = [
            "kube-probe/1.30",
            "GoogleHC/1.0",
            "ELB-HealthChecker/2.0",
            "Prometheus/3.0",
        ];
        for (agent, method) in agents.into_iter().zip(["POST", "GET", "HEAD", "PUT"]) {
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: {agent}\r\nX-Broker-Request: 1\r\nX-Original-URL: /healthz\r\n\
                 X-Rewrite-URL: /session-token\r\nX-HTTP-Method-Override: POST\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            );
            let answer = raw(chain.broker.address, vec![head]).await;
            let line = answer.lines().next().unwrap_or_default();
            assert!(
                line.contains(" 40") && !answer.contains("access_token"),
                "{method} {path}: {answer}"
            );
            assert!(
                secrets.iter().all(|secret| !answer.contains(secret)),
                "{path}"
            );
        }
    }
    assert_eq!(
        (chain.asked(), chain.tenant.calls(Call::Any)),
        ([0, 0, 0], 0)
    );
}

#[tokio::test]
async fn a_misplaced_key_is_shown_to_nobody_either() {
    let chain = Chain::start().await;
    let handle = chain.handle().await;
    for text in [KEY, &handle] {
        for bearer in [
            format!("Bearer Bearer {text}"),
            format!("Bearer \t{text}"),
            format!("Bearer \"{text}\""),
            format!("Bearer x,{text}"),
            format!("Bearer x, {text}"),
        ] {
            let request = chain.ask().header("authorization", &bearer);
            refused(request, 401, "session_invalid").await;
            assert_eq!(chain.asked(), [0, 0, 0], "{bearer}");
        }
        for cookie in ["opaque", "sid"] {
            for value in [
                format!(" {text}"),
                format!("\t{text}"),
                format!("\"{text}"),
                format!("\" {text}\""),
            ] {
                let request = chain.ask().header("cookie", format!("{cookie}={value}"));
                assert_eq!(request.send().await.unwrap().status(), 401);
                assert_eq!(chain.asked(), [0, 0, 0], "{cookie}={value}");
            }
        }
    }
}
