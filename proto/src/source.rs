//! Sources: cameras and docks that are started when somebody wants to see them. What they are called, which channel each has,
//! which keys open it, and what bridges tell of them. Normative text: `proto/SOURCES.md`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::backbone::Peer;
use crate::{ChannelName, NodeId, StreamKey};

/// How the names of channels begin that belong to sources. To publish on one takes its key.
pub const CHANNEL_PREFIX: &str = "source-";

/// The longest part of a source's name, in bytes: serial numbers have 20 characters, names of cameras are chosen by people.
pub const PART_BYTES_MAX: usize = 64;

/// Characters of a part that its channel's name shows.
const SHOWN_CHARS_MAX: usize = 32;

/// Bytes of the hash that tells channels of like names apart: 2⁴⁰ names, where a cluster has thousands.
const TAG_BYTES: usize = 5;

/// A part of a source's name: a level of a topic, so without `/`, `+` and `#`, and without whitespace and control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Part(Arc<str>);

impl Part {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Part> for String {
    fn from(part: Part) -> Self {
        part.0.as_ref().to_owned()
    }
}

impl TryFrom<String> for Part {
    type Error = SourceIdError;

    fn try_from(text: String) -> Result<Self, SourceIdError> {
        text.parse()
    }
}

impl FromStr for Part {
    type Err = SourceIdError;

    fn from_str(text: &str) -> Result<Self, SourceIdError> {
        let may_be = |c: char| {
            !c.is_whitespace() && !c.is_control() && !matches!(c, '/' | '+' | '#' | ':' | '?' | '%')
        };
        if text.is_empty() || text.len() > PART_BYTES_MAX || !text.chars().all(may_be) {
            return Err(SourceIdError::Part);
        }
        Ok(Self(text.into()))
    }
}

/// What a source is called: `kerberos/HUB_KEY/DEVICE_KEY` or `dji/SN/CAMERA_INDEX/VIDEO_INDEX`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SourceId {
    /// A camera of a Kerberos agent.
    Kerberos {
        /// The key of the hub that the agent belongs to.
        hub: Part,
        /// The agent's own key.
        device: Part,
    },
    /// A video of a camera of a dock, a controller or an aircraft.
    Dji {
        /// Serial number of what the camera belongs to, which is not always the gateway.
        sn: Part,
        /// `type-subtype-gimbal`
        camera: Part,
        /// Such as `normal-0`.
        video: Part,
    },
}

/// Why a text is no source's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SourceIdError {
    /// It has another form.
    #[error("is neither kerberos/HUB_KEY/DEVICE_KEY nor dji/SN/CAMERA_INDEX/VIDEO_INDEX")]
    Shape,
    /// A part of it.
    #[error(
        "has a part that is empty, longer than {PART_BYTES_MAX} bytes, or has whitespace or one of / + # : ? %"
    )]
    Part,
}

/// What makes the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum SourceKind {
    /// A Kerberos agent.
    Kerberos,
    /// A dock, a controller or an aircraft of DJI.
    Dji,
}

impl SourceKind {
    /// As it is written everywhere.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kerberos => "kerberos",
            Self::Dji => "dji",
        }
    }
}

impl SourceId {
    /// What makes the picture.
    pub const fn kind(&self) -> SourceKind {
        match self {
            Self::Kerberos { .. } => SourceKind::Kerberos,
            Self::Dji { .. } => SourceKind::Dji,
        }
    }

    /// The channel on which it is published. The same everywhere and always; no two sources have one.
    ///
    /// The key of a hub is not in it, since whoever may watch learns the name.
    pub fn channel(&self) -> ChannelName {
        let shown = match self {
            Self::Kerberos { device, .. } => format!("kerberos-{}", shown(device)),
            Self::Dji { sn, camera, video } => {
                format!("dji-{}-{}-{}", shown(sn), shown(camera), shown(video))
            }
        };
        let tag: String = Sha256::digest(self.to_string())
            .iter()
            .take(TAG_BYTES)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{CHANNEL_PREFIX}{shown}-{tag}")
            .parse()
            .expect("made of what a name may have, and short enough")
    }
}

/// A part as far as a channel's name can show it.
fn shown(part: &Part) -> String {
    let may_be = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    part.as_str().chars().take(SHOWN_CHARS_MAX).map(|c| if may_be(c) { c } else { '_' }).collect()
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kerberos { hub, device } => write!(f, "kerberos/{hub}/{device}"),
            Self::Dji { sn, camera, video } => write!(f, "dji/{sn}/{camera}/{video}"),
        }
    }
}

