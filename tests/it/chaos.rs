//! Everything at once: two replicas under load from 200 people, while tenants fail, the store is
//! killed and held up, replicas are killed and replaced, people log out and the configuration changes.
//! Afterwards what was promised is held against what was seen.
//!
//! `QTB_CHAOS_SECONDS` is how long, 12 if it is not set.

use std::collections::HashSet;
use std::fmt::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use qlik_token_broker::simulator::{Call, Fault, RateLimit, Simulator};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use super::cli::{Running, free_address, program, wait_for};
use super::harness::{Folder, world};
use super::portal::{Key, Portal};
use super::redis::{Redis, available};
use super::shared::shared_table;

const TENANTS: usize = 10;
const PEOPLE: usize = 20;
const BURST: usize = 20;
const PER_MINUTE: usize = 95;
const ENCRYPTION_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// How soon a logout is known to all replicas, with some air for a machine that is busy.
const LOGOUT_BOUND: Duration = Duration::from_secs(2);
/// A token that was minted without the store so soon after a logout is not told from one of before.
const IN_DOUBT: Duration = Duration::from_secs(7);
/// How soon everything is well again.
const HEALED_WITHIN: Duration = Duration::from_secs(35);

struct Site {
    tenants: Vec<Simulator>,
    portal: Portal,
    redis: Mutex<Option<Redis>>,
    folder: Folder,
    replicas: [Replica; 2],
    http: Client,
    is_over: AtomicBool,
    seen: Seen,
    /// From when and until when the store was away, or is.
    store_away: Mutex<Vec<(Instant, Option<Instant>)>>,
    violations: Mutex<Vec<String>>,
}

/// One of the two places where a broker runs.
struct Replica {
    public: String,
    ops: String,
    running: Mutex<Option<Running>>,
    /// Grows whenever the process is another one.
    life: AtomicU64,
    is_down: AtomicBool,
}

#[derive(Default)]
struct Seen {
    requests: AtomicUsize,
    tokens: AtomicUsize,
    refusals: AtomicUsize,
    logouts: AtomicUsize,
    faults: AtomicUsize,
    kills: AtomicUsize,
    reloads: AtomicUsize,
}

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Small numbers from the system's randomness.
fn random(below: usize) -> usize {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    usize::try_from(u64::from_le_bytes(bytes) % below as u64).unwrap()
}

async fn rest(least: u64, most: usize) {
    tokio::time::sleep(Duration::from_millis(least + random(most) as u64)).await;
}

impl Replica {
    fn new() -> Self {
        Self {
            public: free_address(),
            ops: free_address(),
            running: Mutex::default(),
            life: AtomicU64::new(0),
            is_down: AtomicBool::new(true),
        }
    }

    async fn start(&self, config: &str) {
        let child = program()
            .args(["serve", "--config", config])
            .env("QTB__SERVER__LISTEN", &self.public)
            .env("QTB__OPS__LISTEN", &self.ops)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        *self.running.lock().unwrap() = Some(Running(child));
        wait_for(&format!("http://{}/healthz", self.ops)).await;
        self.is_down.store(false, Ordering::SeqCst);
    }

    /// Ends the process, politely or not.
    async fn end(&self, politely: bool) {
        self.is_down.store(true, Ordering::SeqCst);
        self.life.fetch_add(1, Ordering::SeqCst);
        let running = self.running.lock().unwrap().take().unwrap();
        if politely {
            running.terminate();
            assert_eq!(running.ended().await, Some(0));
        }
    }

    fn reload(&self) {
        if let Some(running) = &*self.running.lock().unwrap() {
            running.signal("-HUP");
        }
    }
}

