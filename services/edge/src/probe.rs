//! A probe's session: one message that tells what the stream is, then the end.

use std::sync::Arc;

use relay_proto::KeyHash;
use relay_proto::websocket::{Close, OpCode};

use crate::channel::Channel;
use crate::feed::Feed;
use crate::keeper::{Ended, Session};
use crate::outlet::frame;

/// Runs a probe's session to its end.
pub(crate) async fn run(session: &mut Session, channel: &Arc<Channel>, key: KeyHash) -> Ended {
    let mut stage = channel.stage();
    let missed = channel.missed();
    loop {
        // Before the question, so that no change is missed after it.
        stage.borrow_and_update();
        let live = channel.publication_after(missed);
        if let Some(live) = &live
            && !session.node.config.receive_policy.admits(&key, &live.key)
        {
            return Close::WrongKey.into();
        }
        session.admit();
        tokio::select! {
            biased;
            sample = sample(live.as_ref().map(|live| &*live.feed)) => {
                session.outlet.queue([frame(OpCode::Binary, &sample)]);
                return Close::ProbeAnswered.into();
            }
            ended = session.idle() => return ended,
            _ = stage.changed() => {}
        }
    }
}

/// Waits for something to tell; then a little longer for all of it.
async fn sample(feed: Option<&Feed>) -> bytes::Bytes {
    let Some(feed) = feed else { return std::future::pending().await };
    let mut progress = feed.progress();
    let mut next = async || {
        if progress.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    while feed.sample().is_none() {
        next().await;
    }
    feed.known().await;
    match feed.sample() {
        Some(sample) => sample,
        None => std::future::pending().await,
    }
}
