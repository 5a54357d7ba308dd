//! A publisher's session: messages in, chunks out. It never waits for a receiver.

use std::future::pending;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use relay_cluster::registry::Release;
use relay_proto::KeyHash;
use relay_proto::event::EndReason;
use relay_proto::websocket::Close;
use tokio::time::sleep;
use tracing::info;

use crate::batch::{BATCH_BYTES_MAX, BATCH_FRAMES_MAX};
use crate::channel::{Channel, Publication};
use crate::feed::Feed;
use crate::inbound::{Farewell, Received};
use crate::incumbent::Incumbent;
use crate::keeper::{Ended, Session};
use crate::lease::Tenure;
use crate::node::Node;
use crate::socket::Inbound;

/// Runs a publisher's session to its end.
pub(crate) async fn run(session: &mut Session, channel: &Arc<Channel>, key: KeyHash) -> Ended {
    let tenure = tokio::select! {
        biased;
        // It may take seconds to find out whether somebody else lives.
        acquired = Tenure::acquire(&session.node, channel, key) => match acquired {
            Ok(tenure) => tenure,
            Err(close) => return close.into(),
        },
        ended = session.keeper.keep() => return ended,
    };
    let incumbent = Incumbent::new(&session.outlet);
    let (tenure, publication) = match begin(&session.node, channel, key, tenure, incumbent).await {
        Ok(began) => began,
        Err(close) => return close.into(),
    };
    session.admit();
    let (ended, release) = publish(session, publication, &tenure).await;
    tenure.release(release).await;
    ended
}

/// Begins a publication under a lease.
///
/// # Errors
/// With what the publisher is to be closed.
pub(crate) async fn begin(
    node: &Node,
    channel: &Arc<Channel>,
    key: KeyHash,
    tenure: Tenure,
    incumbent: Incumbent,
) -> Result<(Tenure, Publication), Close> {
    let epoch = tenure.epoch();
    let Some(publication) = channel.begin_here(epoch, key, &Arc::new(incumbent), node.config.grace) else {
        tenure.release(Release::Free).await;
        return Err(Close::Replaced);
    };
    info!(channel = channel.name().as_str(), epoch = epoch.number(), "publication began");
    Ok((tenure, publication))
}

/// Ends a publication for a reason that is not its publisher's word. Tells what becomes of the channel.
pub(crate) fn conclude(publication: Publication, ended: Ended) -> Release {
    match ended {
        Ended::Close(close) if close.ends_publication() => {
            publication.finish();
            Release::Free
        }
        // Somebody else has the channel now, on whichever node.
        Ended::Close(Close::Replaced) => publication.lose(EndReason::Replaced),
        _ => publication.lose(EndReason::Lost),
    }
}

/// Tells why it ended, and what becomes of the channel.
async fn publish(session: &mut Session, mut publication: Publication, tenure: &Tenure) -> (Ended, Release) {
    let Session { node, inbound, keeper, .. } = session;
    let stalled = stalled(publication.feed(), node.config.publisher_media_timeout);
    let otherwise = async {
        tokio::select! {
            biased;
            ended = keeper.keep() => ended,
            () = stalled => Close::Stalled.into(),
            close = tenure.keep() => close.into(),
        }
    };
    // Looked at only when something of it has news, and not with every chunk.
    let mut otherwise: FuturesUnordered<_> = iter::once(otherwise).collect();
    loop {
        // The reading half lets the other have its turn when there is no end to the chunks.
        let received = tokio::select! {
            biased;
            received = inbound.next() => received,
            Some(ended) = otherwise.next() => {
                return (ended, conclude(publication, ended));
            }
        };
        let gathered = gather(inbound, &mut publication, received);
        publication.deliver();
        if let Err(last) = gathered {
            let release = match last {
                Received::Closed(Farewell::Done) => {
                    publication.finish();
                    Release::Free
                }
                _ => publication.lose(EndReason::Lost),
            };
            return (Ended::by(&last).unwrap_or(Close::UnexpectedText.into()), release);
        }
    }
}

/// Keeps what came, and every chunk that is there already: a node that is behind sends them together, and one that is
/// not finds nothing more. The error is what ends the session.
fn gather(inbound: &mut Inbound, publication: &mut Publication, received: Received) -> Result<(), Received> {
    let mut received = received;
    let mut chunks = 0;
    let mut bytes = 0;
    loop {
        match received {
            Received::Binary(chunk) => {
                chunks += 1;
                bytes += chunk.payload().len();
                publication.append(chunk);
            }
            Received::Heartbeat | Received::Sign => {}
            last => return Err(last),
        }
        if chunks == BATCH_FRAMES_MAX || bytes >= BATCH_BYTES_MAX {
            return Ok(());
        }
        match inbound.try_next() {
            Some(next) => received = next,
            None => return Ok(()),
        }
    }
}

/// Waits until no chunk has come for `timeout`; for ever without one.
pub(crate) async fn stalled(feed: Arc<Feed>, timeout: Option<Duration>) {
    let Some(timeout) = timeout else { return pending().await };
    loop {
        let left = timeout.saturating_sub(Duration::from_millis(feed.silent_ms()));
        if left.is_zero() {
            return;
        }
        sleep(left).await;
    }
}
