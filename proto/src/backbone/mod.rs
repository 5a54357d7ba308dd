//! What nodes say to each other: NATS subjects, chunk envelopes, requests and answers. Normative text:
//! `proto/BACKBONE.md`.

mod envelope;
mod join;

use serde::{Deserialize, Serialize};

use crate::{ChannelName, Epoch, Incarnation, KeyHash, NodeId, SessionId};

pub use envelope::{Body, ENVELOPE_BYTES, Envelope, EnvelopeError, Flags, Kind, cut};
pub use join::{Joined, Joiner};

/// The longest request or answer in JSON, but for [`SESSIONS_BYTES_MAX`].
pub const JSON_BYTES_MAX: usize = 4 << 10;

/// The longest answer to [`Request::Sessions`].
pub const SESSIONS_BYTES_MAX: usize = 64 << 10;

/// The subjects of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subjects {
    cluster: NodeId,
}

impl Subjects {
    /// The subjects of the cluster of this name.
    pub const fn new(cluster: NodeId) -> Self {
        Self { cluster }
    }

    /// Envelopes of a channel: its origin publishes, edges subscribe.
    pub fn chunks(&self, channel: &ChannelName) -> String {
        format!("{}.chunks.{channel}", self.cluster)
    }

    /// Requests to whoever publishes the channel, which is the only subscriber: where nobody does, the asker is told so at once.
    pub fn origin(&self, channel: &ChannelName) -> String {
        format!("{}.origin.{channel}", self.cluster)
    }

    /// Requests to one run of a node, which is the only subscriber: when it is gone, the asker is told so at once.
    pub fn node(&self, node: &NodeId, incarnation: Incarnation) -> String {
        format!("{}.node.{node}.{incarnation}", self.cluster)
    }

    /// What every node hears.
    pub fn all(&self) -> String {
        format!("{}.all", self.cluster)
    }

    /// What nodes tell stream-managers.
    pub fn reports(&self) -> String {
        format!("{}.reports", self.cluster)
    }

    /// Where stream-managers have sent clients, for each other.
    pub fn picks(&self) -> String {
        format!("{}.picks", self.cluster)
    }

    /// What bridges tell of sources.
    pub fn sources(&self) -> String {
        format!("{}.sources", self.cluster)
    }

    /// Telemetry of a channel: whoever shows it subscribes.
    pub fn telemetry(&self, channel: &ChannelName) -> String {
        format!("{}.telemetry.{channel}", self.cluster)
    }

    /// Who begins to show telemetry, for bridges.
    pub fn telemetry_asks(&self) -> String {
        format!("{}.telemetry-asks", self.cluster)
    }

    /// An empty message whenever the journal has new events.
    pub fn events(&self) -> String {
        format!("{}.events", self.cluster)
    }
}

/// A run of a node, as the others address it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Peer {
    /// Its name.
    pub node: NodeId,
    /// Which run.
    pub incarnation: Incarnation,
}

/// Who publishes: the body of [`Kind::Begin`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Whom to ask for the stream.
    #[serde(flatten)]
    pub peer: Peer,
    /// Keyed hash of the publisher's key.
    pub key: KeyHash,
}

