//! VP9: `vpcC` (VP Codec ISO Media File Format Binding, "VP Codec Configuration Box").

/// Codec string of the same document (`vp09.00.31.08`) from a `VPCodecConfigurationRecord`, with or without the
/// version and flags that stand before it in an MP4 box.
pub fn from_vpcc(record: &[u8]) -> Option<String> {
    // Without them the third byte would be a bit depth, which is never 0.
    let record = record.strip_prefix(&[1, 0, 0, 0]).unwrap_or(record);
    let &[profile, level, packed] = record.first_chunk()?;
    let depth = packed >> 4;
    (profile <= 3 && matches!(depth, 8 | 10 | 12)).then(|| format!("vp09.{profile:02}.{level:02}.{depth:02}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gives_the_codec_string() {
        assert_eq!(from_vpcc(&[1, 0, 0, 0, 0, 31, 0x82, 2, 2, 2, 0, 0]).unwrap(), "vp09.00.31.08");
        assert_eq!(from_vpcc(&[2, 51, 0xa2, 2, 2, 2, 0, 0]).unwrap(), "vp09.02.51.10");
        assert_eq!(from_vpcc(&[1, 0, 0, 0]), None);
    }
}
