//! Tells the journal what happens on this node.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Nobody waits for the journal. What it is told comes in the order in which it happened; what  │
//! │ may have been told is told again only where that changes nothing; what is so is said again   │
//! │ and again, so that nothing that was lost stays unknown.                                      │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Whoever changes something pushes the fact while nobody else can change it, so the outbox has the order of what happened.
//! What is so goes the same way, and never overtakes what has ended it.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use relay_cluster::journal::ASSERTED_FOR;
use relay_proto::backbone::Peer;
use relay_proto::event::{EndReason, Fact, NodePhase};
use relay_proto::registry::Role;
use relay_proto::{ChannelName, Epoch};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::metrics::Metrics;
use crate::node::Node;
use crate::talk::ANSWER_TIMEOUT;

/// Facts that wait to be told: some minutes of a busy node, in a few megabytes.
const FACTS_MAX: usize = 8192;

/// Facts that are told at once.
const BATCH_MAX: usize = 256;

/// How often everything that is so is said again. Two times may be lost.
const SAY_AGAIN: Duration = ASSERTED_FOR.checked_div(3).expect("three is not zero");

/// How long to wait for a journal that did not answer.
const RETRY: Duration = Duration::from_secs(1);

/// Refusals that are told in a second: a client that tries again and again is no news, and costs everybody's journal room.
const REFUSALS_PER_SECOND: u32 = 10;

/// What is still to be told.
#[derive(Debug)]
pub(crate) struct Chronicle {
    peer: Peer,
    outbox: Mutex<Outbox>,
    pushed: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Outbox {
    facts: VecDeque<Fact>,
    /// Facts that are being told.
    taken: usize,
    /// Whether facts were lost for want of room.
    overflowed: bool,
    refusals: Refusals,
}

/// Refusals of the second that began then.
#[derive(Debug, Default)]
struct Refusals {
    second: Option<Instant>,
    told: u32,
}

impl Refusals {
    /// Whether one more may be told.
    fn admit(&mut self, now: Instant) -> bool {
        if self.second.is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1)) {
            *self = Self { second: Some(now), told: 0 };
        }
        self.told += 1;
        self.told <= REFUSALS_PER_SECOND
    }
}

impl Outbox {
    /// Tells how many facts were lost.
    fn push(&mut self, fact: Fact) -> usize {
        let mut lost = 0;
        if self.facts.len() >= FACTS_MAX && !self.overflowed {
            // Who has waited so long may do without what has been overtaken.
            let (facts, dropped) = repeatable(std::mem::take(&mut self.facts));
            self.facts = facts;
            lost = dropped;
        }
        if self.facts.len() >= FACTS_MAX {
            self.overflowed = true;
            return lost + 1;
        }
        self.facts.push_back(fact);
        lost
    }

    /// The oldest facts, to be told.
    fn take(&mut self) -> Vec<Fact> {
        let batch: Vec<_> = self.facts.drain(..self.facts.len().min(BATCH_MAX)).collect();
        self.taken = batch.len();
        batch
    }

    /// Nobody knows whether they were told. Tells how many are lost.
    fn put_back(&mut self, batch: Vec<Fact>) -> usize {
        self.taken = 0;
        let (mut facts, lost) = repeatable(batch.into());
        facts.append(&mut self.facts);
        self.facts = facts;
        lost
    }
}

/// Those of these facts that may be told twice, and that leave the journal as all of them would; and how many of the others are
/// missed. Of a publication, and of whether a channel is watched, only the last counts. Each refusal is news however often it is
/// told.
fn repeatable(facts: VecDeque<Fact>) -> (VecDeque<Fact>, usize) {
    #[derive(PartialEq, Eq, Hash)]
    enum About {
        Publication(ChannelName, Epoch),
        Watch(ChannelName),
        Node,
    }
    let mut seen = HashSet::new();
    let mut lost = 0;
    let mut last = VecDeque::with_capacity(facts.len());
    for fact in facts.into_iter().rev() {
        let about = match &fact {
            Fact::Live { channel, epoch, .. }
            | Fact::Stalled { channel, epoch, .. }
            | Fact::Ended { channel, epoch, .. } => About::Publication(channel.clone(), *epoch),
            Fact::Watched { channel, .. } | Fact::Unwatched { channel, .. } => About::Watch(channel.clone()),
            Fact::Node { .. } => About::Node,
            Fact::Refused { .. } => {
                lost += 1;
                continue;
            }
        };
        if seen.insert(about) {
            last.push_front(fact);
        }
    }
    (last, lost)
}