/// A request to one node, or to the origin of a channel. JSON with an `ask`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// Who are you? To the origin of a channel; answered by [`Found`].
    Find {
        /// The channel.
        channel: ChannelName,
    },
    /// Send what is cached, and from now on publish the channel's chunks. Answered by envelopes.
    Snapshot {
        /// The channel.
        channel: ChannelName,
        /// The publication.
        epoch: Epoch,
        /// Who asks.
        by: Peer,
        /// Where to start.
        from: From,
    },
    /// Go on publishing, and tell how far you are. Answered by [`Progress`].
    Sync {
        /// The channel.
        channel: ChannelName,
        /// The publication.
        epoch: Epoch,
        /// Who asks.
        by: Peer,
    },
    /// The asker needs no chunks any more. Not answered.
    Leave {
        /// The channel.
        channel: ChannelName,
        /// The publication.
        epoch: Epoch,
        /// Who asks.
        by: Peer,
    },
    /// Does your publisher live? Answered by [`Challenged`].
    Challenge {
        /// The channel.
        channel: ChannelName,
        /// The publication.
        epoch: Epoch,
    },
    /// A newer publisher has the channel. Not answered.
    Replaced {
        /// The channel.
        channel: ChannelName,
        /// The epoch of the newer one.
        epoch: Epoch,
    },
    /// Which sessions have you? Answered by [`crate::api::Sessions`], by number, as many as fit.
    Sessions {
        /// Of this channel only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<ChannelName>,
        /// With greater numbers than this only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<SessionId>,
        /// At most so many.
        max: u32,
    },
    /// Leave service, but stay: as on SIGTERM, only that the process goes on. Answered by [`Stated`].
    Drain,
    /// Come back into service. Answered by [`Stated`].
    Undrain,
}

/// Where a snapshot starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// With the very first chunk, while that is kept; else as [`From::Newest`].
    Start,
    /// At the newest join point.
    Newest,
    /// With this chunk, while that is kept; else as [`From::Newest`].
    Seq(u64),
}

/// How far a publication is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Number that the next chunk will get.
    pub end: u64,
    /// Whether it runs.
    pub state: PublicationState,
}

/// Whether a publication runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublicationState {
    /// It does.
    Live,
    /// Its publisher closed it.
    Ended,
    /// Its publisher vanished.
    Lost,
    /// The node has no such publication.
    Unknown,
}

/// What came of a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenged {
    /// Whether the publisher sends media, or else answered a ping.
    pub lives: bool,
}

/// What a snapshot starts with: the body of [`Kind::Head`], followed by the bytes of init and preamble.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Who publishes.
    #[serde(flatten)]
    pub origin: Origin,
    /// How the stream is packed; absent while unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Number of the first chunk that follows.
    pub first: u64,
    /// Number after the last chunk that follows.
    pub end: u64,
    /// Where in the first chunk a decoder may start; absent where that is not known, as at the start of a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<HeadJoin>,
}

/// A join point in the first chunk of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadJoin {
    /// Bytes of the chunk before it.
    pub offset: u64,
    /// Bytes of init that follow.
    pub init: u64,
    /// Bytes of preamble that follow those.
    pub preamble: u64,
}

/// What is said to every node. JSON with a `do`. Whom it concerns answers with [`Done`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// End the channel's publication and its receivers.
    CloseChannel {
        /// The channel.
        channel: ChannelName,
    },
    /// End one session.
    KickSession {
        /// The session.
        session: SessionId,
    },
    /// End the sessions with this key, and refuse it for a time.
    BanKey {
        /// The channel.
        channel: ChannelName,
        /// The key.
        key: KeyHash,
        /// For how long, in milliseconds.
        ttl_ms: u64,
    },
}

/// What a node did on a [`Command`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The node.
    pub node: NodeId,
    /// Sessions that it ended.
    pub sessions: u64,
}

/// Answer to [`Request::Drain`] and [`Request::Undrain`]: how the node is from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stated {
    /// Draining where its process is leaving, whatever was asked.
    pub state: crate::registry::NodeState,
}

/// Answer to [`Request::Find`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Who publishes.
    #[serde(flatten)]
    pub origin: Origin,
    /// The publication.
    pub epoch: Epoch,
}

/// Why a message is no request, answer or command.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Longer than it may be.
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    /// Not the JSON that is expected.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// A request, answer or command as it goes on the wire.
pub fn to_json<T: Serialize>(message: &T) -> Vec<u8> {
    // No message has a map with odd keys or anything else that JSON could refuse.
    serde_json::to_vec(message).unwrap_or_default()
}

/// A request, answer or command.
///
/// # Errors
/// Too long, or not of this type.
pub fn from_json<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, JsonError> {
    from_json_within(bytes, JSON_BYTES_MAX)
}

