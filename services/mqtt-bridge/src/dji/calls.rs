//! What gateways were told and have not answered.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use relay_proto::dji::Service;

use crate::driver::Ticket;

/// How long an answer may take. Servers of the manufacturer wait as long.
pub(super) const TRY_MS: u64 = 20_000;

/// How often a gateway is told the same.
pub(super) const TRIES_MAX: u32 = 3;

/// Calls under way at once: some for every camera of 500 docks. Beyond, nothing is sent.
pub(super) const CALLS_MAX: usize = 4_000;

/// What a call is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    Start(Starting),
    Stop,
    /// Somebody asked for it.
    Change(Ticket),
    /// It is as it was asked for once.
    Reapply,
}

/// A start that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Starting {
    /// Where the video goes if the gateway does not know the protocol that was asked for.
    pub(super) rtmp: Option<String>,
    /// Whether it streams to elsewhere.
    pub(super) is_external: bool,
    /// Whether a simpler quality or protocol was tried already.
    pub(super) is_simpler: bool,
    /// Whether what may be live already can come of an earlier start.
    pub(super) may_be_ours: bool,
}

/// Something a gateway was told.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) gateway: usize,
    pub(super) video: usize,
    pub(super) service: Service,
    pub(super) purpose: Purpose,
    pub(super) tid: String,
    pub(super) bid: String,
    pub(super) tries: u32,
    pub(super) until_ms: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Calls {
    next: u64,
    calls: BTreeMap<u64, Call>,
    by_tid: HashMap<String, u64>,
    due: BTreeSet<(u64, u64)>,
}

impl Calls {
    pub(super) fn is_full(&self) -> bool {
        self.calls.len() >= CALLS_MAX
    }

    pub(super) fn insert(&mut self, call: Call) {
        let id = self.next;
        self.next += 1;
        self.by_tid.insert(call.tid.clone(), id);
        self.due.insert((call.until_ms, id));
        self.calls.insert(id, call);
    }

    fn remove(&mut self, id: u64) -> Option<Call> {
        let call = self.calls.remove(&id)?;
        self.by_tid.remove(&call.tid);
        self.due.remove(&(call.until_ms, id));
        Some(call)
    }

    /// The call that a reply of a gateway belongs to.
    pub(super) fn answered(&mut self, gateway: usize, tid: &str, bid: &str) -> Option<Call> {
        let id = *self.by_tid.get(tid)?;
        let call = self.calls.get(&id)?;
        if call.bid != bid || call.gateway != gateway || is_drc(&call.service) {
            return None;
        }
        self.remove(id)
    }

    /// The call of a gateway on the topic that has no transactions.
    pub(super) fn answered_drc(&mut self, gateway: usize, method: &str) -> Option<Call> {
        let is_it =
            |call: &Call| call.gateway == gateway && is_drc(&call.service) && call.service.method() == method;
        let id = *self.calls.iter().find(|(_, call)| is_it(call))?.0;
        self.remove(id)
    }

    /// Whether a call is under way that only its method tells from others.
    pub(super) fn has_drc(&self, gateway: usize) -> bool {
        self.calls.values().any(|call| call.gateway == gateway && is_drc(&call.service))
    }

    /// A call whose time is over.
    pub(super) fn overdue(&mut self, now_ms: u64) -> Option<Call> {
        let (_, id) = self.due.first().copied().filter(|(due_ms, _)| *due_ms <= now_ms)?;
        self.remove(id)
    }

    /// Takes those for which this holds.
    pub(super) fn take_if(&mut self, is_one: impl Fn(&Call) -> bool) -> Vec<Call> {
        let ids: Vec<u64> = self.calls.iter().filter(|(_, call)| is_one(call)).map(|(id, _)| *id).collect();
        ids.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Whether there is one for which this holds.
    pub(super) fn has(&self, is_one: impl Fn(&Call) -> bool) -> bool {
        self.calls.values().any(is_one)
    }

    pub(super) fn next(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }
}

/// Whether it goes the way that knows no transactions.
pub(super) fn is_drc(service: &Service) -> bool {
    matches!(service, Service::DrcLens(..))
}

/// Calls that start or stop, which there is one of for a video.
pub(super) fn is_main(call: &Call) -> bool {
    matches!(call.purpose, Purpose::Start(_) | Purpose::Stop)
}
