//! H.264: NAL units, sequence parameter sets and slice headers (ITU-T H.264), `avcC` (ISO/IEC 14496-15, 5.3.3).

use super::PICTURE_SIDE_MAX;
use super::bits::BitReader;

/// NAL unit types that matter to a relay (table 7-1).
pub mod nal {
    /// Slice of a non-IDR picture.
    pub const SLICE: u8 = 1;
    /// Slice of an IDR picture.
    pub const IDR: u8 = 5;
    /// Supplemental enhancement information.
    pub const SEI: u8 = 6;
    /// Sequence parameter set.
    pub const SPS: u8 = 7;
    /// Picture parameter set.
    pub const PPS: u8 = 8;
    /// Access unit delimiter.
    pub const AUD: u8 = 9;

    /// The type in the first byte of a NAL unit.
    pub const fn kind(header: u8) -> u8 {
        header & 0x1f
    }
}

/// How pictures are numbered in output order (clause 8.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureOrder {
    /// Type 0: the low bits stand in each slice header, this many of them.
    Lsb(u32),
    /// Type 1: derived from expected deltas; hardly anything writes it.
    Cycle,
    /// Type 2: output order is decoding order.
    Decoding,
}

/// What a sequence parameter set tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sps {
    /// `seq_parameter_set_id`.
    pub id: u32,
    /// Picture width in pixels, cropped.
    pub width: u32,
    /// Picture height in pixels, cropped.
    pub height: u32,
    /// `profile_idc`.
    pub profile: u8,
    /// The constraint flags, as one byte.
    pub constraints: u8,
    /// `level_idc`: ten times the level.
    pub level: u8,
    /// `chroma_format_idc`.
    pub chroma_format: u8,
    /// Bits per luma and chroma sample.
    pub bit_depth: (u8, u8),
    /// Duration of a frame as the encoder means it, in seconds: numerator, denominator.
    pub frame_duration: Option<(u32, u32)>,
    /// How many frames may precede a frame in decoding order and follow it in output order.
    pub reorder_max: Option<u32>,
    /// How pictures are numbered.
    pub picture_order: PictureOrder,
    /// Bits of `frame_num` in a slice header.
    pub frame_num_bits: u32,
    /// Whether no picture is interlaced.
    pub frames_only: bool,
    separate_planes: bool,
}

impl Sps {
    /// Reads a whole NAL unit, header byte included, emulation prevention bytes still inside.
    pub fn parse(nal: &[u8]) -> Option<Self> {
        if nal::kind(*nal.first()?) != nal::SPS {
            return None;
        }
        let mut r = BitReader::escaped(nal.get(1..)?);
        let [profile, constraints, level] = [r.bits(8)? as u8, r.bits(8)? as u8, r.bits(8)? as u8];
        let id = r.ue().filter(|&id| id <= 31)?;
        let mut chroma_format = 1;
        let mut bit_depth = (8, 8);
        let mut separate_planes = false;
        if has_chroma_format(profile) {
            chroma_format = r.ue().filter(|&idc| idc <= 3)? as u8;
            separate_planes = chroma_format == 3 && r.flag()?;
            let mut depth = || r.ue().filter(|&minus8| minus8 <= 6).map(|minus8| minus8 as u8 + 8);
            bit_depth = (depth()?, depth()?);
            r.flag()?; // qpprime_y_zero_transform_bypass_flag
            if r.flag()? {
                skip_scaling_matrix(&mut r, if chroma_format == 3 { 12 } else { 8 })?;
            }
        }
        let frame_num_bits = r.ue().filter(|&minus4| minus4 <= 12)? + 4;
        let picture_order = match r.ue()? {
            0 => PictureOrder::Lsb(r.ue().filter(|&minus4| minus4 <= 12)? + 4),
            1 => {
                r.flag()?;
                r.se()?;
                r.se()?;
                for _ in 0..r.ue().filter(|&frames| frames <= 255)? {
                    r.se()?;
                }
                PictureOrder::Cycle
            }
            2 => PictureOrder::Decoding,
            _ => return None,
        };
        r.ue()?; // max_num_ref_frames
        r.flag()?; // gaps_in_frame_num_value_allowed_flag
        let width = r.ue()?.checked_add(1)?.checked_mul(16)?;
        let map_height = r.ue()?.checked_add(1)?.checked_mul(16)?;
        let frames_only = r.flag()?;
        if !frames_only {
            r.flag()?; // mb_adaptive_frame_field_flag
        }
        r.flag()?; // direct_8x8_inference_flag
        let fields = if frames_only { 1 } else { 2 };
        let height = map_height.checked_mul(fields)?;
        let (crop_x, crop_y) = if r.flag()? {
            let [left, right, top, bottom] = [r.ue()?, r.ue()?, r.ue()?, r.ue()?];
            // CropUnitX and CropUnitY of clause 7.4.2.1.1.
            let unit_x = if matches!(chroma_format, 1 | 2) { 2 } else { 1 };
            let unit_y = fields * if chroma_format == 1 { 2 } else { 1 };
            (left.checked_add(right)?.checked_mul(unit_x)?, top.checked_add(bottom)?.checked_mul(unit_y)?)
        } else {
            (0, 0)
        };
        let sides = (width.checked_sub(crop_x)?, height.checked_sub(crop_y)?);
        let (width, height) = Some(sides)
            .filter(|&(w, h)| (1..=PICTURE_SIDE_MAX).contains(&w.min(h)) && w.max(h) <= PICTURE_SIDE_MAX)?;
        let mut sps = Self {
            id,
            width,
            height,
            profile,
            constraints,
            level,
            chroma_format,
            bit_depth,
            frame_duration: None,
            reorder_max: None,
            picture_order,
            frame_num_bits,
            frames_only,
            separate_planes,
        };
        if r.flag() == Some(true) {
            // Some encoders cut the usability information short. The picture can be decoded without it.
            let _ = sps.parse_vui(&mut r);
        }
        Some(sps)
    }

