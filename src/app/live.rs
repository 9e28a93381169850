//! The broker that is live, and how another one takes its place: a reload.
//!
//! A reload reads the whole configuration and builds everything anew but what stays the same. Then
//! one swap, and requests that come in see the new one; those in flight end with the one they began
//! with. A configuration with any fault changes nothing.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

use super::{App, BuildError, origins};
use crate::config::{self, Config, Problem, Problems, Sources};
use crate::telemetry::metrics;
use crate::watch::Watch;

/// See the module.
pub struct Live {
    app: ArcSwap<App>,
    sources: Sources,
    /// Of the files that the configuration is read from. Held by the one reload that runs.
    watch: Arc<Mutex<Watch>>,
    /// Why the last reload changed nothing, if it did not.
    refused: ArcSwapOption<Problems>,
    stopping: AtomicBool,
    started: Instant,
    /// See [`Live::look`].
    looking: Arc<Mutex<()>>,
}

/// What a reload brought.
#[derive(Debug)]
pub struct Reloaded {
    /// Which configuration is in use now.
    pub generation: u64,
    /// Keys that were changed and keep their old values until the process is restarted.
    pub restart_needed: Vec<&'static str>,
    /// What the operator should know.
    pub warnings: Vec<Problem>,
}

/// A broker that is ready to take its place.
struct Next {
    app: Arc<App>,
    restart_needed: Vec<&'static str>,
    warnings: Vec<Problem>,
}

impl Live {
    /// The first broker, made of what was read from `sources`. `watch` took its look before that.
    pub fn new(config: Config, sources: Sources, watch: Watch) -> Result<Arc<Self>, BuildError> {
        warn(&config.warnings);
        let app = App::build(config, None)?;
        metrics::config_in_use(app.generation);
        Ok(Arc::new(Self {
            app: ArcSwap::new(app),
            sources,
            watch: Arc::new(Mutex::new(watch)),
            refused: ArcSwapOption::empty(),
            stopping: AtomicBool::new(false),
            looking: Arc::default(),
            started: Instant::now(),
        }))
    }

    /// When the first broker was made.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The broker as it is now.
    pub fn app(&self) -> Arc<App> {
        self.app.load_full()
    }

    /// Why the last reload changed nothing, if it did not.
    pub fn refused(&self) -> Option<Arc<Problems>> {
        self.refused.load_full()
    }

