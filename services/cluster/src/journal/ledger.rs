//! The rules of the journal, without sockets and clocks: what the scripts of `relay_proto::journal` do in Redis, word for word.
//! Time comes in as milliseconds since the Unix epoch, by the journal's own clock.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use relay_proto::backbone::Peer;
use relay_proto::event::{EndReason, Event, EventId, EventKind, Fact, NodePhase};
use relay_proto::journal::{NOTED_MAX, READ_MAX, REMEMBERED_MS, RUNS_MAX, SUBJECTS_MAX, UNDRAINED};
use relay_proto::registry::Role;
use relay_proto::{ChannelName, Epoch, Incarnation, NodeId};

use super::{ASSERTED_FOR, Delivered, EVENTS_MAX, Reading, cut_reason, is_epoch, rfc3339};
use crate::registry::ms;

/// Everything a journal knows. A clone is a snapshot, to which a test may go back.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    channels: HashMap<ChannelName, Channel>,
    nodes: HashMap<NodeId, Node>,
    /// What is so, and until when unless somebody says it again.
    asserted: BTreeMap<Assertion, u64>,
    /// Who may be forgotten, by when it last changed.
    idle: BTreeSet<(u64, Subject)>,
    idle_since: HashMap<Subject, u64>,
    log: VecDeque<Event>,
    /// The event before the oldest that is kept.
    before: EventId,
    newest: EventId,
    duties: HashMap<String, (Incarnation, u64)>,
    delivered: BTreeMap<String, Delivered>,
}

/// Of whom events have a sequence. Sorts as the names of the scripts do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Subject {
    Channel(ChannelName),
    Node(NodeId),
}

/// What a run of a node says to be so. Sorts as the names of the scripts do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Assertion {
    node: NodeId,
    incarnation: Incarnation,
    what: What,
    channel: ChannelName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Publishes,
    Watches,
}

#[derive(Debug, Clone, Default)]
struct Channel {
    sequence: u64,
    watchers: u64,
    last: Option<Publication>,
}

#[derive(Debug, Clone)]
struct Publication {
    epoch: Epoch,
    peer: Peer,
    phase: Phase,
}

/// How far a publication, or a run of a node, has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It runs.
    Up,
    /// It runs, but sends nothing; or takes nothing new.
    Limp,
    /// It was told to be over because nobody heard of it, or it was not told at all: it may yet turn out to run.
    Lost,
    /// It is over for good.
    Over,
}

#[derive(Debug, Clone, Default)]
struct Node {
    sequence: u64,
    /// The one that counts comes first, and those that it came after.
    runs: VecDeque<Incarnation>,
    phase: Option<Phase>,
}

impl Ledger {
    /// Everything is forgotten, as by `FLUSHALL`.
    pub fn forget_everything(&mut self) {
        *self = Self::default();
    }

    /// See [`Journal::record`](super::Journal::record). Tells the events that it made.
    pub fn record(&mut self, facts: &[Fact], now: u64) -> Vec<Event> {
        let mut told = Told::at(now);
        for fact in facts {
            self.learn(fact, &mut told);
        }
        told.events
    }

    /// See [`Journal::bury`](super::Journal::bury).
    pub fn bury(&mut self, peer: &Peer, now: u64) -> Vec<Event> {
        let mut told = Told::at(now);
        let gone: Vec<_> = self.asserted.keys().filter(|assertion| assertion.is_of(peer)).cloned().collect();
        for assertion in gone {
            self.gone(&assertion, &mut told);
        }
        told.events
    }