    /// Video usability information (clause E.1.1).
    fn parse_vui(&mut self, r: &mut BitReader<'_>) -> Option<()> {
        const EXTENDED_SAR: u32 = 255;
        if r.flag()? && r.bits(8)? == EXTENDED_SAR {
            r.skip(32)?;
        }
        if r.flag()? {
            r.flag()?; // overscan_appropriate_flag
        }
        if r.flag()? {
            r.skip(4)?; // video_format, video_full_range_flag
            if r.flag()? {
                r.skip(24)?; // primaries, transfer, matrix
            }
        }
        if r.flag()? {
            r.ue()?;
            r.ue()?; // chroma sample locations
        }
        if r.flag()? {
            let (ticks, scale) = (r.bits(32)?, r.bits(32)?);
            r.flag()?; // fixed_frame_rate_flag
            // A tick is a field, whether or not the stream has any.
            self.frame_duration =
                ticks.checked_mul(2).filter(|&ticks| ticks > 0 && scale > 0).map(|ticks| (ticks, scale));
        }
        let nal_hrd = r.flag()?;
        if nal_hrd {
            skip_hrd(r)?;
        }
        let vcl_hrd = r.flag()?;
        if vcl_hrd {
            skip_hrd(r)?;
        }
        if nal_hrd || vcl_hrd {
            r.flag()?; // low_delay_hrd_flag
        }
        r.flag()?; // pic_struct_present_flag
        if r.flag()? {
            r.flag()?; // motion_vectors_over_pic_boundaries_flag
            for _ in 0..4 {
                r.ue()?;
            }
            self.reorder_max = Some(r.ue()?.min(16));
        }
        Some(())
    }

    /// Codec string of RFC 6381, 3.3: `avc1.64001f`.
    pub fn codec(&self) -> String {
        format!("avc1.{:02x}{:02x}{:02x}", self.profile, self.constraints, self.level)
    }
}

/// The profiles whose parameter sets tell the chroma format (clause 7.3.2.1.1).
pub const fn has_chroma_format(profile: u8) -> bool {
    matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135)
}

fn skip_scaling_matrix(r: &mut BitReader<'_>, lists: u32) -> Option<()> {
    for list in 0..lists {
        if !r.flag()? {
            continue;
        }
        let (mut last, mut next) = (8, 8);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + r.se()? % 256 + 256) % 256;
            }
            last = if next == 0 { last } else { next };
        }
    }
    Some(())
}

fn skip_hrd(r: &mut BitReader<'_>) -> Option<()> {
    let schedules = r.ue().filter(|&minus1| minus1 < 32)? + 1;
    r.skip(8)?;
    for _ in 0..schedules {
        r.ue()?;
        r.ue()?;
        r.flag()?;
    }
    r.skip(20)
}

/// The first sequence parameter set in an `AVCDecoderConfigurationRecord`.
pub fn from_avcc(record: &[u8]) -> Option<Sps> {
    let (sets, _) = avcc_parameter_sets(record)?;
    sets.first().and_then(|sps| Sps::parse(sps))
}

/// The parameter sets in an `AVCDecoderConfigurationRecord` (SPS first), and the size of the length field that
/// stands before each NAL unit of the stream.
pub fn avcc_parameter_sets(record: &[u8]) -> Option<(Vec<&[u8]>, usize)> {
    let (&[version, _, _, _, length_size], mut rest) = record.split_first_chunk()?;
    if version != 1 {
        return None;
    }
    let mut sets = Vec::new();
    // At most 31 sequence sets and 255 picture sets: the counts are a byte each.
    for count_bits in [0x1f, 0xff] {
        let (&count, tail) = rest.split_first()?;
        rest = tail;
        for _ in 0..count & count_bits {
            let (length, tail) = rest.split_first_chunk()?;
            let length = usize::from(u16::from_be_bytes(*length));
            sets.push(tail.get(..length)?);
            rest = &tail[length..];
        }
    }
    Some((sets, usize::from(length_size & 3) + 1))
}

