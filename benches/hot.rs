//! The pieces of a hit one by one, and whole hits without sockets: `cargo bench --bench hot`.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measuring aid that nobody is served by"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{digest, hmac};
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, ORIGIN};
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use compact_str::CompactString;
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use qlik_token_broker::admission::Admitted;
use qlik_token_broker::app::live::Live;
use qlik_token_broker::broker::MintError;
use qlik_token_broker::config::{self, Sources};
use qlik_token_broker::expiring::{ExpiringCell, Lease};
use qlik_token_broker::http::{self, Code, Framed, Problem};
use qlik_token_broker::identity::Claims;
use qlik_token_broker::mapping::{
    DenyList, LookupField, Mapping, Rule, RuleField, Template, UserLookup,
};
use qlik_token_broker::session::Presented;
use qlik_token_broker::simulator::{Call, Simulator, World};
use qlik_token_broker::tenant::{Grant, ScopeSet};
use qlik_token_broker::watch::Watch;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

const KEY: &str = "qtb_bench_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const SECRET: &str = "a secret of at least thirty-two bytes";
const PAGE: &str = "https://portal.example.com";
const ASKING: &str = r#"{"user_lookup": {"field": "subject", "value": "auth0|ann"}}"#;

/// A broker without sockets, at a simulated tenant.
struct Bench {
    runtime: Runtime,
    live: Arc<Live>,
    router: Framed,
    tenant: Simulator,
    session: String,
}

impl Bench {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let tenant = runtime.block_on(Simulator::start(World::demo())).unwrap();
        let file = std::env::temp_dir().join(format!("qtb-hot-{}.toml", std::process::id()));
        std::fs::write(&file, configuration(&tenant.url())).unwrap();
        let sources = Sources {
            files: vec![file.clone()],
            env: Vec::new(),
        };
        let watch = Watch::new(config::files(&sources));
        let config = config::load(&sources).unwrap_or_else(|problems| panic!("{problems}"));
        let entered = runtime.enter();
        let live = Live::new(config, sources, watch).unwrap();
        drop(entered);
        std::fs::remove_file(file).unwrap();
        let router = http::router(&live);
        Self {
            runtime,
            live,
            router,
            tenant,
            session: session(),
        }
    }

    /// The status of what the router answers.
    fn ask(&self, request: Request<Body>) -> StatusCode {
        let answering = self.router.clone().oneshot(request);
        let answer = self.runtime.block_on(answering).unwrap();
        answer.status()
    }

    fn by_key() -> Request<Body> {
        let request = Request::post("/session-token")
            .header(AUTHORIZATION, format!("Bearer {KEY}"))
            .header(CONTENT_TYPE, "application/json");
        request.body(Body::from(ASKING)).unwrap()
    }

    fn by_session(session: &str) -> Request<Body> {
        let request = Request::post("/session-token")
            .header(AUTHORIZATION, format!("Bearer {session}"))
            .header(ORIGIN, PAGE);
        request.body(Body::empty()).unwrap()
    }
}

fn configuration(tenant: &str) -> String {
    let digest = hex::encode(digest::digest(&digest::SHA256, KEY.as_bytes()));
    format!(
        "[limits]\nsession_per_minute = 4000000000\n\
         [[session]]\ntype = 'api_key'\nkeys = [{{ id = 'bench', sha256 = '{digest}' }}]\n\
         [[session]]\ntype = 'jwt'\nissuer = '{PAGE}'\naudience = 'broker'\nalgorithms = ['HS256']\n\
         hmac_secret = '{SECRET}'\nuser = [{{ field = 'subject', value = 'auth0|{{sub}}' }}]\n\
         [tenants.bench]\nurl = '{tenant}'\nclient_id = 'demo-broker'\n\
         client_secret = 'demo-broker-secret'\nscopes = 'user_default'\nallowed_origins = ['{PAGE}']\n"
    )
}

