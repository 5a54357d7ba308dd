//! H.265: NAL units, parameter sets and slice headers (ITU-T H.265), `hvcC` (ISO/IEC 14496-15, 8.3.3).

use std::fmt::Write;

use super::PICTURE_SIDE_MAX;
use super::bits::BitReader;

/// NAL unit types that matter to a relay (table 7-1).
pub mod nal {
    /// First of the slices that may be left out after a random access point.
    pub const RADL_N: u8 = 6;
    /// Leading pictures that need pictures from before the random access point: not decodable after it.
    pub const RASL_N: u8 = 8;
    /// As [`RASL_N`], and referred to.
    pub const RASL_R: u8 = 9;
    /// Broken link access picture: the first of the three types.
    pub const BLA_W_LP: u8 = 16;
    /// IDR picture with decodable leading pictures.
    pub const IDR_W_RADL: u8 = 19;
    /// IDR picture without leading pictures.
    pub const IDR_N_LP: u8 = 20;
    /// Clean random access picture.
    pub const CRA: u8 = 21;
    /// Last of the reserved random access types.
    pub const IRAP_MAX: u8 = 23;
    /// Last of the types that are slices.
    pub const VCL_MAX: u8 = 31;
    /// Video parameter set.
    pub const VPS: u8 = 32;
    /// Sequence parameter set.
    pub const SPS: u8 = 33;
    /// Picture parameter set.
    pub const PPS: u8 = 34;
    /// Access unit delimiter.
    pub const AUD: u8 = 35;
    /// Supplemental enhancement information before the picture.
    pub const PREFIX_SEI: u8 = 39;
    /// Supplemental enhancement information after the picture.
    pub const SUFFIX_SEI: u8 = 40;

    /// The type in the first byte of a NAL unit.
    pub const fn kind(header: u8) -> u8 {
        header >> 1 & 0x3f
    }

    /// Whether a decoder may start at a picture of this type.
    pub const fn is_random_access(kind: u8) -> bool {
        kind >= BLA_W_LP && kind <= IRAP_MAX
    }
}

/// Profile, tier and level (clause 7.3.3), the general part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileTierLevel {
    /// `general_profile_space`, `general_tier_flag` and `general_profile_idc` as one byte.
    pub profile: u8,
    /// `general_profile_compatibility_flag`, first flag in the highest bit.
    pub compatibility: u32,
    /// The six bytes of constraint flags.
    pub constraints: [u8; 6],
    /// `general_level_idc`: thirty times the level.
    pub level: u8,
}

/// What a sequence parameter set tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sps {
    /// `sps_seq_parameter_set_id`.
    pub id: u32,
    /// Picture width in pixels, cropped.
    pub width: u32,
    /// Picture height in pixels, cropped.
    pub height: u32,
    /// What a decoder must be able to do.
    pub profile: ProfileTierLevel,
    /// `sps_max_sub_layers_minus1` + 1.
    pub sub_layers: u8,
    /// `sps_temporal_id_nesting_flag`.
    pub nested: bool,
    /// `chroma_format_idc`.
    pub chroma_format: u8,
    /// Bits per luma and chroma sample.
    pub bit_depth: (u8, u8),
    /// Bits of `slice_pic_order_cnt_lsb`.
    pub order_bits: u32,
    /// How many pictures may precede a picture in decoding order and follow it in output order.
    pub reorder_max: u32,
    separate_planes: bool,
}