    /// See [`Journal::expire`](super::Journal::expire).
    pub fn expire(&mut self, now: u64) -> Vec<Event> {
        let mut told = Told::at(now);
        let mut gone: Vec<_> = self
            .asserted
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(assertion, until)| (*until, assertion.clone()))
            .collect();
        gone.sort_unstable();
        for (_, assertion) in gone {
            self.gone(&assertion, &mut told);
        }
        while let Some((since, subject)) = self.idle.first().cloned()
            && since + REMEMBERED_MS <= now
        {
            self.forget(&subject);
        }
        self.duties.retain(|_, (_, until)| *until > now);
        told.events
    }

    /// See [`Journal::read`](super::Journal::read).
    pub fn read(&self, after: EventId, max: usize) -> Reading {
        let max = max.clamp(1, READ_MAX);
        if after > self.newest {
            return Reading { events: self.log.iter().take(max).cloned().collect(), gap: true };
        }
        let from = self.log.partition_point(|event| event.id <= after);
        let before = if from == 0 { self.before } else { self.log[from - 1].id };
        Reading { events: self.log.range(from..).take(max).cloned().collect(), gap: before != after }
    }

    /// See [`Journal::newest`](super::Journal::newest).
    pub const fn newest(&self) -> EventId {
        self.newest
    }

    /// See [`Journal::hold`](super::Journal::hold).
    pub fn hold(&mut self, duty: &str, holder: Incarnation, ttl: Duration, now: u64) -> bool {
        match self.duties.get(duty) {
            Some((other, until)) if *other != holder && *until > now => false,
            _ => {
                self.duties.insert(duty.to_owned(), (holder, now + ms(ttl)));
                true
            }
        }
    }

    /// See [`Journal::release`](super::Journal::release).
    pub fn release(&mut self, duty: &str, holder: Incarnation) {
        if self.duties.get(duty).is_some_and(|(other, _)| *other == holder) {
            self.duties.remove(duty);
        }
    }

    /// See [`Journal::delivered`](super::Journal::delivered).
    pub fn delivered(&self, endpoint: &str) -> Delivered {
        self.delivered.get(endpoint).cloned().unwrap_or_default()
    }

    /// See [`Journal::note_delivered`](super::Journal::note_delivered).
    pub fn note_delivered(&mut self, endpoint: &str, subject: &str, id: EventId) {
        let delivered = self.delivered.get(endpoint);
        let noted = delivered.map_or(0, Delivered::marks);
        let through = delivered.map_or(EventId::FIRST, |delivered| delivered.through);
        let before = delivered.and_then(|delivered| delivered.beyond.get(subject));
        if id <= through || before.is_some_and(|before| *before >= id) {
            return;
        }
        if before.is_some() || noted < NOTED_MAX {
            let delivered = self.delivered.entry(endpoint.to_owned()).or_default();
            delivered.beyond.insert(subject.to_owned(), id);
        }
    }

    /// See [`Journal::advance_delivered`](super::Journal::advance_delivered).
    pub fn advance_delivered(&mut self, endpoint: &str, through: EventId) {
        let delivered = self.delivered.entry(endpoint.to_owned()).or_default();
        delivered.through = delivered.through.max(through);
        let through = delivered.through;
        delivered.beyond.retain(|_, id| *id > through);
    }

    fn learn(&mut self, fact: &Fact, told: &mut Told) {
        match fact {
            Fact::Live { channel, epoch, peer } => self.runs(channel, *epoch, peer, Phase::Up, told),
            Fact::Stalled { channel, epoch, peer } => self.runs(channel, *epoch, peer, Phase::Limp, told),
            Fact::Ended { channel, epoch, peer, reason } => self.ended(channel, *epoch, peer, *reason, told),
            Fact::Watched { channel, peer } => self.watched(channel, peer, told),
            Fact::Unwatched { channel, peer } => {
                self.unwatched(&Assertion::new(peer, What::Watches, channel), told);
            }
            Fact::Node { peer, state } => self.node(peer, *state, told),
            Fact::Refused { node, channel, role, reason } => {
                self.refused(node, channel.as_ref(), *role, reason, told);
            }
        }
    }

    /// A publication is up, or limps.
    fn runs(&mut self, name: &ChannelName, epoch: Epoch, peer: &Peer, is: Phase, told: &mut Told) {
        let mut channel = self.channel(name, told.now);
        let Some(mut publication) = self.publication(name, &mut channel, epoch, peer, told) else { return };
        let was = publication.phase;
        if was == Phase::Over {
            return;
        }
        if was == Phase::Lost {
            self.tell(channel.event(EventKind::ChannelStarted, name, &publication), told);
            publication.phase = Phase::Up;
        }
        if publication.phase != is {
            let kind = if is == Phase::Up { EventKind::ChannelResumed } else { EventKind::ChannelStalled };
            self.tell(channel.event(kind, name, &publication), told);
            publication.phase = is;
        }
        self.asserted.insert(Assertion::new(peer, What::Publishes, name), told.now + ms(ASSERTED_FOR));
        if publication.phase != was {
            channel.last = Some(publication);
            self.keep_channel(name, channel, told.now);
        }
    }

    fn ended(&mut self, name: &ChannelName, epoch: Epoch, peer: &Peer, reason: EndReason, told: &mut Told) {
        let mut channel = self.channel(name, told.now);
        let is_new = channel.last.as_ref().is_none_or(|last| last.epoch < epoch);
        let Some(mut publication) = self.publication(name, &mut channel, epoch, peer, told) else { return };
        let was = publication.phase;
        if is_new {
            self.tell(channel.event(EventKind::ChannelStarted, name, &publication), told);
            publication.phase = Phase::Up;
        }
        if publication.is_open() {
            self.end(name, &mut channel, &mut publication, reason, told);
        } else if reason != EndReason::Lost {
            publication.phase = Phase::Over;
        }
        if is_new || publication.phase != was {
            channel.last = Some(publication);
            self.keep_channel(name, channel, told.now);
        }
    }

    /// The publication that is spoken of, if it is to be heard of. A newer one than was known ends the one that was.
    fn publication(
        &mut self,
        name: &ChannelName,
        channel: &mut Channel,
        epoch: Epoch,
        peer: &Peer,
        told: &mut Told,
    ) -> Option<Publication> {
        if !is_epoch(epoch) {
            return None;
        }
        if let Some(mut last) = channel.last.clone() {
            if last.epoch == epoch && last.peer == *peer {
                return Some(last);
            }
            if last.epoch >= epoch {
                return None;
            }
            if last.is_open() {
                self.end(name, channel, &mut last, EndReason::Replaced, told);
            }
        }
        Some(Publication { epoch, peer: peer.clone(), phase: Phase::Lost })
    }

    fn end(
        &mut self,
        name: &ChannelName,
        channel: &mut Channel,
        publication: &mut Publication,
        reason: EndReason,
        told: &mut Told,
    ) {
        let mut event = channel.event(EventKind::ChannelEnded, name, publication);
        event.reason = Some(reason.name().to_owned());
        self.tell(event, told);
        publication.phase = if reason == EndReason::Lost { Phase::Lost } else { Phase::Over };
        self.asserted.remove(&Assertion::new(&publication.peer, What::Publishes, name));
    }

    fn watched(&mut self, name: &ChannelName, peer: &Peer, told: &mut Told) {
        let until = told.now + ms(ASSERTED_FOR);
        if self.asserted.insert(Assertion::new(peer, What::Watches, name), until).is_some() {
            return;
        }
        let mut channel = self.channel(name, told.now);
        channel.watchers += 1;
        if channel.watchers == 1 {
            self.tell(channel.receivers(EventKind::FirstReceiver, name, &peer.node), told);
        }
        self.keep_channel(name, channel, told.now);
    }

    fn unwatched(&mut self, assertion: &Assertion, told: &mut Told) {
        if self.asserted.remove(assertion).is_none() {
            return;
        }
        let name = &assertion.channel;
        let mut channel = self.channel(name, told.now);
        channel.watchers -= 1;
        if channel.watchers == 0 {
            self.tell(channel.receivers(EventKind::LastReceiver, name, &assertion.node), told);
        }
        self.keep_channel(name, channel, told.now);
    }

    /// Nobody says this any more, or whoever did is gone.
    fn gone(&mut self, assertion: &Assertion, told: &mut Told) {
        match assertion.what {
            What::Watches => self.unwatched(assertion, told),
            What::Publishes => {
                let name = &assertion.channel;
                let mut channel = self.channel(name, told.now);
                if let Some(mut publication) = channel.last.clone().filter(Publication::is_open) {
                    self.end(name, &mut channel, &mut publication, EndReason::Lost, told);
                    channel.last = Some(publication);
                    self.keep_channel(name, channel, told.now);
                }
            }
        }
    }

    fn node(&mut self, peer: &Peer, state: NodePhase, told: &mut Told) {
        let subject = Subject::Node(peer.node.clone());
        self.forget_if_old(&subject, told.now);
        let mut node = self.nodes.get(&peer.node).cloned().unwrap_or_default();
        let comes = matches!(state, NodePhase::InService | NodePhase::Draining);
        if node.runs.front() != Some(&peer.incarnation) {
            // A run that was there before, or one that nobody was told of and that is over: the present one is another.
            if node.runs.contains(&peer.incarnation) || !(comes || node.runs.is_empty()) {
                return;
            }
            if matches!(node.phase, Some(Phase::Up | Phase::Limp)) {
                self.tell(node.event(EventKind::NodeLost, &peer.node), told);
            }
            node.runs.push_front(peer.incarnation);
            node.runs.truncate(RUNS_MAX);
            node.phase = None;
        }
        if comes {
            match node.phase {
                Some(Phase::Over) => return,
                Some(Phase::Lost) | None => {
                    self.tell(node.event(EventKind::NodeJoined, &peer.node), told);
                    node.phase = Some(Phase::Up);
                }
                Some(Phase::Limp) if state == NodePhase::InService => {
                    let mut event = node.event(EventKind::NodeJoined, &peer.node);
                    event.reason = Some(UNDRAINED.to_owned());
                    self.tell(event, told);
                    node.phase = Some(Phase::Up);
                }
                Some(_) => {}
            }
            if state == NodePhase::Draining && node.phase == Some(Phase::Up) {
                self.tell(node.event(EventKind::NodeDraining, &peer.node), told);
                node.phase = Some(Phase::Limp);
            }
        } else {
            let left = state == NodePhase::Left;
            if !matches!(node.phase, Some(Phase::Lost | Phase::Over)) {
                let kind = if left { EventKind::NodeLeft } else { EventKind::NodeLost };
                self.tell(node.event(kind, &peer.node), told);
                node.phase = Some(Phase::Lost);
            }
            if left {
                node.phase = Some(Phase::Over);
            }
        }
        self.nodes.insert(peer.node.clone(), node);
        self.rests(subject, told.now);
    }

    fn refused(
        &mut self,
        node: &NodeId,
        channel: Option<&ChannelName>,
        role: Role,
        why: &str,
        told: &mut Told,
    ) {
        let mut event = blank(EventKind::AdmissionRefused);
        event.node = Some(node.clone());
        event.role = Some(role);
        event.reason = cut_reason(why);
        if let Some(name) = channel {
            let mut channel = self.channel(name, told.now);
            channel.sequence += 1;
            event.sequence = channel.sequence;
            event.channel = Some(name.clone());
            self.tell(event, told);
            self.keep_channel(name, channel, told.now);
        } else {
            let subject = Subject::Node(node.clone());
            self.forget_if_old(&subject, told.now);
            let state = self.nodes.entry(node.clone()).or_default();
            state.sequence += 1;
            event.sequence = state.sequence;
            self.tell(event, told);
            self.rests(subject, told.now);
        }
    }

    /// Gives an event its place.
    fn tell(&mut self, mut event: Event, told: &mut Told) {
        self.newest = if told.now > self.newest.ms {
            EventId { ms: told.now, number: 0 }
        } else {
            EventId { number: self.newest.number + 1, ..self.newest }
        };
        event.id = self.newest;
        event.at = rfc3339(event.id.ms);
        if self.log.len() == EVENTS_MAX
            && let Some(oldest) = self.log.pop_front()
        {
            self.before = oldest.id;
        }
        self.log.push_back(event.clone());
        told.events.push(event);
    }

    fn channel(&mut self, name: &ChannelName, now: u64) -> Channel {
        self.forget_if_old(&Subject::Channel(name.clone()), now);
        self.channels.get(name).cloned().unwrap_or_default()
    }

    fn keep_channel(&mut self, name: &ChannelName, channel: Channel, now: u64) {
        let is_open = channel.watchers > 0 || channel.last.as_ref().is_some_and(Publication::is_open);
        let subject = Subject::Channel(name.clone());
        self.channels.insert(name.clone(), channel);
        if is_open {
            self.wakes(&subject);
        } else {
            self.rests(subject, now);
        }
    }

    /// From now on it may be forgotten. Of too many the one that has not changed for longest is.
    fn rests(&mut self, subject: Subject, now: u64) {
        self.wakes(&subject);
        self.idle.insert((now, subject.clone()));
        self.idle_since.insert(subject, now);
        if self.idle.len() > SUBJECTS_MAX
            && let Some((_, oldest)) = self.idle.first().cloned()
        {
            self.forget(&oldest);
        }
    }

    fn wakes(&mut self, subject: &Subject) {
        if let Some((subject, since)) = self.idle_since.remove_entry(subject) {
            self.idle.remove(&(since, subject));
        }
    }

    fn forget_if_old(&mut self, subject: &Subject, now: u64) {
        if self.idle_since.get(subject).is_some_and(|since| since + REMEMBERED_MS <= now) {
            self.forget(subject);
        }
    }

    fn forget(&mut self, subject: &Subject) {
        self.wakes(subject);
        match subject {
            Subject::Channel(name) => drop(self.channels.remove(name)),
            Subject::Node(name) => drop(self.nodes.remove(name)),
        }
    }
}

