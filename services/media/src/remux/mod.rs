//! From FLV, MPEG-TS and Annex B to fragmented MP4.

use bytes::Bytes;

use crate::Container;

/// A piece of the fragmented MP4 that a [`Remuxer`] makes; each is sent as one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// Whole boxes: `ftyp` + `moov`, or `moof` + `mdat`.
    pub bytes: Bytes,
}

/// Turns FLV, MPEG-TS, H.264 or H.265 into fragmented MP4, a fragment per video access unit.
#[derive(Debug)]
pub struct Remuxer {}

impl Remuxer {
    /// A remuxer for this container; `None` for those that browsers play as they are, and for opaque streams.
    pub fn new(container: Container) -> Option<Self> {
        let _ = container;
        None
    }

    /// Takes the next bytes, cut anywhere, and appends the fragments they complete. `now_ms` is a clock that only
    /// grows; it times the pictures of streams that carry no time themselves (Annex B).
    pub fn push(&mut self, bytes: &[u8], now_ms: u64, fragments: &mut Vec<Fragment>) {
        let _ = (bytes, now_ms, fragments);
    }

    /// The codec that keeps the stream from being remuxed at all.
    pub fn unsupported(&self) -> Option<&str> {
        None
    }
}
