//! Answers other nodes: what is published here, how far it is, whether it lives.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use relay_cluster::backbone::{Message, Subscription};
use relay_proto::backbone::{
    Challenged, Command, Done, Envelope, From, Head, HeadJoin, Kind, Origin, Peer, Progress,
    PublicationState, Request, SESSIONS_BYTES_MAX, Stated, from_json, head_body,
};
use relay_proto::websocket::Close;
use relay_proto::{ChannelName, Epoch};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::carry::{follow, publish, publish_body};
use crate::channel::Exported;
use crate::lease::{Incumbency, own_incumbency};
use crate::node::Node;
use crate::sessions::{Page, fitting};
use crate::talk::{ANSWER_TIMEOUT, answer, understood};

/// Snapshots that are being sent at a time: each may hold all chunks that a channel has cached.
const SNAPSHOTS_MAX: usize = 64;

/// Publishers that are being asked for a sign of life at a time. Each costs a ping and a wait.
const CHALLENGES_MAX: usize = 4096;

/// Sessions that are looked at for one answer: more than fit.
const SESSIONS_MAX: usize = 1024;

/// Serves other nodes for as long as the node runs.
pub(crate) async fn serve(node: Arc<Node>) {
    let cluster = &node.cluster;
    let own = cluster.subjects.node(&cluster.peer.node, cluster.peer.incarnation);
    let all = cluster.subjects.all();
    let snapshots = Arc::new(Semaphore::new(SNAPSHOTS_MAX));
    let challenges = Arc::new(Semaphore::new(CHALLENGES_MAX));
    let mut contact = cluster.backbone.contact();
    loop {
        contact.borrow_and_update();
        if let (Ok(mut requests), Ok(mut commands)) =
            (cluster.backbone.subscribe(&own).await, cluster.backbone.subscribe(&all).await)
        {
            serve_subscribed(&node, [&snapshots, &challenges], &mut requests, &mut commands).await;
        }
        // Without a connection there is nobody to serve.
        let _ = timeout(ANSWER_TIMEOUT, contact.changed()).await;
    }
}

async fn serve_subscribed(
    node: &Arc<Node>,
    bounds: [&Arc<Semaphore>; 2],
    requests: &mut Subscription,
    commands: &mut Subscription,
) {
    loop {
        tokio::select! {
            Some(message) = requests.next() => request(node, bounds, message).await,
            Some(message) = commands.next() => command(node, message).await,
            else => return,
        }
    }
}

async fn request(node: &Arc<Node>, [snapshots, challenges]: [&Arc<Semaphore>; 2], message: Message) {
    let Some(request) = understood(&node.metrics, from_json(&message.payload)) else { return };
    match request {
        // To the origin's own subject.
        Request::Find { .. } => {}
        Request::Snapshot { channel, epoch, by, from } => {
            let Some(reply) = message.reply else { return };
            // Whoever gets none asks again, and meanwhile others are served.
            let Ok(permit) = Arc::clone(snapshots).try_acquire_owned() else { return };
            let owner = Arc::clone(node);
            node.cluster.spawn(async move {
                snapshot(&owner, &channel, epoch, by, from, &reply).await;
                drop(permit);
            });
        }
        Request::Sync { channel, epoch, by } => {
            let progress = match exported(node, &channel, epoch) {
                Some(exported) => {
                    follow(node, &channel, &exported, by);
                    exported.export.progress(&exported.live.feed)
                }
                None => Progress { end: 0, state: PublicationState::Unknown },
            };
            answer(node, message.reply.as_deref(), &progress).await;
        }
        Request::Leave { channel, epoch, by } => {
            if let Some(Exported { export, .. }) = exported(node, &channel, epoch) {
                export.leave(&by);
            }
        }
        Request::Challenge { channel, epoch } => {
            let Ok(permit) = Arc::clone(challenges).try_acquire_owned() else { return };
            let owner = Arc::clone(node);
            node.cluster.spawn(async move {
                let lives = match owner.channels.get(&channel) {
                    Some(channel) => own_incumbency(&owner, &channel, epoch).await == Incumbency::Lives,
                    None => false,
                };
                answer(&owner, message.reply.as_deref(), &Challenged { lives }).await;
                drop(permit);
            });
        }
        Request::Sessions { channel, after, max } => {
            let channel = channel.as_ref().map(ChannelName::as_str);
            let max = usize::try_from(max).unwrap_or(usize::MAX).min(SESSIONS_MAX);
            let sessions = node.sessions.describe(&Page { channel, after, max });
            let bytes_max = node.cluster.backbone.message_bytes_max().min(SESSIONS_BYTES_MAX);
            answer(node, message.reply.as_deref(), &fitting(sessions, bytes_max)).await;
        }
        Request::Drain => {
            answer(node, message.reply.as_deref(), &Stated { state: node.service.drain() }).await;
        }
        Request::Undrain => {
            answer(node, message.reply.as_deref(), &Stated { state: node.service.undrain() }).await;
        }
        Request::Replaced { channel, epoch } => {
            let present = node.channels.get(&channel).and_then(|channel| channel.present());
            if let Some(present) = present.filter(|present| present.epoch < epoch) {
                present.incumbent.dismiss(Close::Replaced);
            }
        }
    }
}