impl Site {
    async fn new() -> Arc<Self> {
        let mut tenants = Vec::new();
        for tenant in 0..TENANTS {
            let mut world = world();
            for person in 0..PEOPLE {
                let name = format!("t{tenant}p{person}");
                world = world.with_user(format!("auth0|{name}"), format!("{name}@acme.test"));
            }
            world.token_life = Duration::from_secs(40);
            // What the budget allows, in fast motion.
            world.tier2 = Some(RateLimit {
                calls: BURST + PER_MINUTE / 5 + 1,
                window: Duration::from_secs(12),
            });
            tenants.push(Simulator::start(world).await.unwrap());
        }
        let site = Self {
            tenants,
            portal: Portal::start(Key::p256()).await,
            redis: Mutex::new(Some(Redis::start().await)),
            folder: Folder::new(),
            replicas: [Replica::new(), Replica::new()],
            http: Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(5))
                .build()
                .unwrap(),
            is_over: AtomicBool::new(false),
            seen: Seen::default(),
            store_away: Mutex::default(),
            violations: Mutex::default(),
        };
        let config = site.write(0);
        for replica in &site.replicas {
            replica.start(&config).await;
        }
        Arc::new(site)
    }

    /// Writes the configuration; each `version` lists another page.
    fn write(&self, version: usize) -> String {
        let url = self.redis.lock().unwrap().as_ref().unwrap().url();
        let mut config =
            "[server]\nreplicas = 2\nrequest_timeout = '2s'\n[limits]\nsession_per_minute = 0\n"
                .to_owned()
                + &shared_table(&url, &[("k1", ENCRYPTION_KEY)])
                + &self.portal.table_with(&format!(
                    "jwks_url = '{}/jwks'\ntenant = '{{org}}'",
                    self.portal.url
                ));
        for (index, tenant) in self.tenants.iter().enumerate() {
            write!(
                config,
                "[tenants.t{index}]\nurl = '{}'\nclient_id = 'broker'\nclient_secret = 'tenant-client-secret'\n\
                 scopes = 'user_default'\nallowed_origins = ['https://v{version}.test']\n\
                 budget = {{ per_minute = {PER_MINUTE}, burst = {BURST} }}\n",
                tenant.url()
            )
            .unwrap();
        }
        self.folder.write("broker.toml", &config)
    }

    fn violated(&self, what: String) {
        self.violations.lock().unwrap().push(what);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    fn session(&self, tenant: usize, person: usize, number: usize) -> String {
        let claims = json!({"org": format!("t{tenant}"), "jti": format!("{number}")});
        self.portal
            .session_with(&format!("t{tenant}p{person}"), &claims)
    }

    /// Whether the store was in reach all the time between, and long enough before.
    fn store_was_there(&self, from: Instant, to: Instant) -> bool {
        let away = self.store_away.lock().unwrap();
        let mut in_doubt = away
            .iter()
            .filter(|(start, end)| *start < to && end.is_none_or(|end| end + LOGOUT_BOUND > from));
        in_doubt.next().is_none()
    }

    fn store_was_there_since(&self, since: Instant) -> bool {
        self.store_was_there(since, Instant::now())
    }
}

/// What somebody holds, and from where.
struct Held {
    token_id: String,
    until: Instant,
    /// The replica, and which of its lives.
    from: (usize, u64),
}

struct Person {
    site: Arc<Site>,
    tenant: usize,
    number: usize,
    sessions: usize,
    held: Vec<Held>,
    /// Tokens of before the last logout; when that was, and whether all could hear of it.
    ended: (HashSet<String>, Instant, bool),
}

impl Person {
    fn name(&self) -> String {
        format!("auth0|t{}p{}", self.tenant, self.number)
    }

    fn session(&self) -> String {
        self.site.session(self.tenant, self.number, self.sessions)
    }

    async fn live(mut self) {
        let mut session = self.session();
        while !self.site.is_over() {
            self.ask(&session).await;
            if random(40) == 0 {
                self.log_out(&session).await;
                session = self.session();
            }
            rest(300, 600).await;
        }
    }

    async fn ask(&mut self, session: &str) {
        let site = Arc::clone(&self.site);
        let index = random(2);
        let replica = &site.replicas[index];
        let life = replica.life.load(Ordering::SeqCst);
        let was_down = replica.is_down.load(Ordering::SeqCst);
        let url = format!("http://{}/session-token", replica.public);
        let asked = Instant::now();
        let answer = site.http.post(url).bearer_auth(session).send().await;
        let is_same = !was_down && replica.life.load(Ordering::SeqCst) == life;
        count(&site.seen.requests);
        let now = Instant::now();
        self.held.retain(|held| held.until > now);
        let Ok(answer) = answer else {
            if is_same {
                site.violated(format!("{} got no answer", self.name()));
            }
            return;
        };
        let status = answer.status();
        if status == StatusCode::OK {
            let body: Value = answer.json().await.unwrap_or_default();
            return self.got(&body, (index, life), asked);
        }
        count(&site.seen.refusals);
        let body: Value = answer.json().await.unwrap_or_default();
        let code = body["code"].as_str().unwrap_or("nothing");
        let has_live = self.held.iter().any(|held| held.from == (index, life));
        // A logout that a replica hears of late ends what was minted meanwhile as well, and so does one
        // of which it cannot tell whether it came before the mint.
        let (_, at, all_heard) = &self.ended;
        let heard_at_once = *all_heard && site.store_was_there(*at, *at + IN_DOUBT);
        if has_live && is_same && heard_at_once {
            site.violated(format!(
                "{} has a live token and got {code}; logged out {:.1?} ago",
                self.name(),
                at.elapsed()
            ));
        }
        if !matches!(status.as_u16(), 503 | 502) {
            site.violated(format!("{} got {status} {code}", self.name()));
        }
    }

