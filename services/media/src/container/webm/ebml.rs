//! EBML (RFC 8794): element headers, and elements within elements.

use crate::container::assembler::Assembler;

/// What precedes the data of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// With its length marker, as specifications print it.
    pub(super) id: u32,
    /// `None` for an element that goes on until one of its parent's level starts (RFC 8794, 6.2).
    pub(super) size: Option<u64>,
    /// Bytes of the header itself.
    pub(super) bytes: usize,
}

/// Why there is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// So many bytes are needed to say more.
    Bytes(usize),
    /// No element starts like this.
    Invalid,
}

impl Header {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Missing> {
        let first = *bytes.first().ok_or(Missing::Bytes(2))?;
        let id_bytes = first.leading_zeros() as usize + 1;
        if id_bytes > 4 {
            return Err(Missing::Invalid);
        }
        let size = *bytes.get(id_bytes).ok_or(Missing::Bytes(id_bytes + 1))?;
        let total = id_bytes + vint_bytes(size).ok_or(Missing::Invalid)?;
        let (id, size) = bytes.get(..total).ok_or(Missing::Bytes(total))?.split_at(id_bytes);
        let (size, unknown) = vint(size).ok_or(Missing::Invalid)?;
        let id = id.iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
        Ok(Self { id, size: (!unknown).then_some(size), bytes: total })
    }

    /// `Ok(None)` when it takes more bytes to tell.
    pub(super) fn peek(bytes: &mut Assembler, input: &mut &[u8]) -> Result<Option<Self>, Missing> {
        let mut n = 2;
        loop {
            let Some(shown) = bytes.peek(input, n) else { return Ok(None) };
            match Self::parse(shown) {
                Ok(header) => return Ok(Some(header)),
                Err(Missing::Bytes(more)) => n = more,
                Err(Missing::Invalid) => return Err(Missing::Invalid),
            }
        }
    }
}

/// Length of a variable size integer by its first byte (RFC 8794, 4).
fn vint_bytes(first: u8) -> Option<usize> {
    (first != 0).then(|| first.leading_zeros() as usize + 1)
}

/// The integer at the start of these bytes, and whether all of its bits are set; its length follows from the
/// first byte.
fn vint(bytes: &[u8]) -> Option<(u64, bool)> {
    let n = vint_bytes(*bytes.first()?)?;
    let raw = uint(bytes.get(..n)?);
    let ones = (1 << (7 * n)) - 1;
    Some((raw & ones, raw & ones == ones))
}

/// A variable size integer that is a value, and the bytes after it.
pub(super) fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (value, _) = vint(bytes)?;
    Some((value, bytes.get(vint_bytes(*bytes.first()?)?..)?))
}

/// An unsigned integer element: big endian, of any length. Beyond eight bytes only the last count.
pub(super) fn uint(data: &[u8]) -> u64 {
    data.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// A float element, of four bytes or eight.
pub(super) fn float(data: &[u8]) -> f64 {
    match data.len() {
        4 => data.first_chunk().map(|bytes| f32::from_be_bytes(*bytes).into()),
        8 => data.first_chunk().map(|bytes| f64::from_be_bytes(*bytes)),
        _ => None,
    }
    .unwrap_or_default()
}

/// A string element, which may be padded with zeros. What is longer than any codec id is cut off.
pub(super) fn text(data: &[u8]) -> String {
    const BYTES_MAX: usize = 64;
    let data = data.get(..BYTES_MAX).unwrap_or(data);
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    String::from_utf8_lossy(&data[..end]).into_owned()
}

/// The elements of a whole parent, up to the first that is not whole.
pub(super) fn children(mut data: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let header = Header::parse(data).ok()?;
        let rest = &data[header.bytes..];
        let (child, rest) = rest.split_at_checked(usize::try_from(header.size?).ok()?)?;
        data = rest;
        Some((header.id, child))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_every_length() {
        let header = |bytes: &[u8]| Header::parse(bytes);
        assert_eq!(header(&[0xA3, 0x82, 9]), Ok(Header { id: 0xA3, size: Some(2), bytes: 2 }));
        assert_eq!(
            header(&[0x1A, 0x45, 0xDF, 0xA3, 0x40, 0x02]),
            Ok(Header { id: 0x1A45_DFA3, size: Some(2), bytes: 6 })
        );
        let segment = [0x18, 0x53, 0x80, 0x67, 1, 255, 255, 255, 255, 255, 255, 255];
        assert_eq!(header(&segment), Ok(Header { id: 0x1853_8067, size: None, bytes: 12 }));
        assert_eq!(header(&[0xA3, 0xFF]), Ok(Header { id: 0xA3, size: None, bytes: 2 }));
        assert_eq!(header(&segment[..5]), Err(Missing::Bytes(12)));
        assert_eq!(header(&[0x07, 0x80]), Err(Missing::Invalid));
        assert_eq!(header(&[0xA3, 0]), Err(Missing::Invalid));
    }

    #[test]
    fn values() {
        assert_eq!(uint(&[1, 2]), 0x102);
        assert_eq!(float(&48_000f32.to_be_bytes()), 48_000.0);
        assert_eq!(float(&[1]), 0.0);
        assert_eq!(text(b"V_VP8\0\0"), "V_VP8");
        assert_eq!(number(&[0x40, 0x81, 7]), Some((0x81, &[7][..])));
    }

    #[test]
    fn a_child_that_is_not_whole_ends_the_list() {
        let data = [0xD7, 0x81, 5, 0x83, 0x81, 1, 0x86, 0x85, b'V'];
        let found: Vec<_> = children(&data).collect();
        assert_eq!(found, [(0xD7, &[5][..]), (0x83, &[1][..])]);
    }
}
