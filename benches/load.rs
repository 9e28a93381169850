//! The loader of `scripts/bench`, for what wrk cannot do: users who are all different or drawn at
//! random, sessions that are signed on the way, and a crowd that asks at the same moment.
//!
//!     load ADDRESS request=FILE [NAME=VALUE]…
//!
//! The file is a whole request, with `{user}` for seven digits and `{session}` for a JWT of that
//! user. All connections are open before the first request leaves. The outcome is a line of JSON.
#![expect(
    clippy::unwrap_used,
    reason = "a measuring aid that is started by a script"
)]

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::time::Instant;

/// What was asked for on the command line.
struct Plan {
    address: SocketAddr,
    connections: usize,
    /// It ends when either is reached.
    seconds: f64,
    total: u64,
    /// The users: so many, from this one on; in turn, or drawn at random.
    first: u64,
    users: u64,
    random: bool,
    /// So many users a second leave at one end and come at the other.
    slide: f64,
}

/// A request and its gaps.
struct Template {
    pieces: Vec<Piece>,
    signer: Signer,
}

enum Piece {
    Text(String),
    User,
    Session,
}

/// The issuer of the users' sessions.
struct Signer {
    key: hmac::Key,
    issued: u64,
    tenants: u64,
}

/// What came of it all.
#[derive(Default)]
struct Outcome {
    latencies: Latencies,
    statuses: BTreeMap<String, u64>,
}

/// How long answers took, in microseconds to three digits: exact below 1024, then 512 steps from one
/// power of two to the next.
#[derive(Default)]
struct Latencies {
    counts: Vec<u64>,
    number: u64,
    longest: u64,
}

struct Args(Vec<String>);

impl Args {
    fn get<T: FromStr<Err: Debug>>(&self, name: &str, otherwise: T) -> T {
        let mut values = self.0.iter().filter_map(|arg| arg.split_once('='));
        let value = values.find(|(given, _)| *given == name);
        value.map_or(otherwise, |(_, value)| value.parse().unwrap())
    }
}

impl Template {
    fn read(args: &Args) -> Self {
        let text = std::fs::read_to_string(args.get("request", String::new())).unwrap();
        let mut pieces = Vec::new();
        for part in text.split_inclusive('}') {
            let gap = [("{user}", Piece::User), ("{session}", Piece::Session)]
                .into_iter()
                .find_map(|(name, gap)| Some((part.strip_suffix(name)?, gap)));
            let (before, gap) = gap.map_or((part, None), |(before, gap)| (before, Some(gap)));
            pieces.push(Piece::Text(before.to_owned()));
            pieces.extend(gap);
        }
        let secret = args.get("secret", String::new());
        let secret = std::fs::read(secret).unwrap_or_default();
        let signer = Signer {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.trim_ascii()),
            issued: args.get("issued", 0),
            tenants: args.get("tenants", 1),
        };
        Self { pieces, signer }
    }

    fn render(&self, user: u64, request: &mut String) {
        request.clear();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => request.push_str(text),
                Piece::User => write!(request, "{user:07}").unwrap(),
                Piece::Session => request.push_str(&self.signer.session(user)),
            }
        }
    }
}

impl Signer {
    fn session(&self, user: u64) -> String {
        let tenant = user % self.tenants;
        let (from, to) = (self.issued, self.issued + 36_000);
        let claims = format!(
            r#"{{"iss":"https://portal.example.com","aud":"broker","sub":"u{user:07}","org":"t{tenant}","iat":{from},"exp":{to}}}"#
        );
        let header = r#"{"alg":"HS256","typ":"JWT"}"#;
        let mut jwt = URL_SAFE_NO_PAD.encode(header);
        jwt.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut jwt);
        let tag = hmac::sign(&self.key, jwt.as_bytes());
        jwt.push('.');
        URL_SAFE_NO_PAD.encode_string(tag, &mut jwt);
        jwt
    }
}

impl Outcome {
    fn add(&mut self, latency: Duration, status: Option<String>) {
        self.latencies.add(latency);
        let status = status.unwrap_or_else(|| "broken".to_owned());
        *self.statuses.entry(status).or_default() += 1;
    }
}

impl Latencies {
    fn add(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap();
        let shift = (u64::BITS - micros.leading_zeros()).saturating_sub(10);
        let slot = usize::try_from((u64::from(shift) << 9) + (micros >> shift)).unwrap();
        if slot >= self.counts.len() {
            self.counts.resize(slot + 1, 0);
        }
        self.counts[slot] += 1;
        self.number += 1;
        self.longest = self.longest.max(micros);
    }

