//! A real proxy in front that logs people in: nginx with `auth_request`, as docs/sessions.md has it.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use qlik_token_broker::simulator::{Call, Simulator};
use reqwest::{Client, RequestBuilder};

use super::harness::{
    Broker, Folder, KEY, key_table, refused, tenant, tenant_table, token, who_is,
};
use super::wire::raw;

const SECRET: &str = "proxy-secret-0123456789";

/// nginx, the login that it asks, and the broker behind. The process ends when dropped.
struct Proxy {
    url: String,
    port: u16,
    http: Client,
    child: Child,
    folder: Folder,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Says who is logged in by a cookie, as oauth2-proxy does.
async fn who_is_logged_in(headers: HeaderMap) -> Response {
    let cookies = headers.get("cookie").and_then(|value| value.to_str().ok());
    let mut pairs = cookies.unwrap_or_default().split("; ");
    match pairs.find_map(|pair| pair.strip_prefix("login=")) {
        Some("nameless") => StatusCode::OK.into_response(),
        Some(user) => [("x-auth-request-user", user.to_owned())].into_response(),
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}

async fn start_login() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/oauth2/auth", get(who_is_logged_in));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// The program, wherever Debian puts it.
fn nginx() -> Option<&'static str> {
    let is_there = |program: &&str| Command::new(program).arg("-v").output().is_ok();
    let found = ["nginx", "/usr/sbin/nginx"].into_iter().find(is_there);
    assert!(
        found.is_some() || std::env::var_os("QTB_NEEDS_SERVICES").is_none(),
        "nginx is missing: scripts/test installs it"
    );
    if found.is_none() {
        eprintln!("skipped: there is no nginx");
    }
    found
}

impl Proxy {
    /// One process, so that none is left when it is killed; any user can start it.
    async fn start(program: &str, broker: &Broker) -> Self {
        let (folder, login) = (Folder::new(), start_login().await);
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let dir = folder.0.display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|of| format!("  {of}_temp_path {dir}/{of};\n"))
            .concat();
        let config = format!(
            "daemon off;\nmaster_process off;\npid {dir}/nginx.pid;\nerror_log {dir}/error.log;\n\
             events {{}}\nhttp {{\n  access_log off;\n{temporary}  server {{\n    listen 127.0.0.1:{port};\n\
             location = /oauth2/auth {{\n      internal;\n      proxy_pass {login};\n      proxy_set_header Content-Length \"\";\n\
             proxy_pass_request_body off;\n    }}\n\
             location /broker/ {{\n      auth_request /oauth2/auth;\n      auth_request_set $user $upstream_http_x_auth_request_user;\n\
             proxy_set_header X-Auth-Request-User $user;\n      proxy_set_header X-Proxy-Secret \"{SECRET}\";\n\
             proxy_set_header Authorization \"\";\n      proxy_set_header X-Forwarded-For $remote_addr;\n\
             proxy_pass {};\n    }}\n  }}\n}}\n",
            broker.url("/")
        );
        let config = folder.write("nginx.conf", &config);
        let mut command = Command::new(program);
        let command = command.args(["-p", folder.0.to_str().unwrap(), "-c", &config]);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let proxy = Self {
            url: format!("http://127.0.0.1:{port}/broker"),
            port,
            http: Client::builder().no_proxy().build().unwrap(),
            child,
            folder,
        };
        proxy.wait().await;
        proxy
    }