fn exported(node: &Node, channel: &ChannelName, epoch: Epoch) -> Option<Exported> {
    node.channels.get(channel)?.exported(epoch)
}

/// What is cached of a publication, and from now on all of it on the channel's subject.
async fn snapshot(node: &Arc<Node>, channel: &ChannelName, epoch: Epoch, by: Peer, from: From, reply: &str) {
    let Some(exported) = exported(node, channel, epoch) else {
        let _ = publish_body(node, reply, Envelope::new(Kind::Unknown, epoch, 0), &[]).await;
        return;
    };
    // First, so that what comes by itself meets what is in the snapshot.
    follow(node, channel, &exported, by);
    let Exported { live, .. } = exported;
    let snapshot = live.feed.snapshot(from);
    let nothing = Bytes::new();
    let (init, preamble) =
        snapshot.join.as_ref().map_or((&nothing, &nothing), |join| (&join.init, &join.preamble));
    let head = Head {
        origin: Origin { peer: node.cluster.peer.clone(), key: live.key },
        container: snapshot.container.map(|container| container.name().to_owned()),
        first: snapshot.first,
        end: snapshot.first + snapshot.chunks.len() as u64,
        join: snapshot.join.as_ref().map(|join| HeadJoin {
            offset: join.offset as u64,
            init: join.init.len() as u64,
            preamble: join.preamble.len() as u64,
        }),
    };
    let body = head_body(&head, init, preamble);
    if !publish_body(node, reply, Envelope::new(Kind::Head, epoch, head.first), &body).await {
        return;
    }
    for (seq, chunk) in (snapshot.first..).zip(&snapshot.chunks) {
        if !publish(node, reply, Envelope::new(Kind::Chunk, epoch, seq), chunk).await {
            return;
        }
    }
    node.metrics.snapshots.inc();
}

async fn command(node: &Arc<Node>, message: Message) {
    let Some(command) = understood(&node.metrics, from_json(&message.payload)) else { return };
    let reply = message.reply.as_deref();
    match command {
        Command::CloseChannel { channel } => {
            let present = node.channels.get(&channel).and_then(|channel| channel.present());
            if let Some(present) = &present {
                present.incumbent.dismiss(Close::ChannelClosed);
            }
            done(node, reply, u64::from(present.is_some())).await;
        }
        Command::KickSession { session } => done(node, reply, node.sessions.kick(session)).await,
        Command::BanKey { channel, key, ttl_ms } => {
            let ttl = Duration::from_millis(ttl_ms);
            let sessions = node.sessions.ban(&channel, key, ttl);
            let owner = Arc::clone(node);
            node.cluster.spawn(async move {
                // Every node says so, since any of them may be the one that reaches the registry.
                if owner.cluster.registry.ban(&channel, key, ttl).await.is_err() {
                    owner.metrics.registry_errors.inc();
                }
            });
            done(node, reply, sessions).await;
        }
    }
}

/// Only whom a command concerned answers.
async fn done(node: &Node, reply: Option<&str>, sessions: u64) {
    if sessions > 0 {
        answer(node, reply, &Done { node: node.cluster.peer.node.clone(), sessions }).await;
    }
}
