//! The demo's portal, as a browser meets it.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::Duration;

use qlik_token_broker::portal::{self, Surroundings};
use qlik_token_broker::simulator::{Simulator, World};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket};

use super::cli::{Running, program};
use super::harness::{Broker, header, refused};

const FORM: &str = "application/x-www-form-urlencoded";

/// A running `demo`, and where its parts are.
struct Demo {
    _running: Running,
    http: Client,
    printed: String,
    /// As people open it: `http://localhost:…`
    portal: String,
    broker: String,
    tenant: String,
}

impl Demo {
    async fn start() -> Self {
        let mut child = program()
            .args(["demo", "--seconds", "60"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let running = Running(child);
        let printed = tokio::task::spawn_blocking(move || {
            let mut printed = String::new();
            while !printed.contains("Ctrl-C") {
                assert_ne!(lines.read_line(&mut printed).unwrap(), 0, "{printed}");
            }
            // Goes on reading: a full pipe would hold the demo up.
            std::thread::spawn(move || drop(lines.read_to_end(&mut Vec::new())));
            printed
        });
        let printed = printed.await.unwrap();
        let after = |words: &str| {
            let rest = &printed[printed.find(words).unwrap() + words.len()..];
            let ends = |c: char| c.is_whitespace() || c == ',';
            let url = rest.split(ends).next().unwrap();
            url.trim_end_matches('.').to_owned()
        };
        let (portal, broker, tenant) = (
            after("Open "),
            after("The broker listens on "),
            after("the users Ann and Bob at "),
        );
        Self {
            _running: running,
            http: portal_client(),
            printed,
            portal,
            broker,
            tenant,
        }
    }

    /// A call of the portal, by the address that its listener has.
    fn call(&self, method: Method, path: &str) -> RequestBuilder {
        let port = self.portal.rsplit(':').next().unwrap();
        let url = format!("http://127.0.0.1:{port}{path}");
        self.http
            .request(method, url)
            .header("host", format!("localhost:{port}"))
    }

    async fn get(&self, path: &str, cookie: &str) -> Response {
        let call = self.call(Method::GET, path).header("cookie", cookie);
        call.send().await.unwrap()
    }

    /// A form of the portal's own page.
    async fn post(&self, path: &str, cookie: &str, form: &str) -> Response {
        self.post_from(&self.portal, path, cookie, form).await
    }

    async fn post_from(&self, origin: &str, path: &str, cookie: &str, form: &str) -> Response {
        let call = self.call(Method::POST, path).header("origin", origin);
        let call = call.header("content-type", FORM).header("cookie", cookie);
        call.body(form.to_owned()).send().await.unwrap()
    }

    /// Logs in, and returns the cookie as it is sent back.
    async fn log_in(&self, user: &str) -> String {
        let answer = self.post("/login", "", &format!("user={user}")).await;
        assert_eq!(answer.status(), 303);
        let cookie = header(&answer, "set-cookie");
        cookie.split(';').next().unwrap().to_owned()
    }

    async fn session(&self, user: &str, cookie: &str) -> Response {
        self.get(&format!("/{user}/session"), cookie).await
    }

    /// What the page does with its session at the broker.
    async fn to_broker(&self, path: &str, session: &str) -> Response {
        let call = self.http.post(format!("{}{path}", self.broker));
        let call = call.header("origin", &self.portal).bearer_auth(session);
        call.send().await.unwrap()
    }

    async fn me(&self, token: &str) -> Response {
        let call = self.http.get(format!("{}/api/v1/users/me", self.tenant));
        let call = call.header("origin", &self.portal).bearer_auth(token);
        let answer = call.send().await.unwrap();
        assert_eq!(header(&answer, "access-control-allow-origin"), self.portal);
        let there = header(&answer, "location");
        if there.is_empty() {
            return answer;
        }
        let url = if there.starts_with('/') {
            format!("{}{there}", self.tenant)
        } else {
            there
        };
        self.http.get(url).bearer_auth(token).send().await.unwrap()
    }

    /// Waits until the tenant refuses the token: the broker revokes in the background.
    async fn refuses(&self, token: &str) {
        for _ in 0..50 {
            if self.me(token).await.status() == 401 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the tenant still accepts the token");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_logs_in_gets_a_dashboard_and_tokens_of_their_own() {
    let demo = Demo::start().await;
    assert!(
        demo.printed
            .trim_start()
            .starts_with("Open http://localhost:3")
    );
    let mut ids = Vec::new();
    for (user, other) in [("ann", "bob"), ("bob", "ann")] {
        let answer = demo.post("/login", "", &format!("user={user}")).await;
        assert_eq!(header(&answer, "location"), format!("/{user}/"));
        let cookie = header(&answer, "set-cookie");
        let (value, flags) = cookie.split_once("; ").unwrap();
        assert_eq!(
            flags,
            format!("Path=/{user}; Max-Age=28800; HttpOnly; SameSite=Lax")
        );
        let page = demo.get(&format!("/{user}/"), value).await;
        assert_eq!(page.status(), 200);
        let page = page.text().await.unwrap();
        assert!(page.contains(&format!("data-user=\"{user}\"")) && !page.contains("{{"));
        assert!(page.contains(&format!("data-broker=\"{}\"", demo.broker)));

        let session = demo.session(user, value).await.text().await.unwrap();
        let token = demo.to_broker("/session-token", &session).await;
        assert_eq!(token.status(), 200);
        assert_eq!(header(&token, "access-control-allow-origin"), demo.portal);
        let token: Value = token.json().await.unwrap();
        let token = token["access_token"].as_str().unwrap().to_owned();
        let me: Value = demo.me(&token).await.json().await.unwrap();
        assert_eq!(me["subject"], format!("auth0|{user}"));
        ids.push(token);

        // The cookie is this user's alone, whatever path it is shown at.
        let foreign = demo.get(&format!("/{other}/"), value).await;
        assert_eq!(
            (
                foreign.status().as_u16(),
                header(&foreign, "location").as_str()
            ),
            (303, "/")
        );
        assert_eq!(demo.session(other, value).await.status(), 401);
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_cookie_leads_back_to_the_login() {
    let demo = Demo::start().await;
    let good = demo.log_in("ann").await;
    let jwt = good.split_once('=').unwrap().1;
    let parts: Vec<_> = jwt.split('.').collect();
    let portal_jwt = demo.session("ann", &good).await.text().await.unwrap();
    // {"alg":"none","typ":"JWT"}
    let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.", parts[1]);
    let flipped = format!(
        "{}.{}.{}{}",
        parts[0],
        parts[1],
        if parts[2].starts_with('A') { 'B' } else { 'A' },
        &parts[2][1..]
    );
    for forged in [
        String::new(),
        "portal_session=".to_owned(),
        "portal_session=ann".to_owned(),
        format!("portal_session={}.{}.", parts[0], parts[1]),
        format!("portal_session={unsigned}"),
        format!("portal_session={flipped}"),
        // Signed by the portal, but for the broker.
        format!("portal_session={portal_jwt}"),
        format!("portal={jwt}"),
        format!("{good}; portal_session=other"),
    ] {
        let page = demo.get("/ann/", &forged).await;
        assert_eq!(
            (page.status().as_u16(), header(&page, "location").as_str()),
            (303, "/"),
            "{forged}"
        );
        assert_eq!(demo.session("ann", &forged).await.status(), 401, "{forged}");
        // Nor can it end anybody's session.
        demo.post("/ann/logout", &forged, "").await;
    }
    assert_eq!(demo.session("ann", &good).await.status(), 200);
}

/// Each request of the page shows another JWT, and each is a session of its own to the broker.
#[tokio::test(flavor = "multi_thread")]
async fn logging_out_at_the_portal_ends_every_session_and_the_token() {
    let demo = Demo::start().await;
    let (cookie, elsewhere) = (demo.log_in("ann").await, demo.log_in("ann").await);
    let bob = demo.log_in("bob").await;
    let bobs = demo.session("bob", &bob).await.text().await.unwrap();
    let first = demo.session("ann", &cookie).await.text().await.unwrap();
    let token = demo.to_broker("/session-token", &first).await;
    let token: Value = token.json().await.unwrap();
    let token = token["access_token"].as_str().unwrap();
    let second = demo.session("ann", &elsewhere).await.text().await.unwrap();
    assert_ne!(first, second);
    assert_eq!(demo.me(token).await.status(), 200);
    // Only a POST ends anything.
    assert_eq!(demo.get("/ann/logout", &cookie).await.status(), 405);

    let answer = demo.post("/ann/logout", &cookie, "").await;
    assert_eq!(
        (
            answer.status().as_u16(),
            header(&answer, "location").as_str()
        ),
        (303, "/")
    );
    assert_eq!(
        header(&answer, "set-cookie"),
        "portal_session=; Path=/ann; Max-Age=0; HttpOnly; SameSite=Lax"
    );
    // She is let in again, within the same second.
    let again = demo.log_in("ann").await;
    let third = demo.session("ann", &again).await.text().await.unwrap();
    for (session, status) in [(&first, 401), (&second, 401), (&third, 200), (&bobs, 200)] {
        let answer = demo.to_broker("/session-token", session).await;
        assert_eq!(answer.status(), status);
    }
    demo.refuses(token).await;
    for cookie in [&cookie, &elsewhere] {
        assert_eq!(demo.session("ann", cookie).await.status(), 401);
    }
    assert_eq!(demo.session("bob", &bob).await.status(), 200);
}

/// The portal's session ends all the same, and its cookie is good for one thing more.
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_that_the_broker_does_not_confirm_says_so_and_can_be_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Has its port, and refuses connections until it listens.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let away = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let surroundings = Surroundings {
            port: address.port(),
            broker: &format!("http://{away}"),
            tenant: "http://127.0.0.1:9400",
            secret: "demo only: whoever knows this text is anybody",
            key: "qtb_demo_ZGVtby1vbmx5LWtleS1uZXZlci11c2UtaXQtZWxzZXd",
        };
        portal::serve(listener, &surroundings).await.unwrap();
    });
    let http = portal_client();
    let origin = format!("http://{address}");
    let post = async |path: &str, cookie: &str, form: &'static str| {
        let call = http.post(format!("{origin}{path}")).body(form);
        let call = call.header("origin", &origin).header("cookie", cookie);
        call.header("content-type", FORM).send().await.unwrap()
    };
    let session = async |cookie: &str| {
        let call = http.get(format!("{origin}/ann/session"));
        call.header("cookie", cookie).send().await.unwrap()
    };
    let answer = post("/login", "", "user=ann").await;
    let cookie = header(&answer, "set-cookie");
    let cookie = cookie.split(';').next().unwrap();
    let jwt = session(cookie).await.text().await.unwrap();

    let answer = post("/ann/logout", cookie, "").await;
    assert_eq!(
        (
            answer.status().as_u16(),
            header(&answer, "set-cookie").as_str()
        ),
        (502, "")
    );
    assert!(answer.text().await.unwrap().ends_with("Try again."));
    assert_eq!(session(cookie).await.status(), 401);

    // The broker comes back, and has heard of nothing.
    let tenant = Simulator::start(World::demo()).await.unwrap();
    let config = include_str!("../../config/demo.toml");
    let config = config.replace("http://127.0.0.1:9400", &tenant.url());
    let listener = socket.listen(64).unwrap().into_std().unwrap();
    let broker = Broker::start_on(listener, &config);
    assert_eq!(broker.ask_as(&jwt).send().await.unwrap().status(), 200);

    let answer = post("/ann/logout", cookie, "").await;
    assert_eq!(answer.status(), 303);
    assert!(header(&answer, "set-cookie").starts_with("portal_session=; "));
    refused(broker.ask_as(&jwt), 401, "session_expired").await;
}

fn portal_client() -> Client {
    let builder = Client::builder().redirect(reqwest::redirect::Policy::none());
    builder.no_proxy().build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_portals_own_pages_act() {
    let demo = Demo::start().await;
    let cookie = demo.log_in("ann").await;
    let by_address = demo.portal.replace("localhost", "127.0.0.1");
    for origin in ["http://evil.example", "null", &demo.broker, &by_address] {
        for (path, form) in [("/login", "user=ann"), ("/ann/logout", "")] {
            let answer = demo.post_from(origin, path, &cookie, form).await;
            assert_eq!(
                (
                    answer.status().as_u16(),
                    header(&answer, "set-cookie").as_str()
                ),
                (403, ""),
                "{origin} {path}"
            );
        }
        let call = demo.call(Method::GET, "/ann/session");
        let call = call.header("origin", origin).header("cookie", &cookie);
        assert_eq!(call.send().await.unwrap().status(), 403, "{origin}");
    }
    let call = demo
        .call(Method::POST, "/ann/logout")
        .header("cookie", &cookie);
    assert_eq!(
        call.send().await.unwrap().status(),
        403,
        "without an origin"
    );
    for (site, status) in [
        ("cross-site", 403),
        ("same-site", 403),
        ("none", 403),
        ("same-origin", 200),
    ] {
        let call = demo.call(Method::GET, "/ann/session");
        let call = call
            .header("sec-fetch-site", site)
            .header("cookie", &cookie);
        assert_eq!(call.send().await.unwrap().status(), status, "{site}");
    }
    // A name that somebody else pointed at this machine.
    let port = demo.portal.rsplit(':').next().unwrap();
    for host in [&format!("evil.example:{port}"), "localhost:1", "localhost"] {
        let url = format!("http://127.0.0.1:{port}/ann/session");
        let call = demo.http.get(url).header("host", host);
        let answer = call.header("cookie", &cookie).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{host}");
    }
    for form in ["user=eve", "user=Ann", "user=", "", "user=ann&user=bob"] {
        let answer = demo.post("/login", "", form).await;
        assert!(answer.status().is_client_error(), "{form}");
        assert_eq!(header(&answer, "set-cookie"), "", "{form}");
    }
    assert_eq!(demo.session("ann", &cookie).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_the_portal_is_framed_and_no_page_holds_a_script() {
    let demo = Demo::start().await;
    let cookie = demo.log_in("ann").await;
    let policy = format!(
        "default-src 'none'; script-src 'self' {broker}; connect-src 'self' {broker} {tenant}; \
         style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        broker = demo.broker,
        tenant = demo.tenant,
    );
    for (path, status, kind) in [
        ("/", 200, "text/html; charset=utf-8"),
        ("/ann/", 200, "text/html; charset=utf-8"),
        ("/ann/session", 200, "text/plain; charset=utf-8"),
        ("/assets/portal.css", 200, "text/css; charset=utf-8"),
        (
            "/assets/dashboard.js",
            200,
            "text/javascript; charset=utf-8",
        ),
        ("/assets/stage.js", 200, "text/javascript; charset=utf-8"),
        ("/assets/icon.svg", 200, "image/svg+xml"),
        ("/bob/", 303, ""),
        ("/login", 405, ""),
        ("/eve/", 404, ""),
        ("/eve/session", 404, ""),
        ("/assets/..%2flogin.html", 404, ""),
        ("//evil.example/", 404, ""),
        ("/nothing", 404, ""),
    ] {
        let answer = demo.get(path, &cookie).await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(header(&answer, "content-type"), kind, "{path}");
        for (name, value) in [
            ("content-security-policy", policy.as_str()),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("access-control-allow-origin", ""),
        ] {
            assert_eq!(header(&answer, name), value, "{path}: {name}");
        }
        let text = answer.text().await.unwrap();
        assert!(
            !text.contains("<style") && !text.contains(" style="),
            "{path}"
        );
        assert!(
            !text.contains(" onclick=") && !text.contains("<script>"),
            "{path}"
        );
    }
}
