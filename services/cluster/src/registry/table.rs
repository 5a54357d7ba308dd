//! The rules of the registry, without sockets and clocks: what the scripts of `relay_proto::registry` do in Redis, word for
//! word. Time comes in as milliseconds of the registry's own clock.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use relay_proto::backbone::Peer;
use relay_proto::registry::{
    BANS_MAX, LeaseRecord, MEMORIES_MAX, MEMORY_BYTES_MAX, NodeRecord, REMEMBERED_MS,
};
use relay_proto::source::SourceId;
use relay_proto::{ChannelName, Epoch, Incarnation, KeyHash, NodeId};

use super::{Acquired, Attendance, Claim, Lease, Release, Renewed, Terms, View, ms};

/// Everything a registry knows. A clone is a snapshot, to which a test may go back.
#[derive(Debug, Clone, Default)]
pub struct Table {
    channels: HashMap<ChannelName, Channel>,
    nodes: BTreeMap<NodeId, (NodeRecord, u64)>,
    sources: HashMap<SourceId, (Incarnation, u64)>,
    memories: BTreeMap<String, (String, u64)>,
    /// No epoch of a channel that was forgotten is greater.
    forgotten: Epoch,
}

#[derive(Debug, Clone, Default)]
struct Channel {
    lease: Option<Held>,
    bans: Vec<(KeyHash, u64)>,
    wanted: BTreeMap<NodeId, u64>,
}

#[derive(Debug, Clone)]
struct Held {
    peer: Peer,
    epoch: Epoch,
    key: KeyHash,
    live_until: u64,
    held_until: u64,
    remembered_until: u64,
}

impl Table {
    /// Everything is forgotten, as by `FLUSHALL`, but how far epochs are: what a registry of real life tells from its clock.
    pub fn forget_everything(&mut self) {
        let leases = self.channels.values().filter_map(|channel| channel.lease.as_ref());
        let forgotten = leases.map(|held| held.epoch).fold(self.forgotten, Epoch::max);
        *self = Self { forgotten, ..Self::default() };
    }

    /// See [`Registry::announce`](super::Registry::announce).
    pub fn announce(&mut self, record: &NodeRecord, ttl: Duration, now: u64) -> Option<NodeRecord> {
        let displaced = self.nodes.insert(record.node.clone(), (record.clone(), now + ms(ttl)));
        displaced.filter(|(_, until)| *until > now).map(|(record, _)| record)
    }

    /// See [`Registry::withdraw`](super::Registry::withdraw).
    pub fn withdraw(&mut self, peer: &Peer) {
        if self.nodes.get(&peer.node).is_some_and(|(record, _)| record.incarnation == peer.incarnation) {
            self.nodes.remove(&peer.node);
        }
    }

    /// See [`Registry::nodes`](super::Registry::nodes).
    pub fn nodes(&mut self, now: u64) -> Vec<NodeRecord> {
        self.nodes.retain(|_, (_, until)| *until > now);
        self.nodes.values().map(|(record, _)| record.clone()).collect()
    }

    /// See [`Registry::acquire`](super::Registry::acquire). `floor` is what the epoch is greater than in any case.
    pub fn acquire(&mut self, claim: &Claim, now: u64, floor: Epoch) -> Acquired {
        let floor = floor.max(self.forgotten).max(claim.exceeds);
        let channel = self.channels.entry(claim.channel.clone()).or_default();
        if let Some((_, until)) = channel.bans.iter().find(|(key, until)| *key == claim.key && *until > now) {
            return Acquired::Banned(Duration::from_millis(until - now));
        }
        let mut last = Epoch::NONE;
        if let Some(held) = &channel.lease {
            last = held.epoch;
            let replaces = claim.replaces == Some(held.epoch);
            if held.held_until > now && (held.key != claim.key || (held.live_until > now && !replaces)) {
                return Acquired::Taken(held.record(now));
            }
        }
        let epoch = last.max(floor).next();
        channel.lease = Some(Held::new(&claim.peer, epoch, claim.key, claim.terms, now));
        Acquired::Granted(epoch)
    }

