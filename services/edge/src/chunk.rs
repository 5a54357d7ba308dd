//! A chunk: framed once, shared by every receiver.

use bytes::buf::Limit;
use bytes::{BufMut, Bytes, BytesMut};
use relay_proto::websocket::{FRAME_HEADER_BYTES_MAX, FrameHeader, Mask, OpCode};

/// What surrounds a chunk in the ring and in its counters of who holds it, about.
pub(crate) const OVERHEAD_BYTES: usize = 128;

/// Memory that is taken for a payload before any of it has come: most key frames fit. From there on, no more than has
/// come already is taken at once, so that who announces much and sends little costs little.
const AHEAD_BYTES_MAX: usize = 256 << 10;

/// One binary websocket message as it goes out: header and payload in one piece of memory.
///
/// The piece is exact in size, so a cached chunk never pins the larger buffer that it was read into.
#[derive(Debug, Clone, PartialEq, Eq)]
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

    /// Frames what is behind so many bytes of no use, which are enough for any header. Nothing is copied.
    pub(crate) fn behind_room(mut bytes: Vec<u8>, room: usize) -> Self {
        let header = FrameHeader::new(OpCode::Binary, bytes.len() - room);
        let header = header.as_bytes();
        let from = room - header.len();
        bytes[from..room].copy_from_slice(header);
        bytes.shrink_to_fit();
        Self { frame: Bytes::from(bytes).split_off(from), header_len: header.len() }
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
        allocated(self.frame.len()) + OVERHEAD_BYTES
    }

    /// The payload without its first `skipped` bytes, shared; `None` when nothing would be left.
    pub(crate) fn payload_from(&self, skipped: usize) -> Option<Bytes> {
        let from = self.header_len.saturating_add(skipped);
        (from < self.frame.len()).then(|| self.frame.slice(from..))
    }
}

/// What an allocation takes: allocators have four sizes from one power of two to the next, and none below 16 bytes apart.
const fn allocated(len: usize) -> usize {
    let step = len.next_power_of_two() / 8;
    len.next_multiple_of(if step > 16 { step } else { 16 })
}

/// A chunk that is on its way in: the payload is put where it stays.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Room for the header, then the payload so far.
    bytes: Vec<u8>,
    header_room: usize,
    /// What `bytes` will hold in the end, or can at most.
    bytes_max: usize,
}

impl Draft {
    /// A payload whose length is known.
    pub(crate) fn whole(payload_len: usize) -> Self {
        let header_room = FrameHeader::new(OpCode::Binary, payload_len).as_bytes().len();
        Self::with_room(header_room, payload_len, payload_len)
    }

    /// A payload of fragments; the first has this length, all together have at most `payload_len_max`.
    pub(crate) fn fragmented(first_len: usize, payload_len_max: usize) -> Self {
        Self::with_room(FRAME_HEADER_BYTES_MAX, first_len, payload_len_max)
    }

    fn with_room(header_room: usize, expected: usize, payload_len_max: usize) -> Self {
        let mut bytes = Vec::with_capacity(header_room + expected.min(AHEAD_BYTES_MAX));
        bytes.resize(header_room, 0);
        Self { bytes, header_room, bytes_max: header_room.saturating_add(payload_len_max) }
    }

