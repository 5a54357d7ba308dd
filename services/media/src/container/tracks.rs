//! Tracks from codec configuration records, which are the same in every container.

use crate::codec::{aac, av1, h264, h265, vp9};
use crate::{Track, TrackKind};

/// H.264 from an `AVCDecoderConfigurationRecord`; `name` is `avc1` or `avc3`.
pub(super) fn h264(record: &[u8], name: &str) -> Track {
    let Some(sps) = h264::from_avcc(record) else { return Track::new(TrackKind::Video, name) };
    let codec = sps.codec().replacen("avc1", name, 1);
    Track { resolution: Some((sps.width, sps.height)), ..Track::new(TrackKind::Video, codec) }
}

/// H.265 from an `HEVCDecoderConfigurationRecord`; `name` is `hvc1` or `hev1`.
pub(super) fn h265(record: &[u8], name: &str) -> Track {
    let Some(sps) = h265::from_hvcc(record) else { return Track::new(TrackKind::Video, name) };
    let codec = sps.codec().replacen("hvc1", name, 1);
    Track { resolution: Some((sps.width, sps.height)), ..Track::new(TrackKind::Video, codec) }
}

/// AV1 from an `AV1CodecConfigurationRecord`, which does not tell the size of the picture.
pub(super) fn av1(record: &[u8]) -> Track {
    Track::new(TrackKind::Video, av1::from_av1c(record).unwrap_or_else(|| "av01".to_owned()))
}

/// VP9 from a `VPCodecConfigurationRecord`, which does not tell the size of the picture.
pub(super) fn vp9(record: &[u8]) -> Track {
    Track::new(TrackKind::Video, vp9::from_vpcc(record).unwrap_or_else(|| "vp09".to_owned()))
}

/// AAC from an `AudioSpecificConfig`.
pub(super) fn aac(config: &[u8]) -> Track {
    let Some(config) = aac::AudioSpecificConfig::parse(config) else {
        return Track::new(TrackKind::Audio, "mp4a");
    };
    audio(config.codec(), config.sample_rate, u32::from(config.channels))
}

/// Any audio track; a rate or a count of zero is not known.
pub(super) fn audio(codec: impl Into<String>, sample_rate: u32, channels: u32) -> Track {
    let known = |value: u32| (value > 0).then_some(value);
    Track {
        sample_rate: known(sample_rate),
        channels: known(channels),
        ..Track::new(TrackKind::Audio, codec)
    }
}

/// A size in pixels; none where either side is zero.
pub(super) fn resolution(width: u64, height: u64) -> Option<(u32, u32)> {
    let side = |pixels: u64| u32::try_from(pixels).ok().filter(|pixels| *pixels > 0);
    Some((side(width)?, side(height)?))
}
