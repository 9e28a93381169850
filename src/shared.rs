//! What several replicas share, in Redis or Valkey: values that end by themselves, claims, notices,
//! and the pace at which tenants are asked.
//!
//! Whoever can write to the store can make us forget, or wait, never believe: values are sealed for
//! their place, and what does not open is nobody's. The store is a help and no need: an operation has
//! 200 ms, after which the replica serves alone until the store is back. What was to be written
//! meanwhile is written then, and [`Shared::outages`] tells everybody who remembers something of it
//! from before to look again.

mod claim;
mod found;
mod kind;
mod link;
mod outbox;
mod pace;
mod probe;
pub(crate) mod seal;
mod settings;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fred::clients::{Client, SubscriberClient};
use fred::error::Error;
use fred::interfaces::{KeysInterface, PubsubInterface};
use fred::types::Expiration;
use tokio::sync::{Notify, broadcast};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::secret::Zeroizing;
use crate::telemetry::metrics;

pub use claim::Claim;
pub use found::Found;
pub use kind::Kind;
pub use pace::{Pace, Taken};
pub use probe::{Store, StoreFault, probe};
pub use seal::EncryptionKey;
pub use settings::{SettingsError, SharedSettings};

use found::time;
use outbox::Outbox;
use seal::{Name, Sealer};

/// How long one operation may take.
const PATIENCE: Duration = Duration::from_millis(200);
/// Notices that may wait to be heard. Who misses one looks everything up again.
const NOTICES: usize = 4096;

/// The store is out of reach: serve alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shared tier is out of reach")]
pub struct Away;

/// Something to be written, now or when the store is back.
#[derive(Clone, Debug)]
pub enum Write {
    /// A value that ends after this time.
    Put(Kind, [u8; 32], Zeroizing<Vec<u8>>, Duration),
    /// Nothing stands there any more.
    Remove(Kind, [u8; 32]),
    /// Told to all replicas that listen.
    Tell(Kind, Zeroizing<Vec<u8>>),
}

/// What another replica told.
#[derive(Clone, Debug)]
pub struct Notice {
    /// What it is about.
    pub kind: Kind,
    /// What was told.
    pub body: Arc<Zeroizing<Vec<u8>>>,
}

/// See the module.
#[derive(Debug)]
pub struct Shared {
    link: Arc<Link>,
    _supervisor: AbortOnDropHandle<()>,
    _listener: AbortOnDropHandle<()>,
}

struct Link {
    client: Client,
    subscriber: SubscriberClient,
    sealer: Sealer,
    /// What it tells is told to itself as well.
    sender: [u8; 16],
    is_up: AtomicBool,
    outages: AtomicU64,
    /// Something failed: have a look.
    failed: Notify,
    outbox: Outbox,
    notices: broadcast::Sender<Notice>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link(up: {})", self.is_up.load(Ordering::Relaxed))
    }
}

impl Shared {
    /// Starts to connect, and goes on to do so until it succeeds. Has to be called within a runtime.
    pub fn connect(settings: &SharedSettings) -> Result<Arc<Self>, SettingsError> {
        let link = Arc::new(Link::new(settings)?);
        metrics::shared_up(false);
        let (supervisor, listener) = link::start(&link);
        Ok(Arc::new(Self {
            link,
            _supervisor: AbortOnDropHandle::new(supervisor),
            _listener: AbortOnDropHandle::new(listener),
        }))
    }

    /// Whether the store is in reach.
    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// How many outages are over, the time before the first connection being one. What was learnt
    /// from the store before the last one may be out of date.
    pub fn outages(&self) -> u64 {
        self.link.outages.load(Ordering::Acquire)
    }

