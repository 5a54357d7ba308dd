//! The ring of one publication: the newest chunks, and where a receiver may join or skip to.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Chunks are numbered without holes. Whatever a cursor reads is in order; where it cannot read │
//! │ on, it continues at a join point or not at all.                                              │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Pure: no socket, no lock, no clock. Time comes in as milliseconds of any clock that only grows.

use std::collections::VecDeque;

use bytes::Bytes;
use relay_media::Join;

use crate::chunk::Chunk;

/// How much a ring keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of all its chunks. One chunk is kept even if it alone is larger.
    pub(crate) bytes_max: usize,
    /// How far behind a receiver may be: older chunks go, unless they belong to the newest GOP.
    pub(crate) lag_ms_max: u64,
    /// Older chunks go even if they belong to the newest GOP.
    pub(crate) age_ms_max: u64,
}

/// The number of a chunk within its publication.
pub(crate) type Seq = u64;

/// The newest chunks of one publication.
#[derive(Debug)]
pub(crate) struct Ring {
    limits: Limits,
    chunks: VecDeque<Stored>,
    /// Number of the oldest chunk in `chunks`.
    first: Seq,
    bytes: usize,
    /// Offset in the stream of the byte after the newest chunk.
    stream_len: u64,
    /// Oldest first.
    joins: VecDeque<JoinPoint>,
    /// The newest init, which outlives the GOPs.
    init: Bytes,
    /// Number of `init`: the first is what the stream's own beginning carries, and each change adds one.
    generation: u32,
    tail: Tail,
}

#[derive(Debug)]
struct Stored {
    chunk: Chunk,
    /// Offset of its first byte in the stream.
    at: u64,
    arrived_ms: u64,
}

/// Where a new receiver may start when nothing is known of the stream's structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// Nowhere but at join points.
    Closed,
    /// Opaque stream: at any chunk from this one on.
    From(Seq),
}

/// A place where a decoder may start.
#[derive(Debug, Clone)]
pub(crate) struct JoinPoint {
    /// The chunk it lies in.
    pub(crate) seq: Seq,
    /// Bytes of that chunk's payload before it.
    pub(crate) offset: usize,
    /// What a decoder needs first.
    pub(crate) init: Bytes,
    /// Number of that init: a receiver that has this one needs only the preamble.
    pub(crate) generation: u32,
    /// What else must stand before the byte at the join point.
    pub(crate) preamble: Bytes,
}

/// The init that the beginning of a stream carries.
pub(crate) const FIRST_GENERATION: u32 = 1;

/// What a cursor finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// This many chunks were appended to the batch.
    Chunks(usize),
    /// The cursor stands after the newest chunk.
    CaughtUp,
    /// The chunk at the cursor is gone.
    FellOut,
}

impl Ring {
    /// A ring of a publication whose first chunk here is `first`; those before it are nobody's on this node.
    pub(crate) fn new(limits: Limits, first: Seq) -> Self {
        Self {
            limits,
            chunks: VecDeque::new(),
            first,
            bytes: 0,
            stream_len: 0,
            joins: VecDeque::new(),
            init: Bytes::new(),
            generation: FIRST_GENERATION,
            tail: Tail::Closed,
        }
    }

    /// Number of the oldest chunk that is kept.
    pub(crate) fn first(&self) -> Seq {
        self.first
    }

    /// Number that the next chunk will get.
    pub(crate) fn end(&self) -> Seq {
        self.first + self.chunks.len() as u64
    }

    /// Bytes of all chunks.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The newest init and its number; empty where the stream needs none or none has come.
    pub(crate) fn init(&self) -> (&Bytes, u32) {
        (&self.init, self.generation)
    }

    /// Appends the next chunk and lets go of what the limits no longer cover.
    pub(crate) fn push(&mut self, chunk: Chunk, now_ms: u64) -> Seq {
        let seq = self.end();
        self.bytes += chunk.cost();
        let at = self.stream_len;
        self.stream_len += chunk.payload().len() as u64;
        self.chunks.push_back(Stored { chunk, at, arrived_ms: now_ms });
        self.expire(now_ms);
        seq
    }