impl Sps {
    /// Reads a whole NAL unit, both header bytes included, emulation prevention bytes still inside.
    pub fn parse(nal: &[u8]) -> Option<Self> {
        if nal::kind(*nal.first()?) != nal::SPS {
            return None;
        }
        let mut r = BitReader::escaped(nal.get(2..)?);
        r.skip(4)?; // sps_video_parameter_set_id
        let sub_layers = r.bits(3).filter(|&minus1| minus1 <= 6)? as u8 + 1;
        let nested = r.flag()?;
        let profile = parse_profile_tier_level(&mut r, u32::from(sub_layers))?;
        let id = r.ue().filter(|&id| id <= 15)?;
        let chroma_format = r.ue().filter(|&idc| idc <= 3)? as u8;
        let separate_planes = chroma_format == 3 && r.flag()?;
        let (width, height) = (r.ue()?, r.ue()?);
        let (crop_x, crop_y) = if r.flag()? {
            let [left, right, top, bottom] = [r.ue()?, r.ue()?, r.ue()?, r.ue()?];
            // SubWidthC and SubHeightC of table 6-1.
            let unit_x = if matches!(chroma_format, 1 | 2) { 2 } else { 1 };
            let unit_y = if chroma_format == 1 { 2 } else { 1 };
            (left.checked_add(right)?.checked_mul(unit_x)?, top.checked_add(bottom)?.checked_mul(unit_y)?)
        } else {
            (0, 0)
        };
        let sides = (width.checked_sub(crop_x)?, height.checked_sub(crop_y)?);
        let (width, height) = Some(sides)
            .filter(|&(w, h)| (1..=PICTURE_SIDE_MAX).contains(&w.min(h)) && w.max(h) <= PICTURE_SIDE_MAX)?;
        let mut depth = || r.ue().filter(|&minus8| minus8 <= 8).map(|minus8| minus8 as u8 + 8);
        let bit_depth = (depth()?, depth()?);
        let order_bits = r.ue().filter(|&minus4| minus4 <= 12)? + 4;
        let mut reorder_max = 0;
        let per_sub_layer = r.flag()?;
        for _ in 0..if per_sub_layer { sub_layers } else { 1 } {
            r.ue()?; // sps_max_dec_pic_buffering_minus1
            reorder_max = r.ue()?.min(16);
            r.ue()?; // sps_max_latency_increase_plus1
        }
        Some(Self {
            id,
            width,
            height,
            profile,
            sub_layers,
            nested,
            chroma_format,
            bit_depth,
            order_bits,
            reorder_max,
            separate_planes,
        })
    }

    /// Codec string of ISO/IEC 14496-15, E.3: `hvc1.1.6.L93.B0`.
    pub fn codec(&self) -> String {
        let ProfileTierLevel { profile, compatibility, constraints, level } = &self.profile;
        let space = ["", "A", "B", "C"][usize::from(profile >> 6)];
        let tier = if profile & 0x20 == 0 { 'L' } else { 'H' };
        let mut codec =
            format!("hvc1.{space}{}.{:X}.{tier}{level}", profile & 0x1f, compatibility.reverse_bits());
        let used = constraints.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        for byte in &constraints[..used] {
            let _ = write!(codec, ".{byte:X}");
        }
        codec
    }
}

fn parse_profile_tier_level(r: &mut BitReader<'_>, sub_layers: u32) -> Option<ProfileTierLevel> {
    let profile = r.bits(8)? as u8;
    let compatibility = r.bits(32)?;
    let mut constraints = [0; 6];
    for byte in &mut constraints {
        *byte = r.bits(8)? as u8;
    }
    let level = r.bits(8)? as u8;
    if sub_layers > 1 {
        // Two flags for each of eight sub-layers but the last, the unused ones reserved.
        let flags = r.bits(16)?;
        for layer in 0..sub_layers - 1 {
            let pair = flags >> (14 - 2 * layer);
            r.skip(if pair & 2 != 0 { 88 } else { 0 } + if pair & 1 != 0 { 8 } else { 0 })?;
        }
    }
    Some(ProfileTierLevel { profile, compatibility, constraints, level })
}

/// The first sequence parameter set in an `HEVCDecoderConfigurationRecord`.
pub fn from_hvcc(record: &[u8]) -> Option<Sps> {
    let (sets, _) = hvcc_parameter_sets(record)?;
    sets.iter().find_map(|set| Sps::parse(set))
}