impl FromStr for SourceId {
    type Err = SourceIdError;

    fn from_str(text: &str) -> Result<Self, SourceIdError> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            ["kerberos", hub, device] => Ok(Self::Kerberos { hub: hub.parse()?, device: device.parse()? }),
            ["dji", sn, camera, video] => {
                Ok(Self::Dji { sn: sn.parse()?, camera: camera.parse()?, video: video.parse()? })
            }
            _ => Err(SourceIdError::Shape),
        }
    }
}

impl From<SourceId> for String {
    fn from(id: SourceId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for SourceId {
    type Error = SourceIdError;

    fn try_from(text: String) -> Result<Self, SourceIdError> {
        text.parse()
    }
}

/// Whether a channel belongs to a source.
pub fn is_source(channel: &ChannelName) -> bool {
    channel.as_str().starts_with(CHANNEL_PREFIX)
}

/// The two keys of a source's channel. Every process of a cluster makes the same of the cluster's secret; neither tells
/// anything of the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceKeys {
    /// To publish, which nobody needs but the device and the bridge.
    pub publish: StreamKey,
    /// To watch, and for nothing else.
    pub watch: StreamKey,
}

impl SourceKeys {
    /// The keys of a channel. `None` without a secret: then everybody could make them.
    pub fn of(secret: &[u8], channel: &ChannelName) -> Option<Self> {
        if secret.is_empty() {
            return None;
        }
        let key = |purpose: &str| {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
            // In no channel's name, so that no hash of a key is one of these.
            mac.update(format!("/source/{purpose}/{channel}").as_bytes());
            let hash = mac.finalize().into_bytes();
            // 128 bits.
            let text: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
            text.parse().expect("hexadecimal digits")
        };
        Some(Self { publish: key("publish"), watch: key("watch") })
    }
}

/// What a source does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum SourceState {
    /// Nothing, since nobody wants it.
    Idle,
    /// It is on its way; media has not come.
    Starting,
    /// Its media comes.
    Live,
    /// It was told to stop.
    Stopping,
    /// It streams to somewhere else, as it was told to.
    External,
}

/// Why a source is not live though it is wanted, or what else there is to say.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SourceReason {
    /// The device is not there.
    Offline,
    /// The device was asked, and nothing comes. Of a Kerberos camera it cannot be told whether it is off or its agent.
    NoMedia,
    /// The device does not answer.
    NoReply,
    /// Something comes that cannot be decrypted: the key is another.
    DecryptFailed,
    /// As many videos of the device are on as it takes.
    Limit,
    /// The device has paused it for a while.
    Paused,
    /// The camera is not there any more.
    Gone,
    /// No node takes it, or no stream-manager answers.
    NoNode,
    /// There is no connection to the broker.
    NoBroker,
    /// The device said this.
    Device(i64),
}

/// What stands before the number that a device said.
const DEVICE_SAYS: &str = "device says ";

impl fmt::Display for SourceReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Offline => "offline",
            Self::NoMedia => "no_media",
            Self::NoReply => "no_reply",
            Self::DecryptFailed => "decrypt_failed",
            Self::Limit => "limit",
            Self::Paused => "paused",
            Self::Gone => "gone",
            Self::NoNode => "no_node",
            Self::NoBroker => "no_broker",
            Self::Device(code) => return write!(f, "{DEVICE_SAYS}{code}"),
        })
    }
}

/// Why a text is no reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no reason of a source")]
pub struct SourceReasonError;

impl TryFrom<String> for SourceReason {
    type Error = SourceReasonError;

    fn try_from(text: String) -> Result<Self, SourceReasonError> {
        Ok(match text.as_str() {
            "offline" => Self::Offline,
            "no_media" => Self::NoMedia,
            "no_reply" => Self::NoReply,
            "decrypt_failed" => Self::DecryptFailed,
            "limit" => Self::Limit,
            "paused" => Self::Paused,
            "gone" => Self::Gone,
            "no_node" => Self::NoNode,
            "no_broker" => Self::NoBroker,
            other => {
                let code = other.strip_prefix(DEVICE_SAYS).ok_or(SourceReasonError)?;
                Self::Device(code.parse().map_err(|_| SourceReasonError)?)
            }
        })
    }
}

impl From<SourceReason> for String {
    fn from(reason: SourceReason) -> Self {
        reason.to_string()
    }
}