    /// Remembers a join point, wherever in the kept chunks it lies. Tells whether it could be kept.
    pub(crate) fn mark(&mut self, join: &Join) -> bool {
        if self.tail != Tail::Closed {
            // Any chunk is as good, and a GOP that never ends would keep the ring from letting go of its chunks.
            return false;
        }
        if !join.init.is_empty() && join.init != self.init {
            self.generation += u32::from(!self.init.is_empty());
            self.init = join.init.clone();
        }
        // The chunk it lies in: the last one that starts at or before it.
        let index = self.chunks.partition_point(|stored| stored.at <= join.at);
        let Some(stored) = index.checked_sub(1).and_then(|index| self.chunks.get(index)) else {
            return false;
        };
        let Ok(offset) = usize::try_from(join.at - stored.at) else { return false };
        let mut seq = self.first + index as u64 - 1;
        let mut offset = offset;
        // A join point at the very end of a chunk is the start of the next one, which may be still to come.
        if offset >= stored.chunk.payload().len() {
            seq += 1;
            offset = 0;
        }
        // Joins come in order; one that does not is of no use, since a newer one is there.
        if self.joins.back().is_some_and(|newest| (newest.seq, newest.offset) > (seq, offset)) {
            return false;
        }
        // Of the join points in one chunk only the first and the newest are ever asked for.
        let in_chunk = self.joins.iter().rev().take(2).filter(|join| join.seq == seq).count();
        if in_chunk == 2 {
            self.joins.pop_back();
        }
        self.joins.push_back(JoinPoint {
            seq,
            offset,
            init: join.init.clone(),
            generation: self.generation,
            preamble: join.preamble.clone(),
        });
        true
    }

    /// Remembers the join point with which a ring starts that does not start with its publication.
    pub(crate) fn mark_first(&mut self, offset: usize, init: Bytes, preamble: Bytes) {
        self.init = init.clone();
        let generation = self.generation;
        self.joins.push_front(JoinPoint { seq: self.first, offset, init, generation, preamble });
    }

    /// The number of the init that is needed at the first join point in a chunk, if there is one.
    pub(crate) fn generation_at(&self, seq: Seq) -> Option<u32> {
        let index = self.joins.partition_point(|join| join.seq < seq);
        self.joins.get(index).filter(|join| join.seq == seq).map(|join| join.generation)
    }

    /// The stream has no join points: a receiver may start at any chunk.
    pub(crate) fn mark_opaque(&mut self) {
        self.tail = Tail::From(self.first);
        // Where it began on this node is none either.
        self.joins.clear();
    }

    /// Lets new receivers start at nothing before this chunk. Chunks stay for receivers that are behind.
    pub(crate) fn clear_cache(&mut self, before: Seq) {
        while self.joins.front().is_some_and(|join| join.seq < before) {
            self.joins.pop_front();
        }
        if let Tail::From(from) = self.tail {
            self.tail = Tail::From(from.max(before));
        }
    }

    /// Newest place where a receiver may start, at or after chunk `from`.
    pub(crate) fn join_from(&self, from: Seq) -> Option<JoinPoint> {
        if let Tail::From(seq) = self.tail {
            let seq = seq.max(self.first).max(from);
            let nothing = Bytes::new();
            return Some(JoinPoint {
                seq,
                offset: 0,
                init: nothing.clone(),
                generation: FIRST_GENERATION,
                preamble: nothing,
            });
        }
        self.joins.back().filter(|join| join.seq >= from).cloned()
    }

    /// From which chunk on a cursor that fell out at `cursor` may join: with the most of the ring ahead of it. At the
    /// oldest chunk of an opaque stream it would fall out again with the next one.
    pub(crate) fn skip_from(&self, cursor: Seq) -> Seq {
        if self.tail == Tail::Closed { cursor } else { self.end() }
    }

    /// Oldest place where a receiver may start: the beginning of the publication as long as it is kept.
    pub(crate) fn join_first(&self) -> Option<JoinPoint> {
        if self.tail != Tail::Closed { self.join_from(0) } else { self.joins.front().cloned() }
    }

    /// Appends the chunks from `cursor` on to `batch`, up to `bytes_max` bytes but at least one, `count_max` at the most.
    pub(crate) fn read(
        &self,
        cursor: Seq,
        count_max: usize,
        bytes_max: usize,
        batch: &mut Vec<Bytes>,
    ) -> Read {
        if cursor < self.first {
            return Read::FellOut;
        }
        let skip = usize::try_from(cursor - self.first).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut count = 0;
        for stored in self.chunks.iter().skip(skip).take(count_max) {
            bytes += stored.chunk.cost();
            if count > 0 && bytes > bytes_max {
                break;
            }
            batch.push(stored.chunk.frame().clone());
            count += 1;
        }
        if count == 0 { Read::CaughtUp } else { Read::Chunks(count) }
    }

    /// The chunk with this number.
    pub(crate) fn get(&self, seq: Seq) -> Option<&Chunk> {
        let index = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        self.chunks.get(index).map(|stored| &stored.chunk)
    }