impl Delivered {
    /// What is kept of it.
    fn marks(&self) -> usize {
        usize::from(self.through > EventId::FIRST) + self.beyond.len()
    }
}

/// What one call tells.
struct Told {
    now: u64,
    events: Vec<Event>,
}

impl Told {
    const fn at(now: u64) -> Self {
        Self { now, events: Vec::new() }
    }
}

impl Assertion {
    fn new(peer: &Peer, what: What, channel: &ChannelName) -> Self {
        let Peer { node, incarnation } = peer.clone();
        Self { node, incarnation, what, channel: channel.clone() }
    }

    fn is_of(&self, peer: &Peer) -> bool {
        self.node == peer.node && self.incarnation == peer.incarnation
    }
}

impl Channel {
    fn event(&mut self, kind: EventKind, name: &ChannelName, publication: &Publication) -> Event {
        let mut event = self.receivers(kind, name, &publication.peer.node);
        event.epoch = Some(publication.epoch);
        event
    }

    fn receivers(&mut self, kind: EventKind, name: &ChannelName, node: &NodeId) -> Event {
        self.sequence += 1;
        Event {
            sequence: self.sequence,
            channel: Some(name.clone()),
            node: Some(node.clone()),
            ..blank(kind)
        }
    }
}

impl Publication {
    const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Up | Phase::Limp)
    }
}

impl Node {
    fn event(&mut self, kind: EventKind, name: &NodeId) -> Event {
        self.sequence += 1;
        Event { sequence: self.sequence, node: Some(name.clone()), ..blank(kind) }
    }
}

/// An event without anything, and without a place as yet.
const fn blank(kind: EventKind) -> Event {
    Event {
        id: EventId::FIRST,
        kind,
        at: String::new(),
        sequence: 0,
        channel: None,
        epoch: None,
        node: None,
        reason: None,
        role: None,
    }
}
