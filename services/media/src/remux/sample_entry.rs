//! Sample entries: what a decoder must know (ISO/IEC 14496-12, 12.1.3 and 12.2.3; 14496-14; 14496-15).

use super::boxes::Boxes;
use super::track::{AudioCodec, AudioConfig, VideoConfig};
use crate::codec::nal::{NalCodec, ParameterSets, SetKind};
use crate::codec::{h264, h265};

/// A visual sample entry.
#[derive(Debug)]
pub(crate) struct Picture<'a> {
    pub(crate) size: (u16, u16),
    sets: &'a ParameterSets,
    sequence: Sequence,
}

#[derive(Debug)]
enum Sequence {
    H264(h264::Sps),
    H265(h265::Sps),
}

impl<'a> Picture<'a> {
    pub(crate) fn new(config: &'a VideoConfig) -> Option<Self> {
        let sets = &config.sets;
        let nal = sets.of_kind(SetKind::Sequence).next()?;
        let (sequence, width, height) = match sets.codec() {
            NalCodec::H264 => {
                let sps = h264::Sps::parse(nal)?;
                let (width, height) = (sps.width, sps.height);
                (Sequence::H264(sps), width, height)
            }
            NalCodec::H265 => {
                let sps = h265::Sps::parse(nal)?;
                let (width, height) = (sps.width, sps.height);
                (Sequence::H265(sps), width, height)
            }
        };
        Some(Self { size: (u16::try_from(width).ok()?, u16::try_from(height).ok()?), sets, sequence })
    }

    pub(crate) fn write(&self, b: &mut Boxes) {
        match &self.sequence {
            Sequence::H264(sps) => self.entry(b, b"avc1", |b| avcc(b, sps, self.sets)),
            Sequence::H265(sps) => self.entry(b, b"hvc1", |b| hvcc(b, sps, self.sets)),
        }
    }

    fn entry(&self, b: &mut Boxes, kind: &[u8; 4], configuration: impl FnOnce(&mut Boxes)) {
        const RESOLUTION_72_DPI: u32 = 0x48_0000;
        const DEPTH_24_BITS: u16 = 0x18;
        b.boxed(kind, |b| {
            // Reserved, data reference 1, reserved.
            b.zeros(6).u16(1).zeros(16);
            b.u16(self.size.0).u16(self.size.1).u32(RESOLUTION_72_DPI).u32(RESOLUTION_72_DPI);
            // Reserved, one frame per sample, no compressor name.
            b.zeros(4).u16(1).zeros(32).u16(DEPTH_24_BITS).u16(0xffff);
            configuration(b);
        });
    }
}

/// `AVCDecoderConfigurationRecord` (14496-15, 5.3.3.1).
fn avcc(b: &mut Boxes, sps: &h264::Sps, sets: &ParameterSets) {
    const LENGTH_OF_4_BYTES: u8 = 0xff;
    b.boxed(b"avcC", |b| {
        b.bytes(&[1, sps.profile, sps.constraints, sps.level, LENGTH_OF_4_BYTES]);
        let sequence = sets.of_kind(SetKind::Sequence);
        b.u8(0xe0 | sequence.len() as u8);
        sequence.for_each(|nal| nal_unit(b, nal));
        let picture = sets.of_kind(SetKind::Picture);
        b.u8(picture.len() as u8);
        picture.for_each(|nal| nal_unit(b, nal));
        if h264::has_chroma_format(sps.profile) {
            let (luma, chroma) = sps.bit_depth;
            b.bytes(&[0xfc | sps.chroma_format, 0xf8 | (luma - 8), 0xf8 | (chroma - 8), 0]);
        }
    });
}

/// `HEVCDecoderConfigurationRecord` (14496-15, 8.3.3.1).
fn hvcc(b: &mut Boxes, sps: &h265::Sps, sets: &ParameterSets) {
    const COMPLETE: u8 = 0x80;
    const KINDS: [(SetKind, u8); 3] = [
        (SetKind::Video, h265::nal::VPS),
        (SetKind::Sequence, h265::nal::SPS),
        (SetKind::Picture, h265::nal::PPS),
    ];
    b.boxed(b"hvcC", |b| {
        let profile = &sps.profile;
        b.u8(1).u8(profile.profile).u32(profile.compatibility).bytes(&profile.constraints).u8(profile.level);
        // Segmentation 0, parallelism unknown.
        b.u16(0xf000).u8(0xfc);
        b.u8(0xfc | sps.chroma_format).u8(0xf8 | (sps.bit_depth.0 - 8)).u8(0xf8 | (sps.bit_depth.1 - 8));
        // Frame rate not told; lengths of 4 bytes.
        b.u16(0).u8(sps.sub_layers << 3 | u8::from(sps.nested) << 2 | 3);
        b.u8(KINDS.len() as u8);
        for (kind, nal_type) in KINDS {
            let nals = sets.of_kind(kind);
            b.u8(COMPLETE | nal_type).u16(nals.len() as u16);
            nals.for_each(|nal| nal_unit(b, nal));
        }
    });
}

/// A NAL unit after its length; that of a parameter set is bounded far below 64 KiB.
fn nal_unit(b: &mut Boxes, nal: &[u8]) {
    b.u16(nal.len() as u16).bytes(nal);
}

/// An audio sample entry.
pub(crate) fn sound(b: &mut Boxes, config: &AudioConfig) {
    const AAC: u8 = 0x40;
    const MP3: u8 = 0x6b;
    let kind = if config.codec == AudioCodec::Opus { b"Opus" } else { b"mp4a" };
    b.boxed(kind, |b| {
        // Reserved, data reference 1, reserved.
        b.zeros(6).u16(1).zeros(8);
        // The rate is 16.16 bits; what does not fit is left to the configuration.
        let rate = u16::try_from(config.sample_rate).unwrap_or(0);
        b.u16(u16::from(config.channels)).u16(16).zeros(4).u16(rate).u16(0);
        match &config.codec {
            AudioCodec::Aac { config } => descriptors(b, AAC, config),
            AudioCodec::Mp3 => descriptors(b, MP3, &[]),
            AudioCodec::Opus => b.boxed(b"dOps", |b| {
                // Version 0, no pre-skip in the middle of a stream, no gain, channel mapping family 0.
                b.u8(0).u8(config.channels).u16(0).u32(config.sample_rate).u16(0).u8(0);
            }),
        }
    });
}

/// `esds` with its descriptors (14496-1, 7.2.6), each a tag, the length of the rest, and the rest.
fn descriptors(b: &mut Boxes, object_type: u8, config: &[u8]) {
    const STREAM: u8 = 3;
    const DECODER: u8 = 4;
    const DECODER_SPECIFIC: u8 = 5;
    const SYNC_LAYER: u8 = 6;
    const AUDIO_STREAM: u8 = 0x15;
    // Lengths are bytes of seven bits; a configuration is a few bytes, or in any case less than 64.
    let config = config.get(..config.len().min(64)).unwrap_or_default();
    let specific_bytes = if config.is_empty() { 0 } else { 2 + config.len() as u8 };
    b.full(b"esds", 0, 0, |b| {
        b.u8(STREAM).u8(3 + 2 + 13 + specific_bytes + 3).u16(0).u8(0);
        b.u8(DECODER).u8(13 + specific_bytes).u8(object_type).u8(AUDIO_STREAM).zeros(11);
        if !config.is_empty() {
            b.u8(DECODER_SPECIFIC).u8(config.len() as u8).bytes(config);
        }
        b.u8(SYNC_LAYER).u8(1).u8(2);
    });
}
