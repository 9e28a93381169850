//! `client_certificate`: back ends that TLS proves, and everybody whom it does not.

use std::time::Duration;

use qlik_token_broker::simulator::{Call, Simulator};
use rcgen::SanType;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use super::certificates::{Authority, uri};
use super::harness::{
    Broker, EVIL, Folder, KEY, PAGE, header, https, key_table, refused, sha256, subject, tenant,
    tenant_table, token, who_is,
};
use super::portal::{Key, Portal};

/// The listener looks for a new authority this often.
const OFTEN: Duration = Duration::from_millis(50);
const DNS: &str = "portal.acme.internal";
const SPIFFE: &str = "spiffe://acme.internal/ns/portal";

/// A broker that asks for certificates of its authority.
struct Guarded {
    broker: Broker,
    authority: Authority,
    folder: Folder,
}

impl Guarded {
    fn start(tables: &str) -> Self {
        let (folder, authority) = (Folder::new(), Authority::new());
        let server = authority.server();
        let [certificate, key, client_ca] = [
            ("tls.crt", &server.certificate),
            ("tls.key", &server.key),
            ("ca.crt", &authority.pem()),
        ]
        .map(|(name, text)| folder.write(name, text));
        let config = format!(
            "[server]\ntls = {{ certificate = {{ file = '{certificate}' }}, key = {{ file = '{key}' }}, \
             client_ca = {{ file = '{client_ca}' }} }}\n{tables}"
        );
        let client = https(&authority.pem(), None);
        Self {
            broker: Broker::start_tls(&config, client, OFTEN),
            authority,
            folder,
        }
    }

    /// A client whose certificate has these names.
    fn client(&self, names: &[&str]) -> Client {
        let signed = self.authority.client(names);
        https(&self.authority.pem(), Some(&signed.identity()))
    }

    /// Asks for a user's token.
    fn ask(&self, client: &Client, user: &str) -> RequestBuilder {
        self.post(
            client,
            "/session-token",
            &json!({"user_lookup": subject(user)}),
        )
    }

    fn post(&self, client: &Client, path: &str, body: &Value) -> RequestBuilder {
        let request = client.post(self.broker.url(path)).json(body);
        request.header("x-broker-request", "1")
    }
}

fn table(clients: &str) -> String {
    format!("[[session]]\ntype = 'client_certificate'\nclients = [{clients}]\n")
}

async fn setup() -> (Simulator, Guarded) {
    let tenant = tenant().await;
    let clients = format!("{{ name = '{DNS}' }}, {{ name = '{SPIFFE}' }}");
    let tables = table(&clients) + &tenant_table("acme", &tenant.url());
    (tenant, Guarded::start(&tables))
}

#[tokio::test]
async fn a_listed_certificate_asserts_the_user() {
    let (tenant, guarded) = setup().await;
    for (names, user) in [
        (&[DNS][..], "ann"),
        (&[SPIFFE], "bob"),
        (&["other.internal", DNS], "eve"),
        (&["spiffe://other", "other.internal", SPIFFE], "ann"),
    ] {
        let client = guarded.client(names);
        let token = token(guarded.ask(&client, user)).await;
        assert_eq!(who_is(&tenant, &token.text).await, format!("auth0|{user}"));
    }
    assert_eq!(tenant.calls(Call::TokenImpersonation), 3);
    let client = guarded.client(&[DNS]);
    let nobody = guarded.post(&client, "/session-token", &json!({}));
    refused(nobody, 400, "request_invalid").await;
    let bot = json!({"user_lookup": {"field": "subject", "value": "qlikbot\\x"}});
    let bot = guarded.post(&client, "/session-token", &bot);
    refused(bot, 403, "user_not_allowed").await;
    assert_eq!(tenant.calls(Call::TokenImpersonation), 3);
}

#[tokio::test]
async fn a_key_of_the_same_name_and_words_is_led_to_its_own_tenant() {
    let (acme, other) = (tenant().await, tenant().await);
    let tables = key_table(&["acme"])
        + &table("{ name = 'portal', tenants = ['other'] }")
        + &tenant_table("acme", &acme.url())
        + &tenant_table("other", &other.url());
    let guarded = Guarded::start(&tables);
    let certified = guarded.client(&["portal"]);
    for _ in 0..2 {
        let by_certificate = token(guarded.ask(&certified, "ann")).await;
        let by_key = guarded.broker.token_of("ann").await;
        assert!(other.is_live(&by_certificate.text) && acme.is_live(&by_key.text));
    }
}