    fn got(&mut self, body: &Value, from: (usize, u64), asked: Instant) {
        let site = Arc::clone(&self.site);
        count(&site.seen.tokens);
        let token = body["access_token"].as_str().unwrap_or_default();
        let id = body["token_id"].as_str().unwrap_or_default().to_owned();
        let left = body["expires_in"].as_u64().unwrap_or_default();
        let owner = site.tenants[self.tenant].owner(token);
        if owner.as_deref() != Some(&self.name()) {
            site.violated(format!("{} got the token of {owner:?}", self.name()));
        }
        if left == 0 || left > 40 {
            site.violated(format!("{} got a token for {left} s", self.name()));
        }
        let (ended, at, all_heard) = &self.ended;
        let bound_is_over = asked > *at + LOGOUT_BOUND;
        if ended.contains(&id) && bound_is_over && *all_heard && site.store_was_there_since(*at) {
            site.violated(format!("{} got a token of before its logout", self.name()));
        }
        // A tenth of its life, and a second for the rounding, count as over.
        let until = asked + Duration::from_secs(left.saturating_sub(6));
        self.held.push(Held {
            token_id: id,
            until,
            from,
        });
    }

    async fn log_out(&mut self, session: &str) {
        let site = Arc::clone(&self.site);
        let replica = &site.replicas[random(2)];
        let url = format!("http://{}/logout", replica.public);
        let answer = site.http.post(url).bearer_auth(session).send().await;
        // Whether it ended or not: another session, and nothing is expected of what was held.
        self.sessions += 1;
        let ids = self.held.drain(..).map(|held| held.token_id).collect();
        let is_done = answer.is_ok_and(|answer| answer.status() == 204);
        let now = Instant::now();
        self.ended = (ids, now, is_done);
        if !is_done {
            return;
        }
        count(&site.seen.logouts);
        let (session, all_heard) = (session.to_owned(), self.ended.2);
        let name = self.name();
        tokio::spawn(async move {
            tokio::time::sleep(LOGOUT_BOUND).await;
            for replica in &site.replicas {
                let url = format!("http://{}/session-token", replica.public);
                let answer = site.http.post(url).bearer_auth(&session).send().await;
                let is_served = answer.is_ok_and(|answer| answer.status() == 200);
                if is_served && all_heard && site.store_was_there_since(now) {
                    site.violated(format!("{name} was served by a session that had ended"));
                }
            }
        });
    }
}

async fn break_tenants(site: Arc<Site>) {
    while !site.is_over() {
        rest(200, 600).await;
        let fault = match random(9) {
            0 | 1 => Fault::Status {
                status: 503,
                code: None,
                title: None,
            },
            2 => Fault::CutMidAnswer,
            3 => Fault::Disconnect,
            4 => Fault::NotJson,
            5 => Fault::Throttle { retry_after: 2 },
            6 => Fault::Slow { millis: 1500 },
            7 => Fault::EmptyToken,
            _ => Fault::Hang,
        };
        let call = [Call::Token, Call::TokenImpersonation, Call::Revoke][random(3)];
        let times = 1 + u32::try_from(random(3)).unwrap();
        site.tenants[random(TENANTS)].on_times(call, fault, times);
        count(&site.seen.faults);
    }
}

/// Kills the store, or holds it up, and lets it be for a while.
async fn break_store(site: Arc<Site>) {
    while !site.is_over() {
        rest(2500, 1500).await;
        let mut redis = site.redis.lock().unwrap().take().unwrap();
        site.store_away.lock().unwrap().push((Instant::now(), None));
        count(&site.seen.kills);
        if random(3) == 0 {
            redis.pause();
            rest(500, 500).await;
            redis.resume();
        } else {
            redis.kill();
            rest(500, 1500).await;
            redis.restart().await;
        }
        site.store_away.lock().unwrap().last_mut().unwrap().1 = Some(Instant::now());
        *site.redis.lock().unwrap() = Some(redis);
    }
}

async fn replace_replicas(site: Arc<Site>) {
    while !site.is_over() {
        rest(3000, 1500).await;
        let replica = &site.replicas[random(2)];
        replica.end(random(2) == 0).await;
        count(&site.seen.kills);
        rest(100, 400).await;
        let config = site.folder.0.join("broker.toml");
        replica.start(config.to_str().unwrap()).await;
    }
}

