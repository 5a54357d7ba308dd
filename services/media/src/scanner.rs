//! The scanner: bytes in, events out.

use bytes::Bytes;

use crate::container::detect::{PREFIX_BYTES_MAX, detect};
use crate::container::{Scan, scan, starts_with_init};
use crate::report::Report;
use crate::{Container, Event, Info};

/// Reads one publication from its first byte on.
#[derive(Debug)]
pub struct Scanner {
    report: Report,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The container is not known yet: the stream so far, at most [`PREFIX_BYTES_MAX`] of it.
    Detect(Vec<u8>),
    /// The container is known, and nothing of the stream was read yet.
    Start(Container),
    /// A container with a scanner.
    Scan(Box<dyn Scan>),
    /// A stream in which there is nothing to find.
    Pass,
}

impl Scanner {
    /// The most that a scanner keeps between pushes, in bytes, whatever the stream. Of an honest stream it keeps some
    /// hundred.
    pub const RETAINED_BYTES_MAX: usize = 8 << 20;

    /// A scanner that recognises the container by itself.
    pub fn new() -> Self {
        Self { report: Report::new(), stage: Stage::Detect(Vec::new()) }
    }

    /// A scanner for a container that is known beforehand.
    pub fn for_container(container: Container) -> Self {
        let mut report = Report::new();
        report.info = Some(Info { container, tracks: Vec::new() });
        Self { report, stage: Stage::Start(container) }
    }

    /// Also reports [`Event::Unit`].
    #[must_use]
    pub fn with_units(mut self) -> Self {
        self.report.units = true;
        self
    }

    /// Takes the next bytes and appends what they revealed to `events`, in stream order of discovery.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        if bytes.is_empty() {
            return;
        }
        // Whoever drains the events in the meantime gets them with one move of the vector, not event by event.
        std::mem::swap(&mut self.report.events, events);
        self.advance(bytes);
        std::mem::swap(&mut self.report.events, events);
    }

    /// The container; `None` while the bytes so far could still be several.
    pub fn container(&self) -> Option<Container> {
        self.report.info.as_ref().map(|info| info.container)
    }

    /// What is known so far; `None` while the container is not.
    pub fn info(&self) -> Option<&Info> {
        self.report.info.as_ref()
    }

    /// Bytes kept between pushes, at most [`Self::RETAINED_BYTES_MAX`].
    pub fn retained(&self) -> usize {
        match &self.stage {
            Stage::Detect(prefix) => prefix.capacity(),
            Stage::Scan(scan) => scan.retained(),
            Stage::Start(_) | Stage::Pass => 0,
        }
    }

    fn advance(&mut self, bytes: &[u8]) {
        match &mut self.stage {
            Stage::Scan(scan) => scan.push(bytes, &mut self.report),
            Stage::Pass => {}
            Stage::Start(container) => {
                let container = *container;
                self.start(container, bytes);
            }
            // The usual first push is long enough to tell, and is never copied.
            Stage::Detect(prefix) if prefix.is_empty() => match detect(bytes) {
                Some(container) => self.recognise(container, &[], bytes),
                None => prefix.extend_from_slice(bytes),
            },
            Stage::Detect(prefix) => {
                // What exceeds the bound is not needed to decide: at the bound the decision is made.
                let (now, later) = bytes.split_at(bytes.len().min(PREFIX_BYTES_MAX - prefix.len()));
                prefix.extend_from_slice(now);
                if let Some(container) = detect(prefix) {
                    let prefix = std::mem::take(prefix);
                    self.recognise(container, &prefix, later);
                }
            }
        }
    }

    fn recognise(&mut self, container: Container, prefix: &[u8], rest: &[u8]) {
        self.report.info = Some(Info { container, tracks: Vec::new() });
        self.report.events.push(Event::Info);
        self.start(container, prefix);
        self.advance(rest);
    }

    fn start(&mut self, container: Container, bytes: &[u8]) {
        if starts_with_init(container) {
            self.report.join(0, &Bytes::new());
        }
        self.stage = scan(container).map_or(Stage::Pass, Stage::Scan);
        self.advance(bytes);
    }
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}