#[tokio::test]
async fn a_browser_that_holds_the_certificate_is_not_used_by_a_page() {
    let (tenant, guarded) = setup().await;
    let client = guarded.client(&[DNS]);
    let body = json!({"user_lookup": subject("ann")});
    for path in ["/session-token", "/sessions", "/logout", "/service-token"] {
        let bare = || client.post(guarded.broker.url(path)).json(&body);
        let ask = || bare().header("x-broker-request", "1");
        refused(bare(), 403, "csrf_rejected").await;
        let cross_site = ask().header("sec-fetch-site", "cross-site");
        refused(cross_site, 403, "csrf_rejected").await;
        for origin in [PAGE, EVIL, "null"] {
            let answer = ask().header("origin", origin).send().await.unwrap();
            let cors = header(&answer, "access-control-allow-origin");
            assert_eq!((answer.status().as_u16(), cors.as_str()), (403, ""));
            let body: Value = answer.json().await.unwrap();
            assert_eq!(body["code"], "origin_not_allowed", "{path} {origin}");
        }
    }
    assert_eq!(tenant.calls(Call::Any), 0);
}

#[tokio::test]
async fn tenants_and_calls_are_those_of_the_client_s_entry() {
    let (acme, globex) = (tenant().await, tenant().await);
    let clients = "{ name = 'one.internal', tenants = ['acme'] }, \
        { name = 'both.internal', tenants = ['acme', 'globex'] }, \
        { name = 'login.internal', tenants = ['acme'], allow = ['sessions'] }, \
        { name = 'logout.internal', tenants = ['acme'], allow = ['logout'] }";
    let tables = table(clients)
        + "[[session]]\ntype = 'handle'\n"
        + &tenant_table("acme", &acme.url())
        + &tenant_table("globex", &globex.url());
    let guarded = Guarded::start(&tables);
    let [one, both, login, logout] = ["one", "both", "login", "logout"]
        .map(|name| guarded.client(&[&format!("{name}.internal")]));
    let named = |tenant: &str| json!({"user_lookup": subject("ann"), "tenant": tenant});
    let bare = json!({"user_lookup": subject("ann")});
    let calls = ["/session-token", "/sessions", "/logout", "/service-token"];
    for (client, body, path, code) in [
        (&one, named("globex"), calls[0], "tenant_not_allowed"),
        (&one, named("initech"), calls[0], "tenant_not_allowed"),
        (&both, bare.clone(), calls[0], "request_invalid"),
        (&one, bare.clone(), calls[1], "caller_not_allowed"),
        (&one, bare.clone(), calls[2], "caller_not_allowed"),
        (&one, json!({}), calls[3], "caller_not_allowed"),
        (&login, bare.clone(), calls[0], "caller_not_allowed"),
        (&login, named("globex"), calls[1], "tenant_not_allowed"),
        (&logout, bare.clone(), calls[0], "caller_not_allowed"),
        (&logout, bare.clone(), calls[1], "caller_not_allowed"),
        (&logout, named("globex"), calls[2], "tenant_not_allowed"),
    ] {
        let status = if code == "request_invalid" { 400 } else { 403 };
        refused(guarded.post(client, path, &body), status, code).await;
    }
    assert_eq!(acme.calls(Call::Any) + globex.calls(Call::Any), 0);

    let first = token(guarded.ask(&one, "ann")).await;
    let other = token(guarded.post(&both, calls[0], &named("globex"))).await;
    assert_eq!((acme.calls(Call::Token), globex.calls(Call::Token)), (1, 1));
    assert!(acme.is_live(&first.text) && globex.is_live(&other.text));
    let made = guarded.post(&login, calls[1], &bare).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let ended = guarded.post(&logout, calls[2], &bare).send().await.unwrap();
    assert_eq!(ended.status(), 204);
    let again = token(guarded.ask(&one, "ann")).await;
    assert_ne!(again.text, first.text);
}

