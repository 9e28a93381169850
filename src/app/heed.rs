//! What the other replicas tell is done here, too.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tokio_util::task::AbortOnDropHandle;

use crate::broker::Broker;
use crate::session::ended::Ended;
use crate::shared::Shared;

/// Listens for as long as the handle is kept.
pub(super) fn heed(
    shared: &Arc<Shared>,
    broker: &Arc<Broker>,
    ended: &Arc<Ended>,
) -> AbortOnDropHandle<()> {
    let (shared, broker) = (Arc::clone(shared), Arc::clone(broker));
    let ended = Arc::clone(ended);
    let mut notices = shared.notices();
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            match notices.recv().await {
                Ok(notice) => {
                    // Sessions first: who is ended gets no token for it any more.
                    ended.heed(&notice);
                    broker.heed(&notice);
                }
                Err(RecvError::Lagged(_)) => shared.look_again(),
                Err(RecvError::Closed) => return,
            }
        }
    }))
}
