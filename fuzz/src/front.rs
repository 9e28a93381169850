//! The front door: the real router, without sockets. No tenant is in reach, and time stands still
//! but for what is waited for, which passes at once.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::response::Parts;
use qlik_token_broker::app::App;
use qlik_token_broker::app::live::Live;
use qlik_token_broker::config::{self, Sources};
use qlik_token_broker::http::{self, Framed};
use qlik_token_broker::watch::Watch;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt as _;

/// Everything that would slow the broker down, or make one input depend on those before it, is off.
pub const SETTINGS: &str = "
[server]
trusted_proxies = ['0.0.0.0/32', '10.0.0.0/8']
[cache]
max_users = 100
[limits]
session_per_minute = 0
failures_per_minute = 0
[tenants.acme]
url = 'http://127.0.0.1:9'
client_id = 'broker'
client_secret = 'tenant-client-secret'
scopes = 'user_default'
optional_scopes = ['apps:read']
allowed_origins = ['https://portal.acme.test']
service = { client_id = 'service', client_secret = 'service-client-secret', scopes = 'apps:read' }
";

/// See the module.
pub struct Front {
    live: Arc<Live>,
    runtime: Runtime,
    router: Framed,
}

impl Front {
    /// A broker with these session tables.
    pub fn new(sessions: &str) -> Self {
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        let file = Scratch::new("toml");
        file.write(&format!("{sessions}{SETTINGS}"));
        let sources = Sources {
            files: vec![file.path.clone()],
            env: Vec::new(),
        };
        let config = config::load(&sources).unwrap_or_else(|problems| panic!("{problems}"));
        let watch = Watch::new(Vec::new());
        let live = runtime.block_on(async { Live::new(config, sources, watch).unwrap() });
        let router = http::router(&live);
        Self {
            live,
            runtime,
            router,
        }
    }

    /// Does something where tasks can be started.
    pub fn within(&self, action: impl FnOnce(&App)) {
        self.runtime.block_on(async { action(&self.live.app()) });
    }

    /// What the broker answers.
    pub fn ask(&self, request: Request<Body>) -> (Parts, Bytes) {
        self.runtime.block_on(async {
            let Ok(response) = self.router.clone().oneshot(request).await;
            let (head, body) = response.into_parts();
            (head, to_bytes(body, usize::MAX).await.unwrap())
        })
    }
}

/// A file that is gone when dropped.
pub struct Scratch {
    pub path: PathBuf,
}

impl Scratch {
    pub fn new(extension: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let name = format!("qtb-fuzz-{process}-{count}.{extension}");
        let path = std::env::temp_dir().join(name);
        Self { path }
    }

    pub fn write(&self, text: &str) {
        std::fs::write(&self.path, text).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}
