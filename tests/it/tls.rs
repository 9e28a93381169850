//! The listener with `[server.tls]`: what it serves, and how it takes new certificates.

use std::os::unix::fs::symlink;
use std::time::Duration;

use qlik_token_broker::simulator::{Call, Simulator};
use reqwest::{Client, Method};

use super::certificates::{Authority, Signed};
use super::harness::{
    Broker, EVIL, Folder, KEY, PAGE, header, https, key_table, tenant, tenant_table, token,
};
use super::wire::raw;

/// The listener looks for new certificates this often.
const OFTEN: Duration = Duration::from_millis(50);
/// Several looks.
const A_WHILE: Duration = Duration::from_millis(300);

/// A broker whose certificate and key are these files of the folder.
fn serve(tenant: &Simulator, folder: &Folder, files: [&str; 2], client: Client) -> Broker {
    let [certificate, key] = files.map(|name| folder.0.join(name).display().to_string());
    let config = format!(
        "[server]\ntls = {{ certificate = {{ file = '{certificate}' }}, key = {{ file = '{key}' }} }}\n{}{}",
        key_table(&["acme"]),
        tenant_table("acme", &tenant.url())
    );
    Broker::start_tls(&config, client, OFTEN)
}

fn write(folder: &Folder, signed: &Signed) {
    folder.write("tls.crt", &signed.certificate);
    folder.write("tls.key", &signed.key);
}

/// Whether a new client that trusts only this authority gets an answer.
async fn is_trusted_by(broker: &Broker, authority: &Authority) -> bool {
    let client = https(&authority.pem(), None);
    let answer = client.get(broker.url("/healthz")).send().await;
    answer.is_ok_and(|answer| answer.status() == 200)
}

async fn becomes_trusted_by(broker: &Broker, authority: &Authority) -> bool {
    for _ in 0..60 {
        if is_trusted_by(broker, authority).await {
            return true;
        }
        tokio::time::sleep(OFTEN).await;
    }
    false
}

