//! Chunks that are due together, ready for any number of sockets.

use std::io::IoSlice;

use bytes::Bytes;

use crate::gop::Seq;

/// Most chunks in one vectored write; Linux takes 1024 pieces, a few dozen already hide the system call.
pub(crate) const BATCH_FRAMES_MAX: usize = 64;

/// Bytes that are written to one socket before the next gets its turn.
pub(crate) const BATCH_BYTES_MAX: usize = 512 << 10;

/// Consecutive chunks of a feed.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    first: Seq,
    frames: &'a [Bytes],
    slices: [IoSlice<'a>; BATCH_FRAMES_MAX],
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
        let mut slices = [IoSlice::new(&[]); BATCH_FRAMES_MAX];
        for (slice, frame) in slices.iter_mut().zip(frames) {
            *slice = IoSlice::new(frame);
        }
        Self { first, frames, slices }
    }

    /// Number of the first chunk.
    pub(crate) fn first(&self) -> Seq {
        self.first
    }

    /// Number after the last chunk.
    pub(crate) fn end(&self) -> Seq {
        self.first + self.frames.len() as u64
    }

    /// The frames from this chunk on, and the same as slices.
    pub(crate) fn from(&self, next: Seq) -> (&[Bytes], &[IoSlice<'a>]) {
        let skip = usize::try_from(next - self.first).unwrap_or(usize::MAX).min(self.frames.len());
        let frames = &self.frames[skip..];
        (frames, &self.slices[skip..skip + frames.len()])
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

    #[test]
    fn a_batch_is_read_from_any_of_its_chunks_on() {
        let frames = [Bytes::from_static(b"a"), Bytes::from_static(b"bc"), Bytes::from_static(b"d")];
        let batch = Batch::new(7, &frames);
        assert_eq!((batch.first(), batch.end()), (7, 10));
        for next in 7..=10 {
            let (rest, slices) = batch.from(next);
            assert_eq!(rest, &frames[next as usize - 7..]);
            assert!(slices.iter().map(|slice| &slice[..]).eq(rest.iter().map(|frame| &frame[..])));
        }
        assert_eq!(Sent::of(batch.from(8).0), Sent { chunks: 2, bytes: 3 });
    }
}