#[tokio::test]
async fn only_the_listed_name_itself_is_believed() {
    let (tenant, guarded) = setup().await;
    let san = |text: &str| text.try_into().unwrap();
    let unlisted = [
        "evil-portal.acme.internal",
        "sub.portal.acme.internal",
        "portal.acme.internal.evil.test",
        "acme.internal",
        "*.acme.internal",
        "spiffe://acme.internal/ns/portal/",
        "spiffe://acme.internal/ns/portal/x",
        "spiffe://acme.internal/ns/porta",
        "spiffe://acme.internal/ns/Portal",
        "spiffe://ACME.internal/ns/portal",
        "SPIFFE://acme.internal/ns/portal",
        "https://portal.acme.internal",
    ];
    for name in unlisted {
        let client = guarded.client(&[name]);
        refused(guarded.ask(&client, "ann"), 401, "session_invalid").await;
    }
    // Names of other types count for nothing, and none is nobody.
    let mail = SanType::Rfc822Name(san(DNS));
    let address = SanType::IpAddress([127, 0, 0, 1].into());
    for (names, code) in [
        (vec![], "session_missing"),
        (vec![address], "session_missing"),
        (vec![mail], "session_missing"),
        (vec![uri("spiffe://other")], "session_invalid"),
    ] {
        let signed = guarded.authority.client_with(DNS, names);
        let client = https(&guarded.authority.pem(), Some(&signed.identity()));
        refused(guarded.ask(&client, "ann"), 401, code).await;
    }
    refused(
        guarded.ask(&guarded.broker.http, "ann"),
        401,
        "session_missing",
    )
    .await;
    assert_eq!(tenant.calls(Call::Any), 0);
    // DNS names are the same in any case.
    let shouting = guarded.client(&["PORTAL.Acme.Internal"]);
    token(guarded.ask(&shouting, "ann")).await;
}

#[tokio::test]
async fn a_certificate_that_the_authority_did_not_sign_ends_the_handshake() {
    let (tenant, guarded) = setup().await;
    let other = Authority::new();
    // Its name and key identifier are the authority's own, only the key is not.
    for signed in [other.client(&[DNS]), other.server()] {
        let client = https(&guarded.authority.pem(), Some(&signed.identity()));
        let answer = guarded.ask(&client, "ann").send().await;
        assert!(answer.is_err(), "{answer:?}");
    }
    let mut chained = other.client(&[DNS]);
    chained.certificate += &guarded.authority.client(&[DNS]).certificate;
    let client = https(&guarded.authority.pem(), Some(&chained.identity()));
    assert!(guarded.ask(&client, "ann").send().await.is_err());
    let expired = guarded.authority.expired_client(DNS);
    let client = https(&guarded.authority.pem(), Some(&expired.identity()));
    assert!(guarded.ask(&client, "ann").send().await.is_err());
    assert_eq!(tenant.calls(Call::Any), 0);
    token(guarded.ask(&guarded.client(&[DNS]), "ann")).await;
}

#[tokio::test]
async fn another_authority_takes_over_without_a_restart() {
    let (tenant, guarded) = setup().await;
    let other = Authority::new();
    let new = other.client(&[DNS]).identity();
    // A new connection each time: one that is open was proven when it began.
    let is_in = async |identity: &str| {
        let client = https(&guarded.authority.pem(), Some(identity));
        let answer = guarded.ask(&client, "ann").send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    };
    let old = guarded.authority.client(&[DNS]).identity();
    assert!(is_in(&old).await && !is_in(&new).await);
    guarded.folder.write("ca.crt", &other.pem());
    let mut taken = false;
    for _ in 0..60 {
        taken = is_in(&new).await;
        if taken {
            break;
        }
        tokio::time::sleep(OFTEN).await;
    }
    assert!(taken, "the new one is let in");
    assert!(!is_in(&old).await, "the old one is not");
    assert_eq!(tenant.calls(Call::TokenImpersonation), 1);
}

