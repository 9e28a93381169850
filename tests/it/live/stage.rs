//! A world in which all is well: a tenant behind TLS, an issuer, a portal, a store, and their
//! configuration. And the program, run on it.

use std::net::SocketAddr;
use std::sync::Arc;

use qlik_token_broker::simulator::{CLIENT_CREDENTIALS, ClientSetup, Simulator};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::super::certificates::{Authority, Signed};
use super::super::cli::program;
use super::super::harness::{Folder, PAGE, Scratch, world};
use super::super::keeper::Keeper;
use super::super::portal::{Key, Portal};
use super::super::redis::{Redis, available};
use super::super::traces::Collector;

pub const SUBJECT: &str = "auth0|ann";
pub const ENCRYPTION_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
/// What must never be printed.
const SECRETS: [&str; 8] = [
    "tenant-client-secret",
    "canary-management",
    "canary-service",
    "canary-introspection",
    "canary-store",
    "canary-collector",
    "canary-wrong",
    ENCRYPTION_KEY,
];

/// What the program said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub findings: Vec<Value>,
    pub text: String,
}

impl Said {
    /// Level, code and path of all that is not well.
    pub fn problems(&self) -> Vec<(&str, &str, &str)> {
        let bad = self
            .findings
            .iter()
            .filter(|finding| finding["level"] != "ok");
        bad.map(|finding| {
            let text = |key: &str| finding[key].as_str().unwrap();
            (text("level"), text("code"), text("path"))
        })
        .collect()
    }
}

/// Runs `check --live --json` on a configuration.
pub async fn check(config: &str, arguments: &[&str]) -> Said {
    let mut json = vec!["--json"];
    json.extend(arguments);
    let (code, text) = run(config, &json).await;
    let lines = text.lines().filter(|line| line.starts_with('{'));
    let findings = lines.map(|line| serde_json::from_str(line).unwrap());
    Said {
        code,
        findings: findings.collect(),
        text,
    }
}

/// Runs `check --live`, and returns all that it prints.
pub async fn run(config: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let file = Scratch::new(config);
    let mut program = program();
    program
        .args(["check", "--live", "--config"])
        .arg(&file.0)
        .args(arguments);
    let ran = tokio::task::spawn_blocking(move || program.output().unwrap());
    let output = ran.await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    for secret in SECRETS {
        assert!(!said.contains(secret), "a secret is shown:\n{said}");
    }
    (output.status.code(), said)
}

/// See the module.
pub struct Stage {
    pub tenant: Simulator,
    pub portal: Portal,
    /// Keeps opaque tokens.
    pub issuer: Keeper,
    /// Keeps cookies.
    pub whoami: Keeper,
    /// Takes traces.
    pub collector: Collector,
    pub config: String,
    _folder: Folder,
    pub authority: Authority,
    redis: Option<Redis>,
}

impl Stage {
    pub async fn new() -> Self {
        let mut world = world();
        for (id, scopes) in [
            ("management", "admin_classic user_default"),
            ("service", "apps:read"),
        ] {
            let client = ClientSetup::new(id)
                .secret(format!("canary-{id}"))
                .grant(CLIENT_CREDENTIALS);
            world = world.with_client(client.scopes(scopes).trusted());
        }
        world.clients[0].origins = vec![PAGE.into()];
        let tenant = Simulator::start(world).await.unwrap();
        let (portal, authority) = (Portal::start(Key::p256()).await, Authority::new());
        let [issuer, whoami] = [Keeper::start().await, Keeper::start().await];
        let collector = Collector::start().await;
        let redis = if available() {
            Some(Redis::start().await)
        } else {
            None
        };
        let folder = Folder::new();
        let ca_file = folder.write("ca.pem", &authority.pem());
        let front = front(tenant.address(), &authority.server()).await;
        let shared = redis
            .as_ref()
            .map_or_else(String::new, |redis| shared(&redis.url()));
        let config = format!(
            "{shared}{}{}\
             [[session]]\ntype = 'introspection'\nname = 'opaque'\nurl = '{}/introspect'\nclient_id = 'asker'\n\
             client_secret = 'canary-introspection'\naudience = 'broker'\nuser = [{{ field = 'subject', value = '{{sub}}' }}]\n\
             [[session]]\ntype = 'portal_check'\nname = 'cookie'\nurl = '{}/whoami'\ncookies = ['sid']\n\
             user = [{{ field = 'subject', value = '{{sub}}' }}]\n\
             [tenants.acme]\nurl = '{front}'\nca_file = '{ca_file}'\nclient_id = 'broker'\n\
             client_secret = 'tenant-client-secret'\nscopes = 'user_default'\noptional_scopes = ['apps:read']\n\
             allowed_origins = ['{PAGE}']\n\
             management = {{ client_id = 'management', client_secret = 'canary-management' }}\n\
             service = {{ client_id = 'service', client_secret = 'canary-service', scopes = 'apps:read' }}\n\
             [telemetry]\notlp_endpoint = '{}'\nheaders = {{ authorization = 'canary-collector' }}\n",
            portal.table_with(&format!(
                "jwks_url = '{}/jwks'\nleeway = '60s'\nname = 'fetched'",
                portal.url
            )),
            portal.table_with("discovery = true\nleeway = '60s'\nname = 'discovered'"),
            issuer.url,
            whoami.url,
            collector.url,
        );
        Self {
            tenant,
            portal,
            issuer,
            whoami,
            collector,
            config,
            _folder: folder,
            authority,
            redis,
        }
    }

    pub fn has_redis(&self) -> bool {
        self.redis.is_some()
    }

    /// Writes something else into the configuration.
    pub fn set(&mut self, from: &str, to: &str) {
        assert!(self.config.contains(from), "{from} in {}", self.config);
        self.config = self.config.replacen(from, to, 1);
    }

    /// The line of a key in the tenant's table says this.
    pub fn set_url(&mut self, url: &str) {
        let start =
            self.config.find("[tenants.acme]\nurl = '").unwrap() + "[tenants.acme]\nurl = '".len();
        let end = start + self.config[start..].find('\'').unwrap();
        self.config.replace_range(start..end, url);
    }

    pub async fn check(&self, arguments: &[&str]) -> Said {
        self.check_for(&["--subject", SUBJECT], arguments).await
    }

    pub async fn check_for(&self, person: &[&str], arguments: &[&str]) -> Said {
        check(&self.config, &[person, arguments].concat()).await
    }
}

/// The table of a store.
pub fn shared(url: &str) -> String {
    format!(
        "[shared]\nurl = '{url}'\nencryption_keys = [{{ id = 'k1', key = '{ENCRYPTION_KEY}' }}]\n"
    )
}

/// Speaks TLS for a server that does not. Returns its address.
pub async fn front(server: SocketAddr, signed: &Signed) -> String {
    let chain = CertificateDer::pem_slice_iter(signed.certificate.as_bytes());
    let chain = chain.collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut client = acceptor.accept(stream).await.ok()?;
                let mut server = TcpStream::connect(server).await.ok()?;
                tokio::io::copy_bidirectional(&mut client, &mut server)
                    .await
                    .ok()
            });
        }
    });
    format!("https://localhost:{port}")
}