    /// What `look` finds at the broker as it is: one look at a time, off the threads that answer requests,
    /// and none while the broker is replaced, so that no gauge is set of what is gone. It goes on when
    /// whoever asked leaves. `None` if it panicked.
    pub async fn look<T: Send + 'static>(
        self: &Arc<Self>,
        look: impl FnOnce(&App) -> T + Send + 'static,
    ) -> Option<T> {
        let looking = Arc::clone(&self.looking).lock_owned().await;
        let live = Arc::clone(self);
        let found = tokio::task::spawn_blocking(move || {
            let _looking = looking;
            look(&live.app())
        });
        found.await.ok()
    }

    /// From now on readiness says no; requests are still served.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether [`Live::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Reads the configuration again, after the reloads that came before this one. It goes on when
    /// whoever asked leaves.
    pub async fn reload(self: &Arc<Self>) -> Result<Reloaded, Arc<Problems>> {
        let watch = Arc::clone(&self.watch).lock_owned().await;
        self.reload_with(watch).await
    }

    /// Reads it again whenever a file of it changes, which is looked for `every` so often.
    pub async fn follow(self: Arc<Self>, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let mut watch = Arc::clone(&self.watch).lock_owned().await;
            if watch.has_changed(every).await {
                // What came of it is in the log.
                drop(self.reload_with(watch).await);
            }
        }
    }

    async fn reload_with(
        self: &Arc<Self>,
        watch: OwnedMutexGuard<Watch>,
    ) -> Result<Reloaded, Arc<Problems>> {
        let live = Arc::clone(self);
        let reloading = tokio::spawn(async move { live.take_turn(watch).await });
        reloading.await.unwrap_or_else(|_| Err(panicked().into()))
    }

    async fn take_turn(
        self: Arc<Self>,
        mut watch: OwnedMutexGuard<Watch>,
    ) -> Result<Reloaded, Arc<Problems>> {
        let live = Arc::clone(&self);
        let reading = tokio::task::spawn_blocking(move || {
            // The look comes first: what changes while the files are read is seen as a change.
            *watch = Watch::new(config::files(&live.sources));
            (watch, live.next())
        });
        // The guard is dropped at the end, when the outcome can be seen everywhere.
        let (_watch, outcome) = match reading.await {
            Ok((watch, next)) => (Some(watch), next),
            Err(_) => (None, Err(panicked())),
        };
        let outcome = match outcome {
            Ok(next) => Ok(self.swap(next).await),
            Err(problems) => Err(Arc::new(problems)),
        };
        self.refused.store(outcome.as_ref().err().cloned());
        metrics::config_reloaded(outcome.is_ok());
        tell(&outcome);
        outcome
    }

    async fn swap(&self, next: Next) -> Reloaded {
        origins::follow(&next.app, origins::EVERY).await;
        let generation = next.app.generation;
        let _looking = self.looking.lock().await;
        let former = self.app.swap(Arc::clone(&next.app));
        forget(&former, &next.app);
        metrics::config_in_use(generation);
        Reloaded {
            generation,
            restart_needed: next.restart_needed,
            warnings: next.warnings,
        }
    }

    fn next(&self) -> Result<Next, Problems> {
        let mut config = config::load(&self.sources)?;
        let running = self.app();
        let restart_needed = running.fixed.hold(&mut config);
        let warnings = config.warnings.clone();
        let built = App::build(config, Some(&running));
        let app = built.map_err(|BuildError { place, reason }| {
            Problems(vec![Problem::new(place, reason, "correct it there")])
        })?;
        Ok(Next {
            app,
            restart_needed,
            warnings,
        })
    }
}

/// Gauges of what is not there any more would stand still.
fn forget(former: &App, next: &App) {
    let standings = next.standings();
    let clients = standings.iter().flat_map(|standing| {
        let clients = standing.secrets.iter();
        clients.map(|(client, _)| (standing.id(), *client))
    });
    let clients: HashSet<_> = clients.collect();
    for standing in former.standings() {
        if !next.tenants.contains_key(&standing.tenant.id) {
            metrics::forget_tenant(standing.id());
        }
        for (client, _) in &standing.secrets {
            if !clients.contains(&(standing.id(), *client)) {
                metrics::forget_client(standing.id(), client);
            }
        }
    }
}

fn tell(outcome: &Result<Reloaded, Arc<Problems>>) {
    match outcome {
        Ok(reloaded) => {
            warn(&reloaded.warnings);
            for key in &reloaded.restart_needed {
                let message = "has changed and needs a restart; the old value is in use";
                tracing::warn!(key, "{message}");
            }
            let generation = reloaded.generation;
            tracing::info!(generation, "the configuration was reloaded");
        }
        Err(problems) => {
            for Problem {
                path,
                place,
                message,
                remedy,
            } in &problems.0
            {
                let place = place.as_ref().map(ToString::to_string);
                tracing::error!(path, place, remedy, "{message}");
            }
            tracing::error!("the configuration was not reloaded; the old one is in use");
        }
    }
}

fn warn(warnings: &[Problem]) {
    for Problem {
        path,
        message,
        remedy,
        ..
    } in warnings
    {
        tracing::warn!(path, remedy, "{message}");
    }
}

fn panicked() -> Problems {
    let (message, remedy) = ("could not be read", "this is a bug; please report it");
    Problems(vec![Problem::new("configuration", message, remedy)])
}
