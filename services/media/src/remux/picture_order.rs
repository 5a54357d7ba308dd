//! When a picture is shown, counted in pictures, from its picture order count (H.264 clause 8.2.1, H.265 clause
//! 8.3.1).

use crate::codec::nal::{NalCodec, NalKind, ParameterSets, SetKind};
use crate::codec::{h264, h265};

/// No stream of either standard reorders over more pictures.
const REORDER_MAX: i64 = 16;

/// Reordering assumed from the moment it is first seen, of a stream that did not announce it.
const REORDER_DEFAULT: i64 = 2;

/// Follows the picture order count of a stream.
#[derive(Debug)]
pub(crate) struct PictureOrder {
    format: Format,
    /// Pictures by which showing lags behind decoding.
    delay: i64,
    /// Picture order count of the last picture that others refer to, and at which the group began.
    reference: i64,
    base: i64,
    highest: i64,
    /// Pictures decoded since then.
    decoded: i64,
}

#[derive(Debug)]
enum Format {
    H264(Option<h264::Sps>),
    H265(Option<(h265::Sps, h265::Pps)>),
}

/// What a slice says of its picture.
struct Count {
    lsb: i64,
    lsb_bits: u32,
    /// The count starts again.
    is_reset: bool,
    is_reference: bool,
}

impl PictureOrder {
    pub(crate) fn new(codec: NalCodec) -> Self {
        let format = match codec {
            NalCodec::H264 => Format::H264(None),
            NalCodec::H265 => Format::H265(None),
        };
        Self { format, delay: 0, reference: 0, base: 0, highest: 0, decoded: 0 }
    }

    pub(crate) fn set_parameter_sets(&mut self, sets: &ParameterSets) {
        let sequence = sets.of_kind(SetKind::Sequence).next();
        match &mut self.format {
            Format::H264(sps) => {
                *sps = sequence.and_then(h264::Sps::parse);
                self.delay = sps.as_ref().and_then(|sps| sps.reorder_max).unwrap_or(0).into();
            }
            Format::H265(both) => {
                let picture = sets.of_kind(SetKind::Picture).next().and_then(h265::Pps::parse);
                *both = sequence.and_then(h265::Sps::parse).zip(picture);
                self.delay = both.as_ref().map_or(0, |(sps, _)| sps.reorder_max).into();
            }
        }
    }

    /// How many pictures after it is decoded the next picture is shown, at most [`REORDER_MAX`]. 0 as long as nothing is
    /// reordered.
    pub(crate) fn pictures_until_shown<'a>(
        &mut self,
        nals: impl Iterator<Item = &'a [u8]>,
        is_key: bool,
    ) -> usize {
        let pictures = self.delay_of(nals, is_key).clamp(0, REORDER_MAX);
        usize::try_from(pictures).unwrap_or(0)
    }

    fn delay_of<'a>(&mut self, mut nals: impl Iterator<Item = &'a [u8]>, is_key: bool) -> i64 {
        let Some(count) = nals.find_map(|nal| self.count(nal)) else {
            return self.delay;
        };
        let range = 1i64 << count.lsb_bits;
        let order = if count.is_reset {
            count.lsb
        } else {
            // The count nearest to the reference that has these low bits.
            let ahead = (count.lsb - self.reference).rem_euclid(range);
            self.reference + if ahead >= range / 2 { ahead - range } else { ahead }
        };
        if count.is_reference {
            self.reference = order;
        }
        // A group whose beginning was missed is counted from where the stream was joined.
        if count.is_reset || is_key && self.decoded == 0 {
            (self.base, self.highest, self.decoded) = (order, order, 0);
        }
        if order < self.highest && self.delay == 0 {
            self.delay = REORDER_DEFAULT;
        }
        self.highest = self.highest.max(order);
        // A frame of H.264 counts as two fields.
        let per_frame = if matches!(self.format, Format::H264(_)) { 2 } else { 1 };
        let shown = (order - self.base).div_euclid(per_frame);
        let frames = shown - self.decoded + self.delay;
        self.decoded += 1;
        if self.delay == 0 || !(0..=REORDER_MAX).contains(&frames) { self.delay } else { frames }
    }

    /// `None` for a NAL unit that is no first slice, and where the standard has no low bits.
    fn count(&self, nal: &[u8]) -> Option<Count> {
        let &header = nal.first()?;
        match &self.format {
            Format::H264(sps) => {
                let NalKind::Slice { random_access } = NalCodec::H264.kind(header) else {
                    return None;
                };
                let sps = sps.as_ref()?;
                let slice = h264::Slice::parse(nal, sps).filter(|slice| slice.first)?;
                let h264::PictureOrder::Lsb(lsb_bits) = sps.picture_order else {
                    return None;
                };
                Some(Count {
                    lsb: slice.order_lsb?.into(),
                    lsb_bits,
                    is_reset: random_access,
                    is_reference: header & 0x60 != 0,
                })
            }
            Format::H265(both) => {
                let NalKind::Slice { .. } = NalCodec::H265.kind(header) else {
                    return None;
                };
                let (sps, pps) = both.as_ref()?;
                let kind = h265::nal::kind(header);
                let temporal_id = nal.get(1)? & 7;
                Some(Count {
                    lsb: h265::order_lsb(nal, sps, pps)?.into(),
                    lsb_bits: sps.order_bits,
                    is_reset: matches!(kind, h265::nal::IDR_W_RADL | h265::nal::IDR_N_LP),
                    // Clause 8.3.1: of the lowest sub-layer (1 is added to its id), not leading, and referred to.
                    is_reference: temporal_id == 1
                        && !(h265::nal::RADL_N..=h265::nal::RASL_R).contains(&kind)
                        && (kind >= h265::nal::BLA_W_LP || kind % 2 == 1),
                })
            }
        }
    }
}
