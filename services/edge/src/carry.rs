//! Carries the chunks of a publication of this node to the other nodes that follow it.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ The publisher never waits for the backbone: what carries its chunks has a cursor in the ring, │
//! │ and whatever the backbone does not take in time is a hole for the other nodes to find.       │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use relay_proto::ChannelName;
use relay_proto::backbone::{Envelope, Flags, Kind, Peer, cut};
use tokio::time::{sleep, timeout};

use crate::batch::BATCH_FRAMES_MAX;
use crate::channel::Exported;
use crate::chunk::Chunk;
use crate::export::Export;
use crate::feed::{End, Feed};
use crate::metrics::Counted;
use crate::node::Node;

/// How often it is looked whether anybody still follows, while no chunk comes; and whether the backbone is back.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A node asks to be sent what is published.
pub(crate) fn follow(node: &Arc<Node>, channel: &ChannelName, exported: &Exported, by: Peer) {
    let Exported { live, export } = exported;
    export.ask(&live.feed, by, || {
        let (owner, channel) = (Arc::clone(node), channel.clone());
        let (feed, export) = (Arc::clone(&live.feed), Arc::clone(export));
        node.cluster.spawn(async move {
            let _stopped = Stopped(&export);
            carry(&owner, &channel, &feed, &export).await;
        });
    });
}

/// However the task ends, the next node that asks starts another.
struct Stopped<'a>(&'a Export);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

async fn carry(node: &Node, channel: &ChannelName, feed: &Feed, export: &Export) {
    let _counted = Counted::new(node.metrics.exports.clone());
    let subject = node.cluster.subjects.chunks(channel);
    let mut contact = node.cluster.backbone.contact();
    let mut generation = None;
    while let Some(next) = export.next() {
        let ended = feed.ended();
        let Some(chunks) = feed.chunks_from(next, BATCH_FRAMES_MAX) else {
            // The backbone takes less than the publisher sends.
            let first = feed.ring().first();
            node.metrics.exports_behind.inc_by(first - next);
            export.advance(first);
            continue;
        };
        if chunks.is_empty() {
            if let Some(end) = ended {
                publish_end(node, &subject, feed, end).await;
                export.stop();
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
        export.advance(seq);
    }
}

async fn publish_end(node: &Node, subject: &str, feed: &Feed, end: End) {
    let flags = Flags { clean: end == End::Clean, ..Flags::default() };
    let envelope = Envelope { flags, ..Envelope::new(Kind::End, feed.epoch(), feed.ring().end()) };
    let message = node.cluster.whole(envelope, &[]);
    // Who does not hear it asks, and is told.
    let _ = node.cluster.backbone.publish(subject, None, message).await;
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
