//! A node as a stream-manager knows it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, UNIX_EPOCH};

use relay_proto::api::manager::ClusterNode;
use relay_proto::api::{Channel, ChannelState};
use relay_proto::backbone::Peer;
use relay_proto::event::NodePhase;
use relay_proto::registry::{NodeRecord, NodeState};

use super::reservations::Reservations;
use super::{CHANNELS_PER_NODE_MAX, LastWord, Timing};

/// The last moment that RFC 3339 has a text for: 9999-12-31T23:59:59Z. A node may say anything about its clock.
const UNIX_MS_MAX: u64 = 253_402_300_799_000;

/// A run of a node, and what it says of itself.
#[derive(Debug)]
pub struct Member {
    /// What it has said last.
    pub record: NodeRecord,
    pub(super) channels: BTreeMap<Box<str>, Channel>,
    pub(super) reservations: Reservations,
    /// Its last report over the backbone.
    pub(super) reported_ms: Option<u64>,
    /// Sessions that had begun between its last two heartbeats: they count among its sessions already, but what they
    /// use has been measured for a part of that time only.
    fresh: u64,
    sign_ms: u64,
    /// When it was found that nobody had been heard for a while, and so not this one either.
    pub(super) excused_ms: Option<u64>,
    /// When it was first heard of; `None` for one that was there before the stream-manager.
    joined_ms: Option<u64>,
    /// What the registry has told of it last.
    registered: Option<NodeRecord>,
    /// The registry does not name it any more.
    is_absent: bool,
    /// Nobody hears what it is asked any more.
    is_unreachable: bool,
    /// Up to which sign of life it was asked why no further one came.
    asked_ms: Option<u64>,
    /// The last heartbeat of which anything has come.
    round: Option<u64>,
    /// Those of its parts that have come, until all have.
    parts: Option<Parts>,
    timing: Timing,
    last_word: LastWord,
}

#[derive(Debug, Default)]
struct Parts {
    come: BTreeSet<u32>,
    channels: Vec<Channel>,
    /// What was said of single channels since the first part: newer than the report.
    since: HashMap<Box<str>, Channel>,
}

/// Whether a node carries a channel of which it says this.
pub(super) const fn is_carried(channel: &Channel) -> bool {
    !matches!(channel.state, ChannelState::Waiting) || channel.receivers > 0
}

impl Member {
    pub(super) fn new(
        record: NodeRecord,
        is_new: bool,
        now: u64,
        timing: Timing,
        last_word: LastWord,
    ) -> Self {
        Self {
            record,
            channels: BTreeMap::new(),
            reservations: Reservations::default(),
            reported_ms: None,
            fresh: 0,
            sign_ms: now,
            excused_ms: None,
            joined_ms: is_new.then_some(now),
            registered: None,
            is_absent: false,
            is_unreachable: false,
            asked_ms: None,
            round: None,
            parts: None,
            timing,
            last_word,
        }
    }

    /// Milliseconds since it gave a sign of life.
    pub const fn age_ms(&self, now: u64) -> u64 {
        now.saturating_sub(self.sign_ms)
    }

    /// The same, without the time for which nobody was heard of.
    pub(super) fn silence_ms(&self, now: u64) -> u64 {
        now.saturating_sub(self.excused_ms.map_or(self.sign_ms, |at| at.max(self.sign_ms)))
    }

    /// It gets as long as any other from now on.
    pub(super) const fn excuse(&mut self, now: u64) {
        self.excused_ms = Some(now);
    }

    /// Whether nothing was heard of it for too long.
    pub fn is_silent(&self, now: u64) -> bool {
        self.is_unreachable || self.is_lost(now)
    }

    /// The same, but that a node which only cannot be asked may come back: that of its connection to the backbone is.
    fn is_lost(&self, now: u64) -> bool {
        self.is_absent || self.silence_ms(now.min(self.last_word.at())) > self.timing.silent_after_ms
    }

    /// Whether it is not silent as of the last word of anybody, which is all that silence depends on.
    pub(crate) fn is_heard(&self) -> bool {
        !self.is_silent(u64::MAX)
    }

    /// Whether it takes new sessions, as it says itself.
    pub fn is_in_service(&self) -> bool {
        self.record.state == NodeState::InService
    }

    /// The run.
    pub fn peer(&self) -> Peer {
        Peer { node: self.record.node.clone(), incarnation: self.record.incarnation }
    }

    /// How it is, as the journal wants to know.
    pub fn phase(&self, now: u64) -> NodePhase {
        match self.record.state {
            _ if self.is_lost(now) => NodePhase::Lost,
            NodeState::InService => NodePhase::InService,
            NodeState::Draining => NodePhase::Draining,
        }
    }

    /// Places that are kept on it for clients on their way, as of the last tick.
    pub const fn reserved(&self) -> u64 {
        self.reservations.total()
    }