    /// Lets go of the oldest chunk, unless it is the only one. Tells the bytes freed.
    pub(crate) fn evict_oldest(&mut self) -> Option<usize> {
        if self.chunks.len() < 2 {
            return None;
        }
        let cost = self.chunks.pop_front()?.chunk.cost();
        self.first += 1;
        self.bytes -= cost;
        while self.joins.front().is_some_and(|join| join.seq < self.first) {
            self.joins.pop_front();
        }
        Some(cost)
    }

    /// Lets go of what the limits no longer cover.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        while let Some(oldest) = self.chunks.front() {
            let age = now_ms.saturating_sub(oldest.arrived_ms);
            let in_newest_gop = self.joins.back().is_some_and(|join| self.first >= join.seq);
            let keep = self.bytes <= self.limits.bytes_max
                && age <= self.limits.age_ms_max
                && (age <= self.limits.lag_ms_max || in_newest_gop);
            if keep || self.evict_oldest().is_none() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::OVERHEAD_BYTES;

    /// What a chunk of 8 bytes costs, header and all.
    const COST: usize = 16 + OVERHEAD_BYTES;
    const LIMITS: Limits = Limits { bytes_max: 10 * COST, lag_ms_max: 1000, age_ms_max: 5000 };

    fn join(at: u64) -> Join {
        Join { at, init: Bytes::from_static(b"init"), preamble: Bytes::new() }
    }

    /// Chunks of 8 bytes.
    fn ring(chunks: u64) -> Ring {
        let mut ring = Ring::new(LIMITS, 0);
        for number in 0..chunks {
            ring.push(Chunk::copy_from(&[number as u8; 8]), 0);
        }
        ring
    }

    #[test]
    fn bytes_are_bounded_at_the_bound() {
        let mut ring = ring(10);
        assert_eq!((ring.bytes(), ring.first()), (10 * COST, 0));
        ring.push(Chunk::copy_from(&[0; 1]), 0);
        assert_eq!((ring.bytes(), ring.first(), ring.end()), (10 * COST, 1, 11));
    }

    #[test]
    fn one_chunk_larger_than_the_ring_is_kept() {
        let mut ring = ring(3);
        ring.push(Chunk::copy_from(&[0; 50 * COST]), 0);
        assert_eq!((ring.first(), ring.end()), (3, 4));
    }

    #[test]
    fn the_newest_gop_outlives_the_lag_bound_but_not_the_age_bound() {
        let mut ring = ring(2);
        ring.mark(&join(8));
        ring.push(Chunk::copy_from(&[2; 8]), 1001);
        assert_eq!(ring.first(), 1, "chunk 0 is too old, chunk 1 starts the newest GOP");
        ring.push(Chunk::copy_from(&[3; 8]), 5001);
        assert_eq!(ring.first(), 3, "older than the age bound");
        assert!(ring.join_from(0).is_none());
        assert_eq!(ring.init().0, &Bytes::from_static(b"init"), "init outlives its GOP");
    }

    #[test]
    fn a_join_point_is_found_in_the_chunk_it_lies_in() {
        let mut ring = ring(3);
        assert!(ring.mark(&join(11)));
        let point = ring.join_from(0).unwrap();
        assert_eq!((point.seq, point.offset), (1, 3));
        assert!(ring.join_from(2).is_none());
        assert!(ring.mark(&join(24)), "the start of a chunk that is still to come");
        let point = ring.join_from(0).unwrap();
        assert_eq!((point.seq, point.offset), (3, 0));
        assert_eq!(ring.join_first().unwrap().seq, 1);
    }

    #[test]
    fn a_join_point_in_a_chunk_that_is_gone_is_not_kept() {
        let mut ring = ring(12);
        assert!(!ring.mark(&join(3)));
        assert!(ring.join_from(0).is_none());
    }

    #[test]
    fn an_opaque_stream_starts_at_its_tail_until_that_is_cleared() {
        let mut ring = ring(12);
        ring.mark_opaque();
        assert_eq!(ring.join_from(0).unwrap().seq, 2);
        ring.clear_cache(12);
        assert_eq!(ring.join_from(0).unwrap().seq, 12);
        assert_eq!(ring.read(2, 1, 1, &mut vec![]), Read::Chunks(1), "receivers that are behind still read");
    }

    #[test]
    fn an_opaque_stream_is_kept_no_longer_than_a_receiver_may_be_behind() {
        let mut ring = ring(1);
        ring.mark_opaque();
        ring.mark(&join(0));
        ring.push(Chunk::copy_from(&[1; 8]), 1000);
        assert_eq!(ring.first(), 0);
        ring.push(Chunk::copy_from(&[2; 8]), 1001);
        assert_eq!(ring.first(), 1);
    }

