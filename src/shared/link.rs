//! The connection: made once, watched, made again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fred::clients::{Client, SubscriberClient};
use fred::interfaces::{ClientLike, EventInterface, KeysInterface, PubsubInterface};
use fred::types::Builder;
use fred::types::config::{Config, ReconnectPolicy, TlsConnector};
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::outbox::Outbox;
use super::seal::Sealer;
use super::{Away, Kind, Link, NOTICES, Notice, SettingsError, SharedSettings};
use crate::secret::Zeroizing;
use crate::telemetry::metrics;
use crate::tls;

/// How often the store is looked at while it is in reach, and while it is not.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const TRY_EVERY: Duration = Duration::from_millis(250);
/// One late answer is not the end of it.
const LOOK_PATIENCE: Duration = Duration::from_millis(400);
/// A store that comes and goes is believed later and later.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
const STEADY: Duration = Duration::from_secs(10);
/// After a connection was made again its subscriptions are.
const RESUBSCRIBED_WITHIN: Duration = Duration::from_millis(100);
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

impl Link {
    pub(super) fn new(settings: &SharedSettings) -> Result<Self, SettingsError> {
        let sealer = Sealer::new(&settings.encryption_keys);
        let (client, subscriber) = clients(settings)?;
        Ok(Self {
            client,
            subscriber,
            sealer: sealer.ok_or(SettingsError("an encryption key cannot be used"))?,
            sender: *Uuid::new_v4().as_bytes(),
            is_up: false.into(),
            outages: AtomicU64::new(0),
            failed: Notify::new(),
            outbox: Outbox::default(),
            notices: broadcast::channel(NOTICES).0,
        })
    }
}

pub(super) fn config(settings: &SharedSettings) -> Result<Config, SettingsError> {
    let url = settings.url.expose();
    let mut config =
        Config::from_url(url).map_err(|_| SettingsError("is not the URL of a store"))?;
    config.fail_fast = false;
    config.username = settings.username.clone().or(config.username);
    if let Some(password) = &settings.password {
        config.password = Some(password.expose().to_owned());
    }
    if let (Some(_), Some(authority)) = (&config.tls, &settings.ca_pem) {
        let connector = tls::client(authority).map_err(SettingsError)?;
        config.tls = Some(TlsConnector::from(connector).into());
    }
    Ok(config)
}

fn clients(settings: &SharedSettings) -> Result<(Client, SubscriberClient), SettingsError> {
    let mut builder = Builder::from_config(config(settings)?);
    builder
        .with_performance_config(|config| {
            config.default_command_timeout = LOOK_PATIENCE;
            config.broadcast_channel_capacity = NOTICES;
        })
        .with_connection_config(|config| {
            config.connection_timeout = CONNECT_PATIENCE;
            config.internal_command_timeout = CONNECT_PATIENCE;
            config.max_command_attempts = 1;
            config.tcp.nodelay = Some(true);
            // A store that hangs is found out by the look at it; the connection has to go as well.
            config.unresponsive.max_timeout = Some(CONNECT_PATIENCE);
            config.unresponsive.interval = TRY_EVERY;
        })
        .set_policy(ReconnectPolicy::new_constant(0, 250));
    let failed = |_| SettingsError("cannot be used");
    let client = builder.build().map_err(failed)?;
    let subscriber = builder.build_subscriber_client().map_err(failed)?;
    Ok((client, subscriber))
}

/// The tasks that watch the connection and listen to what is told.
pub(super) fn start(link: &Arc<Link>) -> (JoinHandle<()>, JoinHandle<()>) {
    let (heard, last_heard) = watch::channel(0);
    link.client.connect();
    link.subscriber.connect();
    let listener = tokio::spawn(listen(Arc::clone(link), heard));
    let supervisor = tokio::spawn(supervise(Arc::clone(link), last_heard));
    (supervisor, listener)
}