#[tokio::test]
async fn a_key_or_a_handle_beside_a_certificate_is_judged_alone() {
    const REGISTRAR: &str = "qtb_registrar_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";
    let tenant = tenant().await;
    let registrar = format!(
        "[[session]]\ntype = 'api_key'\nname = 'logins'\nkeys = [{{ id = 'registrar', sha256 = '{}', allow = ['sessions'] }}]\n",
        sha256(REGISTRAR)
    );
    let tables = table(&format!("{{ name = '{DNS}' }}"))
        + &key_table(&["acme"])
        + &registrar
        + "[[session]]\ntype = 'handle'\n";
    let guarded = Guarded::start(&(tables + &tenant_table("acme", &tenant.url())));
    let client = guarded.client(&[DNS]);
    let as_bearer = |bearer: &str| {
        let request = client.post(guarded.broker.url("/session-token"));
        request.bearer_auth(bearer)
    };
    // A key needs no defence against forgery, whatever certificate there is.
    let body = json!({"user_lookup": subject("ann")});
    let by_key = token(as_bearer(KEY).json(&body)).await;
    assert_eq!(who_is(&tenant, &by_key.text).await, "auth0|ann");
    let handle = client.post(guarded.broker.url("/sessions"));
    let handle = handle.bearer_auth(REGISTRAR);
    let handle = handle.json(&json!({"user_lookup": subject("bob")}));
    let handle: Value = handle.send().await.unwrap().json().await.unwrap();
    let handle = handle["session"].as_str().unwrap();
    for _ in 0..2 {
        let by_handle = token(as_bearer(handle)).await;
        assert_eq!(who_is(&tenant, &by_handle.text).await, "auth0|bob");
    }
    // Neither asserts what the certificate may, nor falls back on it.
    refused(as_bearer(handle).json(&body), 403, "user_not_allowed").await;
    refused(as_bearer(REGISTRAR).json(&body), 403, "caller_not_allowed").await;
    let unknown = format!("qtbs_{}", "A".repeat(43));
    for bearer in [&KEY.replace('A', "B"), "qtb_x", "qtb_", "qtbs_x", &unknown] {
        let ask = as_bearer(bearer).header("x-broker-request", "1");
        refused(ask.json(&body), 401, "session_invalid").await;
    }
    assert_eq!(tenant.calls(Call::TokenImpersonation), 2);
}

#[tokio::test]
async fn a_session_remembered_without_a_certificate_is_not_that_of_one_with_it() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    let jwts = portal.table_with(&format!("jwks_url = '{}/jwks'\ncookie = 'sid'", portal.url));
    let certificates = table(&format!("{{ name = '{DNS}' }}"));
    for certificates_first in [true, false] {
        let tables = if certificates_first {
            certificates.clone() + &jwts
        } else {
            jwts.clone() + &certificates
        };
        let guarded = Guarded::start(&(tables + &tenant_table("acme", &tenant.url())));
        let (listed, unlisted) = (guarded.client(&[DNS]), guarded.client(&["other.internal"]));
        let session = portal.session("bob");
        for in_cookie in [false, true] {
            let ask = |client: &Client| {
                let request = client.post(guarded.broker.url("/session-token"));
                let request = request.header("x-broker-request", "1");
                if in_cookie {
                    request.header("cookie", format!("sid={session}"))
                } else {
                    request.bearer_auth(&session)
                }
            };
            for _ in 0..2 {
                for person in [&guarded.broker.http, &unlisted] {
                    let person = token(ask(person)).await;
                    assert_eq!(who_is(&tenant, &person.text).await, "auth0|bob");
                }
                let asserting = ask(&listed).json(&json!({"user_lookup": subject("ann")}));
                if certificates_first {
                    refused(ask(&listed), 400, "request_invalid").await;
                    let token = token(asserting).await;
                    assert_eq!(who_is(&tenant, &token.text).await, "auth0|ann");
                } else {
                    refused(asserting, 403, "user_not_allowed").await;
                    let token = token(ask(&listed)).await;
                    assert_eq!(who_is(&tenant, &token.text).await, "auth0|bob");
                }
            }
        }
    }
}

/// An authority that vouches for DNS names need not look at what stands in a URI.
#[tokio::test]
async fn a_uri_that_reads_like_a_dns_name_is_none() {
    let (tenant, guarded) = setup().await;
    for name in [DNS, "PORTAL.acme.internal"] {
        let signed = guarded.authority.client_with("a client", vec![uri(name)]);
        let client = https(&guarded.authority.pem(), Some(&signed.identity()));
        let answer = guarded.ask(&client, "ann").send().await.unwrap();
        assert_eq!(answer.status(), 401, "{name}");
    }
    assert_eq!(tenant.calls(Call::Any), 0);
}