    /// Something was told that was not heard: all that is known is to be looked up again.
    pub fn look_again(&self) {
        self.link.outages.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns when the store is in reach, or after `patience`.
    pub async fn ready(&self, patience: Duration) {
        let ready = async {
            while !self.is_up() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        drop(timeout(patience, ready).await);
    }

    /// What the other replicas tell from now on. Who lags too far behind missed something.
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.link.notices.subscribe()
    }

    /// What stands in a place.
    pub async fn get(&self, kind: Kind, key: &[u8; 32]) -> Result<Found, Away> {
        let mut latest = Found::Nothing;
        for name in self.link.sealer.names(kind, key) {
            match self.link.read(kind, &name).await? {
                Found::Nothing => {}
                Found::Garbled => return Ok(Found::Garbled),
                found if !kind.is_end() => return Ok(found),
                // While keys are changed, a replica may have ended something under one of them only.
                found if kind.keeps_latest() => {
                    if found.time() >= latest.time() {
                        latest = found;
                    }
                }
                found if latest.is_nothing() || latest.says_the_same(&found) => latest = found,
                Found::Value(..) => return Ok(Found::Garbled),
            }
        }
        Ok(latest)
    }

    /// Writes all of it in this order: now, or as soon as the store is back.
    pub async fn write(&self, writes: Vec<Write>) {
        let mut left = writes.into_iter();
        while let Some(write) = left.next() {
            if self.link.do_write(&write).await.is_err() {
                self.link.outbox.add(std::iter::once(write).chain(left));
                // It may be back already.
                self.link.failed.notify_one();
                return;
            }
        }
    }
}

impl Link {
    fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Acquire)
    }

    /// Runs one operation. Where it fails, whoever asked goes on alone; whether all do is found out by
    /// a look at the store. Operations come in boxes: those of the library are large, and would make
    /// everything large that waits for them.
    async fn run<T>(
        &self,
        operation: &'static str,
        running: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Away> {
        if !self.is_up() {
            return Err(Away);
        }
        let outcome = self.try_run(PATIENCE, running).await;
        metrics::shared_operation(operation, outcome.is_ok());
        if outcome.is_err() {
            self.failed.notify_one();
        }
        outcome
    }

    async fn try_run<T>(
        &self,
        patience: Duration,
        running: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Away> {
        match timeout(patience, running).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                tracing::debug!(kind = ?error.kind(), "an operation of the shared tier failed");
                Err(Away)
            }
            Err(_) => Err(Away),
        }
    }

    async fn read(&self, kind: Kind, name: &Name) -> Result<Found, Away> {
        let reading = async {
            let value = self.client.get::<Option<Vec<u8>>, _>(name.as_str()).await;
            // What is no text stands there all the same.
            let value = match value {
                Err(error) if error.details().starts_with("WRONGTYPE") => Ok(Some(Vec::new())),
                value => value,
            };
            let left = self.client.pttl::<i64, _>(name.as_str()).await?;
            Ok((value?, left))
        };
        let (Some(sealed), left) = self.run("get", Box::pin(reading)).await? else {
            return Ok(Found::Nothing);
        };
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        let opened = self.sealer.open(kind, name, &sealed);
        Ok(opened.map_or(Found::Garbled, |value| Found::Value(value, left)))
    }

    async fn do_write(&self, write: &Write) -> Result<(), Away> {
        match write {
            Write::Put(kind, key, value, life) => self.put(*kind, key, value, *life).await,
            Write::Remove(kind, key) => {
                for name in self.sealer.names(*kind, key) {
                    let removing = self.client.del::<(), _>(name.as_str());
                    self.run("remove", Box::pin(removing)).await?;
                }
                Ok(())
            }
            Write::Tell(kind, body) => self.tell(*kind, body).await,
        }
    }

    async fn put(
        &self,
        kind: Kind,
        key: &[u8; 32],
        value: &[u8],
        life: Duration,
    ) -> Result<(), Away> {
        let all = if kind.is_end() { usize::MAX } else { 1 };
        let expiration = expiration(life);
        for name in self.sealer.names(kind, key).take(all) {
            if kind.keeps_latest() && self.read(kind, &name).await?.time() > time(value) {
                continue;
            }
            let sealed = self.sealer.seal(kind, &name, value).ok_or(Away)?;
            let putting = self.client.set::<(), _, _>(
                name.as_str(),
                sealed.as_slice(),
                Some(expiration.clone()),
                None,
                false,
            );
            self.run("put", Box::pin(putting)).await?;
        }
        Ok(())
    }

    async fn tell(&self, kind: Kind, body: &[u8]) -> Result<(), Away> {
        for name in self.channels() {
            let telling = self.publish(kind, &name, body)?;
            self.run("tell", Box::pin(telling)).await?;
        }
        Ok(())
    }

    fn publish(
        &self,
        kind: Kind,
        channel: &Name,
        body: &[u8],
    ) -> Result<impl Future<Output = Result<(), Error>> + use<>, Away> {
        let told = [&[kind.code()], self.sender.as_slice(), body].concat();
        let sealed = self.sealer.seal(Kind::Beat, channel, &told).ok_or(Away)?;
        let (client, channel) = (self.client.clone(), channel.as_str().to_owned());
        Ok(async move { client.publish(channel, sealed.as_slice()).await })
    }

    /// The channels of the notices, one per key.
    fn channels(&self) -> impl Iterator<Item = Name> {
        self.sealer.names(Kind::Beat, &[0; 32])
    }
}

/// At least a millisecond: the store takes no life that is over.
fn expiration(life: Duration) -> Expiration {
    let millis = i64::try_from(life.as_millis()).unwrap_or(i64::MAX);
    // A thousand years: what is added to a date must not overflow it.
    Expiration::PX(millis.clamp(1, 31_536_000_000_000))
}
