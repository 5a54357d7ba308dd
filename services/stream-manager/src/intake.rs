//! Takes in what is known of the cluster: what nodes report, where other replicas have sent clients, what the registry has. Tells
//! the other replicas where this one has sent clients. Decides nothing.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Registry and backbone each suffice alone: while one is away, the other goes on to be heard.     │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use relay_cluster::backbone::RequestError;
use relay_lifecycle::readiness::Latch;
use relay_proto::backbone::{Request, to_json};
use relay_proto::report::{self, Picked, Picks, Report};
use relay_proto::source::SourcesReport;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, info, warn};

use crate::capacity::capacity;
use crate::replica::Replica;
use crate::webhooks::Census;

/// What a call of the registry or a message out may take.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How long picks are gathered before the other replicas are told: short beside the time that a client takes to arrive.
const PICKS_GATHERED: Duration = Duration::from_millis(10);

/// Nodes in one message of picks: with the longest names 40 KiB.
const PICKS_MAX: usize = 256;

/// Messages that are taken in at a time.
const BATCH_MAX: usize = 256;

/// How often reservations are looked at that have expired, and nodes whose report is late.
const TICK: Duration = Duration::from_millis(100);

/// Nodes that are asked at a time why they are late: if that many are, it is hardly their fault.
const ASKED_MAX: usize = 256;

/// How often the figures are brought up to date that cost a look at every node.
const FIGURES: Duration = Duration::from_secs(1);

/// What this replica has to hear before it can answer.
#[derive(Debug)]
pub(crate) struct Ready(Mutex<Option<Latch>>);

impl Ready {
    pub(crate) const fn new(latch: Option<Latch>) -> Self {
        Self(Mutex::new(latch))
    }

    fn now(&self, part: &'static str) {
        if let Some(latch) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            latch.ready();
            info!(by = part, "the cluster is known");
        }
    }
}

/// Hears nodes and other replicas for as long as it is polled.
pub(crate) async fn hear(replica: Arc<Replica>) {
    let backbone = &replica.links.backbone;
    let (reports, picks) = (replica.subjects.reports(), replica.subjects.picks());
    let sources = replica.subjects.sources();
    let mut contact = backbone.contact();
    loop {
        contact.borrow_and_update();
        if let (Ok(reports), Ok(picks), Ok(sources)) = (
            backbone.subscribe(&reports).await,
            backbone.subscribe(&picks).await,
            backbone.subscribe(&sources).await,
        ) {
            let mut reports = reports.ready_chunks(BATCH_MAX);
            let mut picks = picks.ready_chunks(BATCH_MAX);
            let mut sources = sources.ready_chunks(BATCH_MAX);
            loop {
                tokio::select! {
                    Some(messages) = reports.next() => {
                        heard(&replica, messages.into_iter().map(|message| message.payload));
                    }
                    Some(messages) = picks.next() => {
                        picked(&replica, messages.into_iter().map(|message| message.payload));
                    }
                    Some(messages) = sources.next() => {
                        told(&replica, messages.into_iter().map(|message| message.payload));
                    }
                    else => break,
                }
            }
        }
        // Without a connection there is nobody to hear.
        let _ = timeout(ANSWER_WITHIN, contact.changed()).await;
    }
}

fn heard(replica: &Replica, payloads: impl Iterator<Item = Bytes>) {
    let reports: Vec<Report> = payloads.filter_map(|payload| understood(replica, &payload)).collect();
    if reports.is_empty() {
        return;
    }
    let now = replica.now();
    let mut known = replica.known();
    for report in reports {
        known.view.heard(report, now);
    }
    drop(known);
    replica.news.send_replace(());
}

fn picked(replica: &Replica, payloads: impl Iterator<Item = Bytes>) {
    let others: Vec<Picks> = payloads
        .filter_map(|payload| understood(replica, &payload))
        .filter(|picks: &Picks| picks.by != replica.by)
        .collect();
    if others.is_empty() {
        return;
    }
    let now = replica.now();
    let mut known = replica.known();
    for Picked { node, count } in others.iter().flat_map(|picks| &picks.picks) {
        known.view.reserve(node, *count, now);
    }
}

fn told(replica: &Replica, payloads: impl Iterator<Item = Bytes>) {
    let reports: Vec<SourcesReport> = payloads.filter_map(|payload| understood(replica, &payload)).collect();
    let now = replica.now();
    let mut known = replica.known();
    for report in reports {
        known.sources.heard(report, now);
    }
}

