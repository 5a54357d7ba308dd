//! Which container a stream is, from its first bytes.
//!
//! ```text
//! ┌───────────────────────────────────────────────────────────────────────────────┐
//! │ Once a prefix of a stream is decided, every longer prefix is decided the same. │
//! └───────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! This is why nothing here looks at "as much as there is": each step asks for a fixed number of bytes and
//! answers from those alone.

use memchr::memmem;

use crate::Container;

/// Bytes after which a stream that could still be several containers is taken for opaque. Only Annex B streams
/// need more than 400: the first access unit may start with supplemental information of any length.
pub(crate) const PREFIX_BYTES_MAX: usize = 4096;

/// A transport stream packet (ISO/IEC 13818-1, 2.4.3.2).
const TS_PACKET_BYTES: usize = 188;
const TS_SYNC: u8 = 0x47;

/// The container of a stream that starts with `prefix`; `None` while it could still be several.
pub(crate) fn detect(prefix: &[u8]) -> Option<Container> {
    let prefix = prefix.get(..PREFIX_BYTES_MAX).unwrap_or(prefix);
    let decided = match prefix.first()? {
        b'F' => magic(prefix, b"FLV\x01", Container::Flv),
        0x1A => magic(prefix, &[0x1A, 0x45, 0xDF, 0xA3], Container::WebM),
        0xFF => magic(prefix, &[0xFF, 0xD8, 0xFF], Container::Mjpeg),
        &TS_SYNC => mpegts(prefix),
        0 => boxes_or_nal_units(prefix),
        _ => Some(Container::Opaque),
    };
    match decided {
        None if prefix.len() == PREFIX_BYTES_MAX => Some(Container::Opaque),
        decided => decided,
    }
}

fn magic(prefix: &[u8], magic: &[u8], container: Container) -> Option<Container> {
    let n = prefix.len().min(magic.len());
    if prefix[..n] != magic[..n] { Some(Container::Opaque) } else { (n == magic.len()).then_some(container) }
}

/// One packet of the tables a multiplex starts with is enough; a packet of anything else, whose PID may be any
/// number, has to be followed by two more.
fn mpegts(prefix: &[u8]) -> Option<Container> {
    let &[b1, b2, b3] = prefix.get(1..4)?.first_chunk()?;
    let error = b1 & 0x80 != 0;
    let pid = u16::from(b1 & 0x1F) << 8 | u16::from(b2);
    // A scrambling control of 01 and an adaptation field control of 00 are reserved; ASCII text has one of them.
    let (scrambling, adaptation) = (b3 >> 6, b3 >> 4 & 3);
    if error || scrambling == 1 || adaptation == 0 {
        return Some(Container::Opaque);
    }
    // An adaptation field leaves at least a byte of payload, or fills the packet (2.4.3.5).
    let field = *prefix.get(4)?;
    if (adaptation == 2 && field != 183) || (adaptation == 3 && field > 182) {
        return Some(Container::Opaque);
    }
    prefix.get(TS_PACKET_BYTES - 1)?;
    // PAT, CAT, the tables of DVB (EN 300 468, 5.1.3), and null packets.
    if pid < 0x20 || pid == 0x1FFF {
        return Some(Container::MpegTs);
    }
    for packet in 1..=2 {
        if *prefix.get(packet * TS_PACKET_BYTES)? != TS_SYNC {
            return Some(Container::Opaque);
        }
    }
    Some(Container::MpegTs)
}

/// Both start with a zero: the size of a box below 16 MiB, and the start code of a NAL unit.
fn boxes_or_nal_units(prefix: &[u8]) -> Option<Container> {
    let kind = prefix.get(4..8);
    match kind {
        Some(b"ftyp" | b"styp" | b"moov") => return Some(Container::Fmp4),
        Some(_) => {}
        None => {
            let so_far = prefix.get(4..).unwrap_or_default();
            if [b"ftyp", b"styp", b"moov"].iter().any(|kind| kind.starts_with(so_far)) {
                return None;
            }
        }
    }
    annexb(prefix)
}

/// Leading zeros, a start code, and NAL units (ITU-T H.264 and H.265, B.1).
fn annexb(prefix: &[u8]) -> Option<Container> {
    let zeros = prefix.iter().position(|byte| *byte != 0)?;
    if zeros < 2 || prefix[zeros] != 1 {
        return Some(Container::Opaque);
    }
    let mut rest = &prefix[zeros + 1..];
    loop {
        let &[first, second] = rest.first_chunk()?;
        if let Some(container) = nal_header(first, second) {
            return Some(container);
        }
        rest = &rest[memmem::find(rest, &[0, 0, 1])? + 3..];
    }
}

