//! What is told beside a picture: telemetry of the channel, and what its source does. To whoever follows it
//! ([`follow`]), and away from the path of chunks.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ A channel costs one subscription while somebody follows it, however many do, and nothing     │
//! │ otherwise. What was told last is kept for them all, and only until the last of them goes.    │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

pub(crate) mod follow;
mod kept;
mod told;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use relay_cluster::backbone::Subscription;
use relay_proto::ChannelName;
use relay_proto::backbone::{from_json_within, to_json};
use relay_proto::report::REPORT_BYTES_MAX;
use relay_proto::source::{SourcesReport, is_source};
use relay_proto::telemetry::{TELEMETRY_BYTES_MAX, Telemetry, TelemetryAsk};
use serde::Serialize;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use self::kept::{About, Kept};
use self::told::Told;
use crate::node::Node;
use crate::talk::{ANSWER_TIMEOUT, understood};

/// Who may follow at a time. Each holds a connection of HTTP with its buffers, which is more than a receiver costs.
pub(crate) const FOLLOWERS_MAX: usize = 4096;

/// How often what bridges have not said again is looked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// What is told beside pictures on this node.
#[derive(Debug)]
pub(crate) struct Beside {
    table: Mutex<Table>,
    /// How many channels of sources are followed.
    sources: Arc<watch::Sender<usize>>,
    followers: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Table {
    shows: HashMap<ChannelName, Weak<Show>>,
    told: Told,
}

/// A channel that somebody follows.
#[derive(Debug)]
struct Show {
    kept: Mutex<Kept>,
    /// Changes whenever something is told.
    news: watch::Sender<()>,
    /// Tells when it is gone.
    _alive: watch::Sender<()>,
    _source: Option<OneMore>,
}

/// One in a count for as long as it lives.
#[derive(Debug)]
struct OneMore(Arc<watch::Sender<usize>>);

impl OneMore {
    fn new(count: &Arc<watch::Sender<usize>>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(Arc::clone(count))
    }
}

impl Drop for OneMore {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Default for Beside {
    fn default() -> Self {
        Self {
            table: Mutex::default(),
            sources: Arc::new(watch::Sender::new(0)),
            followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
        }
    }
}

impl Beside {
    /// The channel, which is shown from now on for as long as somebody has this.
    fn show(&self, node: &Arc<Node>, channel: &ChannelName) -> Arc<Show> {
        let mut table = self.lock();
        if let Some(show) = table.shows.get(channel).and_then(Weak::upgrade) {
            return show;
        }
        let (alive, gone) = watch::channel(());
        let show = Arc::new(Show {
            kept: Mutex::default(),
            news: watch::Sender::new(()),
            _alive: alive,
            _source: is_source(channel).then(|| OneMore::new(&self.sources)),
        });
        table.tell(channel, &show);
        table.shows.insert(channel.clone(), Arc::downgrade(&show));
        node.cluster.spawn(listen(Arc::clone(node), channel.clone(), Arc::downgrade(&show), gone));
        show
    }

    /// Tells the followers of these channels what is known of their sources, where it is something else than before.
    fn told(&self, learn: impl FnOnce(&mut Told) -> HashSet<ChannelName>) {
        let mut table = self.lock();
        let concerned = learn(&mut table.told);
        for channel in &concerned {
            if let Some(show) = table.shows.get(channel).and_then(Weak::upgrade) {
                table.tell(channel, &show);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn tell(&self, channel: &ChannelName, show: &Show) {
        let shown = self.told.of(channel);
        let frame = frame("source", &shown);
        let known = show.lock().get(&About::Source).cloned();
        // Of what was never known there is nothing to be told.
        if known.as_ref() != Some(&frame) && (shown.is_some() || known.is_some()) {
            show.put(About::Source, frame);
        }
    }
}

impl Show {
    fn put(&self, about: About, frame: Bytes) {
        self.lock().put(about, frame);
        self.news.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn frame(event: &str, data: &impl Serialize) -> Bytes {
    // JSON has no line ends outside of strings, and escapes them there.
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {event}\ndata: {data}\n\n").into()
}

/// Listens to the telemetry of a channel until nobody follows it.
async fn listen(node: Arc<Node>, channel: ChannelName, show: Weak<Show>, mut gone: watch::Receiver<()>) {
    tokio::select! {
        _ = gone.changed() => {}
        () = hear_telemetry(&node, &channel, &show) => {}
    }
    let mut table = node.beside.lock();
    if table.shows.get(&channel).is_some_and(|show| show.strong_count() == 0) {
        table.shows.remove(&channel);
    }
}

async fn hear_telemetry(node: &Node, channel: &ChannelName, show: &Weak<Show>) {
    let cluster = &node.cluster;
    let subject = cluster.subjects.telemetry(channel);
    let ask = to_json(&TelemetryAsk { channel: channel.clone(), by: cluster.peer.clone() });
    let mut contact = cluster.backbone.contact();
    loop {
        contact.borrow_and_update();
        if let Ok(mut messages) = cluster.backbone.subscribe(&subject).await {
            let asks = cluster.subjects.telemetry_asks();
            // Without a connection it is asked again as soon as there is one.
            let _ = cluster.backbone.publish(&asks, None, ask.clone().into()).await;
            loop {
                let message = tokio::select! {
                    Some(message) = messages.next() => message,
                    _ = contact.changed() => break,
                    else => break,
                };
                let read = from_json_within::<Telemetry>(&message.payload, TELEMETRY_BYTES_MAX);
                let Some(telemetry) = understood(&node.metrics, read) else { continue };
                let Some(show) = show.upgrade() else { return };
                let frame = frame("telemetry", &telemetry);
                show.put(About::Topic(telemetry.topic), frame);
            }
        } else {
            let _ = timeout(ANSWER_TIMEOUT, contact.changed()).await;
        }
    }
}

/// Listens to what bridges tell of sources whenever somebody follows one, for as long as the node runs.
pub(crate) async fn sources(node: Arc<Node>) {
    let mut wanted = node.beside.sources.subscribe();
    let subject = node.cluster.subjects.sources();
    let mut contact = node.cluster.backbone.contact();
    while until(&mut wanted, |count| count > 0).await {
        contact.borrow_and_update();
        let Ok(mut messages) = node.cluster.backbone.subscribe(&subject).await else {
            let _ = timeout(ANSWER_TIMEOUT, contact.changed()).await;
            continue;
        };
        tokio::select! {
            _ = until(&mut wanted, |count| count == 0) => {
                node.beside.told(|told| { *told = Told::default(); HashSet::new() });
            }
            () = hear_sources(&node, &mut messages) => {
                let _ = timeout(ANSWER_TIMEOUT, contact.changed()).await;
            }
        }
    }
}

/// Waits until a count is as wanted; `false` when it will never be.
async fn until(count: &mut watch::Receiver<usize>, is_wanted: impl Fn(usize) -> bool) -> bool {
    count.wait_for(|count| is_wanted(*count)).await.is_ok()
}

async fn hear_sources(node: &Node, messages: &mut Subscription) {
    let mut look = interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = messages.next() => {
                let Some(message) = message else { return };
                let read = from_json_within::<SourcesReport>(&message.payload, REPORT_BYTES_MAX);
                if let Some(report) = understood(&node.metrics, read) {
                    node.beside.told(|told| told.heard(report, Instant::now()));
                }
            }
            _ = look.tick() => node.beside.told(|told| told.tick(Instant::now())),
        }
    }
}
