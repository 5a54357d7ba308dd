//! Chunks that are due together, ready for any number of sockets.

use std::io::IoSlice;

use bytes::Bytes;

use crate::gop::Seq;

/// Most chunks in one vectored write; Linux takes 1024 pieces, a few dozen already hide the system call.
pub(crate) const BATCH_FRAMES_MAX: usize = 64;

/// Bytes that are written to one socket before the next gets its turn.
pub(crate) const BATCH_BYTES_MAX: usize = 512 << 10;

/// Frames of up to this size, on average, are copied to stand in one piece: for the kernel many small pieces are more work
/// than their bytes, and the copy is made once for all sockets.
const JOINED_FRAME_BYTES_MAX: usize = 4 << 10;

/// Consecutive chunks of a feed.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    first: Seq,
    frames: &'a [Bytes],
    slices: [IoSlice<'a>; BATCH_FRAMES_MAX],
    /// All frames in one piece; empty where that is no gain.
    joined: Vec<u8>,
}

/// The bytes of consecutive frames, ready to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wire<'a> {
    Whole(&'a [u8]),
    Pieces(&'a [IoSlice<'a>]),
}

/// What went to receivers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) chunks: u64,
    pub(crate) bytes: usize,
}

impl<'a> Batch<'a> {
    /// At most [`BATCH_FRAMES_MAX`] frames, of which the first is chunk `first`.
    pub(crate) fn new(first: Seq, frames: &'a [Bytes]) -> Self {
        let bytes: usize = frames.iter().map(Bytes::len).sum();
        let is_joined = frames.len() > 1 && bytes <= frames.len() * JOINED_FRAME_BYTES_MAX;
        let joined = if is_joined { frames.concat() } else { Vec::new() };
        let mut slices = [IoSlice::new(&[]); BATCH_FRAMES_MAX];
        for (slice, frame) in slices.iter_mut().zip(frames) {
            *slice = IoSlice::new(frame);
        }
        Self { first, frames, slices, joined }
    }

    /// Number of the first chunk.
    pub(crate) fn first(&self) -> Seq {
        self.first
    }

    /// Number after the last chunk.
    pub(crate) fn end(&self) -> Seq {
        self.first + self.frames.len() as u64
    }

    /// The frames from this chunk on, and their bytes.
    pub(crate) fn from(&self, next: Seq) -> (&[Bytes], Wire<'_>) {
        let skip = usize::try_from(next - self.first).unwrap_or(usize::MAX).min(self.frames.len());
        let frames = &self.frames[skip..];
        let wire = match frames {
            [frame] => Wire::Whole(frame),
            _ if skip == 0 && !self.joined.is_empty() => Wire::Whole(&self.joined),
            _ => Wire::Pieces(&self.slices[skip..skip + frames.len()]),
        };
        (frames, wire)
    }
}

impl Sent {
    pub(crate) fn of(frames: &[Bytes]) -> Self {
        Self { chunks: frames.len() as u64, bytes: frames.iter().map(Bytes::len).sum() }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.chunks += other.chunks;
        self.bytes += other.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(wire: Wire<'_>) -> Vec<u8> {
        match wire {
            Wire::Whole(bytes) => bytes.to_vec(),
            Wire::Pieces(pieces) => pieces.iter().flat_map(|piece| piece.to_vec()).collect(),
        }
    }

    #[test]
    fn a_batch_is_read_from_any_of_its_chunks_on() {
        for len in [1, JOINED_FRAME_BYTES_MAX, JOINED_FRAME_BYTES_MAX + 1] {
            let frames = [1, 2, 3].map(|byte| Bytes::from(vec![byte; len]));
            let batch = Batch::new(7, &frames);
            assert_eq!((batch.first(), batch.end()), (7, 10));
            for next in 7..=10 {
                let (rest, wire) = batch.from(next);
                assert_eq!(rest, &frames[next as usize - 7..]);
                assert_eq!(bytes(wire), rest.concat());
            }
            assert_eq!(matches!(batch.from(7).1, Wire::Whole(_)), len <= JOINED_FRAME_BYTES_MAX);
            assert_eq!(Sent::of(batch.from(8).0), Sent { chunks: 2, bytes: 2 * len });
        }
    }
}
