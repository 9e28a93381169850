//! A broker as its users meet it: real sockets on port 0, the real router, the simulated tenant.

use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum_server::Handle;
use qlik_token_broker::app::live::Live;
use qlik_token_broker::app::origins;
use qlik_token_broker::config::{self, Config, Sources};
use qlik_token_broker::simulator::{
    CLIENT_CREDENTIALS, ClientSetup, IMPERSONATION, RateLimit, Simulator, World,
};
use qlik_token_broker::tenant::Rate;
use qlik_token_broker::watch::Watch;
use qlik_token_broker::{http, ops};
use reqwest::{Certificate, Client, Identity, Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::openapi::conforms;

/// A key that may ask for tokens and log out, in both tenants.
pub const KEY: &str = "qtb_portal_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// A page that the tenant lists, and one that it does not.
pub const PAGE: &str = "https://portal.acme.test";
pub const EVIL: &str = "https://evil.test";

/// A tenant with an issuing client, a few users, and no rate limit to disturb the counting.
pub fn world() -> World {
    let client = ClientSetup::new("broker")
        .secret("tenant-client-secret")
        .grant(IMPERSONATION)
        .scopes("user_default apps:read spaces:read")
        .trusted();
    let mut world = World::default().with_client(client);
    for user in ["ann", "bob", "eve"] {
        world = world.with_user(format!("auth0|{user}"), format!("{user}@acme.test"));
    }
    world.tier1 = None;
    world.tier2 = Some(RateLimit {
        calls: 1_000_000,
        window: Duration::from_secs(300),
    });
    world
}

pub async fn tenant() -> Simulator {
    Simulator::start(world()).await.unwrap()
}

/// The table of a tenant.
pub fn tenant_table(id: &str, url: &str) -> String {
    format!(
        "[tenants.{id}]\nurl = '{url}'\nclient_id = 'broker'\nclient_secret = 'tenant-client-secret'\n\
         scopes = 'user_default'\noptional_scopes = ['spaces:read apps:read']\nallowed_origins = ['https://portal.{id}.test']\n{WIDE_BUDGET}"
    )
}

/// [`world`] with a second client, which knows and creates users.
pub fn managed_world() -> World {
    let management = ClientSetup::new("management")
        .secret("management-client-secret")
        .grant(CLIENT_CREDENTIALS)
        .scopes("admin_classic user_default")
        .trusted();
    world().with_client(management)
}

/// The table of a tenant with that client. Lines of the tenant's table may follow.
pub fn managed_table(id: &str, url: &str) -> String {
    tenant_table(id, url)
        + "management = { client_id = 'management', client_secret = 'management-client-secret' }\n"
}

/// A budget so wide that it disturbs no counting; at most 500 in 5 minutes can be configured.
const WIDE_BUDGET: &str = "budget = { per_minute = 1, burst = 495 }\n";

/// The same configuration with the usual budget.
pub fn usual_budget(config: &str) -> String {
    config.replace(WIDE_BUDGET, "")
}

/// The table of [`KEY`].
pub fn key_table(tenants: &[&str]) -> String {
    format!(
        "[[session]]\ntype = 'api_key'\nkeys = [{{ id = 'portal', sha256 = '{}', tenants = {tenants:?}, allow = ['token', 'logout'] }}]\n",
        sha256(KEY)
    )
}

pub fn sha256(text: &str) -> String {
    hex::encode(aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        text.as_bytes(),
    ))
}

