//! What the bridge and a family of devices say to each other. A [`Driver`] knows the topics and messages of its devices and
//! when to repeat them; it has no socket and no clock. When a source is to run is not its business:
//! [`source`](crate::source) decides that.

use std::fmt;

use bytes::Bytes;
use relay_proto::source::{Command, SourceId, SourceReason, StartOptions};

use crate::pictures::Picture;

/// What is remembered under a name that begins so was asked of the source whose name ends it. It is kept for longer than what
/// devices told, and given to [`Driver::recall`] whenever a bridge gets the source's lease.
pub(crate) const ASKED_PREFIX: &str = "asked/";

/// So begins the name under which it is remembered that a source was started: kept for a shorter time, as it is news every day
/// while the source runs.
pub(crate) const STARTED_PREFIX: &str = "asked/started/";

/// For how long that counts, and is kept. Whoever finds the source live after that takes it for somebody else's.
pub(crate) const STARTED_MS: u64 = 48 * 60 * 60 * 1_000;

/// The time, as a driver is told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    /// Milliseconds since the bridge began; never goes back.
    pub(crate) ms: u64,
    /// Milliseconds since the Unix epoch, for messages.
    pub(crate) unix_ms: u64,
}

/// A family of devices.
pub(crate) trait Driver: fmt::Debug + Send {
    /// What to subscribe to (MQTT 3.1.1, section 4.7).
    fn filters(&self) -> Vec<String>;

    /// A message came.
    fn heard(&mut self, topic: &str, payload: &Bytes, now: Now, effects: &mut Effects);

    /// The connection to the broker is there, for the first time or again: what was asked meanwhile was lost.
    fn connected(&mut self, now: Now, effects: &mut Effects);

    /// There is no connection to the broker any more: whoever is silent from now on could not be heard.
    fn disconnected(&mut self) {}

    /// The media of a source comes on its channel, which nobody without its key could have it do: it was started by a bridge
    /// of this cluster, whoever that was.
    fn runs(&mut self, _source: &SourceId, _now: Now, _effects: &mut Effects) {}

    /// The device is to stream. Tells by [`Sign`]s what comes of it; one command is in flight at a time.
    fn start(&mut self, source: &SourceId, ingest: &Ingest, now: Now, effects: &mut Effects);

    /// The device is to stop. Tells by [`Sign`]s what comes of it.
    fn stop(&mut self, source: &SourceId, now: Now, effects: &mut Effects);

    /// The source is somebody else's from now on: whatever is under way for it is given up, and the device is told nothing.
    fn forget(&mut self, source: &SourceId);

    /// Does something else with a source; answered by [`Effect::Answer`] with the ticket, exactly once.
    fn command(
        &mut self,
        ticket: Ticket,
        source: &SourceId,
        command: &Command,
        now: Now,
        effects: &mut Effects,
    );

    /// Time has passed: to be called when [`Driver::next`] says so, or later.
    fn tick(&mut self, now: Now, effects: &mut Effects);

    /// When it is next to be told the time, in the milliseconds of [`Now::ms`].
    fn next(&self) -> Option<u64>;

    /// What it once gave to [`Effect::Remember`], in an earlier run or on another bridge.
    fn recall(&mut self, name: &str, text: &str, now: Now, effects: &mut Effects);

    /// The names under which it remembers what was asked of a source.
    fn asked_names(&self, _source: &SourceId) -> Vec<String> {
        Vec::new()
    }

    /// Its devices and what they can do, for `GET /v1/devices`.
    fn devices(&self, now: Now) -> serde_json::Value;
}

/// Where a source is to stream to. Prints without the key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Ingest {
    /// `rtmp://HOST:PORT/live/CHANNEL/KEY`, where the node takes RTMP.
    pub(crate) rtmp: Option<String>,
    /// What the device is to be started with.
    pub(crate) options: StartOptions,
}

impl fmt::Debug for Ingest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingest").field("options", &self.options).finish_non_exhaustive()
    }
}

/// What a driver wants done, in order.
pub(crate) type Effects = Vec<Effect>;

/// What a driver wants done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    /// Publish this.
    Publish(Outgoing),
    /// A source is there to be started, or is no more.
    Known(SourceId, bool),
    /// Something is news of a source.
    Sign(SourceId, Sign),
    /// A picture for the channel of a source: a whole JPEG. It says that the device is there, too.
    Picture(SourceId, Picture),
    /// A command is done, or not.
    Answer(Ticket, Result<serde_json::Value, CommandError>),
    /// Numbers beside the picture of a source: a topic, and its JSON.
    Telemetry(SourceId, String, Bytes),
    /// Keep this under this name, instead of what was kept before.
    Remember(String, String),
    /// Something came that is not as it should be. Counted by this name.
    Malformed(&'static str),
}

/// A message to the broker. Never retained. Prints without its payload, which may have a key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    pub(crate) qos: Qos,
    pub(crate) payload: Bytes,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("topic", &self.topic).field("qos", &self.qos).finish_non_exhaustive()
    }
}

/// Quality of service (MQTT 3.1.1, section 4.3).
#[expect(clippy::enum_variant_names, reason = "the protocol's own names")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Qos {
    AtMostOnce,
    AtLeastOnce,
    ExactlyOnce,
}

/// Names a command until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ticket(pub(crate) u64);

/// Why a command is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
    /// Devices of this kind do not know it, or not with this.
    #[error("{0}")]
    Unsupported(String),
    /// The device is not there.
    #[error("the device is not there")]
    Offline,
    /// The device does not answer.
    #[error("the device did not answer")]
    NoReply,
    /// The device refused.
    #[error("the device says {code}: {text}")]
    Refused { code: i64, text: &'static str },
}

/// News of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sign {
    /// The device is there, or is not.
    Online(bool),
    /// The device began anew: whatever it did, it does no more.
    Rebooted,
    /// The device accepted to start. Media may follow.
    Accepted,
    /// The device accepted to start, and streams to somewhere else.
    AcceptedExternally,
    /// The device says that it streams already: to us, or to somebody else.
    AlreadyLive,
    /// The device refuses to start.
    Refused { retry: Retry, reason: SourceReason },
    /// The device did not say whether it starts, however often it was asked.
    Unanswered,
    /// The device has stopped, or did not stream.
    Stopped,
    /// The device does not say whether it has stopped.
    StopUnanswered,
    /// The device tells of its own accord that it streams, or that it does not.
    Says { live: bool, error: Option<i64> },
    /// What comes from the device cannot be read.
    Unreadable,
}

/// When to try again what a device refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// After the usual pause, and longer each time.
    Later,
    /// Not before something is news of the device.
    OnNews,
    /// Never: it will be refused again. Until somebody wants it anew.
    Never,
}
