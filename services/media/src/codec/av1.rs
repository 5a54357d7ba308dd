//! AV1: `av1C` (AV1 Codec ISO Media File Format Binding, 2.3).

/// Codec string of the same document, section 5 (`av01.0.04M.08`), from an `AV1CodecConfigurationRecord`.
pub fn from_av1c(record: &[u8]) -> Option<String> {
    let &[marker_version, profile_level, flags, _] = record.first_chunk()?;
    if marker_version != 0x81 {
        return None;
    }
    let tier = if flags & 0x80 == 0 { 'M' } else { 'H' };
    // Twelve bits exist in profile 2 only, and imply the high bit depth flag.
    let depth = match (flags & 0x40 != 0, flags & 0x20 != 0) {
        (false, _) => 8,
        (true, false) => 10,
        (true, true) => 12,
    };
    Some(format!("av01.{}.{:02}{tier}.{depth:02}", profile_level >> 5, profile_level & 0x1f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gives_the_codec_string() {
        assert_eq!(from_av1c(&[0x81, 0x04, 0x0c, 0x00]).unwrap(), "av01.0.04M.08");
        assert_eq!(from_av1c(&[0x81, 0x28, 0xc0, 0x00]).unwrap(), "av01.1.08H.10");
        assert_eq!(from_av1c(&[0x01, 0x04, 0x0c, 0x00]), None);
        assert_eq!(from_av1c(&[0x81, 0x04]), None);
    }
}
