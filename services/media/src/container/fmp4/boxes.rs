//! Boxes (ISO/IEC 14496-12, 4.2).

use crate::container::assembler::Assembler;

/// What precedes the content of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: [u8; 4],
    /// All of the box; `None` for one that goes on to the end of the stream.
    pub(super) size: Option<u64>,
    /// Bytes of the header itself.
    pub(super) bytes: usize,
}

impl Header {
    /// `None` when it takes more bytes, or more size, than there is.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (size, kind) = (u32::from_be_bytes(*bytes.first_chunk()?), *bytes.get(4..)?.first_chunk()?);
        let header = match size {
            0 => Self { kind, size: None, bytes: 8 },
            1 => {
                let size = u64::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
                Self { kind, size: Some(size), bytes: 16 }
            }
            _ => Self { kind, size: Some(size.into()), bytes: 8 },
        };
        header.size.is_none_or(|size| size >= header.bytes as u64).then_some(header)
    }

    /// The outer option: whether the bytes for it are there. The inner one: whether it is a box.
    pub(super) fn peek(bytes: &mut Assembler, input: &mut &[u8]) -> Option<Option<Self>> {
        let short = bytes.peek(input, 8)?;
        let long = short.starts_with(&[0, 0, 0, 1]);
        Some(Self::parse(bytes.peek(input, if long { 16 } else { 8 })?))
    }
}

/// The boxes within a box, up to the first that is not whole.
pub(super) fn children(mut content: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let header = Header::parse(content)?;
        let size = header.size.map_or(Some(content.len()), |size| usize::try_from(size).ok())?;
        let (child, rest) = content.split_at_checked(size)?;
        content = rest;
        Some((header.kind, &child[header.bytes..]))
    })
}

/// The content of the first box of this kind.
pub(super) fn child<'a>(content: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    children(content).find(|(found, _)| found == kind).map(|(_, content)| content)
}

/// Reads numbers one after another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn skip(&mut self, n: usize) -> Option<()> {
        self.0 = self.0.get(n..)?;
        Some(())
    }

    /// Version and flags of a full box (4.2.2).
    pub(super) fn version_flags(&mut self) -> Option<(u8, u32)> {
        self.u32().map(|word| ((word >> 24) as u8, word & 0xFF_FFFF))
    }

    /// A number whose width depends on the version of its box.
    pub(super) fn wide(&mut self, version: u8) -> Option<u64> {
        if version == 1 { self.u64() } else { self.u32().map(u64::from) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let header = |bytes: &[u8]| Header::parse(bytes).map(|header| (header.size, header.bytes));
        assert_eq!(header(b"\0\0\0\x08free"), Some((Some(8), 8)));
        assert_eq!(header(b"\0\0\0\0mdat"), Some((None, 8)));
        assert_eq!(header(b"\0\0\0\x01mdat\0\0\0\x01\0\0\0\0"), Some((Some(1 << 32), 16)));
        assert_eq!(header(b"\0\0\0\x07free"), None);
        assert_eq!(header(b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x0f"), None);
        assert_eq!(header(b"\0\0\0\x01mdat"), None);
    }

    #[test]
    fn the_last_child_may_go_on_to_the_end() {
        let content = b"\0\0\0\x09aaaa!\0\0\0\0bbbb??";
        let found: Vec<_> = children(content).collect();
        assert_eq!(found, [(*b"aaaa", &b"!"[..]), (*b"bbbb", &b"??"[..])]);
        assert_eq!(child(content, b"bbbb"), Some(&b"??"[..]));
        assert_eq!(child(&content[..8], b"aaaa"), None);
    }
}
