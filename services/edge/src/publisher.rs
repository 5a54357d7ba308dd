//! A publisher's session: messages in, chunks out. It never waits for a receiver.

use std::sync::Arc;
use std::time::Duration;

use relay_proto::StreamKey;
use relay_proto::websocket::Close;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::info;

use crate::channel::{Channel, Claim, Claimant, Publication};
use crate::session::{Ended, Session};
use crate::socket::{Farewell, Outlet, Received};

/// What others can do to a publisher: see whether it lives, and replace it.
#[derive(Debug)]
pub(crate) struct Incumbent {
    outlet: Arc<Outlet>,
    replaced: watch::Sender<bool>,
}

impl Incumbent {
    fn new(outlet: &Arc<Outlet>) -> Self {
        Self { outlet: Arc::clone(outlet), replaced: watch::Sender::new(false) }
    }

    /// A newer publisher has the channel.
    pub(crate) fn replace(&self) {
        self.replaced.send_replace(true);
    }

    /// Pings, and tells whether anything was heard in time.
    async fn answers(&self, within: Duration) -> bool {
        let mut heard = self.outlet.heard();
        self.outlet.ping();
        timeout(within, heard.changed()).await.is_ok()
    }
}

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
        Claim::Challenge(other, _) if other.answers(config.challenge_timeout).await => None,
        Claim::Challenge(_, epoch) => {
            claimant.unresponsive = Some(epoch);
            match channel.claim(&claimant) {
                Claim::Granted(publication) => Some(publication),
                // Somebody newer came meanwhile.
                Claim::Busy | Claim::Challenge(..) => None,
            }
        }
    }
}

async fn publish(session: &mut Session, mut publication: Publication, incumbent: &Incumbent) -> Ended {
    let mut replaced = incumbent.replaced.subscribe();
    let media_timeout = session.node.config.publisher_media_timeout;
    loop {
        let until_stalled = media_timeout
            .map(|timeout| timeout.saturating_sub(Duration::from_millis(publication.silent_ms())));
        tokio::select! {
            biased;
            () = is_set(&mut replaced) => return Close::Replaced.into(),
            ended = session.keeper.upkeep() => return ended,
            received = session.inbound.next() => {
                if let Some(ended) = session.keeper.take(&received) {
                    if matches!(received, Received::Closed(Farewell::Done)) {
                        publication.finish();
                    }
                    return ended;
                }
                match received {
                    Received::Binary(payload) => {
                        publication.push(&payload);
                        // The next message may be there already; others on this thread get their turn all the same.
                        tokio::task::consume_budget().await;
                    }
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

async fn is_set(flag: &mut watch::Receiver<bool>) {
    if flag.wait_for(|set| *set).await.is_err() {
        // The flag's owner is gone: nobody will set it.
        std::future::pending::<()>().await;
    }
}
