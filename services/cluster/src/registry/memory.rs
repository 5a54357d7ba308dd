//! The registry of nodes that live in one process: of a single node, and of a whole cluster in a test.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::ready;
use relay_proto::backbone::Peer;
use relay_proto::registry::NodeRecord;
use relay_proto::source::SourceId;
use relay_proto::{ChannelName, Epoch, Incarnation, KeyHash};
use tokio::time::Instant;

use super::table::Table;
use super::{Acquired, Answer, Attendance, Claim, Lease, Registry, Release, Renewed, Unavailable, View};

/// How often what has expired is let go of.
const EXPIRY_INTERVAL_MS: u64 = 60_000;

/// A registry in memory. It counts epochs from 1 on, since it forgets nothing that its nodes remember.
#[derive(Debug)]
pub struct MemoryRegistry {
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    table: Table,
    next_expiry_ms: u64,
    outage: bool,
}

impl MemoryRegistry {
    /// An empty registry.
    pub fn new() -> Self {
        Self { began: Instant::now(), state: Mutex::default() }
    }

    /// From now on no call is answered, or all are again: what a test calls an outage.
    pub fn set_outage(&self, outage: bool) {
        self.lock().outage = outage;
    }

    /// Everything is forgotten.
    pub fn forget_everything(&self) {
        self.lock().table.forget_everything();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer<'a, T: Send + 'a>(&self, step: impl FnOnce(&mut Table, u64) -> T) -> Answer<'a, T> {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut state = self.lock();
        if state.outage {
            return ready(Err(Unavailable("out of order".to_owned()))).boxed();
        }
        if now >= state.next_expiry_ms {
            state.table.expire(now);
            state.next_expiry_ms = now + EXPIRY_INTERVAL_MS;
        }
        ready(Ok(step(&mut state.table, now))).boxed()
    }
}

impl Default for MemoryRegistry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry for MemoryRegistry {
    fn announce<'a>(&'a self, record: &'a NodeRecord, ttl: Duration) -> Answer<'a, Option<NodeRecord>> {
        self.answer(|table, now| table.announce(record, ttl, now))
    }

    fn withdraw<'a>(&'a self, peer: &'a Peer) -> Answer<'a, ()> {
        self.answer(|table, _| table.withdraw(peer))
    }

    fn nodes(&self) -> Answer<'_, Vec<NodeRecord>> {
        self.answer(Table::nodes)
    }

    fn acquire<'a>(&'a self, claim: &'a Claim) -> Answer<'a, Acquired> {
        self.answer(|table, now| table.acquire(claim, now, Epoch::NONE))
    }

    fn renew<'a>(&'a self, lease: &'a Lease) -> Answer<'a, Renewed> {
        self.answer(|table, now| table.renew(lease, now))
    }

    fn release<'a>(&'a self, lease: &'a Lease, release: Release) -> Answer<'a, ()> {
        self.answer(|table, now| table.release(lease, release, now))
    }

    fn attend<'a>(&'a self, channel: &'a ChannelName, attendance: Attendance<'a>) -> Answer<'a, View> {
        self.answer(|table, now| table.attend(channel, attendance, now))
    }

    fn ban<'a>(&'a self, channel: &'a ChannelName, key: KeyHash, ttl: Duration) -> Answer<'a, ()> {
        self.answer(|table, now| table.ban(channel, key, ttl, now))
    }

    fn hold_sources<'a>(
        &'a self,
        sources: &'a [SourceId],
        holder: Incarnation,
        ttl: Duration,
    ) -> Answer<'a, Vec<bool>> {
        self.answer(|table, now| table.hold_sources(sources, holder, ttl, now))
    }

    fn release_sources<'a>(&'a self, sources: &'a [SourceId], holder: Incarnation) -> Answer<'a, ()> {
        self.answer(|table, _| table.release_sources(sources, holder))
    }

    fn remember<'a>(&'a self, name: &'a str, text: &'a str, ttl: Duration) -> Answer<'a, ()> {
        self.answer(|table, now| table.remember(name, text, ttl, now))
    }

    fn remembered(&self) -> Answer<'_, Vec<(String, String)>> {
        self.answer(Table::remembered)
    }

    fn recall<'a>(&'a self, names: &'a [String]) -> Answer<'a, Vec<(String, String)>> {
        self.answer(|table, now| table.recall(names, now))
    }
}
