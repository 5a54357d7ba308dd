//! What is known of the cluster: nodes, what they carry, and where clients were sent a moment ago. Pure: time comes in as
//! milliseconds of a clock that never goes back.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ What a run of a node has said last counts, until it says otherwise or is silent for too long.│
//! │ What an older run says never undoes what a newer one has said.                               │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! **Runs.** Of two runs of one name the newer is the one that began later by its own clock. A run that was replaced or
//! has said goodbye is passed over from then on. One that began earlier and was never heard before (a clock was set
//! back) is believed once the other is silent, so that it waits for that long and no longer.
//!
//! **Signs of life.** A report over the backbone is one. A record in the registry outlives its node, so it is a sign
//! only when it differs from what was known; while nothing comes over the backbone of any node at all, being there has
//! to do. A node that the registry does not name any more, and that is not heard either, is silent at once.
//!
//! **Late reports.** A node whose report is late is asked once. Where the backbone says that nobody is there to hear it, it is
//! silent from then on, until it reports: so a process that has died is known by one missing heartbeat, and one that is cut off
//! from the backbone, where nobody new should be sent either.
//!
//! **Silence.** It is measured up to the last word of anybody: who hears of nobody is cut off himself, and goes on with
//! what he knew rather than to take all nodes for dead. Who hears again after that gives all who were there before as long as
//! ever: the first to be heard is no sign that the others are gone.

mod channels;
mod member;
mod pool;
mod reservations;
#[cfg(test)]
mod tests;
mod totals;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use relay_proto::api::Channel;
use relay_proto::backbone::Peer;
use relay_proto::registry::{NODES_MAX, NodeRecord};
use relay_proto::report::Report;
use relay_proto::{ChannelName, Incarnation, NodeId};

use self::channels::Flows;
pub use self::channels::{ChannelFilter, SCANNED_MAX};
pub use self::member::Member;
pub(crate) use self::pool::{Pool, Pools};
pub(crate) use self::totals::Totals;

/// Heartbeats after which a node that has said nothing is silent: one may come late by as much as another, and a second
/// one that is missing is no accident.
pub const SILENT_AFTER_HEARTBEATS: u32 = 2;

/// Times the silence after which a silent node is forgotten: operators are to see for a while that it is missing.
pub const FORGOTTEN_AFTER_SILENCES: u64 = 10;

/// Parts of a report: with [`REPORT_BYTES_MAX`](relay_proto::report::REPORT_BYTES_MAX) that is 64 MiB, more than any
/// node has to say.
pub const PARTS_MAX: u32 = 1024;

/// Channels that are noted of one node: more than it has sessions, since each channel has a publisher or a receiver
/// there.
pub const CHANNELS_PER_NODE_MAX: usize = 1 << 17;

/// What waits how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Milliseconds without a sign after which a node is silent.
    pub silent_after_ms: u64,
    /// Milliseconds for which a place is kept.
    pub reservation_ms: u64,
    /// Milliseconds until a new node gets its whole share.
    pub warm_up_ms: u64,
}

impl Timing {
    /// For nodes that tell of themselves every `heartbeat`.
    pub fn new(heartbeat: Duration, reservation: Duration, warm_up: Duration) -> Self {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            silent_after_ms: ms(heartbeat.saturating_mul(SILENT_AFTER_HEARTBEATS)).max(1),
            reservation_ms: ms(reservation),
            warm_up_ms: ms(warm_up),
        }
    }
}

/// When the last word of anybody came: what silence is measured up to.
#[derive(Debug, Clone, Default)]
struct LastWord(Arc<AtomicU64>);

impl LastWord {
    fn at(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn came(&self, now: u64) {
        self.0.fetch_max(now, Ordering::Relaxed);
    }
}

/// What is known of the cluster.
#[derive(Debug)]
pub struct View {
    timing: Timing,
    /// By a number that a node keeps while it is known.
    members: Vec<Option<Member>>,
    free: Vec<usize>,
    by_name: HashMap<NodeId, usize>,
    /// Their numbers, in the order of their names.
    in_order: Vec<usize>,
    flows: Flows,
    /// Runs that are over, and until when that is remembered.
    over: VecDeque<(Incarnation, u64)>,
    last_word: LastWord,
    /// When a node was heard of.
    heard_ms: Option<u64>,
    /// When a node reported over the backbone.
    reported_ms: Option<u64>,
    /// When the first word came.
    began_ms: Option<u64>,
    /// Made when somebody draws, and anew when what nodes are has changed.
    pools: OnceLock<Pools>,
    /// Made when somebody asks, and anew with every report.
    totals: OnceLock<Totals>,
    /// Places that are kept on all nodes.
    reserved: u64,
}

impl View {
    /// Knows nothing.
    pub fn new(timing: Timing) -> Self {
        Self {
            timing,
            members: Vec::new(),
            free: Vec::new(),
            by_name: HashMap::new(),
            in_order: Vec::new(),
            flows: Flows::default(),
            over: VecDeque::new(),
            last_word: LastWord::default(),
            heard_ms: None,
            reported_ms: None,
            began_ms: None,
            pools: OnceLock::new(),
            totals: OnceLock::new(),
            reserved: 0,
        }
    }