async fn reload(site: Arc<Site>) {
    let mut version = 0;
    while !site.is_over() {
        rest(1500, 1500).await;
        if site.redis.lock().unwrap().is_none() {
            continue;
        }
        version += 1;
        site.write(version);
        for replica in &site.replicas {
            replica.reload();
        }
        count(&site.seen.reloads);
    }
}

/// When everybody is served by both replicas, and both say that they are well.
async fn healed(site: &Site) -> Duration {
    let started = Instant::now();
    let everybody = (0..TENANTS).flat_map(|tenant| (0..PEOPLE).map(move |person| (tenant, person)));
    let served = everybody.map(|(tenant, person)| async move {
        for replica in &site.replicas {
            let session = site.session(tenant, person, 1_000_000);
            loop {
                let url = format!("http://{}/session-token", replica.public);
                let answer = site.http.post(url).bearer_auth(&session).send().await;
                if answer.is_ok_and(|answer| answer.status() == 200) {
                    break;
                }
                assert!(
                    started.elapsed() < HEALED_WITHIN,
                    "{tenant} {person} is not served"
                );
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }
    });
    join_all(served).await;
    for replica in &site.replicas {
        loop {
            let url = format!("http://{}/readyz", replica.ops);
            let ready: Value = site
                .http
                .get(url)
                .send()
                .await
                .unwrap()
                .json()
                .await
                .unwrap();
            if ready["status"] == "ready" {
                break;
            }
            assert!(started.elapsed() < HEALED_WITHIN, "{ready}");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
    started.elapsed()
}

/// The most calls of a tenant's token tier in any so long a time, from its own log.
fn most_calls(tenant: &Simulator, window: Duration) -> usize {
    let times: Vec<jiff::Timestamp> = tenant
        .requests()
        .iter()
        .filter(|request| matches!(request.call, Call::TokenImpersonation | Call::Revoke))
        .map(|request| request.time.parse().unwrap())
        .collect();
    let window = jiff::SignedDuration::try_from(window).unwrap();
    let within = |start: usize| {
        times[start..]
            .iter()
            .take_while(|time| time.duration_since(times[start]) < window)
            .count()
    };
    (0..times.len()).map(within).max().unwrap_or_default()
}

#[ignore = "needs the machine for itself: scripts/test runs it"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos() {
    if !available() {
        return;
    }
    let seconds = std::env::var("QTB_CHAOS_SECONDS").ok();
    let seconds = seconds.map_or(12, |text| text.parse().unwrap());
    let site = Site::new().await;
    let people = (0..TENANTS).flat_map(|tenant| (0..PEOPLE).map(move |person| (tenant, person)));
    let people: Vec<_> = people
        .map(|(tenant, number)| Person {
            site: Arc::clone(&site),
            tenant,
            number,
            sessions: 0,
            held: Vec::new(),
            // Never, as far as this goes.
            ended: (
                HashSet::new(),
                Instant::now().checked_sub(2 * IN_DOUBT).unwrap(),
                true,
            ),
        })
        .map(|person| tokio::spawn(person.live()))
        .collect();
    let breaking = [
        tokio::spawn(break_tenants(Arc::clone(&site))),
        tokio::spawn(break_store(Arc::clone(&site))),
        tokio::spawn(replace_replicas(Arc::clone(&site))),
        tokio::spawn(reload(Arc::clone(&site))),
    ];
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    site.is_over.store(true, Ordering::SeqCst);
    for task in people.into_iter().chain(breaking) {
        task.await.unwrap();
    }
    for tenant in &site.tenants {
        tenant.clear_faults();
    }
    let healed_after = healed(&site).await;
    let most = site
        .tenants
        .iter()
        .map(|tenant| most_calls(tenant, Duration::from_secs(12)));
    let most = most.max().unwrap();
    let seen = &site.seen;
    let number = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    println!(
        "{seconds} s: {} requests, {} tokens, {} refusals, {} logouts, {} faults, {} kills, {} reloads; \
         at most {most} calls in 12 s; healed after {healed_after:.1?}",
        number(&seen.requests),
        number(&seen.tokens),
        number(&seen.refusals),
        number(&seen.logouts),
        number(&seen.faults),
        number(&seen.kills),
        number(&seen.reloads),
    );
    let violations = site.violations.lock().unwrap();
    assert!(
        violations.is_empty(),
        "{} violations: {:#?}",
        violations.len(),
        &violations[..violations.len().min(20)]
    );
    assert!(
        most <= BURST + PER_MINUTE / 5 + 1,
        "the window was exceeded"
    );
    assert!(number(&seen.tokens) > 0 && number(&seen.faults) > 0 && number(&seen.kills) > 0);
}