    /// In microseconds: as many percent took no longer.
    fn percentile(&self, percent: u64) -> u64 {
        let rank = (self.number * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let reached = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        let slot = u64::try_from(reached.unwrap_or_default()).unwrap();
        if slot < 1024 {
            return slot;
        }
        let shift = (slot >> 9) - 1;
        (slot - (shift << 9)) << shift
    }
}

/// xorshift: good enough to draw users, and the same users each time.
fn draw(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// The status of the answer; `None` if the connection broke.
async fn exchange(stream: &mut TcpStream, request: &str, buffer: &mut Vec<u8>) -> Option<String> {
    stream.write_all(request.as_bytes()).await.ok()?;
    buffer.clear();
    let mut whole = None;
    while whole.is_none_or(|length| buffer.len() < length) {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
        if whole.is_none() {
            whole = length(buffer);
        }
    }
    Some(String::from_utf8_lossy(&buffer[9..12]).into_owned())
}

/// The length of the whole answer, once its head is there.
fn length(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&answer[..head]).unwrap();
    let lengths = text.lines().filter_map(|line| line.split_once(": "));
    let body = lengths
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map(|(_, value)| value.trim().parse::<usize>().unwrap())
        .next()
        .unwrap_or_else(|| panic!("an answer without Content-Length: {text}"));
    Some(head + body)
}

struct Shared {
    plan: Plan,
    template: Template,
    ready: Barrier,
    taken: AtomicU64,
    outcome: Mutex<Outcome>,
}

impl Shared {
    /// Whose turn it is; `None` when there were enough.
    fn next(&self, started: Instant, random: &mut u64) -> Option<u64> {
        let plan = &self.plan;
        let turn = self.taken.fetch_add(1, Ordering::Relaxed);
        let elapsed = started.elapsed().as_secs_f64();
        if turn >= plan.total || elapsed >= plan.seconds {
            return None;
        }
        let place = if plan.random { draw(random) } else { turn };
        let slid = Duration::from_secs_f64(elapsed * plan.slide).as_secs();
        Some(plan.first + slid + place % plan.users)
    }

    async fn work(&self, number: u64) {
        let mut stream = connect(self.plan.address).await;
        let (mut request, mut buffer) = (String::new(), Vec::with_capacity(8192));
        let mut random = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.ready.wait().await;
        let started = Instant::now();
        while let Some(user) = self.next(started, &mut random) {
            self.template.render(user, &mut request);
            let asked = Instant::now();
            let status = exchange(&mut stream, &request, &mut buffer).await;
            let latency = asked.elapsed();
            let is_broken = status.is_none();
            self.outcome.lock().unwrap().add(latency, status);
            if is_broken {
                stream = connect(self.plan.address).await;
            }
        }
    }
}

// One thread: like wrk's, it leaves the other cores to what is measured.
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args = Args(std::env::args().skip(1).collect());
    // `cargo bench` and `cargo test` start every bench with flags of their own: nothing to do then.
    let Some(Ok(address)) = args.0.first().map(|first| first.parse()) else {
        return;
    };
    let plan = Plan {
        address,
        connections: args.get("connections", 64),
        seconds: args.get("seconds", f64::INFINITY),
        total: args.get("total", u64::MAX),
        first: args.get("first", 0),
        users: args.get("users", u64::MAX),
        random: args.get("random", false),
        slide: args.get("slide", 0.0),
    };
    let connections = plan.connections;
    let shared = Arc::new(Shared {
        template: Template::read(&args),
        ready: Barrier::new(connections + 1),
        taken: AtomicU64::new(0),
        outcome: Mutex::default(),
        plan,
    });
    let work = |number| {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move { shared.work(number).await })
    };
    let workers: Vec<_> = (0..).take(connections).map(work).collect();
    shared.ready.wait().await;
    let started = Instant::now();
    for worker in workers {
        worker.await.unwrap();
    }
    let seconds = started.elapsed().as_secs_f64();
    let outcome = shared.outcome.lock().unwrap();
    let latencies = &outcome.latencies;
    let said = json!({
        "requests": latencies.number,
        "seconds": seconds,
        "per_second": latencies.number as f64 / seconds,
        "p50": latencies.percentile(50),
        "p99": latencies.percentile(99),
        "max": latencies.longest,
        "statuses": outcome.statuses,
    });
    println!("{said}");
}