    /// See [`Registry::renew`](super::Registry::renew).
    pub fn renew(&mut self, lease: &Lease, now: u64) -> Renewed {
        let channel = self.channels.entry(lease.channel.clone()).or_default();
        if let Some(held) = &channel.lease
            && (held.epoch > lease.epoch || (held.epoch == lease.epoch && held.peer != lease.peer))
        {
            return Renewed::Lost(held.epoch);
        }
        channel.lease = Some(Held::new(&lease.peer, lease.epoch, lease.key, lease.terms, now));
        Renewed::Kept
    }

    /// See [`Registry::release`](super::Registry::release).
    pub fn release(&mut self, lease: &Lease, release: Release, now: u64) {
        let held = self.channels.get_mut(&lease.channel).and_then(|channel| channel.lease.as_mut());
        let Some(held) = held.filter(|held| held.epoch == lease.epoch && held.peer == lease.peer) else {
            return;
        };
        held.live_until = 0;
        held.held_until = match release {
            Release::Free => now,
            Release::Held => now + ms(lease.terms.grace),
        };
        held.remembered_until = held.held_until + REMEMBERED_MS;
    }

    /// See [`Registry::attend`](super::Registry::attend).
    pub fn attend(&mut self, channel: &ChannelName, attendance: Attendance<'_>, now: u64) -> View {
        if let Attendance::Wanted(node, ttl) = attendance {
            let channel = self.channels.entry(channel.clone()).or_default();
            channel.wanted.insert(node.clone(), now + ms(ttl));
        }
        let Some(channel) = self.channels.get_mut(channel) else { return View::default() };
        if let Attendance::Left(node) = attendance {
            channel.wanted.remove(node);
        }
        channel.wanted.retain(|_, until| *until > now);
        channel.bans.retain(|(_, until)| *until > now);
        View {
            lease: channel.lease.as_ref().map(|held| held.record(now)),
            bans: channel
                .bans
                .iter()
                .map(|(key, until)| (*key, Duration::from_millis(until - now)))
                .collect(),
            wanted: channel.wanted.keys().cloned().collect(),
        }
    }

    /// See [`Registry::ban`](super::Registry::ban).
    pub fn ban(&mut self, channel: &ChannelName, key: KeyHash, ttl: Duration, now: u64) {
        let bans = &mut self.channels.entry(channel.clone()).or_default().bans;
        let until = now + ms(ttl);
        let until =
            bans.iter().find(|(banned, _)| *banned == key).map_or(until, |(_, other)| until.max(*other));
        bans.retain(|(banned, until)| *banned != key && *until > now);
        bans.push((key, until));
        bans.sort_by_key(|(_, until)| *until);
        let spare = bans.len().saturating_sub(BANS_MAX);
        bans.drain(..spare);
    }

    /// See [`Registry::hold_sources`](super::Registry::hold_sources).
    pub fn hold_sources(
        &mut self,
        sources: &[SourceId],
        holder: Incarnation,
        ttl: Duration,
        now: u64,
    ) -> Vec<bool> {
        let until = now + ms(ttl).max(1);
        let mut hold = |source: &SourceId| {
            let (by, held_until) = self.sources.entry(source.clone()).or_insert((holder, 0));
            if *held_until > now && *by != holder {
                return false;
            }
            (*by, *held_until) = (holder, until);
            true
        };
        sources.iter().map(&mut hold).collect()
    }

    /// See [`Registry::release_sources`](super::Registry::release_sources).
    pub fn release_sources(&mut self, sources: &[SourceId], holder: Incarnation) {
        for source in sources {
            if self.sources.get(source).is_some_and(|(by, _)| *by == holder) {
                self.sources.remove(source);
            }
        }
    }

    /// See [`Registry::remember`](super::Registry::remember).
    pub fn remember(&mut self, name: &str, text: &str, ttl: Duration, now: u64) {
        if text.len() > MEMORY_BYTES_MAX {
            return;
        }
        self.memories.retain(|_, (_, until)| *until > now);
        self.memories.insert(name.to_owned(), (text.to_owned(), now + ms(ttl).max(1)));
        while self.memories.len() > MEMORIES_MAX {
            let first = self.memories.iter().min_by_key(|(name, (_, until))| (*until, *name));
            let Some(first) = first.map(|(name, _)| name.clone()) else { return };
            self.memories.remove(&first);
        }
    }