/// What may be longer than a request: [`crate::report`], and an answer of at most [`SESSIONS_BYTES_MAX`].
///
/// # Errors
/// Too long, or not of this type.
pub fn from_json_within<T: for<'a> Deserialize<'a>>(bytes: &[u8], bytes_max: usize) -> Result<T, JsonError> {
    if bytes.len() > bytes_max {
        return Err(JsonError::TooLong(bytes_max));
    }
    Ok(serde_json::from_slice(bytes)?)
}

/// The body of a [`Kind::Head`]: the head, then init and preamble.
pub fn head_body(head: &Head, init: &[u8], preamble: &[u8]) -> Vec<u8> {
    let json = to_json(head);
    let mut body = Vec::with_capacity(4 + json.len() + init.len() + preamble.len());
    body.extend_from_slice(&u32::try_from(json.len()).unwrap_or(u32::MAX).to_be_bytes());
    body.extend_from_slice(&json);
    body.extend_from_slice(init);
    body.extend_from_slice(preamble);
    body
}

/// What is wrong with the body of a [`Kind::Head`].
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// Shorter than it says, or longer.
    #[error("is not as long as it says")]
    Length,
    /// Chunks end before they begin.
    #[error("has its end before its first chunk")]
    Order,
    /// Not the JSON that is expected.
    #[error(transparent)]
    Json(#[from] JsonError),
}

