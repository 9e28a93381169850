//! More than can be served: what is turned away, and that nobody else notices.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use futures_util::future::join_all;
use qlik_token_broker::simulator::{Call, Fault};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::ServiceExt;

use super::cli::program;
use super::harness::{
    Broker, KEY, Scratch, header, in_process, key_table, refused, subject, tenant, tenant_table,
};
use super::keeper::Keeper;

/// The program itself, of which can be said how large it is.
struct Process {
    child: Child,
    public: SocketAddr,
    _config: Scratch,
}

impl Process {
    async fn start(config: &str) -> Self {
        let [public, ops] = [(); 2].map(|()| {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap()
        });
        let config = config.replace("[server]", &format!("[server]\nlisten = '{public}'"));
        let config = Scratch::new(&format!("[ops]\nlisten = '{ops}'\n{config}"));
        let child = program()
            .args(["serve", "--config"])
            .arg(&config.0)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let process = Self {
            child,
            public,
            _config: config,
        };
        for _ in 0..400 {
            if TcpStream::connect(public).is_ok() {
                return process;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the broker did not come up");
    }

    fn megabytes(&self) -> u64 {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
        kilobytes.parse::<u64>().unwrap() / 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whatever comes beyond the places is turned away at once and leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn c40_a_flood_is_shed_before_it_takes_memory_and_the_process_says_that_it_lives() {
    const FLOOD: usize = 6_000;
    let (tenant, keeper) = (tenant().await, Keeper::start().await);
    keeper.log_in("s1", json!({"name": "ann"}));
    let process = Process::start(&format!(
        "[server]\nmax_in_flight = 20\nrequest_timeout = '4s'\n[[session]]\ntype = 'portal_check'\nurl = '{}/whoami'\n\
         cookies = ['sid']\nuser = [{{ field = 'subject', value = 'auth0|{{name}}' }}]\n{}",
        keeper.url,
        tenant_table("acme", &tenant.url())
    ))
    .await;
    let client = Client::builder().no_proxy().build().unwrap();
    let url = |path: &str| format!("http://{}{path}", process.public);
    let ask = || {
        let ask = client
            .post(url("/session-token"))
            .header("cookie", "sid=s1");
        ask.header("x-broker-request", "1").send()
    };
    let before = process.megabytes();
    keeper.slow(Duration::from_secs(2));
    let mut places = JoinSet::new();
    for _ in 0..20 {
        places.spawn(ask());
    }
    while keeper.questions() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    let mut shed = 0;
    while shed < FLOOD && started.elapsed() < Duration::from_millis(1500) {
        for answer in join_all((0..100).map(|_| ask())).await {
            let answer = answer.unwrap();
            assert_eq!(answer.status(), 503);
            assert_eq!(header(&answer, "retry-after"), "1");
            shed += 1;
        }
        let lives = client.get(url("/healthz")).send().await.unwrap();
        assert_eq!(lives.status(), 200);
    }
    assert!(shed >= 500, "{shed} in 1.5 s");
    let grown = process.megabytes().saturating_sub(before);
    assert!(grown < 40, "{grown} MB more");
    while let Some(answer) = places.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status(), 200, "who has a place");
    }
    assert_eq!(ask().await.unwrap().status(), 200);
    assert_eq!(tenant.calls(Call::TokenImpersonation), 1);
}

/// Heads that never end take no place; bodies of proven callers do, until their time is over.
#[ignore = "needs the machine for itself: scripts/test runs it"]
#[tokio::test(flavor = "multi_thread")]
async fn c40_slow_heads_keep_nobody_out_and_slow_bodies_not_for_long() {
    let tenant = tenant().await;
    let config = format!(
        "[server]\nmax_in_flight = 50\nrequest_timeout = '2s'\n{}{}",
        key_table(&["acme"]),
        tenant_table("acme", &tenant.url())
    );
    let broker = Broker::start_with(&config, Duration::from_secs(2));
    let open = |sent: String| {
        let mut stream = TcpStream::connect(broker.address).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        stream
    };
    let head = "POST /session-token HTTP/1.1\r\nHost: x\r\n";
    let mut slow: Vec<_> = (0..500).map(|_| open(head.to_owned())).collect();
    broker.token_of("ann").await;
    let body = format!(
        "{head}Authorization: Bearer {KEY}\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{{"
    );
    let started = Instant::now();
    // More than there are places: the one who asks below holds one now and then, too.
    slow.extend((0..60).map(|_| open(body.clone())));
    loop {
        let answer = broker.ask_for("ann").send().await.unwrap();
        if answer.status() == 503 {
            break;
        }
        assert!(
            started.elapsed() < Duration::from_millis(1800),
            "not in time"
        );
    }
    refused(broker.ask_for("ann"), 503, "overloaded").await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    broker.token_of("ann").await;
    let cut = slow.iter().filter(|stream| {
        stream.set_nonblocking(true).unwrap();
        let mut all = [0; 4096];
        // What was answered, if anything was, and then the end.
        (0..10).any(|_| matches!(std::io::Read::read(&mut &**stream, &mut all), Ok(0)))
    });
    assert!(cut.count() >= 500, "every slow head is cut");
    assert_eq!(tenant.calls(Call::TokenImpersonation), 1);
}

/// The queue is bounded by number, and a place in it costs no place in flight.
#[tokio::test(flavor = "multi_thread")]
async fn c40_ten_thousand_wait_for_a_mint_and_the_next_one_is_told_to_come_back() {
    const WAITING: usize = 10_000;
    const TOO_MANY: usize = 20;
    let tenant = tenant().await;
    let config = format!(
        "[server]\nrequest_timeout = '60s'\n{}{}",
        key_table(&["acme"]),
        tenant_table("acme", &tenant.url())
    );
    let router = in_process(&config);
    let ask = |user: &str| {
        let body = json!({"user_lookup": subject(user)}).to_string();
        let request = Request::post("/session-token")
            .header("authorization", format!("Bearer {KEY}"))
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap();
        let answering = router.clone().oneshot(request);
        async move { answering.await.unwrap() }
    };
    assert_eq!(ask("ann").await.status(), 200);
    tenant.on_until_cleared(Call::TokenImpersonation, Fault::Hang);
    let mut asking = JoinSet::new();
    for user in 0..WAITING + TOO_MANY {
        asking.spawn(ask(&format!("u{user}")));
    }
    for _ in 0..TOO_MANY {
        let answer = timeout(Duration::from_secs(20), asking.join_next()).await;
        let answer = answer.unwrap().unwrap().unwrap();
        assert_eq!(answer.status(), 503);
        let wait = answer.headers()["retry-after"].to_str().unwrap();
        assert!(wait.parse::<u64>().unwrap() >= 1);
        let problem = axum::body::to_bytes(answer.into_body(), 4096).await;
        let problem: Value = serde_json::from_slice(&problem.unwrap()).unwrap();
        assert_eq!(problem["code"], "tenant_throttled");
    }
    let more = timeout(Duration::from_millis(200), asking.join_next()).await;
    assert!(more.is_err(), "all others wait");
    assert_eq!(ask("ann").await.status(), 200, "who has a token is served");
    let lives = Request::get("/healthz").body(Body::empty()).unwrap();
    assert_eq!(router.oneshot(lives).await.unwrap().status(), 200);
    asking.shutdown().await;
}
