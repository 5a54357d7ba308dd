//! What takes time, apart from the core: what it hears of the cluster, what it says to it, and calls whose end it is told of.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use relay_cluster::registry::Unavailable;
use relay_cluster::{Backbone, Links};
use relay_proto::backbone::{Peer, Subjects};
use relay_proto::source::SourceId;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tracing::{error, info};

use super::{Core, Url};
use crate::picker::Picked;
use crate::pictures::Ended;

/// What was heard and not looked at yet. What does not fit waits in the backbone's own queue, which lets go of the oldest.
const OUTSIDE_MAX: usize = 1024;

/// Messages that are not out yet. With the backbone away they are dropped: the next telling has it all.
const OUTBOX_MAX: usize = 4096;

/// What a message out may take.
const OUT_WITHIN: Duration = Duration::from_secs(2);

/// How often what failed is tried again: a subscription while there is no connection and nobody tells of one, a call of the
/// registry.
pub(super) const RETRY: Duration = Duration::from_secs(2);

/// Something from the cluster.
#[derive(Debug)]
pub(super) enum Outside {
    /// A node tells what it carries.
    Report(Bytes),
    /// A bridge tells of sources.
    Sources(Bytes),
    /// Somebody asks this bridge, and where the answer goes.
    Ask(Bytes, Option<String>),
    /// Somebody begins to show telemetry.
    TelemetryAsk(Bytes),
}

/// A job has ended.
#[derive(Debug)]
pub(super) enum Done {
    Picked(SourceId, u64, Option<Picked>),
    PicturesEnded(SourceId, u64, Ended),
    Held(Vec<SourceId>, Result<super::leases::Held, Unavailable>),
    /// What was not kept yet when it was asked for, and all that is remembered.
    Remembered(BTreeSet<String>, Result<Vec<(String, String)>, Unavailable>),
    /// What was kept under this name, or was not.
    Kept(String, String, Result<(), Unavailable>),
    Nothing,
}

/// Hears the cluster.
pub(super) fn hear(
    links: &Links,
    subjects: &Subjects,
    peer: &Peer,
) -> (mpsc::Receiver<Outside>, JoinSet<()>) {
    let (sender, heard) = mpsc::channel(OUTSIDE_MAX);
    let mut tasks = JoinSet::new();
    let mut follow = |subject: String, wrap: fn(Bytes, Option<String>) -> Outside| {
        tasks.spawn(follow(Arc::clone(&links.backbone), subject, sender.clone(), wrap));
    };
    follow(subjects.reports(), |bytes, _| Outside::Report(bytes));
    follow(subjects.sources(), |bytes, _| Outside::Sources(bytes));
    follow(subjects.node(&peer.node, peer.incarnation), Outside::Ask);
    follow(subjects.telemetry_asks(), |bytes, _| Outside::TelemetryAsk(bytes));
    (heard, tasks)
}

async fn follow(
    backbone: Arc<dyn Backbone>,
    subject: String,
    heard: mpsc::Sender<Outside>,
    wrap: fn(Bytes, Option<String>) -> Outside,
) {
    let mut contact = backbone.contact();
    loop {
        contact.borrow_and_update();
        if let Ok(mut messages) = backbone.subscribe(&subject).await {
            while let Some(message) = messages.next().await {
                if heard.send(wrap(message.payload, message.reply)).await.is_err() {
                    return;
                }
            }
        }
        // Without a connection there is nobody to hear.
        let _ = timeout(RETRY, contact.changed()).await;
    }
}

/// What is said to the cluster, in order.
#[derive(Debug)]
pub(super) struct Outbox {
    sender: mpsc::Sender<(String, Bytes)>,
    receiver: Option<mpsc::Receiver<(String, Bytes)>>,
}

impl Outbox {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(OUTBOX_MAX);
        Self { sender, receiver: Some(receiver) }
    }

    /// Sends what is put in, for as long as it is polled. To be called once.
    pub(super) fn run(&mut self, backbone: Arc<dyn Backbone>) -> impl Future<Output = ()> + Send + use<> {
        let receiver = self.receiver.take();
        async move {
            let Some(mut receiver) = receiver else { return };
            while let Some((subject, message)) = receiver.recv().await {
                // Whom it does not reach hears the next.
                let _ = timeout(OUT_WITHIN, backbone.publish(&subject, None, message)).await;
            }
        }
    }
}

impl Core {
    /// Says something to the cluster, if there is room.
    pub(super) fn send(&self, subject: String, message: Bytes) {
        if self.outbox.sender.try_send((subject, message)).is_err() {
            self.metrics.not_sent.inc();
        }
    }

    pub(super) fn done(&mut self, done: Result<Done, JoinError>) {
        let now = self.now();
        match done {
            Ok(Done::Picked(source, run, picked)) => self.picked(&source, run, picked),
            Ok(Done::PicturesEnded(source, run, ended)) => {
                let is_this = self.entries.get(&source).is_some_and(|entry| entry.run == run);
                if !is_this || ended == Ended::Done {
                    return;
                }
                info!(channel = %source.channel(), ?ended, "the node takes no pictures any more");
                if let Some(entry) = self.entries.get_mut(&source) {
                    entry.pictures = None;
                }
                self.machine(&source, |machine| machine.node_failed(ended == Ended::Lost, now.ms));
            }
            Ok(Done::Held(sources, held)) => self.lease_round_done(sources, held),
            Ok(Done::Remembered(unkept, memories)) => self.recalled(unkept, memories),
            Ok(Done::Kept(name, text, kept)) => self.kept(&name, &text, kept),
            Ok(Done::Nothing) => {}
            Err(panic) => error!(error = %panic, "a job of the bridge panicked"),
        }
    }

    fn picked(&mut self, source: &SourceId, run: u64, picked: Option<Picked>) {
        let now = self.now().ms;
        let Some(entry) = self.entries.get_mut(source).filter(|entry| entry.run == run) else { return };
        let (node, url) = picked.map(|Picked { node, url }| (node, Url(url))).unzip();
        entry.url = url;
        self.machine(source, |machine| machine.picked(node, now));
    }
}