/// Head, init and preamble.
///
/// # Errors
/// See [`HeadError`].
pub fn parse_head(body: &[u8]) -> Result<(Head, &[u8], &[u8]), HeadError> {
    let (len, rest) = body.split_first_chunk().ok_or(HeadError::Length)?;
    let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| HeadError::Length)?;
    let (json, rest) = rest.split_at_checked(len).ok_or(HeadError::Length)?;
    let head: Head = from_json(json)?;
    let (init, preamble) = match head.join {
        Some(join) => {
            let init = usize::try_from(join.init).map_err(|_| HeadError::Length)?;
            rest.split_at_checked(init).ok_or(HeadError::Length)?
        }
        None => (&rest[..0], rest),
    };
    if preamble.len() as u64 != head.join.map_or(0, |join| join.preamble) {
        return Err(HeadError::Length);
    }
    if head.end < head.first || (head.join.is_some() && head.end == head.first) {
        return Err(HeadError::Order);
    }
    Ok((head, init, preamble))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::From;
    use super::*;

    const KEY: &str = "4d69376f096b3e60d954ece8abbc2d7480e1e0faca593de1c764c8557fe29b75";

    fn peer() -> Peer {
        Peer { node: "n1".parse().unwrap(), incarnation: Incarnation::new(1) }
    }

    fn origin() -> Origin {
        Origin { peer: peer(), key: KEY.parse().unwrap() }
    }

    fn json<T: Serialize>(message: &T) -> String {
        String::from_utf8(to_json(message)).unwrap()
    }

    #[test]
    fn subjects_are_pinned() {
        let subjects = Subjects::new("relaycast".parse().unwrap());
        assert_eq!(subjects.chunks(&"cam1".parse().unwrap()), "relaycast.chunks.cam1");
        let Peer { node, incarnation } = peer();
        assert_eq!(subjects.node(&node, incarnation), "relaycast.node.n1.0000000000000001");
        assert_eq!(subjects.all(), "relaycast.all");
        assert_eq!(subjects.origin(&"cam1".parse().unwrap()), "relaycast.origin.cam1");
    }

    #[test]
    fn requests_and_answers_are_pinned() {
        let channel: ChannelName = "cam1".parse().unwrap();
        let epoch = Epoch::new(7);
        let by = r#""by":{"node":"n1","incarnation":"0000000000000001"}"#;
        for (from, text) in
            [(From::Start, r#""start""#), (From::Newest, r#""newest""#), (From::Seq(5), r#"{"seq":5}"#)]
        {
            let snapshot = Request::Snapshot { channel: channel.clone(), epoch, by: peer(), from };
            let expected = format!(r#"{{"ask":"snapshot","channel":"cam1","epoch":7,{by},"from":{text}}}"#);
            assert_eq!(json(&snapshot), expected);
            assert_eq!(from_json::<Request>(expected.as_bytes()).unwrap(), snapshot);
        }
        let sync = Request::Sync { channel: channel.clone(), epoch, by: peer() };
        assert_eq!(json(&sync), format!(r#"{{"ask":"sync","channel":"cam1","epoch":7,{by}}}"#));
        let leave = Request::Leave { channel: channel.clone(), epoch, by: peer() };
        assert_eq!(json(&leave), format!(r#"{{"ask":"leave","channel":"cam1","epoch":7,{by}}}"#));
        let challenge = Request::Challenge { channel: channel.clone(), epoch };
        assert_eq!(json(&challenge), r#"{"ask":"challenge","channel":"cam1","epoch":7}"#);
        let replaced = Request::Replaced { channel: channel.clone(), epoch };
        assert_eq!(json(&replaced), r#"{"ask":"replaced","channel":"cam1","epoch":7}"#);
        let find = Request::Find { channel: channel.clone() };
        assert_eq!(json(&find), r#"{"ask":"find","channel":"cam1"}"#);
        let after = Some(SessionId::new(1));
        let sessions = Request::Sessions { channel: Some(channel.clone()), after, max: 5 };
        assert_eq!(
            json(&sessions),
            r#"{"ask":"sessions","channel":"cam1","after":"0000000000000001","max":5}"#
        );
        let all = Request::Sessions { channel: None, after: None, max: 5 };
        assert_eq!(json(&all), r#"{"ask":"sessions","max":5}"#);
        assert_eq!(json(&Request::Drain), r#"{"ask":"drain"}"#);
        assert_eq!(json(&Request::Undrain), r#"{"ask":"undrain"}"#);
        let stated = Stated { state: crate::registry::NodeState::Draining };
        assert_eq!(json(&stated), r#"{"state":"draining"}"#);
        let progress = Progress { end: 9, state: PublicationState::Live };
        assert_eq!(json(&progress), r#"{"end":9,"state":"live"}"#);
        assert_eq!(json(&Challenged { lives: true }), r#"{"lives":true}"#);
        let found = Found { origin: origin(), epoch };
        assert_eq!(
            json(&found),
            format!(r#"{{"node":"n1","incarnation":"0000000000000001","key":"{KEY}","epoch":7}}"#)
        );
        assert_eq!(from_json::<Found>(&to_json(&found)).unwrap(), found);
    }

    #[test]
    fn commands_are_pinned() {
        let channel: ChannelName = "cam1".parse().unwrap();
        let close = Command::CloseChannel { channel: channel.clone() };
        assert_eq!(json(&close), r#"{"do":"close_channel","channel":"cam1"}"#);
        let kick = Command::KickSession { session: SessionId::new(1) };
        assert_eq!(json(&kick), r#"{"do":"kick_session","session":"0000000000000001"}"#);
        let ban = Command::BanKey { channel, key: KEY.parse().unwrap(), ttl_ms: 60_000 };
        assert_eq!(
            json(&ban),
            format!(r#"{{"do":"ban_key","channel":"cam1","key":"{KEY}","ttl_ms":60000}}"#)
        );
        let done = Done { node: "n1".parse().unwrap(), sessions: 2 };
        assert_eq!(json(&done), r#"{"node":"n1","sessions":2}"#);
    }

    #[test]
    fn a_message_at_the_bound_is_read_and_one_beyond_is_not() {
        let padded = |len: usize| {
            let mut bytes = to_json(&Challenged { lives: true });
            bytes.resize(len, b' ');
            from_json::<Challenged>(&bytes)
        };
        assert!(padded(JSON_BYTES_MAX).is_ok());
        assert!(matches!(padded(JSON_BYTES_MAX + 1), Err(JsonError::TooLong(JSON_BYTES_MAX))));
    }

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let join = HeadJoin { offset: 3, init: 4, preamble: 2 };
        let head =
            Head { origin: origin(), container: Some("flv".into()), first: 5, end: 9, join: Some(join) };
        let body = head_body(&head, b"init", b"pr");
        let (read, init, preamble) = parse_head(&body).unwrap();
        assert_eq!((&read, init, preamble), (&head, &b"init"[..], &b"pr"[..]));
        for len in 0..body.len() {
            assert!(parse_head(&body[..len]).is_err(), "{len}");
        }
        assert!(matches!(parse_head(&[&body[..], b"x"].concat()), Err(HeadError::Length)));
        let bare = Head { container: None, first: 0, end: 0, join: None, ..head.clone() };
        assert_eq!(parse_head(&head_body(&bare, b"", b"")).unwrap(), (bare.clone(), &b""[..], &b""[..]));
        let reversed = Head { first: 1, ..bare };
        assert!(matches!(parse_head(&head_body(&reversed, b"", b"")), Err(HeadError::Order)));
        let nowhere = Head { end: 5, ..head };
        assert!(matches!(parse_head(&head_body(&nowhere, b"init", b"pr")), Err(HeadError::Order)));
    }

    /// Heads with their init and preamble; some have a join point and no chunks, which no reader takes.
    fn heads() -> impl Strategy<Value = (Head, Vec<u8>, Vec<u8>)> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..20);
        let container = prop::option::of(".{0,20}");
        (any::<[u64; 2]>(), any::<u64>(), prop::bool::ANY, container, bytes(), bytes()).prop_map(
            |(ends, offset, joins, container, init, preamble)| {
                let (first, end) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
                let (init, preamble) = if joins { (init, preamble) } else { Default::default() };
                let sizes = (init.len() as u64, preamble.len() as u64);
                let join = HeadJoin { offset, init: sizes.0, preamble: sizes.1 };
                let join = Some(join).filter(|_| joins);
                (Head { origin: origin(), container, first, end, join }, init, preamble)
            },
        )
    }

    proptest! {
        #[test]
        fn heads_are_read_as_they_were_written((head, init, preamble) in heads()) {
            prop_assume!(head.join.is_none() || head.first < head.end);
            let body = head_body(&head, &init, &preamble);
            prop_assert_eq!(parse_head(&body).unwrap(), (head, &init[..], &preamble[..]));
        }

        #[test]
        fn a_head_with_a_wrong_byte_never_panics_and_never_says_more_than_is_there(
            (head, init, preamble) in heads(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut body = head_body(&head, &init, &preamble);
            let at = at.index(body.len());
            body[at] = byte;
            if let Ok((head, init, preamble)) = parse_head(&body) {
                let said = head.join.map_or((0, 0), |join| (join.init, join.preamble));
                prop_assert_eq!(said, (init.len() as u64, preamble.len() as u64));
                prop_assert!(head.first <= head.end);
            }
        }

        #[test]
        fn requests_and_commands_never_panic_a_reader(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            at in any::<prop::sample::Index>(),
            which in 0_usize..4,
        ) {
            let channel: ChannelName = "cam1".parse().unwrap();
            let after = Some(SessionId::new(9));
            let request = [
                Request::Snapshot { channel: channel.clone(), epoch: Epoch::new(7), by: peer(), from: From::Seq(5) },
                Request::Sessions { channel: Some(channel), after, max: 100 },
                Request::Drain,
                Request::Undrain,
            ];
            let mut spoilt = to_json(&request[which]);
            let at = at.index(spoilt.len());
            spoilt.splice(at..at + 1, bytes.iter().copied().take(2));
            for bytes in [bytes, spoilt] {
                if let Ok(request) = from_json::<Request>(&bytes) {
                    prop_assert_eq!(from_json::<Request>(&to_json(&request)).unwrap(), request);
                }
                let _ = (from_json::<Command>(&bytes), from_json::<Stated>(&bytes));
                if let Ok(sessions) = from_json::<crate::api::Sessions>(&bytes) {
                    prop_assert_eq!(from_json::<crate::api::Sessions>(&to_json(&sessions)).unwrap(), sessions);
                }
            }
        }
    }
}
