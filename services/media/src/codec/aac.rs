//! AAC: `AudioSpecificConfig` (ISO/IEC 14496-3, 1.6.2.1) and the ADTS header (ISO/IEC 13818-7, 6.2).

use super::bits::BitReader;

/// Table 1.18 of ISO/IEC 14496-3.
const SAMPLE_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// Object types that wrap another: spectral band replication, and parametric stereo on top of it.
const SBR: u8 = 5;
const PS: u8 = 29;

/// What a decoder must know before the first frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioSpecificConfig {
    /// Audio object type as it is signalled: 2 is AAC-LC, 5 is HE-AAC, 29 is HE-AAC v2.
    pub object_type: u8,
    /// Samples per second that come out of the decoder.
    pub sample_rate: u32,
    /// Channels that come out of the decoder; 0 if only the stream itself tells.
    pub channels: u8,
    /// Samples of each channel in a frame, at `sample_rate`.
    pub frame_samples: u32,
}

impl AudioSpecificConfig {
    /// Reads the configuration record.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut r = BitReader::new(bytes);
        let object_type = parse_object_type(&mut r)?;
        let core_rate = parse_sample_rate(&mut r)?;
        let channels = r.bits(4)? as u8;
        let mut sample_rate = core_rate;
        let mut core_type = object_type;
        if matches!(object_type, SBR | PS) {
            sample_rate = parse_sample_rate(&mut r)?;
            core_type = parse_object_type(&mut r)?;
        }
        // frameLengthFlag of GASpecificConfig, in the object types that have one.
        let short = matches!(core_type, 1..=4 | 6 | 7 | 17 | 19..=23) && r.flag().unwrap_or(false);
        let core_samples = if short { 960 } else { 1024 };
        let doubled = sample_rate == core_rate.saturating_mul(2);
        Some(Self {
            object_type,
            sample_rate,
            channels: match (object_type, channels) {
                (PS, 1) => 2,
                (_, 7) => 8,
                (_, channels) => channels,
            },
            frame_samples: core_samples << u32::from(doubled),
        })
    }

    /// Codec string of RFC 6381, 3.3: `mp4a.40.2`.
    pub fn codec(&self) -> String {
        format!("mp4a.40.{}", self.object_type)
    }
}

fn parse_object_type(r: &mut BitReader<'_>) -> Option<u8> {
    const ESCAPE: u32 = 31;
    let kind = match r.bits(5)? {
        ESCAPE => 32 + r.bits(6)?,
        kind => kind,
    };
    u8::try_from(kind).ok().filter(|&kind| kind != 0)
}

fn parse_sample_rate(r: &mut BitReader<'_>) -> Option<u32> {
    const ESCAPE: u32 = 15;
    let rate = match r.bits(4)? {
        ESCAPE => r.bits(24)?,
        index => *SAMPLE_RATES.get(index as usize)?,
    };
    (rate > 0).then_some(rate)
}

/// The header of an ADTS frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdtsHeader {
    /// The same configuration as in an [`AudioSpecificConfig`].
    pub config: AudioSpecificConfig,
    /// `AudioSpecificConfig` as bytes, for containers that want it.
    pub config_bytes: [u8; 2],
    /// Bytes of this header, 7 or 9.
    pub header_bytes: usize,
    /// Bytes of the frame with its header; at most 8191.
    pub frame_bytes: usize,
}

impl AdtsHeader {
    /// Bytes that [`AdtsHeader::parse`] needs.
    pub const BYTES_MIN: usize = 7;

    /// Reads the header at the start of `bytes`; `None` if there is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let h = bytes.first_chunk::<{ Self::BYTES_MIN }>()?;
        // Twelve bits of sync word and two of layer, which is always 0.
        if h[0] != 0xff || h[1] & 0xf6 != 0xf0 {
            return None;
        }
        let object_type = (h[2] >> 6) + 1;
        let rate_index = h[2] >> 2 & 0xf;
        let channels = (h[2] & 1) << 2 | h[3] >> 6;
        let frame_bytes = usize::from(h[3] & 3) << 11 | usize::from(h[4]) << 3 | usize::from(h[5]) >> 5;
        let header_bytes = if h[1] & 1 == 1 { 7 } else { 9 };
        let config_bytes = [object_type << 3 | rate_index >> 1, rate_index << 7 | channels << 3];
        let config = AudioSpecificConfig::parse(&config_bytes)?;
        (frame_bytes > header_bytes).then_some(Self { config, config_bytes, header_bytes, frame_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_complexity_stereo() {
        let config = AudioSpecificConfig::parse(&[0x12, 0x10]).unwrap();
        assert_eq!(config.codec(), "mp4a.40.2");
        assert_eq!((config.sample_rate, config.channels, config.frame_samples), (44_100, 2, 1024));
    }

    #[test]
    fn high_efficiency_doubles_the_rate_and_parametric_stereo_the_channels() {
        let config = AudioSpecificConfig::parse(&[0x2b, 0x11, 0x88]).unwrap();
        assert_eq!(config.codec(), "mp4a.40.5");
        assert_eq!((config.sample_rate, config.channels, config.frame_samples), (48_000, 2, 2048));
        let config = AudioSpecificConfig::parse(&[0xeb, 0x09, 0x88]).unwrap();
        assert_eq!((config.object_type, config.sample_rate, config.channels), (29, 48_000, 2));
    }

    #[test]
    fn an_adts_header_says_the_same_as_the_record_it_gives() {
        let header = AdtsHeader::parse(&[0xff, 0xf1, 0x50, 0x80, 0x02, 0x1f, 0xfc]).unwrap();
        assert_eq!((header.header_bytes, header.frame_bytes), (7, 16));
        assert_eq!(header.config_bytes, [0x12, 0x10]);
        assert_eq!(header.config.sample_rate, 44_100);
        assert_eq!(
            AdtsHeader::parse(&[0xff, 0xf1, 0x50, 0x80, 0x00, 0x1f, 0xfc]),
            None,
            "shorter than itself"
        );
        assert_eq!(AdtsHeader::parse(&[0xff, 0xfb, 0x90, 0x64, 0, 0, 0]), None, "an MP3 header");
    }

    #[test]
    fn a_record_cut_short_or_reserved_is_refused() {
        assert_eq!(AudioSpecificConfig::parse(&[]), None);
        assert_eq!(AudioSpecificConfig::parse(&[0x12]), None);
        assert_eq!(AudioSpecificConfig::parse(&[0x16, 0x90]), None, "sample rate index 13");
    }
}
