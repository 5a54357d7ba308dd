//! What is known of a stream: its container and its tracks.

use std::fmt;
use std::str::FromStr;

use relay_proto::api;

/// How a stream is packed. [`Container::Opaque`] is what nobody recognised; it is relayed all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Container {
    /// Adobe Flash Video (FLV specification 10.1, and Enhanced RTMP v2 for the codecs it lacks).
    Flv,
    /// MPEG-2 transport stream (ISO/IEC 13818-1), packets of 188 bytes.
    MpegTs,
    /// Fragmented MP4 (ISO/IEC 14496-12): `ftyp`, `moov`, then `moof` + `mdat` pairs.
    Fmp4,
    /// WebM or Matroska (RFC 8794, RFC 9559).
    WebM,
    /// JPEG pictures, one after another.
    Mjpeg,
    /// H.264 byte stream (ITU-T H.264 Annex B).
    H264,
    /// H.265 byte stream (ITU-T H.265 Annex B).
    H265,
    /// None of the above.
    Opaque,
}

impl Container {
    /// Every container, in the order of the documentation.
    pub const ALL: [Self; 8] =
        [Self::Flv, Self::MpegTs, Self::Fmp4, Self::WebM, Self::Mjpeg, Self::H264, Self::H265, Self::Opaque];

    /// The name used in flags, in the API and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flv => "flv",
            Self::MpegTs => "mpegts",
            Self::Fmp4 => "fmp4",
            Self::WebM => "webm",
            Self::Mjpeg => "mjpeg",
            Self::H264 => "h264",
            Self::H265 => "h265",
            Self::Opaque => "opaque",
        }
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not the name of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseContainerError;

impl fmt::Display for ParseContainerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a container: one of flv, mpegts, fmp4, webm, mjpeg, h264, h265, opaque")
    }
}

impl std::error::Error for ParseContainerError {}

impl FromStr for Container {
    type Err = ParseContainerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|container| container.name() == text).ok_or(ParseContainerError)
    }
}

/// What a track carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Anything else: subtitles, telemetry.
    Data,
}

impl TrackKind {
    /// The name used in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Data => "data",
        }
    }
}

/// One elementary stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// What it carries.
    pub kind: TrackKind,
    /// RFC 6381 codec string where one is defined (`avc1.64001f`, `mp4a.40.2`, `vp09.00.31.08`), else the
    /// container's own short name for it.
    pub codec: String,
    /// Picture size in pixels, once known.
    pub resolution: Option<(u32, u32)>,
    /// Samples per second of an audio track, once known.
    pub sample_rate: Option<u32>,
    /// Channels of an audio track, once known.
    pub channels: Option<u32>,
}

impl Track {
    /// A track of which only the codec is known.
    pub fn new(kind: TrackKind, codec: impl Into<String>) -> Self {
        Self { kind, codec: codec.into(), resolution: None, sample_rate: None, channels: None }
    }
}

impl From<&Track> for api::Track {
    fn from(track: &Track) -> Self {
        Self {
            kind: track.kind.name().to_owned(),
            codec: track.codec.clone(),
            width: track.resolution.map(|(width, _)| width),
            height: track.resolution.map(|(_, height)| height),
            sample_rate: track.sample_rate,
            channels: track.channels,
        }
    }
}

/// What is known of a stream so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// How the stream is packed.
    pub container: Container,
    /// Its tracks, in the order the container declares them; empty while unknown.
    pub tracks: Vec<Track>,
}

impl Info {
    /// Whether the codec of every declared track and the size of every picture are known.
    pub fn is_complete(&self) -> bool {
        self.container == Container::Opaque
            || (!self.tracks.is_empty()
                && self.tracks.iter().all(|track| {
                    !track.codec.is_empty() && (track.kind != TrackKind::Video || track.resolution.is_some())
                }))
    }

    /// First video track.
    pub fn video(&self) -> Option<&Track> {
        self.tracks.iter().find(|track| track.kind == TrackKind::Video)
    }

    /// First audio track.
    pub fn audio(&self) -> Option<&Track> {
        self.tracks.iter().find(|track| track.kind == TrackKind::Audio)
    }

    /// The MIME type that Media Source Extensions take, for the containers that browsers play.
    pub fn mime(&self) -> Option<String> {
        let base = match self.container {
            Container::Fmp4 => "video/mp4",
            Container::WebM => "video/webm",
            Container::Mjpeg => return Some("image/jpeg".to_owned()),
            _ => return None,
        };
        let codecs: Vec<&str> = self
            .tracks
            .iter()
            .filter(|track| track.kind != TrackKind::Data)
            .map(|track| track.codec.as_str())
            .collect();
        Some(format!("{base}; codecs=\"{}\"", codecs.join(",")))
    }
}
