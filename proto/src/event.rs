//! What happened in a cluster, for webhooks and whoever follows events. Normative text: `proto/EVENTS.md`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::backbone::Peer;
use crate::registry::Role;
use crate::{ChannelName, Epoch, NodeId};

/// Where an event stands among all others of its cluster: prints as `MILLISECONDS-NUMBER`, by the registry's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventId {
    /// Milliseconds since the Unix epoch.
    pub ms: u64,
    /// Tells events of one millisecond apart.
    pub number: u64,
}

/// Why a text is no [`EventId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not MILLISECONDS-NUMBER")]
pub struct EventIdError;

impl EventId {
    /// Before all events.
    pub const FIRST: Self = Self { ms: 0, number: 0 };
}

impl FromStr for EventId {
    type Err = EventIdError;

    fn from_str(text: &str) -> Result<Self, EventIdError> {
        let digits =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        let (ms, number) = text.split_once('-').ok_or(EventIdError)?;
        Ok(Self { ms: digits(ms).ok_or(EventIdError)?, number: digits(number).ok_or(EventIdError)? })
    }
}

impl TryFrom<String> for EventId {
    type Error = EventIdError;

    fn try_from(text: String) -> Result<Self, EventIdError> {
        text.parse()
    }
}

impl From<EventId> for String {
    fn from(id: EventId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.number)
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// Its place among all events. The same event always has the same.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "1769860800000-0"))]
    pub id: EventId,
    /// What.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// When (RFC 3339, UTC): the milliseconds of `id`, by the registry's clock.
    pub at: String,
    /// Its place among the events of its channel, or, where it has none, among those of its node that have none: each has the
    /// next, from 1 on.
    pub sequence: u64,
    /// The channel, if it is one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub channel: Option<ChannelName>,
    /// The publication of that channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub epoch: Option<Epoch>,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub node: Option<NodeId>,
    /// Why, as a word: how a publication ended, for what a session was refused, that a node is `undrained`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the session that was refused came for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $name:literal,)+) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub enum EventKind {
            $($(#[$doc])* #[serde(rename = $name)] $kind,)+
        }

        impl EventKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// As it is written: `channel.started`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

kinds! {
    /// A publication runs that was not told to: it began, or was told lost and lives after all.
    ChannelStarted "channel.started",
    /// Its publisher sends no media any more.
    ChannelStalled "channel.stalled",
    /// It sends media again.
    ChannelResumed "channel.resumed",
    /// The publication is over. `reason`: `ended`, `lost`, `replaced`.
    ChannelEnded "channel.ended",
    /// Somebody waits for the channel or receives it, and nobody did before, on no node.
    FirstReceiver "receivers.first",
    /// The last of them is gone, on all nodes.
    LastReceiver "receivers.last",
    /// A node came into service, or back into it. `reason` is `undrained` after [`EventKind::NodeDraining`].
    NodeJoined "node.joined",
    /// It takes nothing new any more.
    NodeDraining "node.draining",
    /// It has left in order.
    NodeLeft "node.left",
    /// It has vanished.
    NodeLost "node.lost",
    /// Somebody was not let in. `reason` is the name of the close code.
    AdmissionRefused "admission.refused",
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What somebody knows to be so, from which the journal makes events: only what is new becomes one, so that saying a thing
/// again is harmless, and who has lost count may say everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A publication runs and sends media.
    Live {
        /// Its channel.
        channel: ChannelName,
        /// Its number.
        epoch: Epoch,
        /// Its origin.
        peer: Peer,
    },
    /// It runs and sends nothing.
    Stalled {
        /// Its channel.
        channel: ChannelName,
        /// Its number.
        epoch: Epoch,
        /// Its origin.
        peer: Peer,
    },
    /// It is over.
    Ended {
        /// Its channel.
        channel: ChannelName,
        /// Its number.
        epoch: Epoch,
        /// Its origin.
        peer: Peer,
        /// How it ended.
        reason: EndReason,
    },
    /// Somebody waits or receives on this node.
    Watched {
        /// The channel.
        channel: ChannelName,
        /// The node.
        peer: Peer,
    },
    /// Nobody does any more on this node.
    Unwatched {
        /// The channel.
        channel: ChannelName,
        /// The node.
        peer: Peer,
    },
    /// A run of a node is in this state.
    Node {
        /// The node.
        peer: Peer,
        /// How it is.
        state: NodePhase,
    },
    /// A session was refused.
    Refused {
        /// By whom.
        node: NodeId,
        /// What it asked for, where that is a channel.
        channel: Option<ChannelName>,
        /// What it came for.
        role: Role,
        /// The name of the close code.
        reason: String,
    },
}

/// How a publication ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// Its publisher closed it, or an operator did.
    Ended,
    /// Its publisher or its node vanished.
    Lost,
    /// Another publisher took over.
    Replaced,
}

impl EndReason {
    /// As events tell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Lost => "lost",
            Self::Replaced => "replaced",
        }
    }
}

/// How a run of a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodePhase {
    /// It takes sessions.
    InService,
    /// It takes nothing new.
    Draining,
    /// It has left in order.
    Left,
    /// It has vanished.
    Lost,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_event_is_pinned() {
        let event = Event {
            id: EventId { ms: 5, number: 1 },
            kind: EventKind::ChannelEnded,
            at: "1970-01-01T00:00:00.005Z".to_owned(),
            sequence: 2,
            channel: Some("cam".parse().unwrap()),
            epoch: Some(Epoch::new(3)),
            node: Some("n1".parse().unwrap()),
            reason: Some(EndReason::Lost.name().to_owned()),
            role: None,
        };
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(
            json,
            "{\"id\":\"5-1\",\"type\":\"channel.ended\",\"at\":\"1970-01-01T00:00:00.005Z\",\"sequence\":2,\
             \"channel\":\"cam\",\"epoch\":3,\"node\":\"n1\",\"reason\":\"lost\"}"
        );
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }

    proptest! {
        #[test]
        fn an_id_prints_as_it_parses(ms: u64, number: u64) {
            let id = EventId { ms, number };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn no_text_is_an_id_by_accident(text in "[0-9+ -]{0,12}") {
            if let Ok(id) = text.parse::<EventId>() {
                prop_assert!(!text.contains(['+', ' ']) && id.ms < 10_u64.pow(12), "{text}");
            }
        }
    }
}
