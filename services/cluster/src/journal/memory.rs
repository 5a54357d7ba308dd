//! The journal of nodes that live in one process: of a single node, and of a whole cluster in a test.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::ready;
use relay_proto::Incarnation;
use relay_proto::backbone::Peer;
use relay_proto::event::{EventId, Fact};
use tokio::time::Instant;

use super::ledger::Ledger;
use super::{Delivered, Journal, Reading};
use crate::registry::{Answer, Unavailable};

/// A journal in memory. Its clock starts with that of the system, and goes on with that of the runtime.
#[derive(Debug)]
pub struct MemoryJournal {
    began: Instant,
    began_ms: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ledger: Ledger,
    outage: bool,
}

impl MemoryJournal {
    /// An empty journal.
    pub fn new() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { began: Instant::now(), began_ms: whole_ms(since), state: Mutex::default() }
    }

    /// From now on no call is answered, or all are again: what a test calls an outage.
    pub fn set_outage(&self, outage: bool) {
        self.lock().outage = outage;
    }

    /// Everything is forgotten.
    pub fn forget_everything(&self) {
        self.lock().ledger.forget_everything();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer<'a, T: Send + 'a>(&self, step: impl FnOnce(&mut Ledger, u64) -> T) -> Answer<'a, T> {
        let now = self.began_ms.saturating_add(whole_ms(self.began.elapsed()));
        let mut state = self.lock();
        if state.outage {
            return ready(Err(Unavailable("out of order".to_owned()))).boxed();
        }
        ready(Ok(step(&mut state.ledger, now))).boxed()
    }
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::new()
    }
}

impl Journal for MemoryJournal {
    fn record<'a>(&'a self, facts: &'a [Fact]) -> Answer<'a, Option<EventId>> {
        self.answer(|ledger, now| ledger.record(facts, now).last().map(|event| event.id))
    }

    fn read(&self, after: EventId, max: usize) -> Answer<'_, Reading> {
        self.answer(|ledger, _| ledger.read(after, max))
    }

    fn newest(&self) -> Answer<'_, EventId> {
        self.answer(|ledger, _| ledger.newest())
    }

    fn bury<'a>(&'a self, peer: &'a Peer) -> Answer<'a, ()> {
        self.answer(|ledger, now| drop(ledger.bury(peer, now)))
    }

    fn expire(&self) -> Answer<'_, ()> {
        self.answer(|ledger, now| drop(ledger.expire(now)))
    }

    fn hold<'a>(&'a self, duty: &'a str, holder: Incarnation, ttl: Duration) -> Answer<'a, bool> {
        self.answer(|ledger, now| ledger.hold(duty, holder, ttl, now))
    }

    fn release<'a>(&'a self, duty: &'a str, holder: Incarnation) -> Answer<'a, ()> {
        self.answer(|ledger, _| ledger.release(duty, holder))
    }

    fn delivered<'a>(&'a self, endpoint: &'a str) -> Answer<'a, Delivered> {
        self.answer(|ledger, _| ledger.delivered(endpoint))
    }

    fn note_delivered<'a>(&'a self, endpoint: &'a str, subject: &'a str, id: EventId) -> Answer<'a, ()> {
        self.answer(|ledger, _| ledger.note_delivered(endpoint, subject, id))
    }

    fn advance_delivered<'a>(&'a self, endpoint: &'a str, through: EventId) -> Answer<'a, ()> {
        self.answer(|ledger, _| ledger.advance_delivered(endpoint, through))
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
