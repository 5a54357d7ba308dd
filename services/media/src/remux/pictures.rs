//! From the NAL units of an access unit to a sample of MP4 (ISO/IEC 14496-15, 5.3 and 8.3).

use super::track::VideoConfig;
use crate::codec::nal::{NalCodec, NalKind, Opening, ParameterSets};
use crate::codec::{h264, h265};

/// Collects the parameter sets, which MP4 keeps in the sample entry, and makes samples of what is left.
#[derive(Debug)]
pub(crate) struct Pictures {
    codec: NalCodec,
    sets: ParameterSets,
    sets_changed: bool,
    opening: Opening,
    /// Leading pictures of this H.265 stream's first random access point refer to pictures that nobody has.
    skips_leading: bool,
    started: bool,
}

/// A sample without its time.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) is_key: bool,
    pub(crate) data: Vec<u8>,
}

impl Pictures {
    pub(crate) fn new(codec: NalCodec) -> Self {
        Self {
            codec,
            sets: ParameterSets::new(codec),
            sets_changed: false,
            opening: Opening::default(),
            skips_leading: false,
            started: false,
        }
    }

    pub(crate) const fn sets(&self) -> &ParameterSets {
        &self.sets
    }

    /// The parameter sets, if they are complete and changed since the last call.
    pub(crate) fn take_config(&mut self) -> Option<VideoConfig> {
        let changed = self.sets_changed && self.sets.are_complete();
        self.sets_changed &= !changed;
        changed.then(|| VideoConfig { sets: self.sets.clone() })
    }

    /// Reads an access unit. `None` if there is no picture in it, or none that can be decoded.
    pub(crate) fn read<'a>(&mut self, nals: impl Iterator<Item = &'a [u8]>) -> Option<Picture> {
        let mut data = Vec::new();
        let (mut first_slice, mut random_access) = (None, false);
        self.opening.clear();
        for nal in nals {
            let Some(&header) = nal.first() else {
                continue;
            };
            match self.codec.kind(header) {
                NalKind::Set(kind) => {
                    self.sets_changed |= self.sets.store(kind, nal);
                    continue;
                }
                NalKind::Opening | NalKind::Other if !self.is_kept(header) => continue,
                NalKind::Slice { random_access: here } => {
                    first_slice = first_slice.or(Some(header));
                    random_access |= here;
                }
                _ => self.opening.note(self.codec, nal),
            }
            // An access unit is bounded far below 4 GiB.
            data.extend_from_slice(&(nal.len() as u32).to_be_bytes());
            data.extend_from_slice(nal);
        }
        let first_slice = first_slice?;
        let is_key = self.opening.is_key(random_access);
        if is_key {
            self.skips_leading = !self.started;
            self.started = true;
        }
        let is_skipped_leading = self.codec == NalCodec::H265
            && matches!(h265::nal::kind(first_slice), h265::nal::RASL_N | h265::nal::RASL_R);
        (self.started && !(is_skipped_leading && self.skips_leading)).then_some(Picture { is_key, data })
    }

    /// Delimiters, ends of a sequence and filling have no place in a sample.
    fn is_kept(&self, header: u8) -> bool {
        match self.codec {
            NalCodec::H264 => !matches!(h264::nal::kind(header), 9..=12),
            NalCodec::H265 => !matches!(h265::nal::kind(header), 35..=38),
        }
    }
}
