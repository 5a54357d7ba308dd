//! What the nodes that take sessions have and carry together.

use super::Member;

/// Sums over nodes.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Totals {
    pub(crate) nodes: u64,
    pub(crate) sessions: u64,
    pub(crate) sessions_max: u64,
    pub(crate) receivers: u64,
    pub(crate) egress: u64,
    /// What those carry that say how much they can, and how much that is.
    pub(crate) egress_of_known: u64,
    pub(crate) egress_max: u64,
    /// Nodes that say how much they can.
    pub(crate) egress_known: u64,
    /// Processors, and how many of them are busy.
    pub(crate) processors: f64,
    pub(crate) busy: f64,
    /// The sum of shares, 1 of each node being all of its memory.
    pub(crate) memory: f64,
}

impl Totals {
    pub(crate) fn of<'a>(members: impl Iterator<Item = &'a Member>) -> Self {
        let mut totals = Self::default();
        for member in members {
            totals.add(member);
        }
        totals
    }

    pub(crate) fn add(&mut self, member: &Member) {
        let (capacity, load) = (&member.record.capacity, &member.record.load);
        self.nodes += 1;
        self.sessions = self.sessions.saturating_add(load.sessions);
        self.sessions_max = self.sessions_max.saturating_add(capacity.sessions);
        self.receivers = self.receivers.saturating_add(load.receivers);
        self.egress = self.egress.saturating_add(load.egress);
        if let Some(max) = capacity.egress {
            self.egress_known += 1;
            self.egress_of_known = self.egress_of_known.saturating_add(load.egress);
            self.egress_max = self.egress_max.saturating_add(max);
        }
        self.processors += f64::from(capacity.processors);
        self.busy += f64::from(capacity.processors) * f64::from(load.cpu_permille) / 1000.0;
        self.memory += f64::from(load.memory_permille) / 1000.0;
    }

    /// Bits per second to a receiver, as far as there are any.
    pub(crate) fn egress_per_receiver(&self) -> f64 {
        if self.receivers == 0 { 0.0 } else { self.egress as f64 / self.receivers as f64 }
    }
}