    /// Channels on it.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// As the API tells it.
    pub fn describe(&self, now: u64) -> ClusterNode {
        let record = &self.record;
        let started = UNIX_EPOCH + Duration::from_millis(record.started_ms.min(UNIX_MS_MAX));
        ClusterNode {
            node: record.node.clone(),
            url: Some(record.url.clone()),
            region: record.region.clone(),
            zone: record.zone.clone(),
            state: record.state,
            silent: self.is_silent(now),
            roles: record.roles.clone(),
            capacity: record.capacity,
            load: record.load,
            reserved: self.reserved(),
            channels: self.channels() as u64,
            version: record.version.clone(),
            started_at: humantime::format_rfc3339_seconds(started).to_string(),
            age_ms: self.age_ms(now),
        }
    }

    /// How much of its share a new node gets: from 0 to 1.
    pub(crate) fn ramp(&self, now: u64) -> f64 {
        let Some(joined_ms) = self.joined_ms else { return 1.0 };
        let age_ms = now.saturating_sub(joined_ms);
        if age_ms >= self.timing.warm_up_ms { 1.0 } else { age_ms as f64 / self.timing.warm_up_ms as f64 }
    }

    /// Sessions of which it is not yet known what they use: those that are on their way, and half of those that came
    /// over the last interval, since they came in the middle of it.
    pub(crate) fn unmeasured(&self) -> f64 {
        self.reserved() as f64 + self.fresh as f64 / 2.0
    }

    /// The registry names it; whether it tells anything new.
    pub(super) fn registry_says(&mut self, record: &NodeRecord) -> bool {
        self.is_absent = false;
        let is_news = self.registered.as_ref() != Some(record) && self.record != *record;
        self.registered = Some(record.clone());
        is_news
    }

    pub(super) const fn seen(&mut self, now: u64) {
        self.sign_ms = now;
    }

    pub(super) const fn reported(&mut self, now: u64) {
        self.sign_ms = now;
        self.reported_ms = Some(now);
        self.is_absent = false;
        self.is_unreachable = false;
    }

    /// Whether its report is late, and it was not asked why; from now on it was.
    pub(super) fn is_to_be_asked(&mut self, now: u64) -> bool {
        let Some(reported_ms) = self.reported_ms else { return false };
        let is_late = now.saturating_sub(reported_ms) > self.timing.late_ms();
        let is_new = self.asked_ms != Some(reported_ms);
        if is_late && is_new && !self.is_silent(now) {
            self.asked_ms = Some(reported_ms);
            return true;
        }
        false
    }

    /// Nobody has heard the question, unless it has reported since.
    pub(super) fn unreachable(&mut self) {
        self.is_unreachable = self.asked_ms.is_some() && self.asked_ms == self.reported_ms;
    }

    pub(super) const fn absent(&mut self) {
        self.is_absent = true;
    }

    /// Whether a newer heartbeat has come.
    pub(super) fn is_outdated(&self, round: u64) -> bool {
        self.round.is_some_and(|last| round < last)
    }

    /// Whether nothing of this heartbeat has come before.
    pub(super) fn begins(&self, round: u64) -> bool {
        self.round != Some(round)
    }

    /// Takes what it says of itself; whether others may be drawn with other chances now.
    pub(super) fn note(&mut self, record: NodeRecord, now: u64) -> bool {
        let is_other = (record.state, &record.capacity, &record.region, &record.roles)
            != (self.record.state, &self.record.capacity, &self.record.region, &self.record.roles);
        self.fresh = record.load.accepted.saturating_sub(self.record.load.accepted);
        self.reservations.fulfil(self.fresh, now, self.timing.reservation_ms);
        self.record = record;
        is_other
    }

    /// A part of a report has come; all channels, once it was the last one that was missing.
    pub(super) fn part(
        &mut self,
        round: u64,
        part: u32,
        parts: u32,
        channels: Vec<Channel>,
    ) -> Option<Vec<Channel>> {
        let begins = self.begins(round);
        self.round = Some(round);
        if begins {
            self.parts = Some(Parts::default());
        }
        let pending = self.parts.as_mut()?;
        let has_room = pending.channels.len().saturating_add(channels.len()) <= CHANNELS_PER_NODE_MAX;
        if !pending.come.insert(part) || !has_room {
            return None;
        }
        pending.channels.extend(channels);
        if pending.come.len() < parts as usize {
            return None;
        }
        let Parts { channels, mut since, .. } = self.parts.take()?;
        let mut whole: Vec<_> =
            channels.into_iter().filter(|channel| !since.contains_key(channel.name.as_str())).collect();
        whole.extend(since.drain().map(|(_, channel)| channel));
        whole.retain(is_carried);
        Some(whole)
    }

    /// It has said something of one channel, maybe between the parts of a report.
    pub(super) fn changed_meanwhile(&mut self, channel: &Channel) {
        if let Some(parts) = &mut self.parts
            && parts.since.len() < CHANNELS_PER_NODE_MAX
        {
            parts.since.insert(channel.name.as_str().into(), channel.clone());
        }
    }
}