/// The NAL units in an `HEVCDecoderConfigurationRecord`, and the size of the length field that stands before
/// each NAL unit of the stream.
pub fn hvcc_parameter_sets(record: &[u8]) -> Option<(Vec<&[u8]>, usize)> {
    const FIXED_BYTES: usize = 23;
    let (fixed, mut rest) = record.split_first_chunk::<FIXED_BYTES>()?;
    // Version 0 is what encoders wrote while the format was a draft; the layout is the same.
    if fixed[0] > 1 {
        return None;
    }
    let mut sets = Vec::new();
    for _ in 0..fixed[22] {
        let (&[_kind, high, low], tail) = rest.split_first_chunk()?;
        rest = tail;
        for _ in 0..u16::from_be_bytes([high, low]) {
            let (length, tail) = rest.split_first_chunk()?;
            let length = usize::from(u16::from_be_bytes(*length));
            sets.push(tail.get(..length)?);
            rest = &tail[length..];
        }
    }
    Some((sets, usize::from(fixed[21] & 3) + 1))
}

/// What a picture parameter set tells of the slice headers that follow (clause 7.3.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pps {
    /// `pps_pic_parameter_set_id`.
    pub id: u32,
    output_flag: bool,
    extra_bits: u32,
}

impl Pps {
    /// Reads a whole NAL unit, both header bytes included.
    pub fn parse(nal: &[u8]) -> Option<Self> {
        if nal::kind(*nal.first()?) != nal::PPS {
            return None;
        }
        let mut r = BitReader::escaped(nal.get(2..)?);
        let id = r.ue()?;
        r.ue()?; // pps_seq_parameter_set_id
        r.flag()?; // dependent_slice_segments_enabled_flag
        Some(Self { id, output_flag: r.flag()?, extra_bits: r.bits(3)? })
    }
}

/// The low bits of the picture order count in the first slice of a picture (clause 7.3.6.1); 0 for an IDR
/// picture, `None` for a later slice.
pub fn order_lsb(nal: &[u8], sps: &Sps, pps: &Pps) -> Option<u32> {
    let kind = nal::kind(*nal.first()?);
    let mut r = BitReader::escaped(nal.get(2..)?);
    if !r.flag()? {
        return None;
    }
    if nal::is_random_access(kind) {
        r.flag()?; // no_output_of_prior_pics_flag
    }
    r.ue()?; // slice_pic_parameter_set_id
    if matches!(kind, nal::IDR_W_RADL | nal::IDR_N_LP) {
        return Some(0);
    }
    r.skip(pps.extra_bits)?;
    r.ue()?; // slice_type
    if pps.output_flag {
        r.flag()?;
    }
    if sps.separate_planes {
        r.skip(2)?;
    }
    r.bits(sps.order_bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    // libx265, Main, 1280x720 at 30 frames per second.
    const SPS_720P: [u8; 42] = [
        0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00,
        0x5d, 0xa0, 0x02, 0x80, 0x80, 0x2d, 0x16, 0x59, 0x59, 0xa4, 0x93, 0x2b, 0xc0, 0x5a, 0x02, 0x00, 0x00,
        0x03, 0x00, 0x02, 0x00, 0x00, 0x03, 0x00, 0x3c,
    ];

    #[test]
    fn a_parameter_set_tells_codec_and_size() {
        let sps = Sps::parse(&SPS_720P).unwrap();
        assert_eq!(sps.codec(), "hvc1.1.6.L93.90");
        assert_eq!((sps.width, sps.height), (1280, 720));
        assert_eq!((sps.sub_layers, sps.bit_depth, sps.chroma_format), (1, (8, 8), 1));
    }

    #[test]
    fn a_parameter_set_cut_short_is_refused() {
        for end in 0..22 {
            assert_eq!(Sps::parse(&SPS_720P[..end]), None, "{end} bytes");
        }
    }

    #[test]
    fn a_decoder_configuration_record_gives_its_sets() {
        let mut record = vec![0; 23];
        record[0] = 1;
        record[21] = 3;
        record[22] = 1;
        record.extend_from_slice(&[0x21, 0, 1, 0, SPS_720P.len() as u8]);
        record.extend_from_slice(&SPS_720P);
        assert_eq!(from_hvcc(&record).unwrap().height, 720);
        record.pop();
        assert_eq!(from_hvcc(&record), None);
    }
}
