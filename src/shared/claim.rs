//! Claims: who mints for whom, so that the others wait a little. A hint, never a lock.

use std::sync::Arc;
use std::time::Duration;

use fred::interfaces::{KeysInterface, LuaInterface};
use fred::types::SetOptions;
use tokio::runtime::Handle;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::{Away, Kind, Link, Shared, expiration};

/// A holder that dies is not waited for longer than this.
const LIFE: Duration = Duration::from_secs(6);
const RENEWED_EVERY: Duration = Duration::from_secs(2);

/// Only the holder's own claim is renewed or given up.
const RENEW: &str =
    "return redis.call('GET',KEYS[1])==ARGV[1] and redis.call('PEXPIRE',KEYS[1],ARGV[2]) or 0";
const RELEASE: &str =
    "return redis.call('GET',KEYS[1])==ARGV[1] and redis.call('DEL',KEYS[1]) or 0";

/// Held while minting; given up when dropped.
#[derive(Debug)]
pub struct Claim {
    link: Arc<Link>,
    name: String,
    holder: String,
    _renewing: AbortOnDropHandle<()>,
}

impl Shared {
    /// The claim to this key, if nobody holds it.
    pub async fn claim(&self, key: &[u8; 32]) -> Result<Option<Claim>, Away> {
        let link = &self.link;
        let name = link.sealer.names(Kind::Claim, key).next().ok_or(Away)?;
        let name = name.as_str().to_owned();
        let holder = Uuid::new_v4().simple().to_string();
        let claiming = link.client.set::<Option<String>, _, _>(
            name.as_str(),
            holder.as_str(),
            Some(expiration(LIFE)),
            Some(SetOptions::NX),
            false,
        );
        if link.run("claim", Box::pin(claiming)).await?.is_none() {
            return Ok(None);
        }
        let renewing = renew(Arc::clone(link), name.clone(), holder.clone());
        Ok(Some(Claim {
            link: Arc::clone(link),
            name,
            holder,
            _renewing: AbortOnDropHandle::new(tokio::spawn(renewing)),
        }))
    }
}

async fn renew(link: Arc<Link>, name: String, holder: String) {
    let life = LIFE.as_millis().to_string();
    loop {
        sleep(RENEWED_EVERY).await;
        let (keys, values) = (vec![name.as_str()], vec![holder.as_str(), life.as_str()]);
        let renewing = link.client.eval::<i64, _, _, _>(RENEW, keys, values);
        let _ = link.run("claim", Box::pin(renewing)).await;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // At the end of the process it ends by itself.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let link = Arc::clone(&self.link);
        let (name, holder) = (
            std::mem::take(&mut self.name),
            std::mem::take(&mut self.holder),
        );
        runtime.spawn(async move {
            let (keys, values) = (vec![name.as_str()], vec![holder.as_str()]);
            let releasing = link.client.eval::<i64, _, _, _>(RELEASE, keys, values);
            let _ = link.run("claim", Box::pin(releasing)).await;
        });
    }
}
