//! What the benches reach of the path of a chunk: no interface, and nothing but calls.

use bytes::Bytes;
use relay_media::Join;
use relay_proto::websocket::Mask;

use crate::batch::{BATCH_BYTES_MAX, BATCH_FRAMES_MAX};
use crate::inbound::{Decoder, Received};
use crate::{chunk, config, gop};

/// A chunk, ready to be kept.
#[derive(Debug)]
pub struct Chunk(chunk::Chunk);

impl Chunk {
    /// Copies and frames a payload.
    pub fn copy_from(payload: &[u8]) -> Self {
        Self(chunk::Chunk::copy_from(payload))
    }
}

/// Unmasks a payload in place.
pub fn unmask(key: [u8; 4], payload: &mut [u8]) {
    Mask::new(key).apply(payload);
}

/// Appends a payload unmasked.
pub fn unmask_onto(key: [u8; 4], masked: &[u8], payload: &mut Vec<u8>) {
    Mask::new(key).unmask_onto(masked, payload);
}

/// Decodes a publisher's bytes that are read `read` at a time. Tells how many chunks they were.
pub fn decode(bytes: &[u8], read: usize) -> usize {
    let mut decoder = Decoder::new(bytes.len());
    let mut chunks = 0;
    for mut input in bytes.chunks(read) {
        while let Some(Received::Binary(_)) = decoder.take(&mut input, |_| {}) {
            chunks += 1;
        }
    }
    chunks
}

/// A ring with the limits that a node has by default.
#[derive(Debug)]
pub struct Ring {
    ring: gop::Ring,
    batch: Vec<Bytes>,
}

impl Ring {
    /// Full, of chunks of one length; a receiver may join at each `gop`-th of them.
    pub fn full(payload: &[u8], gop: usize) -> Self {
        let config = config::Config::default();
        let limits =
            gop::Limits { bytes_max: config.cache_bytes, lag_ms_max: u64::MAX, age_ms_max: u64::MAX };
        let mut ring = gop::Ring::new(limits, 0);
        let mut at = 0;
        while ring.first() == 0 {
            let seq = ring.push(chunk::Chunk::copy_from(payload), 0);
            if seq.is_multiple_of(gop as u64) {
                ring.mark(&Join { at, init: Bytes::new(), preamble: Bytes::new() });
            }
            at += payload.len() as u64;
        }
        Self { ring, batch: Vec::with_capacity(BATCH_FRAMES_MAX) }
    }

    /// Keeps a chunk, and lets go of the oldest for it.
    pub fn push(&mut self, chunk: Chunk) {
        self.ring.push(chunk.0, 0);
    }

    /// What a receiver gets that joins: the first chunks from the newest join point on. Tells how many.
    pub fn join(&mut self) -> usize {
        let Some(join) = self.ring.join_from(0) else { return 0 };
        self.read(join.seq)
    }

    /// What a receiver gets that is so many chunks behind. Tells how many.
    pub fn catch_up(&mut self, behind: usize) -> usize {
        self.read(self.ring.end() - behind as u64)
    }

    fn read(&mut self, next: gop::Seq) -> usize {
        self.batch.clear();
        self.ring.read(next, BATCH_FRAMES_MAX, BATCH_BYTES_MAX, &mut self.batch);
        self.batch.len()
    }
}