    /// What it waits for how long.
    pub const fn timing(&self) -> Timing {
        self.timing
    }

    /// A node has said something over the backbone.
    pub fn heard(&mut self, report: Report, now: u64) {
        self.word(now);
        match report {
            Report::Whole { record, round, part, parts, channels } => {
                if part >= parts || parts > PARTS_MAX {
                    return;
                }
                let Some(slot) = self.admit(&record, now) else { return };
                self.sign(slot, now);
                let Some(member) = self.members[slot].as_mut() else { return };
                if member.is_outdated(round) {
                    return;
                }
                if member.begins(round) {
                    self.note(slot, *record, now);
                }
                let Some(member) = self.members[slot].as_mut() else { return };
                if let Some(whole) = member.part(round, part, parts, channels) {
                    self.carries(slot, whole);
                }
            }
            Report::Channel { peer, channel } => {
                let Some(slot) = self.slot_of(&peer) else { return };
                self.sign(slot, now);
                let Some(member) = self.members[slot].as_mut() else { return };
                member.changed_meanwhile(&channel);
                if member::is_carried(&channel) {
                    self.carry(slot, channel);
                } else {
                    self.drop_channel(slot, &channel.name);
                }
            }
            Report::Gone { peer } => {
                if let Some(slot) = self.slot_of(&peer) {
                    self.remove(slot);
                }
                self.is_over(peer.incarnation, now);
            }
        }
    }

    /// The registry has answered with these records, and with no others.
    pub fn registered(&mut self, records: Vec<NodeRecord>, now: u64) {
        self.word(now);
        // One and a half heartbeats: a single node that reports would otherwise seem to be none in between.
        let nobody_reports = self.is_quiet(self.reported_ms, now);
        let mut named = vec![false; self.members.len()];
        for record in records {
            let Some(slot) = self.admit(&record, now) else { continue };
            if slot >= named.len() {
                named.resize(slot + 1, false);
            }
            named[slot] = true;
            let Some(member) = self.members[slot].as_mut() else { continue };
            let is_news = member.registry_says(&record);
            let is_quiet =
                member.reported_ms.is_none_or(|at| now.saturating_sub(at) >= self.timing.quiet_ms());
            if nobody_reports || (is_news && is_quiet) {
                member.seen(now);
                self.heard_ms = Some(now);
            }
            // While a node reports, its record is what it has reported already, or older.
            if is_quiet && is_news && record.load.accepted >= member.record.load.accepted {
                self.note(slot, record, now);
            }
        }
        for (slot, member) in self.members.iter_mut().enumerate() {
            let Some(member) = member else { continue };
            let heard_ms = member.reported_ms.max(member.excused_ms);
            let is_quiet = heard_ms.is_none_or(|at| now.saturating_sub(at) >= self.timing.quiet_ms());
            if is_quiet && !named.get(slot).copied().unwrap_or(false) {
                member.absent();
            }
        }
    }

    /// `count` clients are sent to the node, by this stream-manager or by another.
    pub fn reserve(&mut self, node: &NodeId, count: u32, now: u64) {
        if let Some(slot) = self.slot(node) {
            self.reserve_at(slot, count, now);
        }
    }

    /// The same, of a node whose number is known.
    pub fn reserve_at(&mut self, slot: usize, count: u32, now: u64) {
        let Some(member) = self.members.get_mut(slot).and_then(Option::as_mut) else { return };
        let before = member.reserved();
        member.reservations.expire(now);
        member.reservations.add(count, now, self.timing.reservation_ms);
        self.reserved = self.reserved.saturating_sub(before).saturating_add(member.reserved());
    }