#[tokio::test]
async fn c31_every_answer_over_tls_says_to_stay_with_it_and_none_without_does() {
    let (tenant, folder, authority) = (tenant().await, Folder::new(), Authority::new());
    write(&folder, &authority.server());
    let client = https(&authority.pem(), None);
    let files = ["tls.crt", "tls.key"];
    let with = serve(&tenant, &folder, files, client);
    let without = Broker::with(&tenant);
    for (broker, policy) in [(&with, "max-age=31536000"), (&without, "")] {
        let post = |path| broker.post(path);
        let get = |path| broker.call(Method::GET, path);
        let options = |origin: &str| {
            let request = broker.call(Method::OPTIONS, "/session-token");
            request.header("origin", origin)
        };
        for (request, status) in [
            (broker.ask_for("ann"), 200),
            (broker.ask_for("nobody"), 403),
            (broker.ask_for("ann").header("origin", PAGE), 403),
            (broker.ask_for("ann").header("origin", EVIL), 403),
            (post("/session-token"), 401),
            (broker.ask_as("no.such.jwt"), 401),
            (post("/sessions"), 401),
            (post("/logout"), 401),
            (post("/service-token").bearer_auth(KEY), 403),
            (post("/session-token").bearer_auth(KEY).body("x"), 415),
            (get("/session-token"), 405),
            (get("/nothing"), 404),
            (get("/healthz"), 200),
            (get("/problems/session_missing"), 200),
            (get("/problems/nothing"), 404),
            (options(PAGE), 204),
            (options(EVIL), 403),
        ] {
            let answer = request.send().await.unwrap();
            let url = answer.url().clone();
            assert_eq!(answer.status(), status, "{url}");
            let told = header(&answer, "strict-transport-security");
            assert_eq!(told, policy, "{url} {status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_on_the_tls_port_yields_nothing() {
    let (tenant, folder, authority) = (tenant().await, Folder::new(), Authority::new());
    write(&folder, &authority.server());
    let client = https(&authority.pem(), None);
    let broker = serve(&tenant, &folder, ["tls.crt", "tls.key"], client);
    let body = r#"{"user_lookup":{"field":"subject","value":"auth0|ann"}}"#;
    let request = format!(
        "POST /session-token HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = raw(broker.address, vec![request.clone()]).await;
    assert!(!answer.contains("HTTP/1"), "{answer}");
    assert_eq!(tenant.calls(Call::Any), 0);
    // The same bytes are a good request where there is no TLS, and the port still serves.
    let answer = raw(Broker::with(&tenant).address, vec![request]).await;
    assert!(answer.contains("access_token"), "{answer}");
    assert_eq!(token(broker.ask_for("ann")).await.source, "minted");
}

#[tokio::test]
async fn nobody_who_trusts_another_authority_is_served() {
    let (tenant, folder, authority) = (tenant().await, Folder::new(), Authority::new());
    write(&folder, &authority.server());
    let client = https(&authority.pem(), None);
    let broker = serve(&tenant, &folder, ["tls.crt", "tls.key"], client);
    assert!(is_trusted_by(&broker, &authority).await);
    assert!(!is_trusted_by(&broker, &Authority::new()).await);
    let localhost = format!("https://localhost:{}/healthz", broker.address.port());
    assert_eq!(
        broker.http.get(localhost).send().await.unwrap().status(),
        200
    );
}

#[tokio::test]
async fn new_files_are_taken_without_a_restart_and_half_a_pair_is_not() {
    let (tenant, folder) = (tenant().await, Folder::new());
    let (old, new, newest) = (Authority::new(), Authority::new(), Authority::new());
    write(&folder, &old.server());
    let client = https(&old.pem(), None);
    let broker = serve(&tenant, &folder, ["tls.crt", "tls.key"], client);
    assert!(is_trusted_by(&broker, &old).await);

    let next = new.server();
    folder.write("tls.crt", &next.certificate);
    tokio::time::sleep(A_WHILE).await;
    assert!(is_trusted_by(&broker, &old).await, "it goes on as it was");
    assert!(!is_trusted_by(&broker, &new).await);
    folder.write("tls.key", &next.key);
    assert!(becomes_trusted_by(&broker, &new).await, "the key followed");
    assert!(!is_trusted_by(&broker, &old).await);

    // The other way round, through every state that a file can be in meanwhile.
    let last = newest.server();
    for half in [last.key.as_str(), "", "no PEM at all"] {
        folder.write("tls.key", half);
        tokio::time::sleep(A_WHILE).await;
        assert!(is_trusted_by(&broker, &new).await, "{half}");
    }
    std::fs::remove_file(folder.0.join("tls.key")).unwrap();
    std::fs::remove_file(folder.0.join("tls.crt")).unwrap();
    tokio::time::sleep(A_WHILE).await;
    assert!(is_trusted_by(&broker, &new).await, "the files are gone");
    write(&folder, &last);
    assert!(becomes_trusted_by(&broker, &newest).await);
    assert!(!is_trusted_by(&broker, &new).await);
}

/// An orchestrator mounts a secret as links to links, and swaps the one in the middle.
#[tokio::test]
async fn a_swapped_link_to_the_folder_of_the_files_is_seen() {
    let (tenant, folder) = (tenant().await, Folder::new());
    let (old, new) = (Authority::new(), Authority::new());
    for (version, authority) in [("..2026_01", &old), ("..2026_02", &new)] {
        std::fs::create_dir(folder.0.join(version)).unwrap();
        let signed = authority.server();
        folder.write(&format!("{version}/tls.crt"), &signed.certificate);
        folder.write(&format!("{version}/tls.key"), &signed.key);
    }
    symlink("..2026_01", folder.0.join("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), folder.0.join(name)).unwrap();
    }
    let client = https(&old.pem(), None);
    let broker = serve(&tenant, &folder, ["tls.crt", "tls.key"], client);
    assert!(is_trusted_by(&broker, &old).await);
    symlink("..2026_02", folder.0.join("..data_tmp")).unwrap();
    std::fs::rename(folder.0.join("..data_tmp"), folder.0.join("..data")).unwrap();
    assert!(becomes_trusted_by(&broker, &new).await);
    assert!(!is_trusted_by(&broker, &old).await);
}