/// A source as a bridge tells of it: an item of `GET /v1/sources`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Source {
    /// What it is called.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: SourceId,
    /// Where it is to be seen.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub channel: ChannelName,
    /// What makes the picture.
    pub kind: SourceKind,
    /// What it does.
    pub state: SourceState,
    /// Why it is not live though it is wanted, and what else there is to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub reason: Option<SourceReason>,
    /// The node that it publishes to, or is to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub node: Option<NodeId>,
    /// The bridge that has it, where it is not idle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub bridge: Option<NodeId>,
    /// Whether the device is known to be there. Absent where that cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
}

/// On `CLUSTER.sources`: what bridges tell stream-managers, nodes and each other. At most
/// [`REPORT_BYTES_MAX`](crate::report::REPORT_BYTES_MAX) long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum SourcesReport {
    /// Every few seconds: all that a bridge knows of, in as many parts as it takes.
    Whole {
        /// Who tells.
        by: Peer,
        /// Number of the telling; all parts of one have the same.
        round: u64,
        /// Which part this is, from 0 on.
        part: u32,
        /// How many there are; at least 1.
        parts: u32,
        /// Sources of this part. What no part of a round has, the bridge does not know any more.
        sources: Vec<Source>,
    },
    /// At once, when one changes.
    One {
        /// Who tells.
        by: Peer,
        /// What it is now.
        source: Source,
    },
    /// The run of the bridge is over.
    Gone {
        /// Which.
        by: Peer,
    },
}

/// Longest [`Answered`] that is read: the devices of thousands of cameras. As much as a NATS server takes if nothing else is said.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;

/// To one run of a bridge, on the subject of its peer; answered by [`Answered`]. At most
/// [`JSON_BYTES_MAX`](crate::backbone::JSON_BYTES_MAX) long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// Do this with a source.
    Command {
        /// Which.
        source: SourceId,
        /// What.
        #[serde(flatten)]
        command: Command,
    },
    /// Which devices are there, and what can they do?
    Devices,
}

/// What can be done with a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", content = "with", rename_all = "snake_case")]
pub enum Command {
    /// Be wanted, whoever watches, until [`Command::Stop`]. With a target the device streams elsewhere.
    Start(StartOptions),
    /// Be wanted no more than by who watches.
    Stop,
    /// Of a device of DJI: from now on, and with every start.
    Quality {
        /// 0 to 4: adaptive, smooth, standard, high, ultra high.
        quality: u8,
    },
    /// Of a device of DJI: another lens of the same camera.
    Lens {
        /// As the device calls it: `wide`, `zoom`, `ir`, `thermal`, `normal`.
        lens: String,
    },
    /// Of a dock: which of its cameras.
    Camera {
        /// Where it looks.
        position: CameraPosition,
    },
    /// What a Kerberos agent does, by the name of its action, with the value that the action takes.
    Action {
        /// Such as `ptz`.
        name: String,
        /// As the request had it.
        value: serde_json::Value,
    },
}

/// Where a dock's camera is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum CameraPosition {
    /// Inside of the dock.
    Inside,
    /// Outside of it.
    Outside,
}

/// How to start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StartOptions {
    /// Quality to start with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<u8>,
    /// By which protocol: `rtmp` (by default), `whip`, `gb28181`, `agora`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
}

