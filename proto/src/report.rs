//! What nodes tell stream-managers, and stream-managers each other, over the backbone. Normative text: `proto/BACKBONE.md`.

use serde::{Deserialize, Serialize};

use crate::NodeId;
use crate::api::Channel;
use crate::backbone::{JsonError, Peer, from_json_within};
use crate::registry::NodeRecord;

/// The longest report, or part of one: far below what a server takes, and enough for hundreds of channels.
pub const REPORT_BYTES_MAX: usize = 64 << 10;

/// A [`Report`], or [`Picks`].
///
/// # Errors
/// Longer than [`REPORT_BYTES_MAX`], or not of this type.
pub fn read<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, JsonError> {
    from_json_within(bytes, REPORT_BYTES_MAX)
}

/// On `CLUSTER.reports`. JSON with a `report`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum Report {
    /// With every heartbeat: the node and all its channels, in as many parts as it takes.
    Whole {
        /// As in the registry.
        record: Box<NodeRecord>,
        /// Number of the heartbeat; all parts of one have the same.
        round: u64,
        /// Which part this is, from 0 on.
        part: u32,
        /// How many there are; at least 1.
        parts: u32,
        /// Channels of this part. What no part of a round has, the node does not carry any more.
        channels: Vec<Channel>,
    },
    /// At once, when a channel changes that others act upon: its publication, its state, whether anybody receives it here.
    Channel {
        /// Who carries it.
        #[serde(flatten)]
        peer: Peer,
        /// What it is now. `waiting` without receivers: the node does not carry it any more.
        channel: Channel,
    },
    /// The run of the node is over.
    Gone {
        /// Which.
        #[serde(flatten)]
        peer: Peer,
    },
}

/// On `CLUSTER.picks`: where a stream-manager has sent clients a moment ago, so that the others count them too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picks {
    /// The stream-manager; it passes over its own.
    pub by: Peer,
    /// Nodes, each once.
    pub picks: Vec<Picked>,
}

/// How many clients were sent to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picked {
    /// The node.
    pub node: NodeId,
    /// How many.
    pub count: u32,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::{ChannelState, Track};
    use crate::backbone::to_json;
    use crate::registry::{Capacity, Load, NodeState, Role};
    use crate::{Epoch, Incarnation};

    fn peer() -> Peer {
        Peer { node: "n1".parse().unwrap(), incarnation: Incarnation::new(0xABC) }
    }

    fn channel() -> Channel {
        Channel {
            name: "cam1".parse().unwrap(),
            state: ChannelState::Live,
            container: Some("flv".to_owned()),
            tracks: vec![Track {
                kind: "audio".to_owned(),
                codec: "mp4a.40.2".to_owned(),
                width: None,
                height: None,
                sample_rate: Some(48_000),
                channels: Some(2),
            }],
            receivers: 3,
            bitrate: 2_000_000,
            epoch: Epoch::new(7),
            origin: Some("n2".parse().unwrap()),
            started_at: Some("2026-02-01T12:00:00Z".to_owned()),
        }
    }

    fn reports() -> [Report; 3] {
        let record = NodeRecord {
            node: "n1".parse().unwrap(),
            incarnation: Incarnation::new(0xABC),
            url: "ws://n1:8080".to_owned(),
            rtmp: None,
            region: Some("eu".to_owned()),
            zone: None,
            state: NodeState::Draining,
            roles: vec![Role::Receive],
            capacity: Capacity { sessions: 10, processors: 2, egress: Some(1_000_000_000) },
            load: Load { sessions: 4, accepted: 9, cpu_permille: 250, ..Load::default() },
            version: "1.2.3".to_owned(),
            started_ms: 5,
        };
        [
            Report::Whole {
                record: Box::new(record),
                round: 6,
                part: 0,
                parts: 1,
                channels: vec![channel()],
            },
            Report::Channel { peer: peer(), channel: channel() },
            Report::Gone { peer: peer() },
        ]
    }

    fn picks() -> Picks {
        Picks { by: peer(), picks: vec![Picked { node: "n2".parse().unwrap(), count: 3 }] }
    }

    #[test]
    fn the_wire_forms_are_pinned() {
        let channel = "{\"name\":\"cam1\",\"state\":\"live\",\"container\":\"flv\",\"tracks\":[{\"kind\":\"audio\",\
             \"codec\":\"mp4a.40.2\",\"sample_rate\":48000,\"channels\":2}],\"receivers\":3,\"bitrate\":2000000,\
             \"epoch\":7,\"origin\":\"n2\",\"started_at\":\"2026-02-01T12:00:00Z\"}";
        let peer = "\"node\":\"n1\",\"incarnation\":\"0000000000000abc\"";
        let record = format!(
            "{{{peer},\"url\":\"ws://n1:8080\",\"region\":\"eu\",\"state\":\"draining\",\"roles\":[\"receive\"],\
             \"capacity\":{{\"sessions\":10,\"processors\":2,\"egress\":1000000000}},\
             \"load\":{{\"sessions\":4,\"publications\":0,\"receivers\":0,\"upstreams\":0,\"egress\":0,\
             \"accepted\":9,\"cpu_permille\":250,\"memory_permille\":0}},\"version\":\"1.2.3\",\"started_ms\":5}}"
        );
        let forms = [
            format!(
                "{{\"report\":\"whole\",\"record\":{record},\"round\":6,\"part\":0,\"parts\":1,\"channels\":[{channel}]}}"
            ),
            format!("{{\"report\":\"channel\",{peer},\"channel\":{channel}}}"),
            format!("{{\"report\":\"gone\",{peer}}}"),
        ];
        for (report, form) in reports().into_iter().zip(forms) {
            assert_eq!(String::from_utf8(to_json(&report)).unwrap(), form);
            assert_eq!(read::<Report>(form.as_bytes()).unwrap(), report);
        }
        let form = format!("{{\"by\":{{{peer}}},\"picks\":[{{\"node\":\"n2\",\"count\":3}}]}}");
        assert_eq!(String::from_utf8(to_json(&picks())).unwrap(), form);
        assert_eq!(read::<Picks>(form.as_bytes()).unwrap(), picks());
    }

    #[test]
    fn a_report_may_be_as_long_as_that_and_no_longer() {
        let padded = |len: usize| {
            let mut form = to_json(&reports()[2]);
            form.resize(len, b' ');
            read::<Report>(&form)
        };
        assert_eq!(padded(REPORT_BYTES_MAX).unwrap(), reports()[2]);
        assert!(matches!(padded(REPORT_BYTES_MAX + 1), Err(JsonError::TooLong(REPORT_BYTES_MAX))));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_a_reader(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            at in any::<prop::sample::Index>(),
            which in 0_usize..4,
        ) {
            let mut spoilt = reports().get(which).map_or_else(|| to_json(&picks()), to_json);
            let at = at.index(spoilt.len());
            spoilt.splice(at..at + 1, bytes.iter().copied().take(2));
            for bytes in [bytes, spoilt] {
                if let Ok(report) = read::<Report>(&bytes) {
                    prop_assert_eq!(read::<Report>(&to_json(&report)).unwrap(), report);
                }
                if let Ok(picks) = read::<Picks>(&bytes) {
                    prop_assert_eq!(read::<Picks>(&to_json(&picks)).unwrap(), picks);
                }
            }
        }
    }
}