    /// Lets time pass: places that were kept long enough are given up, and nodes that are silent for long are
    /// forgotten. To be called a few times per second.
    pub fn tick(&mut self, now: u64) {
        let forgotten_after_ms = self.timing.silent_after_ms.saturating_mul(FORGOTTEN_AFTER_SILENCES);
        let until = self.last_word.at().min(now);
        let mut forgotten = Vec::new();
        self.reserved = 0;
        for (slot, member) in self.members.iter_mut().enumerate() {
            let Some(member) = member else { continue };
            member.reservations.expire(now);
            self.reserved = self.reserved.saturating_add(member.reserved());
            if member.silence_ms(until) > forgotten_after_ms {
                forgotten.push(slot);
            }
        }
        for slot in forgotten {
            self.remove(slot);
        }
        while self.over.front().is_some_and(|(_, until)| *until <= now) {
            self.over.pop_front();
        }
    }

    /// The runs whose report is late and that were not asked yet: a server of the backbone knows at once whether a process is
    /// gone.
    pub fn late(&mut self, now: u64) -> Vec<Peer> {
        let members = self.members.iter_mut().flatten();
        members.filter_map(|member| member.is_to_be_asked(now).then(|| member.peer())).collect()
    }

    /// Nobody hears what this run is asked: it is not there, or not on the backbone. Silent at once, until it reports.
    pub fn unreachable(&mut self, peer: &Peer) {
        if let Some(member) = self.slot_of(peer).and_then(|slot| self.members[slot].as_mut()) {
            member.unreachable();
            self.totals.take();
        }
    }

    /// Milliseconds since anything was heard of any node; `None` before the first.
    pub fn age_ms(&self, now: u64) -> Option<u64> {
        self.heard_ms.map(|at| now.saturating_sub(at))
    }

    /// All nodes that are known, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Member> {
        self.slots().filter_map(|slot| self.member(slot))
    }

    /// The node of this name.
    pub fn node(&self, node: &NodeId) -> Option<&Member> {
        self.slot(node).and_then(|slot| self.member(slot))
    }

    /// Their numbers, by name.
    pub(crate) fn slots(&self) -> impl Iterator<Item = usize> {
        self.in_order.iter().copied()
    }

    pub(crate) fn slot(&self, node: &NodeId) -> Option<usize> {
        self.by_name.get(node).copied()
    }

    /// The node of this number, which it keeps for as long as it is known.
    pub fn member(&self, slot: usize) -> Option<&Member> {
        self.members.get(slot).and_then(Option::as_ref)
    }

    pub(crate) fn flow(&self, channel: &ChannelName) -> Option<&channels::Flow> {
        self.flows.get(channel.as_str())
    }

    /// Nodes to draw from.
    pub(crate) fn pools(&self) -> &Pools {
        self.pools.get_or_init(|| {
            Pools::of(self.slots().filter_map(|slot| Some((slot, &self.member(slot)?.record))))
        })
    }

    /// What the nodes that take sessions carry together.
    pub(crate) fn totals(&self) -> &Totals {
        self.totals.get_or_init(|| {
            Totals::of(self.nodes().filter(|member| member.is_in_service() && member.is_heard()))
        })
    }

    /// Places that are kept on all nodes.
    pub(crate) const fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Something has come, of anybody.
    fn word(&mut self, now: u64) {
        if self.began_ms.is_some() && now.saturating_sub(self.last_word.at()) > self.timing.late_ms() {
            // Not one heartbeat of anybody came: that is the fault of none of them, and the first to be heard again is only
            // the first.
            for member in self.members.iter_mut().flatten().filter(|member| member.is_heard()) {
                member.excuse(now);
            }
        }
        self.last_word.came(now);
        self.began_ms.get_or_insert(now);
        self.totals.take();
    }

    fn is_quiet(&self, since: Option<u64>, now: u64) -> bool {
        since.is_none_or(|at| now.saturating_sub(at) >= self.timing.quiet_ms())
    }

    /// A run has reported.
    fn sign(&mut self, slot: usize, now: u64) {
        self.heard_ms = Some(now);
        self.reported_ms = Some(now);
        if let Some(member) = self.members[slot].as_mut() {
            member.reported(now);
        }
    }

    fn slot_of(&self, peer: &Peer) -> Option<usize> {
        let slot = self.slot(&peer.node)?;
        (self.member(slot)?.record.incarnation == peer.incarnation).then_some(slot)
    }