/// What a message says, if it is as it should be; else it is counted.
fn understood<T: for<'a> Deserialize<'a>>(replica: &Replica, payload: &[u8]) -> Option<T> {
    let read = report::read(payload).inspect_err(|error| {
        replica.metrics.messages_not_understood.inc();
        debug!(%error, "a message that is not understood");
    });
    read.ok()
}

/// Tells the other replicas where clients were sent, for as long as it is polled.
pub(crate) async fn tell(replica: Arc<Replica>) {
    let subject = replica.subjects.picks();
    loop {
        replica.picked.notified().await;
        sleep(PICKS_GATHERED).await;
        let untold = replica.known().take_untold();
        for picks in untold.chunks(PICKS_MAX) {
            let picks = Picks { by: replica.by.clone(), picks: picks.to_vec() };
            // The type has nothing that JSON could refuse.
            let message = serde_json::to_vec(&picks).unwrap_or_default();
            // Whom this does not reach learns from the nodes, when the clients have arrived.
            let _ =
                timeout(ANSWER_WITHIN, replica.links.backbone.publish(&subject, None, message.into())).await;
        }
    }
}

/// Asks the registry every interval, for as long as it is polled.
pub(crate) async fn ask(replica: Arc<Replica>, ready: Ready) {
    let mut due = interval(replica.config.registry_interval);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_up = true;
    loop {
        due.tick().await;
        let answer = timeout(ANSWER_WITHIN, replica.links.registry.nodes()).await;
        let now = replica.now();
        let up = match answer {
            Ok(Ok(records)) => {
                replica.known().view.registered(records, now);
                replica.news.send_replace(());
                ready.now("registry");
                true
            }
            failed => {
                replica.metrics.registry_errors.inc();
                if let (Ok(Err(error)), true) = (failed, was_up) {
                    warn!(%error, "the registry does not answer");
                }
                // Every node has reported within an interval.
                if replica.known().view.age_ms(now).is_some() {
                    ready.now("backbone");
                }
                false
            }
        };
        replica.set_registry_up(up);
        was_up = up;
    }
}

/// Asks nodes whose report is late whether they are there, for as long as it is polled.
pub(crate) async fn ask_late(replica: Arc<Replica>) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked = JoinSet::new();
    loop {
        tick.tick().await;
        while asked.try_join_next().is_some() {}
        // Without a connection nobody is there to be asked, and everybody is late.
        if !replica.is_connected() {
            continue;
        }
        let late = replica.known().view.late(replica.now());
        for peer in late.into_iter().take(ASKED_MAX.saturating_sub(asked.len())) {
            let replica = Arc::clone(&replica);
            asked.spawn(async move {
                let subject = replica.subjects.node(&peer.node, peer.incarnation);
                // What costs a node least to answer.
                let question = to_json(&Request::Sessions { channel: None, after: None, max: 0 });
                let answer = replica.links.backbone.request(&subject, question.into(), ANSWER_WITHIN).await;
                if let Err(RequestError::NoResponders) = answer {
                    info!(node = %peer.node, "nobody is there to hear the node's questions");
                    replica.known().view.unreachable(&peer);
                }
            });
        }
    }
}

/// Lets go of what has expired, and keeps the figures up to date, for as long as it is polled.
pub(crate) async fn keep_house(replica: Arc<Replica>) {
    let mut tick = interval(TICK);
    let mut figures = interval(FIGURES);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    figures.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let now = replica.now();
                {
                    let mut known = replica.known();
                    known.view.tick(now);
                    known.sources.tick(now);
                }
                count(&replica, now);
            }
            _ = figures.tick() => show(&replica),
        }
    }
}

/// Tells whoever tells the journal how nodes are. Nothing is said of those that this replica has never heard of, nor while it
/// hears nobody: the view takes nobody for silent then.
fn count(replica: &Replica, now: u64) {
    let census: Census =
        replica.known().view.nodes().map(|member| (member.peer(), member.phase(now))).collect();
    replica.census.send_if_modified(|known| {
        let is_news = *known != census;
        if is_news {
            *known = census;
        }
        is_news
    });
}

fn show(replica: &Replica) {
    let now = replica.now();
    let (report, age) = {
        let known = replica.known();
        (capacity(&known.view, now, replica.config.utilization_target), known.view.age_ms(now))
    };
    let metrics = &replica.metrics;
    let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    for (state, count) in
        [("in_service", report.nodes), ("draining", report.draining), ("silent", report.silent)]
    {
        metrics.nodes.with_label_values(&[state]).set(gauge(count));
    }
    metrics.desired_nodes.set(gauge(report.desired_nodes));
    metrics.view_age.set(Duration::from_millis(age.unwrap_or(0)).as_secs_f64());
    metrics.backbone_up.set(i64::from(replica.is_connected()));
}
