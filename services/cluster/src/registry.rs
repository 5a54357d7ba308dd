//! Who publishes what, who wants it, and which nodes there are.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ No two leases have the same channel and epoch, and each has a higher epoch than the one       │
//! │ before. Whoever has a lease keeps it while it renews it in time, unless it is replaced.       │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

pub mod holder;
pub mod memory;
pub mod redis;
pub mod table;

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use relay_proto::backbone::Peer;
use relay_proto::registry::{LeaseRecord, NodeRecord};
use relay_proto::source::SourceId;
use relay_proto::{ChannelName, Epoch, Incarnation, KeyHash, NodeId};

pub use holder::Holder;
pub use memory::MemoryRegistry;
pub use redis::RedisRegistry;

/// The view that all nodes share. Every call is one step for all of them.
pub trait Registry: fmt::Debug + Send + Sync {
    /// Keeps a node's record for `ttl`. Tells which record it displaced.
    fn announce<'a>(&'a self, record: &'a NodeRecord, ttl: Duration) -> Answer<'a, Option<NodeRecord>>;

    /// Removes a node's record, if it is of this run.
    fn withdraw<'a>(&'a self, peer: &'a Peer) -> Answer<'a, ()>;

    /// The records of all nodes, by name.
    fn nodes(&self) -> Answer<'_, Vec<NodeRecord>>;

    /// Asks for the lease of a channel.
    fn acquire<'a>(&'a self, claim: &'a Claim) -> Answer<'a, Acquired>;

    /// Keeps a lease for another `ttl`, or announces it again to a registry that has forgotten it.
    fn renew<'a>(&'a self, lease: &'a Lease) -> Answer<'a, Renewed>;

    /// Gives a lease back. Nothing happens when it is somebody else's by now.
    fn release<'a>(&'a self, lease: &'a Lease, release: Release) -> Answer<'a, ()>;

    /// Notes whether a node wants a channel, and tells what is known of it.
    fn attend<'a>(&'a self, channel: &'a ChannelName, attendance: Attendance<'a>) -> Answer<'a, View>;

    /// Refuses a key on a channel for a time.
    fn ban<'a>(&'a self, channel: &'a ChannelName, key: KeyHash, ttl: Duration) -> Answer<'a, ()>;

    /// Asks for sources, each of which one run of a bridge has at a time, or keeps them for another `ttl`. Tells of each
    /// whether it is the holder's.
    fn hold_sources<'a>(
        &'a self,
        sources: &'a [SourceId],
        holder: Incarnation,
        ttl: Duration,
    ) -> Answer<'a, Vec<bool>>;

    /// Gives sources back. Nothing happens to those that are somebody else's.
    fn release_sources<'a>(&'a self, sources: &'a [SourceId], holder: Incarnation) -> Answer<'a, ()>;

    /// Keeps a text of at most [`MEMORY_BYTES_MAX`](relay_proto::registry::MEMORY_BYTES_MAX) bytes under a name, instead of
    /// what was kept under it before; a longer one is not kept. Of too many those make room that end first.
    fn remember<'a>(&'a self, name: &'a str, text: &'a str, ttl: Duration) -> Answer<'a, ()>;

    /// What is kept, by name.
    fn remembered(&self) -> Answer<'_, Vec<(String, String)>>;

    /// What is kept under these names, by name; the others are left out.
    fn recall<'a>(&'a self, names: &'a [String]) -> Answer<'a, Vec<(String, String)>>;
}

/// What a registry answers, in its own time.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Unavailable>>;

/// The registry did not answer in time, or not with anything of use. The text has no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the registry is not available: {0}")]
pub struct Unavailable(pub String);

/// How long a lease is live without being renewed, and how long its channel is kept for its key after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Live.
    pub ttl: Duration,
    /// Held.
    pub grace: Duration,
}

/// What a node that asks for a lease brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The channel.
    pub channel: ChannelName,
    /// Who asks.
    pub peer: Peer,
    /// The publisher's key.
    pub key: KeyHash,
    /// The live lease that may be replaced, if it has the same key.
    pub replaces: Option<Epoch>,
    /// The highest epoch of the channel that the node knows.
    pub exceeds: Epoch,
    /// For how long.
    pub terms: Terms,
}

/// What came of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquired {
    /// The lease, with this epoch.
    Granted(Epoch),
    /// Somebody has it, or it is held for another key.
    Taken(LeaseRecord),
    /// The key is banned for so long.
    Banned(Duration),
}

/// A lease that was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The channel.
    pub channel: ChannelName,
    /// Who has it.
    pub peer: Peer,
    /// The publication.
    pub epoch: Epoch,
    /// The publisher's key.
    pub key: KeyHash,
    /// For how long.
    pub terms: Terms,
}

/// What came of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// The lease is kept.
    Kept,
    /// Somebody has a newer one, of this epoch.
    Lost(Epoch),
}

/// What becomes of a channel whose lease is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// It is free.
    Free,
    /// It is kept for the key, for the grace of the lease.
    Held,
}

/// Whether a node wants a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attendance<'a> {
    /// For so long, unless it says so again.
    Wanted(&'a NodeId, Duration),
    /// Not any more.
    Left(&'a NodeId),
    /// Nothing is said.
    Look,
}

/// What is known of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// Its lease, or what is left of the last one.
    pub lease: Option<LeaseRecord>,
    /// Banned keys, and for how long.
    pub bans: Vec<(KeyHash, Duration)>,
    /// Nodes that want it.
    pub wanted: Vec<NodeId>,
}

/// The longest time that is told to a registry: 100 years, as good as for ever, and in a sum with any clock far from where
/// numbers end.
const DURATION_MS_MAX: u64 = 100 * 365 * 24 * 60 * 60 * 1000;

pub(crate) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).map_or(DURATION_MS_MAX, |ms| ms.min(DURATION_MS_MAX))
}