/// Whose NAL unit starts with these two bytes; `None` when it could be of either.
///
/// The first byte of H.265 is even unless `nuh_layer_id` is 32 or more, which no encoder writes; its second
/// is a temporal id of 1 to 7 with the rest of the layer id, zero (7.3.1.2). The types that a stream of H.264
/// starts with are odd except for SEI and PPS (table 7-1).
fn nal_header(first: u8, second: u8) -> Option<Container> {
    if first & 0x80 != 0 {
        return Some(Container::Opaque);
    }
    let (reference, h264_type) = (first >> 5, first & 0x1F);
    let h264 = match h264_type {
        1 => true,
        // Never unreferenced: IDR slice, SPS, PPS.
        5 | 7 | 8 => reference != 0,
        // Never referenced: SEI, AUD.
        6 | 9 => reference == 0,
        _ => false,
    };
    let h265_type = first >> 1;
    let h265 = first & 1 == 0
        && match h265_type {
            // Slices; parameter sets and delimiter; SEI.
            0..=9 | 16..=21 | 39 => (1..=7).contains(&second),
            32..=35 => second == 1,
            _ => false,
        };
    match (h264, h265) {
        (true, false) => Some(Container::H264),
        (false, true) => Some(Container::H265),
        (true, true) => None,
        // A type that neither starts with, filler data for one: what follows may tell.
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(pid: u16, count: usize) -> Vec<u8> {
        let mut packet = [0xFF; TS_PACKET_BYTES];
        packet[..4].copy_from_slice(&[TS_SYNC, 0x40 | (pid >> 8) as u8, pid as u8, 0x10]);
        packet.repeat(count)
    }

    #[test]
    fn each_container_is_known_by_its_first_bytes() {
        for (prefix, container) in [
            (&b"FLV\x01"[..], Container::Flv),
            (&[0x1A, 0x45, 0xDF, 0xA3], Container::WebM),
            (&[0xFF, 0xD8, 0xFF], Container::Mjpeg),
            (b"\0\0\0\x18ftyp", Container::Fmp4),
            (b"\0\0\0\x18styp", Container::Fmp4),
            (b"\0\0\x02\x18moov", Container::Fmp4),
            (&[0, 0, 0, 1, 0x09, 0xF0, 0, 0], Container::H264),
            (&[0, 0, 1, 0x67, 0x64, 0, 0, 0], Container::H264),
            (&[0, 0, 0, 1, 0x41, 0x9A, 0, 0], Container::H264),
            (&[0, 0, 0, 1, 0x40, 0x01, 0, 0], Container::H265),
            (&[0, 0, 0, 1, 0x46, 0x01, 0x50, 0], Container::H265),
            (&[0, 0, 0, 0, 1, 0x4E, 0x01, 0x50], Container::H265),
        ] {
            assert_eq!(detect(prefix), Some(container), "{prefix:02X?}");
            assert_eq!(detect(&prefix[..prefix.len().min(3) - 1]), None, "{prefix:02X?}");
        }
    }

    #[test]
    fn a_single_packet_of_a_table_is_a_transport_stream() {
        assert_eq!(detect(&packets(0x11, 1)[..187]), None);
        assert_eq!(detect(&packets(0x11, 1)), Some(Container::MpegTs));
    }

    #[test]
    fn packets_of_any_other_pid_need_company() {
        assert_eq!(detect(&packets(0x100, 2)), None);
        assert_eq!(detect(&packets(0x100, 3)), Some(Container::MpegTs));
        let mut one = packets(0x100, 1);
        one.push(0);
        assert_eq!(detect(&one), Some(Container::Opaque));
    }

    #[test]
    fn what_nobody_knows_is_opaque_at_once() {
        for prefix in [&b"h"[..], b"--boundary", b"GET /", b"FLX", b"RIFF", &[0, 5], &[0, 0, 1, 0xBA, 0x44]] {
            let prefix = [prefix, &[0; 6]].concat();
            assert_eq!(detect(&prefix), Some(Container::Opaque), "{prefix:02X?}");
        }
    }

    #[test]
    fn an_ambiguous_unit_leaves_it_to_the_next() {
        // SEI of H.264 with a payload type of 1, or a temporal sub-layer picture of H.265.
        let sei = [0, 0, 0, 1, 0x06, 0x01, 0x07, 0x80];
        assert_eq!(detect(&sei), None);
        assert_eq!(detect(&[&sei[..], &[0, 0, 1, 0x65, 0x88]].concat()), Some(Container::H264));
        assert_eq!(detect(&[&sei[..], &[0, 0, 1, 0x26, 0x01]].concat()), Some(Container::H265));
    }

    #[test]
    fn nothing_stays_undecided() {
        let mut prefix = vec![0; PREFIX_BYTES_MAX];
        assert_eq!(detect(&prefix[..PREFIX_BYTES_MAX - 1]), None);
        assert_eq!(detect(&prefix), Some(Container::Opaque));
        prefix.extend([0, 0, 1, 0x67]);
        assert_eq!(detect(&prefix), Some(Container::Opaque));
    }
}
