//! The one task that owns all sources of a bridge, their machines and drivers: everything that happens comes here, one thing
//! after the other, and nothing here waits for anything.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Whoever is slow, a node, a device, the registry, keeps nobody else waiting: what takes time is  │
//! │ a job, and its end is one more thing that happens.                                              │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

mod asks;
mod jobs;
mod leases;
mod memory;
mod tell;
#[cfg(test)]
mod tests;
mod work;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use relay_cluster::Links;
use relay_cluster::sources::Sources;
use relay_lifecycle::drain::{Drain, Phase};
use relay_lifecycle::readiness::Latch;
use relay_proto::ChannelName;
use relay_proto::backbone::{Peer, Subjects};
use relay_proto::report::{self, Report};
use relay_proto::source::{Answered, Ask, Source, SourceId, SourceKind, StartOptions};
use relay_proto::telemetry::TelemetryAsk;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use self::asks::{Reply, Waiting};
use self::jobs::{Done, Outbox, Outside};
use self::work::Work;
use crate::broker::{Heard, Inbox, Publisher};
use crate::demand::Demand;
use crate::driver::{Driver, Effect, Effects, Now, Ticket};
use crate::metrics::Metrics;
use crate::picker::Picker;
use crate::pictures::Pictures;
use crate::source::{Conduct, Machine, Timing};
use crate::telemetry::{self, Telemetry};

/// Sources that a bridge knows: more than the largest fleet that is planned for, all of whose cameras have three videos.
const SOURCES_MAX: usize = 1 << 15;

/// How often time is looked at without a reason: for nodes that are silent, for instance.
const TICK: Duration = Duration::from_millis(500);

/// How often time is looked at, however much is due: not oftener than this.
const TICK_MIN: Duration = Duration::from_millis(5);

/// What others ask of this bridge at a time, in this process.
pub(crate) const REQUESTS_MAX: usize = 64;

/// How long what another bridge has told of itself may take to come here.
const HEIRS_WITHIN: Duration = Duration::from_millis(500);

/// Messages of the broker that are taken one after the other, when they are there.
const HEARD_AT_ONCE: usize = 16;

/// How long devices that this bridge alone can stop are waited for when it ends.
const STOP_WITHIN: Duration = Duration::from_millis(500);

/// What REST sees of the core.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    pub(crate) requests: mpsc::Sender<(Ask, oneshot::Sender<Answered>)>,
    roster: Arc<Mutex<Sources>>,
}

impl Desk {
    /// What all bridges together tell of sources.
    pub(crate) fn roster(&self) -> MutexGuard<'_, Sources> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a core is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) links: Links,
    pub(crate) peer: Peer,
    pub(crate) publisher: Publisher,
    pub(crate) picker: Picker,
    pub(crate) drivers: Vec<(SourceKind, Box<dyn Driver>)>,
    pub(crate) effects: Effects,
    pub(crate) telemetry: Telemetry,
    pub(crate) always_on: Vec<SourceId>,
    pub(crate) timing: Timing,
    pub(crate) registry_interval: Duration,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) broker_latch: Option<Latch>,
    pub(crate) told_latch: Option<Latch>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Core {
    links: Links,
    subjects: Subjects,
    peer: Peer,
    publisher: Publisher,
    picker: Arc<Picker>,
    drivers: Vec<(SourceKind, Box<dyn Driver>)>,
    telemetry: Telemetry,
    timing: Timing,
    metrics: Arc<Metrics>,
    broker_latch: Option<Latch>,
    told_latch: Option<Latch>,
    is_connected: bool,
    demand: Demand,
    entries: HashMap<SourceId, Entry>,
    by_channel: HashMap<ChannelName, SourceId>,
    /// When machines want to know the time.
    timers: BTreeSet<(u64, SourceId)>,
    /// Sources of which something may have changed that is told.
    touched: BTreeSet<SourceId>,
    work: VecDeque<Work>,
    jobs: JoinSet<Done>,
    outbox: Outbox,
    roster: Arc<Mutex<Sources>>,
    /// In the order in which they were given out.
    tickets: BTreeMap<Ticket, Waiting>,
    next_ticket: u64,
    /// One for each command that may wait for another bridge.
    others: Arc<Semaphore>,
    memory: memory::Memory,
    leases: leases::Round,
    tellings: tell::Rounds,
    began: Instant,
    /// When time was looked at last.
    ticked: Instant,
}

