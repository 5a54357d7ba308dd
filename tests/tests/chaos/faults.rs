//! What can fail.

use relay_tests::seed::Seed;

/// How many nodes there are.
pub(crate) const NODES: usize = 3;

/// Something that fails for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A node is killed, and started again under its name.
    NodeKilled(usize),
    /// A node is stopped for longer than its leases last, and goes on.
    NodeStopped(usize),
    /// A node leaves in order, and another takes its place.
    NodeDrained(usize),
    /// A node's connection to the registry is reset, or says nothing any more.
    RegistryCut(usize),
    RegistryStalled(usize),
    /// The same, to the backbone.
    BackboneCut(usize),
    BackboneStalled(usize),
    /// The registry is killed, and comes back empty.
    RegistryKilled,
    /// The registry forgets everything.
    RegistryFlushed,
    /// The backbone is killed, and comes back.
    BackboneKilled,
    /// Both are killed, and a node.
    EverythingKilled(usize),
}

impl Fault {
    pub(crate) fn any(seed: &mut Seed) -> Self {
        let node = seed.usize(..NODES);
        match seed.u32(..11) {
            0 => Self::NodeKilled(node),
            1 => Self::NodeStopped(node),
            2 => Self::NodeDrained(node),
            3 => Self::RegistryCut(node),
            4 => Self::RegistryStalled(node),
            5 => Self::BackboneCut(node),
            6 => Self::BackboneStalled(node),
            7 => Self::RegistryKilled,
            8 => Self::RegistryFlushed,
            9 => Self::BackboneKilled,
            _ => Self::EverythingKilled(node),
        }
    }
}