    #[test]
    fn nor_is_one_that_begins_here_in_its_midst() {
        let mut ring = Ring::new(LIMITS, 7);
        ring.push(Chunk::copy_from(&[0; 8]), 0);
        ring.mark_first(0, Bytes::new(), Bytes::new());
        assert_eq!(ring.join_first().unwrap().seq, 7);
        ring.mark_opaque();
        assert_eq!(ring.join_first().unwrap().seq, 7);
        ring.push(Chunk::copy_from(&[1; 8]), 1001);
        assert_eq!(ring.first(), 8);
        assert_eq!(ring.join_first().unwrap().seq, 8);
    }

    #[test]
    fn a_skip_leaves_the_whole_ring_ahead() {
        let mut ring = ring(12);
        ring.mark(&join(40));
        assert_eq!(ring.join_from(ring.skip_from(0)).unwrap().seq, 5, "the newest join point");
        ring.mark_opaque();
        assert_eq!(ring.join_from(ring.skip_from(0)).unwrap().seq, 12, "whatever comes next");
    }

    #[test]
    fn clearing_the_cache_leaves_init() {
        let mut ring = ring(3);
        ring.mark(&join(8));
        ring.clear_cache(3);
        assert!(ring.join_from(0).is_none());
        assert!(!ring.init().0.is_empty());
        ring.mark(&join(24));
        ring.clear_cache(3);
        assert_eq!(ring.join_from(0).unwrap().seq, 3, "it came after what was to be cleared");
    }

    #[test]
    fn join_points_in_one_chunk_are_bounded() {
        let mut ring = ring(3);
        for at in 8..16 {
            assert!(ring.mark(&join(at)));
        }
        assert_eq!(ring.joins.len(), 2);
        assert_eq!(ring.join_first().unwrap().offset, 0, "the first");
        assert_eq!(ring.join_from(0).unwrap().offset, 7, "and the newest");
    }

    #[test]
    fn inits_are_numbered_by_their_bytes() {
        let mut ring = ring(4);
        let mut generation_at = |at, init: &'static [u8]| {
            ring.mark(&Join { at, init: Bytes::from_static(init), preamble: Bytes::new() });
            ring.join_from(0).unwrap().generation
        };
        assert_eq!(generation_at(0, b""), 1);
        assert_eq!(generation_at(8, b"a"), 1, "the stream itself began with it");
        assert_eq!(generation_at(16, b"a"), 1);
        assert_eq!(generation_at(24, b"b"), 2);
    }

    #[test]
    fn a_batch_has_at_least_one_chunk() {
        let ring = ring(4);
        let mut batch = vec![];
        assert_eq!(ring.read(0, 9, 1, &mut batch), Read::Chunks(1));
        assert_eq!(ring.read(0, 9, 2 * COST, &mut batch), Read::Chunks(2));
        assert_eq!(ring.read(4, 9, 2 * COST, &mut batch), Read::CaughtUp);
        assert_eq!(batch.len(), 3);
    }

    proptest! {
        /// Whatever is pushed, marked and evicted: a cursor reads consecutive chunks or is told that it fell out,
        /// and every join point that is offered can be read from.
        #[test]
        fn reads_have_no_holes(steps in prop::collection::vec((0usize..40, 0u64..900, 0u8..6), 1..200)) {
            let mut ring = Ring::new(LIMITS, 0);
            let (mut now, mut cursor, mut stream_len) = (0, 0, 0u64);
            for (number, (len, pause, action)) in steps.into_iter().enumerate() {
                now += pause;
                let seq = ring.push(Chunk::copy_from(&vec![number as u8; len]), now);
                prop_assert_eq!(seq, number as u64);
                match action {
                    0 => { ring.mark(&join(stream_len)); }
                    1 => { ring.mark(&join(stream_len.saturating_sub(17))); }
                    2 => ring.clear_cache(ring.end()),
                    _ => {}
                }
                stream_len += len as u64;
                prop_assert!(ring.bytes() <= LIMITS.bytes_max || ring.end() - ring.first() == 1);
                if let Some(point) = ring.join_from(0) {
                    prop_assert!(point.seq >= ring.first() && point.seq <= ring.end());
                }
                let mut batch = vec![];
                match ring.read(cursor, 3, 2 * COST, &mut batch) {
                    Read::Chunks(count) => {
                        for (index, frame) in batch.iter().enumerate() {
                            prop_assert_eq!(frame, ring.get(cursor + index as u64).unwrap().frame());
                        }
                        cursor += count as u64;
                    }
                    Read::CaughtUp => prop_assert_eq!(cursor, ring.end()),
                    Read::FellOut => {
                        prop_assert!(cursor < ring.first());
                        cursor = ring.first();
                    }
                }
            }
        }
    }
}