/// Answer to an [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answered {
    /// What came of it.
    Done {
        /// As the body of the HTTP answer.
        result: serde_json::Value,
    },
    /// It could not be done: a problem of RFC 9457.
    Problem {
        /// Of HTTP.
        status: u16,
        /// What kind it is: the last part of the problem's `type`.
        code: String,
        /// One sentence.
        detail: String,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Incarnation;
    use crate::backbone::{from_json, to_json};

    #[test]
    fn names_and_channels_are_pinned() {
        for (name, channel) in [
            ("kerberos/hub/cam1", "source-kerberos-cam1-9d503cc339"),
            ("dji/4BKBJ4R1010TGD/165-0-7/normal-0", "source-dji-4BKBJ4R1010TGD-165-0-7-normal-0-fa48dea885"),
        ] {
            let id: SourceId = name.parse().unwrap();
            assert_eq!(id.to_string(), name);
            assert_eq!(id.channel().as_str(), channel);
            assert!(is_source(&id.channel()));
        }
        assert!(!is_source(&"cam1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_name_is_told_so() {
        for text in ["", "kerberos", "kerberos/a", "kerberos/a/b/c", "dji/a/b", "onvif/a/b", "Kerberos/a/b"] {
            assert_eq!(text.parse::<SourceId>(), Err(SourceIdError::Shape), "{text}");
        }
        let long = "a".repeat(PART_BYTES_MAX + 1);
        for part in ["", "+", "#", "a b", "a\u{7f}", "a:ptz", &long] {
            assert_eq!(
                format!("kerberos/hub/{part}").parse::<SourceId>(),
                Err(SourceIdError::Part),
                "{part}"
            );
        }
        assert!(format!("kerberos/hub/{}", &long[1..]).parse::<SourceId>().is_ok());
    }

    #[test]
    fn keys_differ_by_purpose_channel_and_secret_and_need_one() {
        let (one, other) = ("source-a".parse().unwrap(), "source-b".parse().unwrap());
        let keys = |secret: &[u8], channel| SourceKeys::of(secret, channel).unwrap();
        let all = [keys(b"s", &one), keys(b"s", &other), keys(b"t", &one)];
        let mut texts: Vec<_> =
            all.iter().flat_map(|keys| [keys.publish.expose(), keys.watch.expose()]).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), 6);
        assert_eq!(keys(b"s", &one), all[0]);
        assert_eq!(SourceKeys::of(b"", &one), None);
    }

    fn source() -> Source {
        let id: SourceId = "dji/4BK/165-0-7/normal-0".parse().unwrap();
        Source {
            channel: id.channel(),
            kind: id.kind(),
            id,
            state: SourceState::Starting,
            reason: Some(SourceReason::Device(513_010)),
            node: Some("n1".parse().unwrap()),
            bridge: None,
            online: Some(true),
        }
    }

    #[test]
    fn the_wire_forms_are_pinned() {
        let form = format!(
            "{{\"id\":\"dji/4BK/165-0-7/normal-0\",\"channel\":\"{}\",\"kind\":\"dji\",\"state\":\"starting\",\
             \"reason\":\"device says 513010\",\"node\":\"n1\",\"online\":true}}",
            source().channel
        );
        assert_eq!(String::from_utf8(to_json(&source())).unwrap(), form);
        let by = Peer { node: "b1".parse().unwrap(), incarnation: Incarnation::new(1) };
        let one = SourcesReport::One { by, source: source() };
        let form = format!(
            "{{\"report\":\"one\",\"by\":{{\"node\":\"b1\",\"incarnation\":\"0000000000000001\"}},\"source\":{form}}}"
        );
        assert_eq!(String::from_utf8(to_json(&one)).unwrap(), form);
        for (ask, form) in [
            (Ask::Devices, "{\"ask\":\"devices\"}"),
            (
                Ask::Command { source: "kerberos/h/c".parse().unwrap(), command: Command::Stop },
                "{\"ask\":\"command\",\"source\":\"kerberos/h/c\",\"command\":\"stop\"}",
            ),
            (
                Ask::Command {
                    source: "kerberos/h/c".parse().unwrap(),
                    command: Command::Lens { lens: "ir".to_owned() },
                },
                "{\"ask\":\"command\",\"source\":\"kerberos/h/c\",\"command\":\"lens\",\"with\":{\"lens\":\"ir\"}}",
            ),
        ] {
            assert_eq!(String::from_utf8(to_json(&ask)).unwrap(), form);
            assert_eq!(from_json::<Ask>(form.as_bytes()).unwrap(), ask);
        }
    }

    proptest! {
        #[test]
        fn a_name_parses_as_it_prints_and_has_a_channel(text in "(kerberos/\\PC{0,70}/\\PC{1,70}|dji/\\PC{1,20}/\\PC{1,20}/\\PC{1,20})") {
            if let Ok(id) = text.parse::<SourceId>() {
                prop_assert_eq!(id.to_string(), text);
                prop_assert!(is_source(&id.channel()));
            }
        }

        #[test]
        fn reasons_parse_as_they_print(code in any::<i64>()) {
            let reasons = [
                SourceReason::Offline, SourceReason::NoMedia, SourceReason::NoReply, SourceReason::DecryptFailed,
                SourceReason::Limit, SourceReason::Paused, SourceReason::Gone, SourceReason::NoNode,
                SourceReason::NoBroker, SourceReason::Device(code),
            ];
            for reason in reasons {
                prop_assert_eq!(SourceReason::try_from(reason.to_string()), Ok(reason));
            }
        }

        #[test]
        fn no_bytes_panic_a_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = crate::report::read::<SourcesReport>(&bytes);
            let _ = from_json::<Ask>(&bytes);
            let _ = from_json::<Answered>(&bytes);
        }
    }
}