    async fn wait(&self) {
        for _ in 0..200 {
            if self.http.get(&self.url).send().await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        let log = std::fs::read_to_string(self.folder.0.join("error.log"));
        panic!("nginx does not answer: {log:?}");
    }

    /// What the page of a person sends, logged in or not.
    fn ask(&self, login: Option<&str>) -> RequestBuilder {
        let request = self.http.post(format!("{}/session-token", self.url));
        let request = request.header("x-broker-request", "1");
        match login {
            Some(user) => request.header("cookie", format!("login={user}")),
            None => request,
        }
    }
}

async fn setup() -> Option<(Simulator, Broker, Proxy)> {
    let program = nginx()?;
    let tenant = tenant().await;
    let table = format!(
        "[[session]]\ntype = 'trusted_header'\nheader = 'X-Auth-Request-User'\nfrom = ['127.0.0.1']\n\
         shared_secret = {{ header = 'X-Proxy-Secret', value = '{SECRET}' }}\n\
         user = [{{ field = 'subject', value = 'auth0|{{sub}}' }}]\n"
    );
    let broker =
        Broker::start(&(key_table(&["acme"]) + &table + &tenant_table("acme", &tenant.url())));
    let proxy = Proxy::start(program, &broker).await;
    Some((tenant, broker, proxy))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_logged_in_at_nginx_gets_a_token_and_nobody_else_does() {
    let Some((tenant, _broker, proxy)) = setup().await else {
        return;
    };
    for user in ["ann", "bob", "ann"] {
        let token = token(proxy.ask(Some(user))).await;
        assert_eq!(who_is(&tenant, &token.text).await, format!("auth0|{user}"));
    }
    assert_eq!(tenant.calls(Call::TokenImpersonation), 2);
    let nobody = proxy.ask(None).send().await.unwrap();
    assert_eq!(
        (
            nobody.status().as_u16(),
            nobody.headers().contains_key("x-request-id")
        ),
        (401, false)
    );
    refused(proxy.ask(Some("nameless")), 401, "session_missing").await;
    let no_page = proxy.http.post(format!("{}/session-token", proxy.url));
    refused(no_page.header("cookie", "login=ann"), 403, "csrf_rejected").await;
    let logout = proxy
        .http
        .post(format!("{}/logout", proxy.url))
        .header("x-broker-request", "1");
    let logout = logout.header("cookie", "login=ann").send().await.unwrap();
    assert_eq!(logout.status(), 204);
    assert_eq!(token(proxy.ask(Some("ann"))).await.source, "minted");
    assert_eq!(token(proxy.ask(Some("bob"))).await.source, "local");
}

/// Each row is what a page, or a person with curl, adds to a request through the proxy.
#[tokio::test(flavor = "multi_thread")]
async fn no_header_that_passes_through_nginx_makes_another_user() {
    let Some((tenant, _broker, proxy)) = setup().await else {
        return;
    };
    let rows = [
        "X-Auth-Request-User: eve\r\n",
        "x-auth-request-user: eve\r\nX-AUTH-REQUEST-USER: eve\r\n",
        "X_Auth_Request_User: eve\r\n",
        "X-Auth_Request-User: eve\r\n",
        "X-Auth-Request-User: eve\r\nX-Proxy-Secret: guessed\r\n",
        "X-Proxy-Secret: proxy-secret-0123456789\r\n",
        "X-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\n",
        "Connection: X-Auth-Request-User, X-Proxy-Secret\r\n",
        "X-Original-URL: /oauth2/auth\r\nX-Rewrite-URL: /oauth2/auth\r\n",
    ];
    let key = format!("Authorization: Bearer {KEY}\r\n");
    for row in rows.into_iter().chain([key.as_str()]) {
        for (login, user) in [
            ("Cookie: login=ann\r\n", Some("auth0|ann")),
            ("", None),
            ("Cookie: login=nameless\r\n", None),
        ] {
            let head = format!(
                "POST /broker/session-token HTTP/1.1\r\nHost: x\r\nX-Broker-Request: 1\r\nContent-Length: 0\r\n{login}{row}\
                 Connection: close\r\n\r\n"
            );
            let answer = raw(([127, 0, 0, 1], proxy.port).into(), vec![head]).await;
            let token = answer.split("\"access_token\":\"").nth(1);
            let token = token.and_then(|rest| rest.split('"').next());
            let is = match token {
                Some(token) => Some(who_is(&tenant, token).await),
                None => None,
            };
            assert_eq!(is.as_deref(), user, "{row}{login}{answer}");
        }
    }
    assert_eq!(tenant.calls(Call::TokenImpersonation), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_header_around_nginx_is_refused() {
    let Some((tenant, broker, proxy)) = setup().await else {
        return;
    };
    token(proxy.ask(Some("ann"))).await;
    for secret in [None, Some("guessed")] {
        let mut request = broker
            .post("/session-token")
            .header("x-broker-request", "1");
        request = request
            .header("x-auth-request-user", "ann")
            .header("cookie", "login=ann");
        if let Some(secret) = secret {
            request = request.header("x-proxy-secret", secret);
        }
        refused(request, 401, "session_invalid").await;
    }
    assert_eq!(tenant.calls(Call::TokenImpersonation), 1);
}