    /// See [`Registry::remembered`](super::Registry::remembered).
    pub fn remembered(&mut self, now: u64) -> Vec<(String, String)> {
        self.memories.retain(|_, (_, until)| *until > now);
        self.memories.iter().map(|(name, (text, _))| (name.clone(), text.clone())).collect()
    }

    /// See [`Registry::recall`](super::Registry::recall).
    pub fn recall(&self, names: &[String], now: u64) -> Vec<(String, String)> {
        let kept = names.iter().filter_map(|name| Some((name, self.memories.get(name)?)));
        let kept = kept.filter(|(_, (_, until))| *until > now);
        let mut kept: Vec<_> = kept.map(|(name, (text, _))| (name.clone(), text.clone())).collect();
        kept.sort_unstable();
        kept
    }

    /// Lets go of what Redis would have let expire.
    pub fn expire(&mut self, now: u64) {
        let forgotten = &mut self.forgotten;
        self.channels.retain(|_, channel| {
            channel.bans.retain(|(_, until)| *until > now);
            channel.wanted.retain(|_, until| *until > now);
            if let Some(held) = channel.lease.take_if(|held| held.remembered_until <= now) {
                *forgotten = held.epoch.max(*forgotten);
            }
            channel.lease.is_some() || !channel.bans.is_empty() || !channel.wanted.is_empty()
        });
        self.nodes.retain(|_, (_, until)| *until > now);
        self.sources.retain(|_, (_, until)| *until > now);
        self.memories.retain(|_, (_, until)| *until > now);
    }
}

impl Held {
    fn new(peer: &Peer, epoch: Epoch, key: KeyHash, terms: Terms, now: u64) -> Self {
        let live_until = now + ms(terms.ttl);
        let held_until = live_until + ms(terms.grace);
        let remembered_until = held_until + REMEMBERED_MS;
        Self { peer: peer.clone(), epoch, key, live_until, held_until, remembered_until }
    }

