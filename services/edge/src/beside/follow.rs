//! `GET /v1/channels/NAME/events?key=KEY`: who follows (server-sent events, WHATWG HTML section 9.2).
//!
//! Nothing is kept for a client but where it is. One that takes nothing for too long is cut by [`handshake`](crate::handshake).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use hyper::body::Frame;
use hyper::{StatusCode, header};
use relay_proto::websocket::Kind;
use relay_proto::{ChannelName, KeyHash, StreamKey};
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Show;
use crate::answer::{Answer, streamed, text, with};
use crate::auth;
use crate::channel::{Channel, Stage};
use crate::metrics::Counted;
use crate::node::Node;
use crate::service::Leaving;

/// Proxies mostly end what is silent for a minute.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The channel of `/v1/channels/NAME/events`.
pub(crate) fn channel_of(path: &str) -> Option<&str> {
    path.strip_prefix("/v1/channels/")?.strip_suffix("/events").filter(|name| !name.contains('/'))
}

/// One who follows.
struct Follower {
    node: Arc<Node>,
    show: Arc<Show>,
    /// For as long as it is followed.
    channel: Arc<Channel>,
    stage: watch::Receiver<Stage>,
    news: watch::Receiver<()>,
    leaving: watch::Receiver<Leaving>,
    bans: watch::Receiver<()>,
    /// The key that it came with.
    shown: KeyHash,
    /// What that stands for.
    key: KeyHash,
    /// Whether the key has been shown to be right.
    admitted: bool,
    /// The number of what it took last.
    after: u64,
    begun: bool,
    /// Told whenever the client has taken what there was.
    taken: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

/// The answer to who wants to follow. `taken` is told with it, and then whenever the client has taken what there was.
pub(crate) fn answer(node: &Arc<Node>, name: &str, query: Option<&str>, taken: &Arc<Notify>) -> Answer {
    let key = query.into_iter().flat_map(|query| query.split('&')).find_map(|pair| pair.strip_prefix("key="));
    let (Ok(channel), Some(Ok(key))) = (name.parse::<ChannelName>(), key.map(str::parse::<StreamKey>)) else {
        return text(StatusCode::BAD_REQUEST, "the path has the name of a channel, the query its key\n");
    };
    let hash = node.cluster.hash(&channel, &key);
    if node.sessions.is_banned(&channel, hash) {
        return text(StatusCode::FORBIDDEN, "an operator banned this key\n");
    }
    let policy = node.config.receive_policy;
    let Ok(key) = auth::receiving(policy, node.cluster.secret(), &channel, &key) else { return wrong_key() };
    if node.service.is_leaving() {
        return text(StatusCode::SERVICE_UNAVAILABLE, "the node is leaving\n");
    }
    let Ok(permit) = Arc::clone(&node.beside.followers).try_acquire_owned() else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "as many follow as may\n");
    };
    let show = node.beside.show(node, &channel);
    let channel = node.channels.open(&channel);
    let mut follower = Follower {
        stage: channel.stage(),
        news: show.news.subscribe(),
        leaving: node.service.leaving(),
        bans: node.sessions.bans(),
        shown: hash,
        // What opens the channel of a source is known without a publication, and where all may receive nothing is to be known.
        admitted: auth::is_known(policy, channel.name()),
        key,
        channel,
        show,
        after: 0,
        begun: false,
        taken: Arc::clone(taken),
        _permit: permit,
        _counted: Counted::new(node.metrics.followers.clone()),
        node: Arc::clone(node),
    };
    if follower.look().is_err() {
        return wrong_key();
    }
    taken.notify_one();
    let pieces = stream::unfold(follower, |mut follower| async move {
        let piece = follower.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(piece)), follower))
    });
    let answer = with(streamed(pieces), header::CONTENT_TYPE, "text/event-stream");
    let answer = with(answer, header::CACHE_CONTROL, "no-store, no-transform");
    let answer = with(answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    // nginx gathers answers otherwise.
    let answer = with(answer, header::HeaderName::from_static("x-accel-buffering"), "no");
    // Whatever ends it, the connection has lasted longer than others may.
    with(answer, header::CONNECTION, "close")
}

fn wrong_key() -> Answer {
    text(StatusCode::FORBIDDEN, "the key is another\n")
}

impl Follower {
    /// The next piece of the answer; `None` when it is over.
    async fn next(&mut self) -> Option<Bytes> {
        self.taken.notify_one();
        if !std::mem::replace(&mut self.begun, true) {
            // When a node leaves, all who follow come back, and not all at once.
            return Some(format!("retry: {}\n\n", self.node.retry_after_ms()).into());
        }
        let silent_until = Instant::now() + KEEP_ALIVE;
        match timeout_at(silent_until, self.piece()).await {
            Ok(piece) => piece.ok(),
            Err(_) => Some(Bytes::from_static(b":\n\n")),
        }
    }

    /// The next frame. Safe to cancel.
    async fn piece(&mut self) -> Result<Bytes, Over> {
        loop {
            self.look()?;
            self.news.borrow_and_update();
            let plan = *self.leaving.borrow_and_update();
            let leave_at = self.node.leave_at(plan, Kind::Receive).map(|(at, _)| at);
            if self.admitted && leave_at.is_none() {
                let next = self.show.lock().after(self.after);
                if let Some((number, frame)) = next {
                    self.after = number;
                    return Ok(frame);
                }
            }
            tokio::select! {
                biased;
                () = sleep_until(leave_at.unwrap_or_else(Instant::now)), if leave_at.is_some() => return Err(Over),
                _ = self.leaving.changed() => {}
                _ = self.bans.changed() => {}
                _ = self.stage.changed() => {}
                _ = self.news.changed(), if leave_at.is_none() => {}
            }
        }
    }

    /// Looks whether the key is that of who publishes, if anybody does, and not banned.
    fn look(&mut self) -> Result<(), Over> {
        self.bans.borrow_and_update();
        if self.node.sessions.is_banned(self.channel.name(), self.shown) {
            return Err(Over);
        }
        let Stage::Live(live) = &*self.stage.borrow_and_update() else { return Ok(()) };
        if !self.node.config.receive_policy.admits(&self.key, &live.key) {
            return Err(Over);
        }
        self.admitted = true;
        Ok(())
    }
}

/// Nothing more is told.
#[derive(Debug)]
struct Over;

#[cfg(test)]
mod tests {
    use relay_cluster::Links;

    use super::*;
    use crate::beside::FOLLOWERS_MAX;

    #[tokio::test]
    async fn no_more_follow_than_may() {
        let node = Node::alone(Links::alone());
        let taken = Arc::new(Notify::new());
        let most = u32::try_from(FOLLOWERS_MAX).unwrap();
        let others = node.beside.followers.clone().acquire_many_owned(most - 1).await.unwrap();
        let status = |name| answer(&node, name, Some("key=k"), &taken);
        let last = status("cam");
        assert_eq!((last.status(), node.metrics.followers.get()), (StatusCode::OK, 1));
        assert_eq!(status("cam").status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(last);
        assert_eq!(node.metrics.followers.get(), 0);
        assert_eq!(status("cam").status(), StatusCode::OK);
        drop(others);
    }

    #[test]
    fn the_path_names_the_channel() {
        assert_eq!(channel_of("/v1/channels/cam/events"), Some("cam"));
        for other in
            ["/v1/channels", "/v1/channels/events", "/v1/channels/a/b/events", "/v1/channels/cam/event"]
        {
            assert_eq!(channel_of(other), None, "{other}");
        }
    }
}
