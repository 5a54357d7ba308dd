//! What passes from the demuxers to the muxer.

use super::timeline::TICKS_PER_SECOND;
use crate::codec::aac::AudioSpecificConfig;
use crate::codec::nal::{NalCodec, ParameterSets, SetKind};
use crate::codec::{h264, mp3, opus};

/// Largest access unit that is remuxed, in bytes: far above any key frame of a stream that fits a browser. A
/// larger one is left out whole.
pub(crate) const ACCESS_UNIT_BYTES_MAX: usize = 8 << 20;

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VideoSample {
    /// When it is decoded, in ticks of the timeline.
    pub(crate) time: i64,
    /// How much later it is shown.
    pub(crate) composition_offset: i64,
    pub(crate) is_key: bool,
    /// NAL units, each after its length in four bytes.
    pub(crate) data: Vec<u8>,
}

/// A frame of sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AudioSample {
    /// When it begins, in ticks of the timeline.
    pub(crate) time: i64,
    /// Of each channel, at the rate of the track.
    pub(crate) samples: u32,
    pub(crate) data: Vec<u8>,
}

/// What a player must know of the pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VideoConfig {
    pub(crate) sets: ParameterSets,
}

/// What a player must know of the sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AudioConfig {
    pub(crate) codec: AudioCodec,
    pub(crate) sample_rate: u32,
    pub(crate) channels: u8,
}

/// The codecs of sound that MP4 and browsers take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AudioCodec {
    /// With its `AudioSpecificConfig`.
    Aac {
        config: Vec<u8>,
    },
    Opus,
    Mp3,
}

impl AudioConfig {
    pub(crate) fn aac(config: &AudioSpecificConfig, bytes: &[u8]) -> Self {
        Self {
            codec: AudioCodec::Aac { config: bytes.to_vec() },
            sample_rate: config.sample_rate,
            channels: config.channels,
        }
    }

    pub(crate) fn opus(channels: u8) -> Self {
        Self { codec: AudioCodec::Opus, sample_rate: opus::SAMPLE_RATE, channels }
    }

    pub(crate) fn mp3(header: &mp3::FrameHeader) -> Self {
        Self { codec: AudioCodec::Mp3, sample_rate: header.sample_rate, channels: header.channels }
    }
}

impl VideoConfig {
    /// Duration of a picture in ticks of the timeline, where the parameter sets tell a sensible one.
    pub(crate) fn frame_duration(&self) -> Option<i64> {
        if self.sets.codec() != NalCodec::H264 {
            return None;
        }
        let sps = h264::Sps::parse(self.sets.of_kind(SetKind::Sequence).next()?)?;
        let (seconds, per) = sps.frame_duration?;
        let ticks = i64::from(seconds) * TICKS_PER_SECOND / i64::from(per);
        (TICKS_PER_SECOND / 240..=TICKS_PER_SECOND).contains(&ticks).then_some(ticks)
    }
}
