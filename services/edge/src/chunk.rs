//! A chunk: framed once, shared by every receiver.

use bytes::{Bytes, BytesMut};
use relay_proto::websocket::{FrameHeader, OpCode};

/// What the allocator and the ring add to a chunk, about.
pub(crate) const OVERHEAD_BYTES: usize = 128;

/// One binary websocket message as it goes out: header and payload in one piece of memory.
///
/// This is where the payload is copied, once per node. The copy is exact in size, so a cached chunk never pins the
/// larger buffer that it was read into.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    frame: Bytes,
    header_len: usize,
}

impl Chunk {
    /// Copies and frames a payload.
    pub(crate) fn copy_from(payload: &[u8]) -> Self {
        let header = FrameHeader::new(OpCode::Binary, payload.len());
        let mut frame = BytesMut::with_capacity(header.as_bytes().len() + payload.len());
        frame.extend_from_slice(header.as_bytes());
        frame.extend_from_slice(payload);
        Self { frame: frame.freeze(), header_len: header.as_bytes().len() }
    }

    /// Header and payload.
    pub(crate) fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// The bytes that were published.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.frame[self.header_len..]
    }

    /// What the chunk costs in memory: a stream of tiny chunks is mostly what surrounds them.
    pub(crate) fn cost(&self) -> usize {
        self.frame.len() + OVERHEAD_BYTES
    }

    /// The payload without its first `skipped` bytes, shared; `None` when nothing would be left.
    pub(crate) fn payload_from(&self, skipped: usize) -> Option<Bytes> {
        let from = self.header_len.saturating_add(skipped);
        (from < self.frame.len()).then(|| self.frame.slice(from..))
    }
}

/// One message of these pieces, as frames go out: a header, and the pieces themselves, which are not copied. Nothing
/// where there is nothing to send.
pub(crate) fn message(pieces: &[Bytes]) -> impl Iterator<Item = Bytes> {
    let payload_len = pieces.iter().map(Bytes::len).sum();
    let header = FrameHeader::new(OpCode::Binary, payload_len);
    let header = (payload_len > 0).then(|| Bytes::copy_from_slice(header.as_bytes()));
    header.into_iter().chain(pieces.iter().filter(|piece| !piece.is_empty()).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_its_payload_behind_one_header() {
        let chunk = Chunk::copy_from(b"abc");
        assert_eq!(&chunk.frame()[..], b"\x82\x03abc");
        assert_eq!(chunk.payload(), b"abc");
        assert_eq!(chunk.payload_from(0).unwrap(), "abc");
        assert_eq!(chunk.payload_from(2).unwrap(), "c");
        assert_eq!(chunk.payload_from(3), None);
        assert_eq!(chunk.payload_from(usize::MAX), None);
    }

    #[test]
    fn a_message_of_pieces_has_one_header() {
        let pieces = [Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"c")];
        assert_eq!(message(&pieces).collect::<Vec<_>>().concat(), b"\x82\x03abc");
        assert_eq!(message(&[Bytes::new()]).count(), 0);
    }
}
