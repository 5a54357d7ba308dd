//! What a scanner finds, and where a container's scanner puts it.

use bytes::Bytes;

use crate::{Info, Track};

/// A place in the stream where a decoder may start.
///
/// The stream that such a decoder gets is `init`, `preamble`, then every byte from `at` on. One that already has an equal
/// `init` needs only the preamble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Offset from the first byte of the publication.
    pub at: u64,
    /// What a decoder needs before any GOP. Empty where the stream itself starts with its init at `at`.
    pub init: Bytes,
    /// What else must stand before the byte at `at`: a WebM cluster header, when the key frame lies in the middle of a
    /// cluster. Mostly empty.
    pub preamble: Bytes,
}

impl Join {
    /// Everything that a decoder that has nothing yet gets before the byte at `at`.
    pub fn lead(&self) -> Vec<u8> {
        [self.init.as_ref(), self.preamble.as_ref()].concat()
    }
}

/// What a scanner found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A decoder may start here. May name an offset of an earlier push, never one before the last `Join`.
    Join(Join),
    /// A media unit starts at this offset: an FLV tag, a PES packet, a fragment, a block, a picture, an access unit.
    /// Cutting the stream here cuts nothing in two. `time` is its decoding time in milliseconds where the container has one.
    /// Only reported by [`Scanner::with_units`](crate::Scanner::with_units).
    Unit {
        /// Offset from the first byte of the publication.
        at: u64,
        /// Milliseconds on the stream's own clock.
        time_ms: Option<u64>,
    },
    /// [`Scanner::info`](crate::Scanner::info) says more than before.
    Info,
}

/// Where a container's scanner puts what it finds.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) events: Vec<Event>,
    pub(crate) info: Option<Info>,
    pub(crate) units: bool,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { events: Vec::new(), info: None, units: false }
    }

    pub(crate) fn join(&mut self, at: u64, init: &Bytes) {
        self.join_with(at, init, Bytes::new());
    }

    pub(crate) fn join_with(&mut self, at: u64, init: &Bytes, preamble: Bytes) {
        self.events.push(Event::Join(Join { at, init: init.clone(), preamble }));
    }

    pub(crate) fn unit(&mut self, at: u64, time_ms: Option<u64>) {
        if self.units {
            self.events.push(Event::Unit { at, time_ms });
        }
    }

    /// The tracks as they are known now; says so if that is news.
    pub(crate) fn tracks(&mut self, tracks: Vec<Track>) {
        if let Some(info) = &mut self.info
            && info.tracks != tracks
        {
            info.tracks = tracks;
            self.events.push(Event::Info);
        }
    }
}