    fn record(&self, now: u64) -> LeaseRecord {
        LeaseRecord {
            node: self.peer.node.clone(),
            incarnation: self.peer.incarnation,
            epoch: self.epoch,
            key: self.key,
            live_ms: self.live_until.saturating_sub(now),
            held_ms: self.held_until.saturating_sub(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use relay_proto::Incarnation;

    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const HOUR_MS: u64 = 60 * 60 * 1000;

    fn channel() -> ChannelName {
        "cam-1".parse().unwrap()
    }

    fn key(name: &str) -> KeyHash {
        KeyHash::of(b"secret", &channel(), &name.parse().unwrap())
    }

    fn claim() -> Claim {
        let peer = Peer { node: "n1".parse().unwrap(), incarnation: Incarnation::new(1) };
        let terms = Terms { ttl: HOUR, grace: HOUR };
        Claim { channel: channel(), peer, key: key("k"), replaces: None, exceeds: Epoch::NONE, terms }
    }

    fn banned(table: &mut Table, now: u64) -> Vec<KeyHash> {
        table.attend(&channel(), Attendance::Look, now).bans.into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn an_epoch_exceeds_the_last_the_floor_and_what_the_node_knows() {
        let mut table = Table::default();
        let free = Terms { ttl: Duration::ZERO, grace: Duration::ZERO };
        let mut granted = |floor, exceeds| {
            let claim = Claim { exceeds: Epoch::new(exceeds), terms: free, ..claim() };
            table.acquire(&claim, 1, Epoch::new(floor))
        };
        for (floor, exceeds, expected) in [(0, 0, 1), (9, 0, 10), (3, 0, 11), (0, 20, 21), (0, 5, 22)] {
            assert_eq!(granted(floor, exceeds), Acquired::Granted(Epoch::new(expected)));
        }
    }

    #[test]
    fn what_expired_is_let_go_of_but_not_how_far_epochs_were() {
        let mut table = Table::default();
        let forgotten = 2 * HOUR_MS + REMEMBERED_MS;
        assert_eq!(table.acquire(&claim(), 0, Epoch::new(41)), Acquired::Granted(Epoch::new(42)));
        table.attend(&channel(), Attendance::Wanted(&claim().peer.node, HOUR), 0);
        table.ban(&channel(), key("bad"), HOUR, 0);
        table.expire(forgotten - 1);
        assert_eq!(
            table.attend(&channel(), Attendance::Look, forgotten - 1).lease.unwrap().epoch,
            Epoch::new(42)
        );
        table.expire(forgotten);
        assert!(table.channels.is_empty());
        // Any channel may have been the one.
        let other = Claim { channel: "cam-2".parse().unwrap(), ..claim() };
        assert_eq!(table.acquire(&other, forgotten, Epoch::NONE), Acquired::Granted(Epoch::new(43)));
    }

    #[test]
    fn a_lease_is_remembered_from_its_end_on_however_long_it_is() {
        let mut table = Table::default();
        let days = Duration::from_secs(3 * 24 * 60 * 60);
        let claim = Claim { terms: Terms { ttl: days, grace: HOUR }, ..claim() };
        table.acquire(&claim, 0, Epoch::NONE);
        table.expire(ms(days));
        assert!(matches!(table.acquire(&claim, ms(days) - 1, Epoch::NONE), Acquired::Taken(_)));
    }

    #[test]
    fn a_loss_of_memory_keeps_how_far_epochs_were() {
        let mut table = Table::default();
        table.acquire(&claim(), 0, Epoch::new(41));
        table.forget_everything();
        assert_eq!(table.attend(&channel(), Attendance::Look, 0), View::default());
        assert_eq!(table.acquire(&claim(), 0, Epoch::NONE), Acquired::Granted(Epoch::new(43)));
    }

    #[test]
    fn of_too_many_bans_the_ones_that_end_first_make_room() {
        let mut table = Table::default();
        let name = |index: usize| key(&format!("k{index}"));
        // The one that ends last comes first.
        for index in 0..BANS_MAX {
            let ttl = HOUR - Duration::from_secs(index as u64);
            table.ban(&channel(), name(index), ttl, 0);
        }
        assert_eq!(banned(&mut table, 0).len(), BANS_MAX);
        table.ban(&channel(), key("another"), HOUR, 0);
        let now = banned(&mut table, 0);
        assert_eq!(now.len(), BANS_MAX);
        assert!(
            !now.contains(&name(BANS_MAX - 1)) && now.contains(&name(0)) && now.contains(&key("another"))
        );
        // One that ends before all others is itself the first to go; one that is there already needs no room.
        table.ban(&channel(), key("short"), Duration::from_secs(1), 0);
        assert!(!banned(&mut table, 0).contains(&key("short")));
        table.ban(&channel(), name(0), 2 * HOUR, 0);
        assert_eq!(banned(&mut table, 0).len(), BANS_MAX);
        // All but that one have ended.
        assert_eq!(banned(&mut table, HOUR_MS), [name(0)]);
    }

    #[test]
    fn a_ban_is_made_longer_and_never_shorter() {
        let mut table = Table::default();
        table.ban(&channel(), key("k"), HOUR, 0);
        table.ban(&channel(), key("k"), Duration::from_secs(1), 0);
        assert_eq!(table.acquire(&claim(), 0, Epoch::NONE), Acquired::Banned(HOUR));
        table.ban(&channel(), key("k"), 2 * HOUR, 0);
        assert_eq!(table.acquire(&claim(), 0, Epoch::NONE), Acquired::Banned(2 * HOUR));
    }

    #[test]
    fn no_length_of_time_overflows() {
        let mut table = Table::default();
        let terms = Terms { ttl: Duration::MAX, grace: Duration::MAX };
        assert!(matches!(
            table.acquire(&Claim { terms, ..claim() }, 1 << 41, Epoch::NONE),
            Acquired::Granted(_)
        ));
        table.ban(&channel(), key("k"), Duration::MAX, 1 << 41);
    }
}