/// A source, and what belongs to it.
#[derive(Debug)]
struct Entry {
    machine: Machine,
    kind: SourceKind,
    /// Whether a driver knows it: else it only ends what it does.
    is_known: bool,
    always_on: bool,
    /// Whether an operator wants it.
    is_forced: bool,
    has_viewers: bool,
    options: StartOptions,
    is_held: bool,
    /// When it began to need a lease.
    needs_since: Option<u64>,
    timer: Option<u64>,
    /// Grows with every node that is asked for: what comes of an older one is passed over.
    run: u64,
    url: Option<Url>,
    pictures: Option<Pictures>,
    told: Option<Source>,
}

/// Where a node takes a source. Prints without the key that it has.
struct Url(String);

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Core {
    pub(crate) fn new(parts: Parts) -> (Self, Desk, mpsc::Receiver<(Ask, oneshot::Sender<Answered>)>) {
        let Parts { links, peer, publisher, picker, drivers, effects, telemetry, always_on, timing, .. } =
            parts;
        let roster = Arc::<Mutex<Sources>>::default();
        let (requests, received) = mpsc::channel(REQUESTS_MAX);
        let desk = Desk { requests, roster: Arc::clone(&roster) };
        let silent_after = parts.registry_interval.as_millis() * 3;
        let mut core = Self {
            subjects: Subjects::new(links.cluster.clone()),
            outbox: Outbox::new(),
            links,
            peer,
            publisher,
            picker: Arc::new(picker),
            drivers,
            telemetry,
            timing,
            metrics: parts.metrics,
            broker_latch: parts.broker_latch,
            told_latch: parts.told_latch,
            is_connected: false,
            demand: Demand::new(u64::try_from(silent_after).unwrap_or(u64::MAX)),
            entries: HashMap::new(),
            by_channel: HashMap::new(),
            timers: BTreeSet::new(),
            touched: BTreeSet::new(),
            work: VecDeque::new(),
            jobs: JoinSet::new(),
            roster,
            tickets: BTreeMap::new(),
            next_ticket: 0,
            others: Arc::new(Semaphore::new(asks::OTHERS_MAX)),
            memory: memory::Memory::default(),
            leases: leases::Round::default(),
            tellings: tell::Rounds::default(),
            began: Instant::now(),
            ticked: Instant::now(),
        };
        for source in always_on {
            if let Some(entry) = core.entry(&source) {
                entry.always_on = true;
            }
            core.want(&source);
        }
        core.effects(effects);
        (core, desk, received)
    }

    /// Does everything until the drain begins, and leaves.
    pub(crate) async fn run(
        mut self,
        mut inbox: Inbox,
        mut requests: mpsc::Receiver<(Ask, oneshot::Sender<Answered>)>,
        mut drain: Drain,
    ) {
        let (mut outside, mut hearers) = jobs::hear(&self.links, &self.subjects, &self.peer);
        let outbox = self.outbox.run(Arc::clone(&self.links.backbone));
        hearers.spawn(outbox);
        self.recall();
        loop {
            self.settle();
            let until = self.next();
            // By chance, and nobody first: however much the broker has to say, leases are renewed and the drain begins.
            tokio::select! {
                () = drain.reached(Phase::Draining) => break,
                heard = inbox.next() => {
                    self.heard(heard);
                    // A few, and then it is the turn of the others.
                    for _ in 1..HEARD_AT_ONCE {
                        let Some(heard) = inbox.next_at_once() else { break };
                        self.settle();
                        self.heard(heard);
                    }
                }
                Some(outside) = outside.recv() => self.outside(outside),
                Some((ask, answer)) = requests.recv() => self.ask(ask, Reply::Here(answer)),
                Some(done) = self.jobs.join_next() => self.done(done),
                () = sleep_until(until) => self.tick(),
                // None of them returns.
                Some(ended) = hearers.join_next() => warn!(error = ?ended.err(), "a task of the bridge ended"),
            }
        }
        self.listen_for_heirs(&mut outside).await;
        self.leave(&mut inbox).await;
        inbox.leave().await;
        hearers.shutdown().await;
    }

    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let whole_ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Now { ms: whole_ms(self.began.elapsed()), unix_ms: whole_ms(unix) }
    }

    /// When there is something to do, whatever happens.
    fn next(&self) -> Instant {
        let drivers = self.drivers.iter().filter_map(|(_, driver)| driver.next());
        let timer = self.timers.first().map(|(at, _)| *at);
        let leases = self.leases.next();
        let next = drivers.chain(timer).chain(leases).chain([self.tellings.next()]).min();
        let soon = self.began.elapsed() + TICK;
        let at = self.began + next.map_or(soon, |at| Duration::from_millis(at).min(soon));
        at.max(self.ticked + TICK_MIN)
    }

    fn tick(&mut self) {
        self.ticked = Instant::now();
        let now = self.now();
        let hears = self.links.backbone.contact().borrow().connected;
        for channel in self.demand.tick(now.ms, hears) {
            self.look(&channel);
        }
        self.roster.lock().unwrap_or_else(PoisonError::into_inner).tick(now.ms);
        let mut effects = Effects::new();
        for (_, driver) in &mut self.drivers {
            if driver.next().is_some_and(|at| at <= now.ms) {
                driver.tick(now, &mut effects);
            }
        }
        self.effects(effects);
        while let Some((at, source)) = self.timers.first().cloned().filter(|(at, _)| *at <= now.ms) {
            self.timers.remove(&(at, source.clone()));
            self.machine(&source, |machine| machine.tick(now.ms));
        }
        self.give_tickets_up();
        self.look_after_memories();
        self.look_after_leases();
        self.tell_all();
    }

    /// What came from the broker.
    fn heard(&mut self, heard: Heard) {
        let now = self.now();
        match heard {
            Heard::Connected => {
                info!("connected to the broker");
                self.is_connected = true;
                self.metrics.broker_connected.set(1);
                if let Some(latch) = self.broker_latch.take() {
                    latch.ready();
                }
                let mut effects = Effects::new();
                for (_, driver) in &mut self.drivers {
                    driver.connected(now, &mut effects);
                }
                self.effects(effects);
                self.broker(true);
            }
            Heard::Lost { reason } => {
                warn!(reason, "no connection to the broker");
                self.metrics.broker_connected.set(0);
                if std::mem::take(&mut self.is_connected) {
                    self.drivers.iter_mut().for_each(|(_, driver)| driver.disconnected());
                    self.broker(false);
                }
            }
            Heard::Message { topic, payload } => self.message(&topic, &payload, now),
            Heard::Forbidden { filter } => warn!(filter, "the broker forbids to subscribe"),
            Heard::TooLarge { bytes } => {
                debug!(bytes, "a message is too large");
                self.metrics.malformed.with_label_values(&["too_large"]).inc();
            }
            Heard::Unreadable => self.metrics.malformed.with_label_values(&["topic"]).inc(),
        }
    }

    fn message(&mut self, topic: &str, payload: &Bytes, now: Now) {
        self.metrics.messages.inc();
        let effects = self.heard_by_driver(topic, payload, now);
        self.effects(effects);
        let heard = self.telemetry.heard(topic, payload, now.unix_ms);
        let name = topic;
        self.telemetry_heard(heard, |core| core.is_first(name));
    }

    /// What follows for the driver whose topic it is.
    fn heard_by_driver(&mut self, topic: &str, payload: &Bytes, now: Now) -> Effects {
        let mut effects = Effects::new();
        let family = family(topic);
        if let Some((_, driver)) = self.drivers.iter_mut().find(|(kind, _)| Some(*kind) == family) {
            driver.heard(topic, payload, now, &mut effects);
        }
        effects
    }

    fn telemetry_heard(&mut self, heard: telemetry::Heard, is_ours: impl FnOnce(&Self) -> bool) {
        match heard {
            telemetry::Heard::Value(channel, message) => {
                if is_ours(self) {
                    self.metrics.telemetry.inc();
                    let subject = self.subjects.telemetry(&channel);
                    self.send(subject, message);
                }
            }
            telemetry::Heard::Malformed => self.metrics.malformed.with_label_values(&["telemetry"]).inc(),
            telemetry::Heard::NotTelemetry => {}
        }
    }

    /// What came from the cluster.
    fn outside(&mut self, outside: Outside) {
        let now = self.now();
        match outside {
            Outside::Report(bytes) => {
                let Ok(report) = report::read::<Report>(&bytes) else { return };
                for channel in self.demand.heard(report, now.ms) {
                    self.look(&channel);
                }
            }
            Outside::Sources(bytes) => self.heard_of_others(&bytes, now.ms),
            Outside::Ask(bytes, reply) => self.ask_from_outside(&bytes, reply),
            Outside::TelemetryAsk(bytes) => {
                let Ok(TelemetryAsk { channel, .. }) = relay_proto::backbone::from_json(&bytes) else {
                    return;
                };
                for message in self.telemetry.asked(&channel) {
                    let subject = self.subjects.telemetry(&channel);
                    self.send(subject, message);
                }
            }
        }
    }

    /// Something else may be known of a channel.
    fn look(&mut self, channel: &ChannelName) {
        let Some(source) = self.by_channel.get(channel).cloned() else { return };
        let seen = self.demand.of(channel);
        let now = self.now().ms;
        if let Some(entry) = self.entries.get_mut(&source) {
            entry.has_viewers = seen.receivers > 0;
        }
        self.machine(&source, |machine| machine.media(seen.media, now));
        self.want(&source);
    }

    /// Whether somebody wants it may have changed.
    fn want(&mut self, source: &SourceId) {
        let now = self.now().ms;
        let Some(entry) = self.entries.get(source) else { return };
        let is_wanted = entry.is_known && (entry.always_on || entry.is_forced || entry.has_viewers);
        self.machine(source, |machine| machine.wanted(is_wanted, now));
    }

    fn broker(&mut self, is_connected: bool) {
        let now = self.now().ms;
        let busy: Vec<_> = self.entries.iter().filter(|(_, entry)| entry.machine.needs_lease()).collect();
        let busy: Vec<_> = busy.into_iter().map(|(source, _)| source.clone()).collect();
        for source in busy {
            self.machine(&source, |machine| machine.broker(is_connected, now));
        }
    }

    fn entry(&mut self, source: &SourceId) -> Option<&mut Entry> {
        if !self.entries.contains_key(source) {
            if self.entries.len() >= SOURCES_MAX {
                return None;
            }
            let kind = source.kind();
            let conduct = match kind {
                SourceKind::Kerberos => Conduct::IsAsked,
                SourceKind::Dji => Conduct::Answers,
            };
            let entry = Entry {
                machine: Machine::new(conduct, self.timing),
                kind,
                is_known: false,
                always_on: false,
                is_forced: false,
                has_viewers: false,
                options: StartOptions::default(),
                is_held: false,
                needs_since: None,
                timer: None,
                run: 0,
                url: None,
                pictures: None,
                told: None,
            };
            self.by_channel.insert(source.channel(), source.clone());
            self.entries.insert(source.clone(), entry);
        }
        self.entries.get_mut(source)
    }

    /// Whether another bridge goes on with the sources of this one. While nobody can be heard that is not known, and sources
    /// are left to whoever may be there.
    fn has_heirs(&self) -> bool {
        let hears = self.links.backbone.contact().borrow().connected;
        let roster = self.roster.lock().unwrap_or_else(PoisonError::into_inner);
        self.links.shared && (!hears || roster.bridges().any(|bridge| *bridge != self.peer))
    }

    /// Another bridge may have come just now, and what it tells be on its way.
    async fn listen_for_heirs(&mut self, outside: &mut mpsc::Receiver<Outside>) {
        if !self.links.shared {
            return;
        }
        let _ = tokio::time::timeout(HEIRS_WITHIN, async {
            while !self.has_heirs()
                && let Some(outside) = outside.recv().await
            {
                self.outside(outside);
                self.settle();
            }
        })
        .await;
    }

    /// What came while the bridge leaves: it is remembered what became of devices, and nothing is begun any more.
    fn last_heard(&mut self, heard: Heard) {
        let Heard::Message { topic, payload } = heard else { return };
        for effect in self.heard_by_driver(&topic, &payload, self.now()) {
            if let Effect::Remember(name, text) = effect {
                self.remember(name, text);
            }
        }
    }

    /// Leaves: with others about, devices go on and another bridge takes them; alone, they are told to stop.
    async fn leave(&mut self, inbox: &mut Inbox) {
        info!("drain began");
        let held: Vec<_> = self.entries.iter().filter(|(_, entry)| entry.is_held).collect();
        let held: Vec<_> = held.into_iter().map(|(source, _)| source.clone()).collect();
        if self.has_heirs() {
            for entry in self.entries.values_mut() {
                entry.pictures = None;
            }
        } else {
            for source in &held {
                self.stop_for_good(source);
            }
            // What is on its way gets there, if the broker takes it.
            let _ = tokio::time::timeout(STOP_WITHIN, async {
                loop {
                    self.last_heard(inbox.next().await);
                }
            })
            .await;
        }
        self.keep_the_last().await;
        self.jobs.abort_all();
        self.leave_others(held).await;
        info!("drain ended");
    }
}

/// Whose topic it is.
fn family(topic: &str) -> Option<SourceKind> {
    match topic.split('/').next() {
        Some("kerberos") => Some(SourceKind::Kerberos),
        Some("sys" | "thing") => Some(SourceKind::Dji),
        _ => None,
    }
}
