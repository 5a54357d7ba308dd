//! What happened in the cluster, in an order that everybody agrees on.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Of each channel every publication starts once and ends once, in the order of epochs; the first │
//! │ receiver and the last take turns. Whoever reads on from an event misses none, or is told so.    │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Nodes and stream-managers say what they know to be so ([`Fact`]); the journal makes an [`Event`] of what is news, in one
//! step for all. So it does no harm to say a thing twice, and who cannot reach the journal says everything again later.

pub mod ledger;
pub mod memory;
pub mod redis;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use relay_proto::backbone::Peer;
use relay_proto::event::{Event, EventId, Fact};
use relay_proto::journal::REASON_CHARS_MAX;
use relay_proto::registry::EPOCH_MAX;
use relay_proto::{Epoch, Incarnation};

use crate::registry::Answer;

pub use memory::MemoryJournal;
pub use redis::RedisJournal;

/// The record that all share. Every call is one step for all of them, or, where it is of very much, some that follow each other.
pub trait Journal: fmt::Debug + Send + Sync {
    /// Makes events of what is new in these facts, in their order. Tells the last of them, if there was one.
    fn record<'a>(&'a self, facts: &'a [Fact]) -> Answer<'a, Option<EventId>>;

    /// What happened after this event, the oldest first, at most so many, but one at least and never more
    /// than [`READ_MAX`](relay_proto::journal::READ_MAX). Whoever gets a gap without events goes on from [`EventId::FIRST`]: the
    /// journal has lost its memory, and what comes next begins a new one.
    fn read(&self, after: EventId, max: usize) -> Answer<'_, Reading>;

    /// The newest event; [`EventId::FIRST`] while there is none.
    fn newest(&self) -> Answer<'_, EventId>;

    /// The run of a node is over: its publications are lost, and nobody watches there any more. That the node is lost is a
    /// [`Fact`] of its own.
    fn bury<'a>(&'a self, peer: &'a Peer) -> Answer<'a, ()>;

    /// What nobody has said again for [`ASSERTED_FOR`] is not so any more, but for what nodes are.
    ///
    /// Whoever could not reach the journal for a while waits with this for as long: nor could those who would have said it again.
    fn expire(&self) -> Answer<'_, ()>;

    /// Asks for a duty that one alone has at a time, or keeps it for another `ttl`. Tells whether it is the holder's.
    fn hold<'a>(&'a self, duty: &'a str, holder: Incarnation, ttl: Duration) -> Answer<'a, bool>;

    /// Gives a duty back.
    fn release<'a>(&'a self, duty: &'a str, holder: Incarnation) -> Answer<'a, ()>;

    /// How far a webhook endpoint is.
    fn delivered<'a>(&'a self, endpoint: &'a str) -> Answer<'a, Delivered>;

    /// Notes that an event of this subject was delivered, and all of that subject before it. Of more than
    /// [`NOTED_MAX`](relay_proto::journal::NOTED_MAX) of one endpoint nothing is noted.
    fn note_delivered<'a>(&'a self, endpoint: &'a str, subject: &'a str, id: EventId) -> Answer<'a, ()>;

    /// Notes that everything up to this event was delivered, and forgets what [`Journal::note_delivered`] told of it.
    fn advance_delivered<'a>(&'a self, endpoint: &'a str, through: EventId) -> Answer<'a, ()>;
}

/// How long it counts that a channel is published or watched, unless somebody says so again. Whoever does repeats it three
/// times as often.
pub const ASSERTED_FOR: Duration = Duration::from_secs(60);

/// Events that are kept; older ones are forgotten.
pub const EVENTS_MAX: usize = 100_000;

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    /// The oldest first.
    pub events: Vec<Event>,
    /// Whether events between the one that was named and these have been forgotten, or may have been.
    pub gap: bool,
}

/// How far a webhook endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delivered {
    /// Everything up to this event.
    pub through: EventId,
    /// Of these subjects everything up to these later ones.
    pub beyond: BTreeMap<String, EventId>,
}

/// No registry grants another: an epoch that nobody has, or that a script could not tell from the next.
fn is_epoch(epoch: Epoch) -> bool {
    epoch > Epoch::NONE && epoch <= EPOCH_MAX
}

/// What of a reason becomes part of an event, if anything.
fn cut_reason(reason: &str) -> Option<String> {
    (!reason.is_empty()).then(|| reason.chars().take(REASON_CHARS_MAX).collect())
}

/// The end of the last year that RFC 3339 can tell.
const EVENT_MS_MAX: u64 = 253_402_300_799_999;

fn rfc3339(unix_ms: u64) -> String {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms.min(EVENT_MS_MAX));
    humantime::format_rfc3339_millis(at).to_string()
}