fn claims() -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = now.as_secs();
    json!({ "iss": PAGE, "aud": "broker", "sub": "ann", "iat": now, "exp": now + 36_000 })
}

fn session() -> String {
    let part = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!(
        "{}.{}",
        part(json!({ "alg": "HS256", "typ": "JWT" })),
        part(claims())
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn pieces(criterion: &mut Criterion) {
    let bench = Bench::new();
    let cell = Arc::new(ExpiringCell::<_, MintError>::default());
    let lease = || async { Ok(Lease::fixed(Arc::new(()), Duration::from_secs(36_000))) };
    let filled = bench.runtime.block_on(cell.get(lease));
    assert!(filled.is_ok_and(|got| got.waited));
    criterion.bench_function("cell hit", |b| b.iter(|| cell.fresh().unwrap()));

    let app = bench.live.app();
    let headers = HeaderMap::new();
    let shown = Presented::bearer(KEY, &headers);
    let Ok(Admitted::BackEnd(back_end)) = bench.runtime.block_on(app.admissions.admit(&shown))
    else {
        unreachable!()
    };
    let tenant = app.admissions.only_tenant().unwrap();
    let grant = Grant {
        tenant: Arc::clone(tenant),
        user: UserLookup::new(LookupField::Subject, "auth0|ann").unwrap(),
        scopes: ScopeSet::parse("user_default").unwrap(),
    };
    let place = || {
        let (grant, hash) = (grant.clone(), CompactString::default());
        app.admissions.place_named(&back_end, grant, hash)
    };
    criterion.bench_function("key digest and seat", |b| b.iter(place));
    let asked = ASKING.as_bytes();
    app.admissions.remember_asked(&back_end, asked, &place());
    criterion.bench_function("asked before", |b| {
        b.iter(|| app.admissions.asked_before(&back_end, asked).unwrap());
    });

    let presented = Presented::bearer(&bench.session, &headers);
    let admitted = bench.runtime.block_on(app.admissions.admit(&presented));
    assert!(matches!(admitted, Ok(Admitted::Person(_))));
    criterion.bench_function("session cache", |b| {
        b.iter(|| {
            let known = app.admissions.remembered(&presented).now_or_never();
            assert!(matches!(known, Some(Ok(Some(_)))));
        });
    });

    let mapping = Mapping {
        tenant: None,
        rules: vec![Rule {
            field: RuleField::Lookup(LookupField::Subject),
            value: Template::parse("auth0|{sub}").unwrap(),
        }],
        deny: DenyList::new(["auth0|svc-*"]),
    };
    let Value::Object(claims) = claims() else {
        unreachable!()
    };
    let claims = Claims::verified(claims);
    criterion.bench_function("mapping", |b| {
        b.iter(|| mapping.map(black_box(&claims)).unwrap());
    });

    let detail = "The tenant's budget is used up; please wait.";
    let problem = Problem::new(Code::TenantThrottled, detail);
    let problem = problem.retry_after(Duration::from_secs(7));
    criterion.bench_function("problem", |b| {
        b.iter(|| problem.render("https://portal.example.com/broker", "5f0c6f2e"));
    });
}

/// All that a request costs but its sockets: the frame, the session, the token's rendering.
fn requests(criterion: &mut Criterion) {
    let bench = Bench::new();
    let mut asks = |name, status, request: &dyn Fn() -> Request<Body>| {
        assert_eq!(bench.ask(request()), status);
        criterion.bench_function(name, |b| b.iter(|| bench.ask(request())));
    };
    asks("hit by API key", StatusCode::OK, &Bench::by_key);
    let session = &bench.session;
    asks("hit by JWT", StatusCode::OK, &|| Bench::by_session(session));
    let refused = StatusCode::UNAUTHORIZED;
    asks("no session", refused, &|| Bench::by_session("qtb_no-key"));
    assert_eq!(bench.tenant.calls(Call::TokenImpersonation), 1);
}

criterion_group!(hot, pieces, requests);
criterion_main!(hot);
