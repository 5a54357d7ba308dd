//! A chunk: framed once, shared by every receiver.

use bytes::{Bytes, BytesMut};
use relay_proto::websocket::{FrameHeader, OpCode};

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
        Self::joined(&[payload])
    }

    /// One chunk out of several pieces.
    pub(crate) fn joined(pieces: &[&[u8]]) -> Self {
        let payload_len = pieces.iter().map(|piece| piece.len()).sum();
        let header = FrameHeader::new(OpCode::Binary, payload_len);
        let mut frame = BytesMut::with_capacity(header.as_bytes().len() + payload_len);
        frame.extend_from_slice(header.as_bytes());
        for piece in pieces {
            frame.extend_from_slice(piece);
        }
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

    /// What the chunk costs in memory, header included.
    pub(crate) fn cost(&self) -> usize {
        self.frame.len()
    }

    /// The chunk without the first `skipped` bytes of its payload; `None` when nothing would be left.
    pub(crate) fn tail(&self, skipped: usize) -> Option<Self> {
        match self.payload().get(skipped..) {
            None | Some([]) => None,
            Some(_) if skipped == 0 => Some(self.clone()),
            Some(rest) => Some(Self::copy_from(rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_its_payload_behind_one_header() {
        let chunk = Chunk::joined(&[b"ab", b"", b"c"]);
        assert_eq!(&chunk.frame()[..], b"\x82\x03abc");
        assert_eq!(chunk.payload(), b"abc");
        assert_eq!(chunk.tail(0).unwrap().payload(), b"abc");
        assert_eq!(chunk.tail(2).unwrap().payload(), b"c");
        assert!(chunk.tail(3).is_none());
        assert!(chunk.tail(4).is_none());
    }
}