    /// The place of the run that says this, unless a newer one is known. Makes it where it is new.
    fn admit(&mut self, record: &NodeRecord, now: u64) -> Option<usize> {
        if self.over.iter().any(|(incarnation, _)| *incarnation == record.incarnation) {
            return None;
        }
        let Some(slot) = self.slot(&record.node) else {
            return self.insert(record, now);
        };
        let current = self.member(slot)?;
        if current.record.incarnation == record.incarnation {
            return Some(slot);
        }
        let began_later = record.started_ms >= current.record.started_ms;
        if !began_later && !current.is_silent(now) {
            return None;
        }
        let replaced = current.record.incarnation;
        if began_later {
            self.is_over(replaced, now);
        }
        self.remove(slot);
        self.insert(record, now)
    }

    fn insert(&mut self, record: &NodeRecord, now: u64) -> Option<usize> {
        if self.by_name.len() >= NODES_MAX {
            return None;
        }
        // Who is there when the first words come was there before.
        let is_new =
            self.began_ms.is_some_and(|began| now.saturating_sub(began) > self.timing.silent_after_ms);
        let member = Member::new(record.clone(), is_new, now, self.timing, self.last_word.clone());
        let slot = self.free.pop().unwrap_or_else(|| {
            self.members.push(None);
            self.members.len() - 1
        });
        let at = self.place_in_order(&record.node);
        self.in_order.insert(at, slot);
        self.by_name.insert(record.node.clone(), slot);
        self.members[slot] = Some(member);
        self.pools.take();
        self.heard_ms = Some(now);
        Some(slot)
    }

    fn place_in_order(&self, node: &NodeId) -> usize {
        let precedes = |slot: &usize| self.member(*slot).is_some_and(|member| member.record.node < *node);
        self.in_order.partition_point(precedes)
    }

    fn remove(&mut self, slot: usize) {
        let Some(member) = self.members[slot].take() else { return };
        for name in member.channels.keys() {
            self.flows.leave(name, slot);
        }
        self.by_name.remove(&member.record.node);
        self.in_order.retain(|other| *other != slot);
        self.reserved = self.reserved.saturating_sub(member.reserved());
        self.free.push(slot);
        self.pools.take();
        self.totals.take();
    }

    /// Nothing that this run has said and that comes late counts.
    fn is_over(&mut self, incarnation: Incarnation, now: u64) {
        let remembered_ms = self.timing.silent_after_ms.saturating_mul(FORGOTTEN_AFTER_SILENCES);
        if self.over.len() >= NODES_MAX {
            self.over.pop_front();
        }
        self.over.push_back((incarnation, now.saturating_add(remembered_ms)));
    }

    /// What a run says of itself.
    fn note(&mut self, slot: usize, record: NodeRecord, now: u64) {
        let Some(member) = self.members[slot].as_mut() else { return };
        let before = member.reserved();
        if member.note(record, now) {
            self.pools.take();
        }
        self.reserved = self.reserved.saturating_sub(before).saturating_add(member.reserved());
        self.totals.take();
    }

    /// All that a node carries.
    fn carries(&mut self, slot: usize, channels: Vec<Channel>) {
        let Some(member) = self.members[slot].as_mut() else { return };
        let mut former = std::mem::take(&mut member.channels);
        for channel in channels.into_iter().take(CHANNELS_PER_NODE_MAX) {
            let name: Box<str> = channel.name.as_str().into();
            if former.remove(&name).is_none() && !member.channels.contains_key(&name) {
                self.flows.join(&name, slot);
            }
            self.flows.runs(&name, &channel);
            member.channels.insert(name, channel);
        }
        for name in former.keys() {
            self.flows.leave(name, slot);
        }
    }

    fn carry(&mut self, slot: usize, channel: Channel) {
        let Some(member) = self.members[slot].as_mut() else { return };
        let name: Box<str> = channel.name.as_str().into();
        if !member.channels.contains_key(&name) {
            if member.channels.len() >= CHANNELS_PER_NODE_MAX {
                return;
            }
            self.flows.join(&name, slot);
        }
        self.flows.runs(&name, &channel);
        member.channels.insert(name, channel);
    }

    fn drop_channel(&mut self, slot: usize, channel: &ChannelName) {
        let Some(member) = self.members[slot].as_mut() else { return };
        if member.channels.remove(channel.as_str()).is_some() {
            self.flows.leave(channel.as_str(), slot);
        }
    }
}

impl Timing {
    /// Milliseconds without a report after which the registry has a say: one and a half heartbeats, where silence takes
    /// two.
    const fn quiet_ms(self) -> u64 {
        self.silent_after_ms / 4 * 3
    }

    /// Milliseconds without a report after which a node is asked why: a heartbeat and a tenth.
    const fn late_ms(self) -> u64 {
        self.silent_after_ms / 2 + self.silent_after_ms / 20
    }
}
