//! Carries the chunks of a publication of this node to the other nodes that follow it, while there are any.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ The publisher never waits for the backbone: what carries its chunks has a cursor in the ring, │
//! │ and whatever the backbone does not take in time is a hole for the other nodes to find.       │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use relay_proto::ChannelName;
use relay_proto::backbone::{Envelope, Flags, Kind, Peer, Progress, PublicationState, cut};
use tokio::time::{Instant, sleep, timeout};

use crate::batch::BATCH_FRAMES_MAX;
use crate::chunk::Chunk;
use crate::feed::{End, Feed};
use crate::gop::Seq;
use crate::metrics::Counted;
use crate::node::Node;

/// How long a node that asked is sent chunks without asking again. Nodes ask every [`SYNC_INTERVAL`].
const ASKED_TTL: Duration = Duration::from_secs(10);

/// How often a node that follows a publication asks its origin how far that is.
pub(crate) const SYNC_INTERVAL: Duration = Duration::from_secs(2);

/// How often it is looked whether anybody still follows, while no chunk comes; and whether the backbone is back.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Which other nodes follow a publication.
#[derive(Debug, Default)]
pub(crate) struct Export(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By when they have to ask again.
    followers: HashMap<Peer, Instant>,
    /// The next chunk to be published, while the task runs.
    next: Option<Seq>,
    was_asked: bool,
}

/// However the task ends, the next node that asks starts another.
struct Ended<'a>(&'a Export);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().next = None;
        }
    }
}

impl Export {
    /// Whether another node has ever followed.
    pub(crate) fn was_asked(&self) -> bool {
        self.lock().was_asked
    }

    /// A node asks to be sent chunks. What follows `feed` now, in a snapshot that is taken after this, has no hole.
    pub(crate) fn ask(self: &Arc<Self>, node: &Arc<Node>, channel: &ChannelName, feed: &Arc<Feed>, by: Peer) {
        let mut state = self.lock();
        state.was_asked = true;
        state.followers.insert(by, Instant::now() + ASKED_TTL);
        if state.next.is_none() {
            state.next = Some(feed.ring().end());
            let (export, feed, owner) = (Arc::clone(self), Arc::clone(feed), Arc::clone(node));
            let channel = channel.clone();
            node.cluster.spawn(async move {
                let _ended = Ended(&export);
                export.carry(&owner, &channel, &feed).await;
            });
        }
    }

    /// A node needs no chunks any more.
    pub(crate) fn leave(&self, by: &Peer) {
        self.lock().followers.remove(by);
    }

    /// How far the publication is, as the other nodes may know.
    pub(crate) fn progress(&self, feed: &Feed) -> Progress {
        // Asked before the ring: what is appended before the end is then counted.
        let state = match feed.ended() {
            None => PublicationState::Live,
            Some(End::Clean) => PublicationState::Ended,
            Some(End::Lost) => PublicationState::Lost,
        };
        let end = feed.ring().end();
        match state {
            // What is not published yet has not been lost.
            PublicationState::Live => Progress { end: self.lock().next.unwrap_or(end), state },
            _ => Progress { end, state },
        }
    }

    async fn carry(&self, node: &Node, channel: &ChannelName, feed: &Feed) {
        let _counted = Counted::new(node.metrics.exports.clone());
        let subject = node.cluster.subjects.chunks(channel);
        let mut contact = node.cluster.backbone.contact();
        let mut generation = None;
        while let Some(next) = self.next() {
            let ended = feed.ended();
            let Some(chunks) = feed.chunks_from(next, BATCH_FRAMES_MAX) else {
                // The backbone takes less than the publisher sends.
                let first = feed.ring().first();
                node.metrics.exports_behind.inc_by(first - next);
                self.advance(first);
                continue;
            };
            if chunks.is_empty() {
                if let Some(end) = ended {
                    self.publish_end(node, &subject, feed, end).await;
                    self.lock().next = None;
                    return;
                }
                tokio::select! {
                    () = feed.delivered() => {}
                    () = sleep(LOOK_INTERVAL) => {}
                }
                continue;
            }
            let mut seq = next;
            for (chunk, join) in chunks {
                let flags =
                    Flags { init: join.is_some() && join != generation, join: join.is_some(), clean: false };
                generation = join.or(generation);
                let envelope = Envelope { flags, ..Envelope::new(Kind::Chunk, feed.epoch(), seq) };
                if !publish(node, &subject, envelope, &chunk).await {
                    let _ = timeout(LOOK_INTERVAL, contact.changed()).await;
                    break;
                }
                seq += 1;
            }
            self.advance(seq);
        }
    }

    async fn publish_end(&self, node: &Node, subject: &str, feed: &Feed, end: End) {
        let flags = Flags { clean: end == End::Clean, ..Flags::default() };
        let envelope = Envelope { flags, ..Envelope::new(Kind::End, feed.epoch(), feed.ring().end()) };
        let message = node.cluster.whole(envelope, &[]);
        // Who does not hear it asks, and is told.
        let _ = node.cluster.backbone.publish(subject, None, message).await;
    }

    /// The chunk to go on with; `None`, and the task has to end, when nobody follows.
    fn next(&self) -> Option<Seq> {
        let now = Instant::now();
        let mut state = self.lock();
        state.followers.retain(|_, until| *until > now);
        if state.followers.is_empty() {
            state.next = None;
        }
        state.next
    }

    fn advance(&self, next: Seq) {
        self.lock().next = Some(next);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells whether the backbone took it.
pub(crate) async fn publish(node: &Node, subject: &str, envelope: Envelope, chunk: &Chunk) -> bool {
    publish_body(node, subject, envelope, chunk.payload()).await
}

/// The same, of any body.
pub(crate) async fn publish_body(node: &Node, subject: &str, envelope: Envelope, body: &[u8]) -> bool {
    let backbone = &node.cluster.backbone;
    let messages: Vec<Bytes> = cut(envelope, body, backbone.message_bytes_max()).collect();
    for message in messages {
        if backbone.publish(subject, None, message).await.is_err() {
            return false;
        }
    }
    true
}
