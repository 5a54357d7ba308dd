//! The header of a PES packet (ISO/IEC 13818-1, 2.4.3.6).

/// Ticks per second of time stamps, which have 33 bits.
pub(crate) const TICKS_PER_SECOND: u64 = 90_000;
/// Bits of a time stamp.
pub(crate) const TIME_STAMP_BITS: u32 = 33;

/// What a PES header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PesHeader {
    /// Bytes of the header itself.
    pub(crate) header_bytes: usize,
    /// Bytes of payload; `None` for a video packet that ends where the next begins.
    pub(crate) payload_bytes: Option<usize>,
    pub(crate) pts: Option<u64>,
    /// `None` where it is the same as `pts`.
    pub(crate) dts: Option<u64>,
}

impl PesHeader {
    /// Reads the header; `None` if there is none, or it is not whole.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let &[0, 0, 1, stream_id, length_high, length_low, marker, flags, header_length] =
            bytes.first_chunk()?
        else {
            return None;
        };
        // Table 2-18: stream ids without the optional header are padding, tables and the like. A 10 marks MPEG-2.
        if matches!(stream_id, 0xbc | 0xbe | 0xbf | 0xf0..=0xf2 | 0xf8 | 0xff) || marker >> 6 != 0b10 {
            return None;
        }
        let fields = bytes.get(9..9 + usize::from(header_length))?;
        let pts = if flags & 0x80 != 0 { time_stamp(fields) } else { None };
        let dts = if flags & 0xc0 == 0xc0 { fields.get(5..).and_then(time_stamp) } else { None };
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        Some(Self {
            header_bytes: 9 + fields.len(),
            payload_bytes: length.checked_sub(3 + fields.len()),
            pts,
            dts,
        })
    }

    /// When the payload is decoded.
    pub(crate) fn decoding_time(&self) -> Option<u64> {
        self.dts.or(self.pts)
    }
}

/// 3, 15 and 15 bits, a marker bit after each.
fn time_stamp(bytes: &[u8]) -> Option<u64> {
    let [a, b, c, d, e] = bytes.first_chunk()?.map(u64::from);
    Some((a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_time_stamps_are_read() {
        let header =
            [0, 0, 1, 0xe0, 0, 0, 0x80, 0xc0, 10, 0x31, 0, 7, 0xd8, 0x61, 0x11, 0, 7, 0xa9, 0x75, 0xaa, 0xbb];
        let pes = PesHeader::parse(&header).unwrap();
        assert_eq!((pes.pts, pes.dts), (Some(126_000), Some(119_994)));
        assert_eq!((pes.header_bytes, pes.payload_bytes), (19, None));
        assert_eq!(PesHeader::parse(&header[..18]), None, "not whole");
    }
}
