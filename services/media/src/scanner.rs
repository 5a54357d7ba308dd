//! The scanner: bytes in, events out.

use bytes::Bytes;

use crate::container::Scan;
use crate::{Container, Info};

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

/// What a scanner found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A decoder may start here. May name an offset of an earlier push, never one before the last `Join`.
    Join(Join),
    /// A media unit starts at this offset: an FLV tag, a PES packet, a fragment, a block, a picture, an access unit.
    /// Cutting the stream here cuts nothing in two. `time` is its decoding time in milliseconds where the container has one.
    /// Only reported by [`Scanner::with_units`].
    Unit {
        /// Offset from the first byte of the publication.
        at: u64,
        /// Milliseconds on the stream's own clock.
        time_ms: Option<u64>,
    },
    /// [`Scanner::info`] says more than before.
    Info,
}

/// Reads one publication from its first byte on.
#[derive(Debug)]
pub struct Scanner {
    report: Report,
    state: Option<Box<dyn Scan>>,
}

impl Scanner {
    /// A scanner that recognises the container by itself.
    pub fn new() -> Self {
        Self { report: Report::new(), state: None }
    }

    /// A scanner for a container that is known beforehand.
    pub fn for_container(container: Container) -> Self {
        let _ = container;
        Self::new()
    }

    /// Also reports [`Event::Unit`].
    #[must_use]
    pub fn with_units(mut self) -> Self {
        self.report.units = true;
        self
    }

    /// Takes the next bytes and appends what they revealed to `events`, in stream order of discovery.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        let _ = (bytes, &self.state);
        events.append(&mut self.report.events);
    }

    /// The container; `None` while the bytes so far could still be several.
    pub fn container(&self) -> Option<Container> {
        self.report.info.as_ref().map(|info| info.container)
    }

    /// What is known so far; `None` while the container is not.
    pub fn info(&self) -> Option<&Info> {
        self.report.info.as_ref()
    }
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

/// Where a container's scanner puts what it finds.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) events: Vec<Event>,
    pub(crate) info: Option<Info>,
    pub(crate) units: bool,
}

impl Report {
    fn new() -> Self {
        Self { events: Vec::new(), info: None, units: false }
    }

    pub(crate) fn join(&mut self, at: u64, init: &Bytes) {
        self.events.push(Event::Join(Join { at, init: init.clone(), preamble: Bytes::new() }));
    }

    pub(crate) fn unit(&mut self, at: u64, time_ms: Option<u64>) {
        if self.units {
            self.events.push(Event::Unit { at, time_ms });
        }
    }
}