    /// Bytes of payload so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.header_room
    }

    /// Appends a piece of the payload, which must be within what was announced.
    pub(crate) fn unmask_onto(&mut self, mask: &mut Mask, masked: &[u8]) {
        self.make_room(masked.len());
        mask.unmask_onto(masked, &mut self.bytes);
    }

    /// Lets `read` append up to `missing` bytes of payload, and unmasks what it appended. There is room for at least one.
    pub(crate) fn read_onto<T>(
        &mut self,
        mask: &mut Mask,
        missing: usize,
        read: impl FnOnce(&mut Limit<&mut Vec<u8>>) -> T,
    ) -> T {
        self.make_room(missing.min(AHEAD_BYTES_MAX));
        let from = self.bytes.len();
        let limit = missing.min(self.bytes.capacity() - from);
        let read = read(&mut (&mut self.bytes).limit(limit));
        mask.apply(&mut self.bytes[from..]);
        read
    }

    /// The chunk, behind its header.
    pub(crate) fn finish(self) -> Chunk {
        // Nothing is left to be shrunk but after fragments, whose number nobody knew.
        Chunk::behind_room(self.bytes, self.header_room)
    }

    fn make_room(&mut self, wanted: usize) {
        let (len, room) = (self.bytes.len(), self.bytes.capacity() - self.bytes.len());
        if room < wanted {
            // By no less than what is there, so that many small steps do not cost many copies.
            self.bytes.reserve_exact(wanted.max(len).min(self.bytes_max - len));
        }
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

    const UNMASKED: [u8; 4] = [0; 4];

    /// Memory behind a chunk that nobody shares.
    fn pinned(chunk: Chunk) -> usize {
        Vec::from(chunk.frame).capacity()
    }

    #[test]
    fn a_draft_becomes_the_same_chunk_whole_or_in_fragments() {
        for len in [0, 1, 125, 126, 127, 0xFFFF, 0x1_0000, AHEAD_BYTES_MAX + 1, 3 * AHEAD_BYTES_MAX] {
            let payload: Vec<u8> = (0..=250).cycle().take(len).collect();
            let expected = Chunk::copy_from(&payload);
            let mut mask = Mask::new(UNMASKED);
            let mut whole = Draft::whole(len);
            for piece in payload.chunks(60_000) {
                whole.unmask_onto(&mut mask, piece);
            }
            assert_eq!(whole.bytes.capacity(), expected.frame().len(), "nothing is left to be shrunk");
            assert_eq!(whole.finish(), expected);

            let mut fragmented = Draft::fragmented(len.min(1000), 1 << 30);
            for piece in payload.chunks(1000) {
                fragmented.unmask_onto(&mut mask, piece);
            }
            let fragmented = fragmented.finish();
            assert_eq!(fragmented, expected);
            assert!(pinned(fragmented) <= len + FRAME_HEADER_BYTES_MAX);
        }
    }

    #[test]
    fn who_announces_much_and_sends_little_takes_little_memory() {
        let mut draft = Draft::whole(1 << 30);
        assert!(draft.bytes.capacity() <= AHEAD_BYTES_MAX + FRAME_HEADER_BYTES_MAX);
        let mut mask = Mask::new(UNMASKED);
        while draft.len() < 8 << 20 {
            draft.read_onto(&mut mask, 1 << 30, |buffer| buffer.put_bytes(1, buffer.remaining_mut()));
            let held = draft.bytes.capacity();
            draft.read_onto(&mut mask, 1 << 30, |buffer| assert!(buffer.has_remaining_mut()));
            assert!(draft.bytes.capacity() <= 2 * held);
        }
    }

    #[test]
    fn a_read_gets_room_for_what_is_missing_and_no_more() {
        let mut draft = Draft::whole(AHEAD_BYTES_MAX + 7);
        let mut mask = Mask::new([1; 4]);
        for room in [AHEAD_BYTES_MAX, 7] {
            draft.read_onto(&mut mask, AHEAD_BYTES_MAX + 7 - draft.len(), |buffer| {
                assert_eq!(buffer.remaining_mut(), room);
                buffer.put_bytes(3, room);
            });
        }
        assert!(draft.finish().payload().iter().all(|byte| *byte == 2), "unmasked");
    }

    #[test]
    fn what_an_allocation_takes_is_a_size_of_the_allocator() {
        for (len, size) in [(1, 16), (16, 16), (17, 32), (128, 128), (129, 160), (8192, 8192), (8204, 10_240)]
        {
            assert_eq!(allocated(len), size);
        }
    }

    #[test]
    fn a_message_of_pieces_has_one_header() {
        let pieces = [Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"c")];
        assert_eq!(message(&pieces).collect::<Vec<_>>().concat(), b"\x82\x03abc");
        assert_eq!(message(&[Bytes::new()]).count(), 0);
    }
}