/// A file below the target folder that is gone when dropped.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(text: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "qtb-it-{}-{}.toml",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// A folder that is gone when dropped.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("qtb-it-{}-{count}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Writes a file, and returns its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A client that trusts this authority and no other; with a certificate of its own if it has one.
pub fn https(authority: &str, identity: Option<&str>) -> Client {
    let trusted = Certificate::from_pem(authority.as_bytes()).unwrap();
    let mut client = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tls_certs_only([trusted]);
    if let Some(identity) = identity {
        client = client.identity(Identity::from_pem(identity.as_bytes()).unwrap());
    }
    client.build().unwrap()
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn load(sources: &Sources) -> Config {
    config::load(sources).unwrap_or_else(|problems| panic!("{problems}"))
}

/// A broker without its listeners, and the file that it is made of.
struct Built {
    live: Arc<Live>,
    file: Scratch,
}

impl Built {
    fn of(config: &str) -> Self {
        Self::changed(config, |_| {})
    }

    /// Of a configuration that is changed after it was read.
    fn changed(config: &str, change: impl FnOnce(&mut Config)) -> Self {
        let file = Scratch::new(config);
        let sources = Sources {
            files: vec![file.0.clone()],
            env: Vec::new(),
        };
        Self::from(sources, file, change)
    }

    fn paced(config: &str, rate: Rate) -> Self {
        Self::changed(config, |config| {
            for tenant in config.tenants.values_mut() {
                tenant.budget = rate;
            }
        })
    }

    fn from(sources: Sources, file: Scratch, change: impl FnOnce(&mut Config)) -> Self {
        let watch = Watch::new(config::files(&sources));
        let mut config = load(&sources);
        change(&mut config);
        let live = Live::new(config, sources, watch).unwrap();
        Self { live, file }
    }
}

/// A broker without sockets, for more requests at a time than there are ports.
pub fn in_process(config: &str) -> http::Framed {
    http::router(&Built::of(config).live)
}

/// A running broker. Dropping it stops it.
pub struct Broker {
    scheme: &'static str,
    pub address: SocketAddr,
    pub ops: SocketAddr,
    pub http: Client,
    pub live: Arc<Live>,
    /// What its status page knows of the last hour: a sample is taken when the test says so.
    pub status: Arc<ops::Status>,
    /// What it reads again when it is told to.
    pub file: Scratch,
    handles: [Handle<SocketAddr>; 2],
}

impl Broker {
    /// A broker with one tenant `acme` and the table of [`KEY`].
    pub fn with(tenant: &Simulator) -> Self {
        Self::start(&(key_table(&["acme"]) + &tenant_table("acme", &tenant.url())))
    }

    pub fn start(config: &str) -> Self {
        Self::start_with(config, http::HEAD_TIMEOUT)
    }

    pub fn start_with(config: &str, head_timeout: Duration) -> Self {
        Self::launch(listener(), Built::of(config), head_timeout, None)
    }

    /// A broker that reads the origins of its OAuth clients first, and again `every` so often.
    pub async fn start_following(config: &str, every: Duration) -> Self {
        let built = Built::of(config);
        origins::follow(&built.live.app(), every).await;
        Self::launch(listener(), built, http::HEAD_TIMEOUT, None)
    }

    /// A broker whose budget is another than can be configured, to match a tenant in fast motion.
    pub fn start_paced(config: &str, rate: Rate) -> Self {
        let built = Built::paced(config, rate);
        Self::launch(listener(), built, http::HEAD_TIMEOUT, None)
    }

    /// A broker with a shared tier, once that is in reach, and a budget that is as good as none: 100
    /// calls a second, also when it is alone.
    pub async fn start_shared(config: &str) -> Self {
        let per_minute = NonZeroU32::new(12_000).unwrap();
        let burst = NonZeroU32::new(50).unwrap();
        Self::start_shared_paced(config, Rate { per_minute, burst }).await
    }

    pub async fn start_shared_paced(config: &str, rate: Rate) -> Self {
        let built = Built::paced(config, rate);
        let app = built.live.app();
        let shared = app.shared.as_ref().unwrap();
        shared.ready(Duration::from_secs(5)).await;
        Self::launch(listener(), built, http::HEAD_TIMEOUT, None)
    }

    /// A broker on this listener. Its client calls it at 127.0.0.1.
    pub fn start_on(listener: TcpListener, config: &str) -> Self {
        Self::launch(listener, Built::of(config), http::HEAD_TIMEOUT, None)
    }

    /// A broker with the `[server.tls]` of its configuration, which looks for new certificates
    /// `every` so often.
    pub fn start_tls(config: &str, client: Client, every: Duration) -> Self {
        let tls = Some((client, every));
        Self::launch(listener(), Built::of(config), http::HEAD_TIMEOUT, tls)
    }

    /// A broker whose operators call it on this listener.
    pub fn start_with_ops(ops: TcpListener, config: &str) -> Self {
        Self::launch_on(
            [listener(), ops],
            Built::of(config),
            http::HEAD_TIMEOUT,
            None,
        )
    }

    /// A broker of several files.
    pub fn start_from(sources: Sources) -> Self {
        let built = Built::from(sources, Scratch::new(""), |_| {});
        Self::launch(listener(), built, http::HEAD_TIMEOUT, None)
    }

    fn launch(
        public: TcpListener,
        built: Built,
        head_timeout: Duration,
        tls: Option<(Client, Duration)>,
    ) -> Self {
        Self::launch_on([public, listener()], built, head_timeout, tls)
    }

    fn launch_on(
        listeners: [TcpListener; 2],
        Built { live, file }: Built,
        head_timeout: Duration,
        tls: Option<(Client, Duration)>,
    ) -> Self {
        let mut scheme = "http";
        let mut acceptor = None;
        let http = match tls {
            None => Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .build()
                .unwrap(),
            Some((client, every)) => {
                scheme = "https";
                let tls = http::Tls::open(live.app().server.tls.clone().unwrap()).unwrap();
                acceptor = Some(tls.acceptor());
                tokio::spawn(tls.renew(every));
                client
            }
        };
        let [address, ops] = [0, 1].map(|index: usize| listeners[index].local_addr().unwrap());
        let address = SocketAddr::from(([127, 0, 0, 1], address.port()));
        let handles = [Handle::new(), Handle::new()];
        let status = Arc::default();
        let [public, operators] = listeners;
        let [handle, ops_handle] = handles.clone();
        let routes = http::router(&live);
        let routes_of = move |peer| routes.of(peer);
        tokio::spawn(http::serve(
            public,
            routes_of,
            handle,
            head_timeout,
            acceptor,
        ));
        let routes = ops::router(&live, &status, ops.ip());
        tokio::spawn(http::serve(
            operators,
            move |_| routes.clone(),
            ops_handle,
            head_timeout,
            None,
        ));
        Self {
            scheme,
            address,
            ops,
            http,
            live,
            status,
            file,
            handles,
        }
    }

    /// Its address for any client.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    pub fn post(&self, path: &str) -> RequestBuilder {
        self.call(Method::POST, path)
    }

    /// Writes another configuration and has it read.
    pub async fn reload(&self, config: &str) -> Value {
        std::fs::write(&self.file.0, config).unwrap();
        let answer = self.ask_to_reload().send().await.unwrap();
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        assert_eq!(status, 200, "{body}");
        body
    }

    pub fn ask_to_reload(&self) -> RequestBuilder {
        let url = format!("http://{}/reload", self.ops);
        self.http.post(url).header("x-broker-request", "1")
    }

    pub async fn ops(&self, path: &str) -> Response {
        self.http
            .get(format!("http://{}{path}", self.ops))
            .send()
            .await
            .unwrap()
    }

    /// The same broker for callers who keep no connection: it closes those whose time is over.
    pub fn forgetting_connections(mut self) -> Self {
        let client = Client::builder().no_proxy().pool_max_idle_per_host(0);
        self.http = client.build().unwrap();
        self
    }

    /// Asks as the back end for a user's token.
    pub fn ask_for(&self, user: &str) -> RequestBuilder {
        self.ask(&json!({"user_lookup": subject(user)}))
    }

    /// Asks as the back end with this body.
    pub fn ask(&self, body: &Value) -> RequestBuilder {
        self.post("/session-token").bearer_auth(KEY).json(body)
    }

    /// Asks as a person with this JWT.
    pub fn ask_as(&self, jwt: &str) -> RequestBuilder {
        self.post("/session-token").bearer_auth(jwt)
    }

    /// The token of a user, fetched as the back end.
    pub async fn token_of(&self, user: &str) -> Token {
        token(self.ask_for(user)).await
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        for handle in &self.handles {
            handle.shutdown();
        }
    }
}

