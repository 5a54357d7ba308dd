//! A publisher's session: messages in, chunks out. It never waits for a receiver.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use relay_proto::StreamKey;
use relay_proto::websocket::Close;
use tokio::time::sleep;
use tracing::info;

use crate::channel::{Channel, Claim, Claimant, Publication};
use crate::inbound::{Farewell, Received};
use crate::incumbent::Incumbent;
use crate::keeper::{Ended, Session};

/// Runs a publisher's session to its end.
pub(crate) async fn run(session: &mut Session, channel: &Arc<Channel>, key: &StreamKey) -> Ended {
    let incumbent = Arc::new(Incumbent::new(&session.outlet));
    let claim = claim(session, channel, key, &incumbent);
    let Some(publication) = claim.await else {
        return Close::Busy { retry_after_ms: session.node.retry_after_ms() }.into();
    };
    info!(channel = channel.name().as_str(), epoch = publication.epoch().number(), "publication began");
    publish(session, publication, &incumbent).await
}

async fn claim(
    session: &Session,
    channel: &Arc<Channel>,
    key: &StreamKey,
    incumbent: &Arc<Incumbent>,
) -> Option<Publication> {
    let config = &session.node.config;
    let mut claimant = Claimant {
        key,
        incumbent,
        policy: config.publisher_policy,
        stall_timeout: config.publisher_stall_timeout,
        grace: config.grace,
        unresponsive: None,
    };
    match channel.claim(&claimant) {
        Claim::Granted(publication) => Some(publication),
        Claim::Busy => None,
        Claim::Challenge(other, epoch) => {
            let answers = other.answers(config.challenge_timeout).await;
            claimant.unresponsive = (!answers).then_some(epoch);
            // Asked again in any case: what was heard may have been its farewell.
            match channel.claim(&claimant) {
                Claim::Granted(publication) => Some(publication),
                // It lives, or somebody newer came meanwhile.
                Claim::Busy | Claim::Challenge(..) => None,
            }
        }
    }
}

async fn publish(session: &mut Session, mut publication: Publication, incumbent: &Incumbent) -> Ended {
    let mut replaced = pin!(incumbent.replaced());
    let media_timeout = session.node.config.publisher_media_timeout;
    loop {
        let until_stalled = media_timeout
            .map(|timeout| timeout.saturating_sub(Duration::from_millis(publication.silent_ms())));
        tokio::select! {
            biased;
            () = &mut replaced => return Close::Replaced.into(),
            ended = session.keeper.upkeep() => return ended,
            received = session.inbound.next() => {
                if let Some(ended) = session.keeper.take(&received) {
                    if matches!(received, Received::Closed(Farewell::Done)) {
                        publication.finish();
                    }
                    return ended;
                }
                match received {
                    Received::Binary(chunk) => publication.push(&chunk),
                    Received::Text => return Close::UnexpectedText.into(),
                    _ => {}
                }
            }
            () = session.outlet.woken() => session.keeper.flush(),
            () = sleep(until_stalled.unwrap_or_default()), if until_stalled.is_some() => {
                if media_timeout.is_some_and(|timeout| u128::from(publication.silent_ms()) >= timeout.as_millis()) {
                    return Close::Stalled.into();
                }
            }
        }
    }
}