async fn listen(link: Arc<Link>, heard: watch::Sender<u64>) {
    let mut messages = link.subscriber.message_rx();
    let mut connected_again = link.subscriber.reconnect_rx();
    let _renewing = link.subscriber.manage_subscriptions();
    let channels: Vec<_> = link.channels().collect();
    for channel in &channels {
        while link.subscriber.subscribe(channel.as_str()).await.is_err() {
            sleep(TRY_EVERY).await;
        }
    }
    loop {
        let received = tokio::select! {
            received = messages.recv() => received,
            // What was told while the subscription was gone was not heard.
            Ok(_) = connected_again.recv() => {
                sleep(RESUBSCRIBED_WITHIN).await;
                link.outages.fetch_add(1, Ordering::AcqRel);
                continue;
            }
        };
        let message = match received {
            Ok(message) => message,
            // Something was told that nobody heard.
            Err(broadcast::error::RecvError::Lagged(_)) => {
                link.outages.fetch_add(1, Ordering::AcqRel);
                continue;
            }
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let channel = channels
            .iter()
            .find(|name| *message.channel == *name.as_str());
        let sealed = message.value.as_bytes();
        let Some((channel, sealed)) = channel.zip(sealed) else {
            continue;
        };
        let Some(told) = link.sealer.open(Kind::Beat, channel, sealed) else {
            continue;
        };
        let Some((&code, told)) = told.split_first() else {
            continue;
        };
        let Some((sender, body)) = told.split_first_chunk::<16>() else {
            continue;
        };
        let is_own = *sender == link.sender;
        match Kind::ALL.into_iter().find(|kind| kind.code() == code) {
            Some(Kind::Beat) if is_own => {
                if let Ok(beat) = <[u8; 8]>::try_from(body) {
                    heard.send_modify(|last| *last = u64::from_be_bytes(beat));
                }
            }
            // The beats of others are theirs.
            Some(Kind::Beat) => {}
            Some(kind) if !is_own => {
                let body = Arc::new(Zeroizing::new(body.to_vec()));
                // Nobody listens before the app is built.
                let _ = link.notices.send(Notice { kind, body });
            }
            _ => {}
        }
    }
}

async fn supervise(link: Arc<Link>, mut last_heard: watch::Receiver<u64>) {
    let (mut up_since, mut away_since) = (None, Instant::now());
    let mut pause = TRY_EVERY;
    loop {
        let looked = look(&link, &mut last_heard).await;
        match (link.is_up(), looked) {
            (true, Ok(())) => write_owed(&link).await,
            (true, Err(Away)) => {
                link.is_up.store(false, Ordering::Release);
                metrics::shared_up(false);
                tracing::warn!("the shared tier is out of reach, serving alone");
            }
            (false, Ok(())) => come_back(&link, away_since).await,
            (false, Err(Away)) => {}
        }
        if link.is_up() {
            up_since.get_or_insert_with(Instant::now);
            drop(timeout(LOOK_EVERY, link.failed.notified()).await);
        }
        if !link.is_up() {
            if let Some(since) = up_since.take() {
                let was_steady = since.elapsed() > STEADY;
                pause = if was_steady {
                    TRY_EVERY
                } else {
                    (pause * 2).min(LONGEST_PAUSE)
                };
                away_since = Instant::now();
            }
            sleep(pause).await;
        }
    }
}

/// Whether the store can be read, and what is told through it is heard here.
async fn look(link: &Link, last_heard: &mut watch::Receiver<u64>) -> Result<(), Away> {
    let mut beat = [0; 8];
    aws_lc_rs::rand::fill(&mut beat).map_err(|_| Away)?;
    for name in link.channels() {
        let reading = link.client.get::<Option<Vec<u8>>, _>(name.as_str());
        link.try_run(LOOK_PATIENCE, Box::pin(reading)).await?;
        link.try_run(
            LOOK_PATIENCE,
            Box::pin(link.publish(Kind::Beat, &name, &beat)?),
        )
        .await?;
        let beat = u64::from_be_bytes(beat);
        let hearing = last_heard.wait_for(|last| *last == beat);
        timeout(LOOK_PATIENCE, hearing)
            .await
            .map_err(|_| Away)?
            .map_err(|_| Away)?;
    }
    Ok(())
}

/// Everybody looks again at what they knew; what was to be written meanwhile is written.
async fn come_back(link: &Link, away_since: Instant) {
    link.outages.fetch_add(1, Ordering::AcqRel);
    link.is_up.store(true, Ordering::Release);
    metrics::shared_up(true);
    let seconds = away_since.elapsed().as_secs();
    tracing::info!(seconds, "the shared tier is in reach");
    write_owed(link).await;
}

async fn write_owed(link: &Link) {
    let mut left = link.outbox.take().into_iter();
    while let Some(write) = left.next() {
        if link.do_write(&write).await.is_err() {
            link.outbox.put_back(std::iter::once(write).chain(left));
            return;
        }
    }
}
