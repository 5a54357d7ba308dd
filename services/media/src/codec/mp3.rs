//! MPEG audio layer III: the frame header (ISO/IEC 11172-3, 2.4.1.3, and ISO/IEC 13818-3 for low rates).

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Samples per second.
    pub sample_rate: u32,
    /// 1 or 2.
    pub channels: u8,
    /// Samples of each channel in the frame.
    pub frame_samples: u32,
    /// Bytes of the frame with its header; at most 1441.
    pub frame_bytes: usize,
}

impl FrameHeader {
    /// Bytes of the header.
    pub const BYTES: usize = 4;

    /// Reads the header at the start of `bytes`; `None` if there is none, or it is not layer III.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        const KBITS_1: [u32; 15] = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
        const KBITS_2: [u32; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
        let &[sync, version, rates, mode] = bytes.first_chunk()?;
        let is_layer_3 = version & 0xe6 == 0xe2;
        if sync != 0xff || !is_layer_3 {
            return None;
        }
        let (divisor, kbits, frame_samples) = match version >> 3 & 3 {
            0 => (4, KBITS_2, 576),
            2 => (2, KBITS_2, 576),
            3 => (1, KBITS_1, 1152),
            _ => return None,
        };
        let sample_rate = [44_100, 48_000, 32_000].get(usize::from(rates >> 2 & 3))? / divisor;
        // Index 0 is a free rate, whose frame length nothing tells.
        let bit_rate = kbits.get(usize::from(rates >> 4)).filter(|&&kbits| kbits > 0)? * 1000;
        let padding = u32::from(rates >> 1 & 1);
        Some(Self {
            sample_rate,
            channels: if mode >> 6 == 3 { 1 } else { 2 },
            frame_samples,
            frame_bytes: (frame_samples / 8 * bit_rate / sample_rate + padding) as usize,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_gives_the_length_of_its_frame() {
        let header = FrameHeader::parse(&[0xff, 0xfb, 0x90, 0x64]).unwrap();
        assert_eq!((header.sample_rate, header.channels, header.frame_samples), (44_100, 2, 1152));
        assert_eq!(header.frame_bytes, 417);
        assert_eq!(FrameHeader::parse(&[0xff, 0xf1, 0x50, 0x80]), None, "an ADTS header");
        assert_eq!(FrameHeader::parse(&[0xff, 0xfb, 0x00, 0x64]), None, "free bit rate");
    }
}