/// What a relay needs of a slice header (clause 7.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Whether it holds the first macroblock, thus begins a picture or its second field.
    pub first: bool,
    /// Whether it is the bottom field of an interlaced picture.
    pub bottom_field: bool,
    /// `pic_order_cnt_lsb`, when the parameter set says there is one.
    pub order_lsb: Option<u32>,
}

impl Slice {
    /// Reads the beginning of a slice NAL unit, header byte included.
    pub fn parse(nal: &[u8], sps: &Sps) -> Option<Self> {
        let kind = nal::kind(*nal.first()?);
        let mut r = BitReader::escaped(nal.get(1..)?);
        let first = r.ue()? == 0;
        r.ue()?; // slice_type
        r.ue()?; // pic_parameter_set_id
        if sps.separate_planes {
            r.skip(2)?;
        }
        r.skip(sps.frame_num_bits)?;
        let bottom_field = !sps.frames_only && r.flag()? && r.flag()?;
        if kind == nal::IDR {
            r.ue()?; // idr_pic_id
        }
        let order_lsb = match sps.picture_order {
            PictureOrder::Lsb(bits) => Some(r.bits(bits)?),
            PictureOrder::Cycle | PictureOrder::Decoding => None,
        };
        Some(Self { first, bottom_field, order_lsb })
    }
}

/// `recovery_frame_cnt` of the recovery point message in an SEI NAL unit, header byte included (clause D.1.8):
/// after how many frames a decoder that starts here shows whole pictures.
pub fn recovery_point(nal: &[u8]) -> Option<u32> {
    const RECOVERY_POINT: u32 = 6;
    if nal::kind(*nal.first()?) != nal::SEI {
        return None;
    }
    let mut r = BitReader::escaped(nal.get(1..)?);
    loop {
        let kind = sei_number(&mut r)?;
        let size = sei_number(&mut r)?;
        // The trailing bits look like a message of type 128 without a size, and end the reader.
        if kind == RECOVERY_POINT {
            return r.ue();
        }
        r.skip(size.checked_mul(8)?)?;
    }
}

/// Bytes of 255 add up with the first that is less (clause 7.3.2.3.1).
fn sei_number(r: &mut BitReader<'_>) -> Option<u32> {
    let mut number = 0u32;
    loop {
        let byte = r.bits(8)?;
        number = number.checked_add(byte)?;
        if byte != 255 {
            return Some(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // libx264, High, 1280x720 at 30 frames per second.
    const SPS_720P: [u8; 26] = [
        0x67, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10,
        0x00, 0x00, 0x03, 0x03, 0xc0, 0xf1, 0x83, 0x19, 0x60,
    ];

    #[test]
    fn a_parameter_set_tells_codec_size_and_rate() {
        let sps = Sps::parse(&SPS_720P).unwrap();
        assert_eq!(sps.codec(), "avc1.64001f");
        assert_eq!((sps.width, sps.height), (1280, 720));
        assert_eq!(sps.frame_duration, Some((2, 60)));
        assert_eq!(sps.reorder_max, Some(2));
        assert!(matches!(sps.picture_order, PictureOrder::Lsb(_)));
    }

    #[test]
    fn a_parameter_set_cut_short_before_its_picture_size_is_refused() {
        for end in 0..9 {
            assert_eq!(Sps::parse(&SPS_720P[..end]), None, "{end} bytes");
        }
    }

    #[test]
    fn a_decoder_configuration_record_gives_its_sets() {
        let mut record = vec![1, 0x64, 0, 0x1f, 0xff, 0xe1, 0, SPS_720P.len() as u8];
        record.extend_from_slice(&SPS_720P);
        record.extend_from_slice(&[1, 0, 2, 0x68, 0xeb]);
        assert_eq!(from_avcc(&record).unwrap().width, 1280);
        let (sets, length_size) = avcc_parameter_sets(&record).unwrap();
        assert_eq!((sets.len(), length_size), (2, 4));
        record.pop();
        assert_eq!(avcc_parameter_sets(&record), None);
    }

    #[test]
    fn a_recovery_point_is_found_behind_another_message() {
        // A 2-byte user message, then a recovery point with recovery_frame_cnt 0.
        assert_eq!(recovery_point(&[0x06, 5, 2, 0xaa, 0xbb, 6, 1, 0b1100_0000, 0x80]), Some(0));
        assert_eq!(recovery_point(&[0x06, 5, 2, 0xaa, 0xbb, 0x80]), None);
    }
}
