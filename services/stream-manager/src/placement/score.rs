//! What it costs to send a client to a node.

use relay_proto::api::manager::Terms;
use relay_proto::registry::Role;

use crate::view::{Member, View};

/// What counts how much. A node that is full in all respects costs 1, one that is empty 0. [`REGION`](weights::REGION)
/// and [`AFFINITY`](weights::AFFINITY) are larger than whatever load can add, so that region comes before affinity and
/// both before load.
pub mod weights {
    /// The fullest resource: a node with 95 % of its network in use is full, whatever else it has left.
    pub const WORST: f64 = 0.6;
    /// Sessions: the one term that a pick changes at once, by its reservation.
    pub const SESSIONS: f64 = 0.2;
    /// Egress: what receivers cost, once it is measured.
    pub const EGRESS: f64 = 0.12;
    /// Processor time: noisy from heartbeat to heartbeat, so it decides between nodes that are alike otherwise.
    pub const CPU: f64 = 0.05;
    /// Memory: says little about the next session.
    pub const MEMORY: f64 = 0.03;
    /// Elsewhere than asked. Load and warm-up add 2 at most, affinity takes 1 off.
    pub const REGION: f64 = 3.0;
    /// Has the channel, and room.
    pub const AFFINITY: f64 = 1.0;
}

/// How full a node may be and still get receivers because it carries their channel. Above that its other channels need
/// what is left, and one more node is to carry this one.
pub const ROOM: f64 = 0.8;

/// Thousandths of processor time from which on a node takes nobody: what is left it needs for those that it has.
const CPU_FULL_PERMILLE: u32 = 950;

/// The same for memory: what comes next is the end of all its sessions.
const MEMORY_FULL_PERMILLE: u32 = 950;

/// Sessions from which on a node's own mean tells what the next one uses.
const SESSIONS_FOR_A_MEAN: u64 = 16;

/// How many times what was measured a node's processor time is taken to be, for those that are not measured yet: among
/// few sessions one that is dear would otherwise make all the next seem so.
const CPU_GROWTH_MAX: f64 = 2.0;

/// What does not depend on the node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    role: Role,
    /// What a receiver of the channel uses, in bits per second; 0 where that is not known.
    bitrate: f64,
    /// What receivers use anywhere.
    egress_per_receiver: f64,
    /// What all nodes together would cost if they were one.
    mean: f64,
}

impl Scale {
    pub(super) fn new(view: &View, role: Role, bitrate: u64) -> Self {
        let totals = view.totals();
        let share = |used: f64, of: f64| if of > 0.0 { used / of } else { 0.0 };
        let mean = Shares {
            sessions: share(
                totals.sessions.saturating_add(view.reserved()) as f64,
                totals.sessions_max as f64,
            ),
            egress: share(totals.egress_of_known as f64, totals.egress_max as f64),
            cpu: share(totals.busy, totals.processors),
            memory: share(totals.memory, totals.nodes as f64),
        };
        let egress_per_receiver = totals.egress_per_receiver();
        Self { role, bitrate: bitrate as f64, egress_per_receiver, mean: mean.cost().min(1.0) }
    }

    /// Of a node, for whom region and affinity do not matter.
    pub(super) fn terms(&self, member: &Member, now: u64) -> Terms {
        let shares = self.shares(member);
        Terms {
            sessions: shares.sessions,
            egress: shares.egress,
            cpu: shares.cpu,
            memory: shares.memory,
            worst: shares.worst() * weights::WORST,
            sum: shares.sum(),
            // As if it carried already what it is not to get yet: so its load follows the mean as it ramps up.
            warm_up: (1.0 - member.ramp(now)) * self.mean,
            region: 0.0,
            affinity: 0.0,
        }
    }

    /// Whether the node can carry nobody more.
    pub(super) fn is_full(&self, member: &Member) -> bool {
        let (capacity, load) = (&member.record.capacity, &member.record.load);
        load.sessions.saturating_add(member.reserved()) >= capacity.sessions
            || load.cpu_permille >= CPU_FULL_PERMILLE
            || load.memory_permille >= MEMORY_FULL_PERMILLE
            || capacity.egress.is_some_and(|max| self.egress(member) + self.next() >= max as f64)
    }

    /// Whether the node has room for receivers of a channel that it carries; for a new one, of a part that grows as it
    /// ramps up.
    pub(super) fn has_room(&self, member: &Member, now: u64) -> bool {
        self.shares(member).worst() < ROOM * member.ramp(now)
    }

    fn shares(&self, member: &Member) -> Shares {
        let (capacity, load) = (&member.record.capacity, &member.record.load);
        let sessions =
            load.sessions.saturating_add(member.reserved()) as f64 / capacity.sessions.max(1) as f64;
        let egress = capacity.egress.map_or(0.0, |max| self.egress(member) / max.max(1) as f64);
        let growth = if load.sessions >= SESSIONS_FOR_A_MEAN {
            (1.0 + member.unmeasured() / load.sessions as f64).min(CPU_GROWTH_MAX)
        } else {
            1.0
        };
        let permille = |permille: u32| f64::from(permille) / 1000.0;
        let cpu = permille(load.cpu_permille) * growth;
        let capped = |share: f64| share.clamp(0.0, 1.0);
        Shares {
            sessions: capped(sessions),
            egress: capped(egress),
            cpu: capped(cpu),
            memory: capped(permille(load.memory_permille)),
        }
    }

    /// Bits per second to its receivers, those included that are not measured yet.
    fn egress(&self, member: &Member) -> f64 {
        let load = &member.record.load;
        let mean = if load.receivers >= SESSIONS_FOR_A_MEAN {
            load.egress as f64 / load.receivers as f64
        } else {
            self.egress_per_receiver
        };
        load.egress as f64 + mean.max(self.bitrate) * member.unmeasured()
    }

    /// What this client adds to that.
    fn next(&self) -> f64 {
        match self.role {
            Role::Publish => 0.0,
            Role::Receive => self.bitrate.max(self.egress_per_receiver),
        }
    }
}

/// How much of what a node has is in use.
#[derive(Debug, Clone, Copy)]
struct Shares {
    sessions: f64,
    egress: f64,
    cpu: f64,
    memory: f64,
}

impl Shares {
    fn worst(&self) -> f64 {
        self.sessions.max(self.egress).max(self.cpu).max(self.memory)
    }

    fn sum(&self) -> f64 {
        self.sessions * weights::SESSIONS
            + self.egress * weights::EGRESS
            + self.cpu * weights::CPU
            + self.memory * weights::MEMORY
    }

    fn cost(&self) -> f64 {
        self.worst() * weights::WORST + self.sum()
    }
}

/// The score.
pub(super) fn sum(terms: &Terms) -> f64 {
    terms.worst + terms.sum + terms.warm_up + terms.region + terms.affinity
}