pub fn subject(user: &str) -> Value {
    json!({"field": "subject", "value": format!("auth0|{user}")})
}

/// What matters of a 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub id: String,
    pub source: String,
    pub expires_in: u64,
    pub scope: String,
}

pub async fn token(request: RequestBuilder) -> Token {
    let response = request.send().await.unwrap();
    let status = response.status();
    let source = header(&response, "server-timing");
    let body: Value = response.json().await.unwrap();
    assert_eq!(status, 200, "{body}");
    Token {
        text: body["access_token"].as_str().unwrap().into(),
        id: body["token_id"].as_str().unwrap().into(),
        source: source
            .trim_start_matches("token;desc=")
            .trim_matches('"')
            .into(),
        expires_in: body["expires_in"].as_u64().unwrap(),
        scope: body["scope"].as_str().unwrap().into(),
    }
}

pub fn header(response: &Response, name: &str) -> String {
    let values = response
        .headers()
        .get_all(name)
        .iter()
        .map(|value| value.to_str().unwrap());
    values.collect::<Vec<_>>().join(", ")
}

/// Asserts status, code and shape of a problem document, and returns its response headers' `Retry-After`.
/// The document allows it, too.
pub async fn refused(request: RequestBuilder, status: u16, code: &str) -> Option<u64> {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let response = client.execute(request).await.unwrap();
    let got = response.status().as_u16();
    let retry_after = response
        .headers()
        .get("retry-after")
        .map(|value| value.to_str().unwrap().parse().unwrap());
    let kind = header(&response, "content-type");
    let id = header(&response, "x-request-id");
    let headers = response.headers().clone();
    let body = response.bytes().await.unwrap();
    conforms(&method, &path, got, &headers, &body);
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((got, body["code"].as_str()), (status, Some(code)), "{body}");
    assert_eq!(kind, "application/problem+json");
    assert_eq!(body["status"], status);
    assert_eq!(body["request_id"], id);
    assert!(
        body["type"]
            .as_str()
            .unwrap()
            .ends_with(&format!("/problems/{code}"))
    );
    assert!(body["title"].is_string() && body["detail"].is_string());
    assert!(
        matches!(got, 429 | 503) <= retry_after.is_some(),
        "429 and 503 carry Retry-After"
    );
    retry_after
}

/// Whose token it is, only the tenant can say.
pub async fn who_is(tenant: &Simulator, token: &str) -> String {
    let client = Client::new();
    let me: Value = client
        .get(format!("{}/api/v1/users/me", tenant.url()))
        .bearer_auth(token)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    me["subject"].as_str().unwrap().to_owned()
}

/// Lets the broker's clock run ahead in small steps, so that pauses of half a minute take no time. The
/// wall clock stays. Only for tests on a runtime of one thread, with no call to the tenant under way,
/// and for [`Broker::forgetting_connections`].
pub async fn jump(seconds: u64) {
    let mut left = seconds;
    while left > 0 {
        let step = seconds.div_ceil(60).min(left);
        left -= step;
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(step)).await;
        tokio::time::resume();
        // Connections whose time was over meanwhile are closed, before anybody uses one.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