impl Chronicle {
    pub(crate) fn new(peer: Peer, metrics: Arc<Metrics>) -> Self {
        Self { peer, outbox: Mutex::default(), pushed: Notify::new(), metrics }
    }

    /// A publication of this node runs, and sends media or does not.
    pub(crate) fn runs(&self, channel: &ChannelName, epoch: Epoch, is_stalled: bool) {
        let (channel, peer) = (channel.clone(), self.peer.clone());
        self.push(match is_stalled {
            false => Fact::Live { channel, epoch, peer },
            true => Fact::Stalled { channel, epoch, peer },
        });
    }

    /// A publication of this node is over.
    pub(crate) fn ended(&self, channel: &ChannelName, epoch: Epoch, reason: EndReason) {
        self.push(Fact::Ended { channel: channel.clone(), epoch, peer: self.peer.clone(), reason });
    }

    /// Somebody wants a channel here, or nobody does any more.
    pub(crate) fn watched(&self, channel: &ChannelName, is_watched: bool) {
        let (channel, peer) = (channel.clone(), self.peer.clone());
        self.push(match is_watched {
            true => Fact::Watched { channel, peer },
            false => Fact::Unwatched { channel, peer },
        });
    }

    /// How the node is.
    pub(crate) fn node(&self, state: NodePhase) {
        self.push(Fact::Node { peer: self.peer.clone(), state });
    }

    /// Somebody was not let in.
    pub(crate) fn refused(&self, channel: Option<&ChannelName>, role: Role, reason: &str) {
        if !self.lock().refusals.admit(Instant::now()) {
            self.metrics.refusals_untold.inc();
            return;
        }
        self.push(Fact::Refused {
            node: self.peer.node.clone(),
            channel: channel.cloned(),
            role,
            reason: reason.to_owned(),
        });
    }

    /// Waits until everything is told.
    pub(crate) async fn told(&self) {
        const LOOK_INTERVAL: Duration = Duration::from_millis(10);

        let is_told = || {
            let outbox = self.lock();
            outbox.facts.is_empty() && outbox.taken == 0
        };
        while !is_told() {
            sleep(LOOK_INTERVAL).await;
        }
    }

    fn push(&self, fact: Fact) {
        let lost = self.lock().push(fact);
        self.metrics.facts_lost.inc_by(lost as u64);
        self.pushed.notify_one();
    }

    /// Whether what is so may be said without pushing out what happens.
    fn has_room(&self) -> bool {
        self.lock().facts.len() < FACTS_MAX / 2
    }

    fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the journal for as long as it is polled.
pub(crate) async fn run(node: Arc<Node>) {
    let chronicle = node.channels.chronicle();
    let mut say_again_at = Instant::now();
    // By name: a channel must not live on only because the journal is away.
    let mut saying = Vec::new().into_iter();
    let mut away = false;
    loop {
        let now = Instant::now();
        // A journal that is away is told everything when it is back.
        if now >= say_again_at && !away {
            say_again_at = now + SAY_AGAIN;
            node.service.say_again();
            saying = node.channels.names().into_iter();
        }
        while chronicle.has_room()
            && let Some(name) = saying.next()
        {
            if let Some(channel) = node.channels.get(&name) {
                channel.say_again();
            }
        }
        let batch = chronicle.lock().take();
        if batch.is_empty() {
            // Of what could not be told nothing may be left, where all of it were refusals.
            if std::mem::take(&mut chronicle.lock().overflowed) | std::mem::take(&mut away) {
                say_again_at = now;
                continue;
            }
            tokio::select! {
                () = chronicle.pushed.notified() => {}
                () = sleep_until(say_again_at) => {}
            }
            continue;
        }
        let recorded = timeout(ANSWER_TIMEOUT, node.cluster.journal.record(&batch)).await;
        if let Ok(Ok(event)) = recorded {
            chronicle.lock().taken = 0;
            if std::mem::take(&mut away) {
                info!("journal reached");
                // It may have been away for so long that it takes for over what is not.
                say_again_at = Instant::now();
            }
            if event.is_some() {
                let subject = node.cluster.subjects.events();
                // Who does not hear it finds the events later.
                let _ = timeout(ANSWER_TIMEOUT, node.cluster.backbone.publish(&subject, None, Bytes::new()))
                    .await;
            }
            continue;
        }
        let lost = chronicle.lock().put_back(batch);
        chronicle.metrics.facts_lost.inc_by(lost as u64);
        chronicle.metrics.journal_errors.inc();
        if !std::mem::replace(&mut away, true) {
            warn!("journal lost");
        }
        if let Ok(Err(error)) = recorded {
            debug!(%error, "journal not told");
        }
        sleep(RETRY).await;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use relay_cluster::Links;
    use relay_cluster::journal::ledger::Ledger;
    use relay_cluster::journal::{Journal, MemoryJournal};
    use relay_proto::event::{EventId, EventKind};
    use relay_proto::{Incarnation, KeyHash};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinSet;

    use super::*;
    use crate::channel::Publication;
    use crate::demand::Wanted;
    use crate::incumbent::Incumbent;
    use crate::outlet::Outlet;

    fn peer() -> Peer {
        Peer { node: "n1".parse().unwrap(), incarnation: Incarnation::new(1) }
    }

    fn channel(number: u32) -> ChannelName {
        format!("cam{number}").parse().unwrap()
    }

    fn live(number: u32, epoch: u64) -> Fact {
        Fact::Live { channel: channel(number), epoch: Epoch::new(epoch), peer: peer() }
    }

    fn ended(number: u32, epoch: u64) -> Fact {
        Fact::Ended {
            channel: channel(number),
            epoch: Epoch::new(epoch),
            peer: peer(),
            reason: EndReason::Ended,
        }
    }

    fn watched(number: u32, is: bool) -> Fact {
        let (channel, peer) = (channel(number), peer());
        if is { Fact::Watched { channel, peer } } else { Fact::Unwatched { channel, peer } }
    }

    fn refused() -> Fact {
        let reason = "full".to_owned();
        Fact::Refused { node: peer().node, channel: None, role: Role::Receive, reason }
    }

    #[test]
    fn of_what_may_have_been_told_the_last_word_is_kept() {
        let node = |state| Fact::Node { peer: peer(), state };
        let facts = [
            node(NodePhase::InService),
            live(1, 5),
            watched(1, true),
            refused(),
            live(2, 6),
            ended(1, 5),
            watched(1, false),
            live(1, 7),
            node(NodePhase::Draining),
        ];
        let (kept, lost) = repeatable(facts.into());
        let expected = [live(2, 6), ended(1, 5), watched(1, false), live(1, 7), node(NodePhase::Draining)];
        assert_eq!((kept, lost), (expected.into(), 1));
    }

    /// What a node may say, in an order in which it may happen.
    fn lives() -> impl Strategy<Value = Vec<Fact>> {
        prop::collection::vec((0_u32..3, 0_u8..5), 0..40).prop_map(|steps| {
            let mut publications = [(0_u64, false); 3];
            let mut facts = Vec::new();
            for (number, step) in steps {
                let (epoch, runs) = &mut publications[number as usize];
                match step {
                    0 | 1 => {
                        *epoch += u64::from(!*runs || step == 1);
                        *runs = true;
                        facts.push(live(number, *epoch));
                    }
                    2 if *runs => {
                        *runs = false;
                        facts.push(ended(number, *epoch));
                    }
                    2 => facts.push(refused()),
                    3 => facts.push(watched(number, true)),
                    _ => facts.push(watched(number, false)),
                }
            }
            facts
        })
    }

    proptest! {
        #[test]
        fn what_is_told_again_is_no_news(facts in lives()) {
            let mut ledger = Ledger::default();
            ledger.record(&facts, 1);
            let (again, _) = repeatable(facts.into());
            prop_assert_eq!(ledger.record(&Vec::from(again), 2), vec![]);
        }
    }

    #[test]
    fn the_outbox_takes_what_there_is_room_for_and_counts_the_rest() {
        let mut outbox = Outbox::default();
        for _ in 0..FACTS_MAX / 2 {
            assert_eq!(outbox.push(refused()) + outbox.push(watched(0, true)), 0);
        }
        assert_eq!(outbox.push(live(1, 1)), FACTS_MAX / 2, "refusals make room, and are lost");
        assert_eq!(outbox.facts, [watched(0, true), live(1, 1)]);
        for epoch in 2..FACTS_MAX as u64 {
            assert_eq!(outbox.push(live(1, epoch)), 0);
        }
        assert!(!outbox.overflowed);
        assert_eq!(outbox.push(live(2, 1)), 1, "nothing is left to be done without");
        assert_eq!((outbox.facts.len(), outbox.overflowed), (FACTS_MAX, true));
        assert_eq!(outbox.push(live(2, 2)), 1);
        let batch = outbox.take();
        assert_eq!((batch.len(), outbox.taken), (BATCH_MAX, BATCH_MAX));
        assert_eq!(outbox.push(live(2, 3)), 0, "there is room again");
        assert_eq!(outbox.put_back(batch), 0);
        assert_eq!((outbox.facts.len(), outbox.taken), (FACTS_MAX + 1, 0));
        assert_eq!(outbox.facts.front(), Some(&watched(0, true)), "the oldest comes first again");
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_refusals_are_told_in_a_second() {
        let mut refusals = Refusals::default();
        let mut admitted = |count: u32| (0..count).filter(|_| refusals.admit(Instant::now())).count();
        assert_eq!(admitted(REFUSALS_PER_SECOND + 5), REFUSALS_PER_SECOND as usize);
        tokio::time::advance(Duration::from_millis(999)).await;
        assert_eq!(admitted(1), 0);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(admitted(REFUSALS_PER_SECOND + 1), REFUSALS_PER_SECOND as usize);
    }

    /// A node whose journal is read.
    struct Told {
        node: Arc<Node>,
        journal: Arc<MemoryJournal>,
        read: EventId,
        incumbent: Arc<Incumbent>,
        _client: TcpStream,
        _task: JoinSet<()>,
    }

    impl Told {
        async fn start() -> Self {
            let journal = Arc::new(MemoryJournal::new());
            let node = Node::alone(Links { journal: Arc::clone(&journal) as _, ..Links::alone() });
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (_, writing) = listener.accept().await.unwrap().0.into_split();
            let incumbent = Arc::new(Incumbent::new(&Arc::new(Outlet::new(writing))));
            let mut task = JoinSet::new();
            task.spawn(run(Arc::clone(&node)));
            Self { node, journal, read: EventId::FIRST, incumbent, _client: client, _task: task }
        }

        fn publish(&self, channel: &str, epoch: u64) -> Publication {
            let channel = self.node.channels.open(&channel.parse().unwrap());
            let key = KeyHash::of(b"", channel.name(), &"key".parse().unwrap());
            channel.begin_here(Epoch::new(epoch), key, &self.incumbent, Duration::ZERO).unwrap()
        }

        /// The events since this was asked last, of this time.
        async fn within(&mut self, time: Duration) -> Vec<(EventKind, Option<u64>)> {
            sleep(time).await;
            let events = self.journal.read(self.read, 1000).await.unwrap().events;
            self.read = events.last().map_or(self.read, |event| event.id);
            events.into_iter().map(|event| (event.kind, event.epoch.map(Epoch::number))).collect()
        }
    }

    const SOON: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn what_happens_is_told_at_once_and_in_order() {
        let mut told = Told::start().await;
        assert_eq!(told.within(SOON).await, [(EventKind::NodeJoined, None)]);
        let subject = told.node.cluster.subjects.events();
        let mut hints = told.node.cluster.backbone.subscribe(&subject).await.unwrap();
        let channel = told.node.channels.open(&"cam".parse().unwrap());
        let first = Wanted::new(&channel, || {});
        let second = Wanted::new(&channel, || {});
        let publication = told.publish("cam", 1);
        drop(told.publish("cam", 2));
        publication.finish();
        drop(first);
        told.publish("cam", 3).finish();
        drop(second);
        let expected = [
            (EventKind::FirstReceiver, None),
            (EventKind::ChannelStarted, Some(1)),
            (EventKind::ChannelEnded, Some(1)),
            (EventKind::ChannelStarted, Some(2)),
            (EventKind::ChannelEnded, Some(2)),
            (EventKind::ChannelStarted, Some(3)),
            (EventKind::ChannelEnded, Some(3)),
            (EventKind::LastReceiver, None),
        ];
        assert_eq!(told.within(SOON).await, expected);
        assert!(futures_util::StreamExt::next(&mut hints).await.unwrap().payload.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_journal_is_away_nobody_waits_and_all_is_told_when_it_is_back() {
        let mut told = Told::start().await;
        told.within(SOON).await;
        told.journal.set_outage(true);
        let channel = told.node.channels.open(&"cam".parse().unwrap());
        let wanted = Wanted::new(&channel, || {});
        told.publish("cam", 1).finish();
        sleep(RETRY * 3).await;
        assert!(told.node.metrics.journal_errors.get() >= 3);
        let _publication = told.publish("cam", 2);
        told.journal.set_outage(false);
        let expected = [
            (EventKind::FirstReceiver, None),
            (EventKind::ChannelStarted, Some(1)),
            (EventKind::ChannelEnded, Some(1)),
            (EventKind::ChannelStarted, Some(2)),
        ];
        assert_eq!(told.within(RETRY + SOON).await, expected);
        drop(wanted);
        assert_eq!(told.within(SOON).await, [(EventKind::LastReceiver, None)]);
        assert_eq!(told.node.metrics.facts_lost.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_so_is_said_again_before_it_counts_no_longer_and_to_a_journal_that_forgets() {
        let mut told = Told::start().await;
        let channel = told.node.channels.open(&"cam".parse().unwrap());
        let _wanted = Wanted::new(&channel, || {});
        let _publication = told.publish("cam", 1);
        told.within(SOON).await;
        for _ in 0..10 {
            sleep(ASSERTED_FOR / 2).await;
            told.journal.expire().await.unwrap();
        }
        assert_eq!(told.within(SOON).await, []);
        told.journal.forget_everything();
        told.read = EventId::FIRST;
        let mut again = told.within(SAY_AGAIN + SOON).await;
        again.sort_by_key(|(kind, _)| kind.name());
        let expected = [
            (EventKind::ChannelStarted, Some(1)),
            (EventKind::NodeJoined, None),
            (EventKind::FirstReceiver, None),
        ];
        assert_eq!(again, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn what_there_was_no_room_for_is_said_again() {
        let mut told = Told::start().await;
        told.within(SOON).await;
        told.journal.set_outage(true);
        for epoch in 1..=(FACTS_MAX + BATCH_MAX) as u64 {
            told.publish("other", epoch).finish();
        }
        let _publication = told.publish("cam", 1);
        assert!(told.node.metrics.facts_lost.get() > 0);
        told.journal.set_outage(false);
        sleep(RETRY * 2).await;
        let mut of_cam = Vec::new();
        let mut after = EventId::FIRST;
        loop {
            let events = told.journal.read(after, 1000).await.unwrap().events;
            let Some(last) = events.last() else { break };
            after = last.id;
            let is_of_cam = |name: &ChannelName| name.as_str() == "cam";
            of_cam.extend(events.into_iter().filter(|event| event.channel.as_ref().is_some_and(is_of_cam)));
        }
        let kinds: Vec<_> = of_cam.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [EventKind::ChannelStarted]);
    }
}
