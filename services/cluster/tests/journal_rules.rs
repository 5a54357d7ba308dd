//! What is always so of the events that the journal tells, whatever it is told, in whatever order.

#![allow(clippy::unwrap_used, reason = "what is unwrapped is what the test asserts")]

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use relay_cluster::journal::ASSERTED_FOR;
use relay_cluster::journal::ledger::Ledger;
use relay_proto::ChannelName;
use relay_proto::backbone::Peer;
use relay_proto::event::{Event, EventId, EventKind, Fact};
use relay_proto::journal::REMEMBERED_MS;
use support::journal::{any_fact, any_peer, channel, live, words};
use support::registry::peer;

#[derive(Debug, Clone)]
enum Step {
    Record(Vec<Fact>),
    Bury(Peer),
    Expire,
    /// So many milliseconds, forth or back.
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let asserted = i64::try_from(ASSERTED_FOR.as_millis()).unwrap();
    prop_oneof![
        12 => prop::collection::vec(any_fact(), 1..6).prop_map(Step::Record),
        2 => any_peer().prop_map(Step::Bury),
        2 => Just(Step::Expire),
        4 => prop_oneof![Just(0), Just(1), Just(-1000), Just(asserted / 2), Just(asserted)].prop_map(Step::Pass),
    ]
}

/// Takes steps, and looks at every event that comes of them.
#[derive(Default)]
struct Watcher {
    ledger: Ledger,
    now: u64,
    newest: EventId,
    sequences: BTreeMap<String, u64>,
    publications: BTreeMap<ChannelName, (u64, bool)>,
    watched: BTreeMap<ChannelName, bool>,
}

impl Watcher {
    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        let events = match step {
            Step::Record(facts) => self.record(&facts)?,
            Step::Bury(peer) => {
                let events = self.ledger.bury(&peer, self.now);
                prop_assert_eq!(&self.ledger.bury(&peer, self.now), &[]);
                events
            }
            Step::Expire => {
                let events = self.ledger.expire(self.now);
                prop_assert_eq!(&self.ledger.expire(self.now), &[]);
                events
            }
            Step::Pass(ms) => {
                self.now = self.now.saturating_add_signed(ms);
                Vec::new()
            }
        };
        events.iter().try_for_each(|event| self.look(event))
    }

    /// One by one, and each a second time.
    fn record(&mut self, facts: &[Fact]) -> Result<Vec<Event>, TestCaseError> {
        let mut at_once = self.ledger.clone();
        let mut events = Vec::new();
        for fact in facts {
            events.extend(self.ledger.record(std::slice::from_ref(fact), self.now));
            if !matches!(fact, Fact::Refused { .. }) {
                prop_assert_eq!(&self.ledger.record(std::slice::from_ref(fact), self.now), &[]);
            }
        }
        prop_assert_eq!(&at_once.record(facts, self.now), &events);
        Ok(events)
    }

    fn look(&mut self, event: &Event) -> Result<(), TestCaseError> {
        prop_assert!(event.id > self.newest, "{event:?} after {}", self.newest);
        self.newest = event.id;

        let subject = match (&event.channel, &event.node) {
            (Some(channel), _) => format!("c {channel}"),
            (None, Some(node)) => format!("n {node}"),
            (None, None) => panic!("{event:?} is nobody's"),
        };
        let sequence = self.sequences.entry(subject).or_default();
        *sequence += 1;
        prop_assert_eq!(event.sequence, *sequence);

        let Some(name) = event.channel.clone() else { return Ok(()) };
        let watched = self.watched.entry(name.clone()).or_default();
        let (last, is_open) = self.publications.entry(name).or_default();
        let epoch = event.epoch.map(relay_proto::Epoch::number);
        match event.kind {
            EventKind::ChannelStarted => {
                prop_assert!(!*is_open && epoch >= Some(*last), "{event:?} after {last}");
                (*last, *is_open) = (epoch.unwrap(), true);
            }
            EventKind::ChannelStalled | EventKind::ChannelResumed => {
                prop_assert!(*is_open && epoch == Some(*last), "{event:?} after {last}");
            }
            EventKind::ChannelEnded => {
                prop_assert!(*is_open && epoch == Some(*last), "{event:?} after {last}");
                *is_open = false;
            }
            EventKind::FirstReceiver => prop_assert!(!std::mem::replace(watched, true)),
            EventKind::LastReceiver => prop_assert!(std::mem::replace(watched, false)),
            _ => prop_assert_eq!(epoch, None),
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Publications start and end in turn and in the order of epochs, so do first and last receivers; sequences have no gaps,
    /// identifiers grow though the clock goes back; and what is said twice is told once.
    #[test]
    fn events_are_in_order_whatever_is_said(steps in prop::collection::vec(step(), 1..60)) {
        let mut watcher = Watcher { now: 1_769_860_800_000, ..Watcher::default() };
        for step in steps {
            watcher.take(step)?;
        }
        // Once nobody says anything any more all is over, and a day later forgotten.
        watcher.now += 2 * REMEMBERED_MS;
        watcher.take(Step::Expire)?;
        prop_assert!(watcher.publications.values().all(|(_, is_open)| !is_open));
        prop_assert!(watcher.watched.values().all(|watched| !watched));
        watcher.now += REMEMBERED_MS;
        watcher.take(Step::Expire)?;
        let again = watcher.ledger.record(&[live("cam", 1, &peer("n1", 2))], watcher.now);
        prop_assert_eq!(words(&again), ["1 channel.started cam/1 n1"]);
        prop_assert_eq!(again[0].channel.clone(), Some(channel("cam")));
    }

    /// Whoever reads on from what was read gets every event once and in order, in whatever portions.
    #[test]
    fn a_reader_misses_nothing(
        facts in prop::collection::vec(any_fact(), 1..60),
        portions in prop::collection::vec((1..9usize, 1..4usize), 1..60),
    ) {
        let mut ledger = Ledger::default();
        let (mut told, mut read) = (Vec::new(), Vec::new());
        let mut facts = facts.chunks(3);
        let mut after = EventId::FIRST;
        for (max, says) in portions {
            for facts in facts.by_ref().take(says) {
                told.extend(ledger.record(facts, 5));
            }
            let reading = ledger.read(after, max);
            prop_assert!(!reading.gap && reading.events.len() <= max);
            after = reading.events.last().map_or(after, |event| event.id);
            read.extend(reading.events);
        }
        read.extend(ledger.read(after, usize::MAX).events);
        prop_assert_eq!(read, told);
    }
}
