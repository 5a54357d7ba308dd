//! What happened in the cluster, as Redis keeps it: keys, bounds and words of the journal. Normative text: `proto/EVENTS.md`.

use crate::NodeId;

/// How long is remembered of a channel, or of a node, that nothing is open of or nobody speaks of: a day. What is said of it
/// after that is news again, and its sequence begins anew.
pub const REMEMBERED_MS: u64 = 24 * 60 * 60 * 1000;

/// Channels and nodes that are remembered though nothing is open of them, together: whoever may come may name any, and this is
/// some 30 MiB of Redis.
pub const SUBJECTS_MAX: usize = 100_000;

/// Runs of a node that are told apart, with the present one. Messages of older ones are long gone.
pub const RUNS_MAX: usize = 8;

/// Events that are told at a time: some 100 KiB, and a few milliseconds of Redis, in which no lease is renewed.
pub const READ_MAX: usize = 512;

/// Marks of how far one webhook endpoint is: more than a deliverer looks ahead, and what a script looks at in a few milliseconds.
/// What is not noted is delivered twice after a change of duty.
pub const NOTED_MAX: usize = 10_000;

/// The longest word that tells why somebody was refused.
pub const REASON_CHARS_MAX: usize = 64;

/// Why a node joined that had been there all the time: it takes sessions again.
pub const UNDRAINED: &str = "undrained";

/// How long a journal is kept that nobody says anything to: a week, so that nothing is left of a cluster that is gone, and a
/// cluster that was stopped over a weekend goes on where it was.
pub const KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// Facts of one call of the script, and what one call ends of a run that is buried or of what expires: a few milliseconds of
/// Redis, in which no lease is renewed.
pub const FACTS_MAX: usize = 128;

/// Each is one step for all; its first lines say its keys and arguments.
pub mod script {
    /// Makes events of facts.
    pub const RECORD: &str =
        concat!(include_str!("id.lua"), include_str!("ledger.lua"), include_str!("record.lua"));
    /// Ends what a run of a node said.
    pub const BURY: &str =
        concat!(include_str!("id.lua"), include_str!("ledger.lua"), include_str!("bury.lua"));
    /// Ends what nobody has said again.
    pub const EXPIRE: &str =
        concat!(include_str!("id.lua"), include_str!("ledger.lua"), include_str!("expire.lua"));
    /// Tells events.
    pub const READ: &str = concat!(include_str!("id.lua"), include_str!("read.lua"));
    /// Gives a duty.
    pub const HOLD: &str = include_str!("hold.lua");
    /// Takes it back.
    pub const RELEASE: &str = include_str!("release.lua");
    /// Tells how far an endpoint is.
    pub const DELIVERED: &str = include_str!("delivered.lua");
    /// Notes how far it is with one subject.
    pub const NOTE: &str = concat!(include_str!("id.lua"), include_str!("note.lua"));
    /// Notes how far it is with all.
    pub const ADVANCE: &str = concat!(include_str!("id.lua"), include_str!("advance.lua"));
}

/// The keys of one cluster's journal. All have one hash tag, so that Redis Cluster keeps them together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    cluster: NodeId,
}

impl Keys {
    /// The keys of the cluster of this name.
    pub const fn new(cluster: NodeId) -> Self {
        Self { cluster }
    }

    /// Stream: the events.
    pub fn log(&self) -> String {
        self.of("log")
    }

    /// What the rules of the journal work on, in the order in which their scripts want it.
    pub fn all(&self) -> Vec<String> {
        vec![self.log(), self.subjects(), self.asserted(), self.runs(), self.idle()]
    }

    /// Hash: what is known of each channel and node.
    pub fn subjects(&self) -> String {
        self.of("subjects")
    }

    /// Sorted set: what is so, by until when unless somebody says it again.
    pub fn asserted(&self) -> String {
        self.of("asserted")
    }

    /// Sorted set: the same by run of a node.
    pub fn runs(&self) -> String {
        self.of("runs")
    }

    /// Sorted set: channels and nodes that may be forgotten, by when they last changed.
    pub fn idle(&self) -> String {
        self.of("idle")
    }

    /// Hash: how far an endpoint is. One of each, so that one that is far behind costs the others nothing.
    pub fn delivered(&self, endpoint: &str) -> String {
        self.of(&format!("delivered:{endpoint}"))
    }

    /// String: who has a duty.
    pub fn duty(&self, duty: &str) -> String {
        self.of(&format!("duty:{duty}"))
    }

    fn of(&self, what: &str) -> String {
        format!("{}:{{events}}:{what}", self.cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::DEFAULT_CLUSTER;

    #[test]
    fn keys_are_pinned() {
        let keys = Keys::new(DEFAULT_CLUSTER.parse().unwrap());
        let expected = ["log", "subjects", "asserted", "runs", "idle"];
        assert_eq!(keys.all(), expected.map(|name| format!("relaycast:{{events}}:{name}")));
        assert_eq!(keys.delivered("shop"), "relaycast:{events}:delivered:shop");
        assert_eq!(keys.duty("webhooks"), "relaycast:{events}:duty:webhooks");
    }

    /// No journal's key is one of a channel that has the name of its hash tag.
    #[test]
    fn a_channel_may_be_called_events() {
        let cluster: NodeId = DEFAULT_CLUSTER.parse().unwrap();
        let (keys, registry) = (Keys::new(cluster.clone()), crate::registry::Keys::new(cluster));
        let channel = "events".parse().unwrap();
        for key in [registry.lease(&channel), registry.demand(&channel), registry.bans(&channel)] {
            assert!(!keys.all().contains(&key), "{key}");
        }
    }
}
