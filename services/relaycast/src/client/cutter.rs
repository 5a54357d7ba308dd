//! Cuts a stream into chunks at media units. Pure: bytes in, chunks out, no socket and no clock.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────┐
//! │ The chunks, put together, are the bytes that were pushed: none lost, none doubled.        │
//! │ The only exception is asked for: `resume` drops what stands before the next join point.   │
//! └──────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A unit is whole when the next one begins. Units that are whole at the same time share a chunk, except that a join
//! point always begins a new one: a node then never has to look for it inside.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use relay_media::{Container, Event, Scanner};

/// Bytes above which further units go into the next chunk. Small enough for a receiver to see the first picture of a
/// large file early, large enough for the cost of a message not to matter.
const COALESCE_BYTES: usize = 64 * 1024;

/// Bytes at the end of the buffer that are kept while looking for the next join point: it may turn out to have begun
/// before the bytes that reveal it.
const JOIN_LOOKBACK_BYTES: usize = 4 << 20;

/// The stream between the input and the socket.
#[derive(Debug)]
pub(crate) struct Cutter {
    scanner: Scanner,
    events: Vec<Event>,
    /// What was pushed and not yet taken.
    buffer: BytesMut,
    /// Offset of the buffer's first byte in the stream.
    base: u64,
    /// Places in the buffer where a cut is good, in order; none at `base` or before it.
    marks: VecDeque<Mark>,
    /// Time of the unit at `base`.
    time_ms: Option<u64>,
    /// What a decoder needs that starts at the first byte of the buffer.
    lead: Option<Bytes>,
    resuming: bool,
    chunk_bytes_max: usize,
    /// How many pictures a second a stream has that does not say.
    frame_rate: f64,
    pictures: u64,
}

/// Pictures a second of a stream of which nobody says how many.
pub(crate) const FRAME_RATE: f64 = 25.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    at: u64,
    time_ms: Option<u64>,
    join: bool,
}

impl Cutter {
    /// A cutter of one stream from its first byte; `None` for a container to be recognised.
    pub(crate) fn new(container: Option<Container>, chunk_bytes_max: usize) -> Self {
        let scanner = container.map_or_else(Scanner::new, Scanner::for_container).with_units();
        Self {
            scanner,
            events: Vec::new(),
            buffer: BytesMut::new(),
            base: 0,
            marks: VecDeque::new(),
            time_ms: None,
            lead: None,
            resuming: false,
            chunk_bytes_max: chunk_bytes_max.max(1),
            frame_rate: FRAME_RATE,
            pictures: 0,
        }
    }

    /// Gives the pictures of a stream without a clock this rate.
    pub(crate) fn with_frame_rate(mut self, pictures_per_second: f64) -> Self {
        self.frame_rate = pictures_per_second;
        self
    }

    /// The time of the next picture of a stream that has pictures and no clock.
    fn picture_ms(&mut self) -> Option<u64> {
        match self.container() {
            Some(Container::Mjpeg | Container::H264 | Container::H265) => {
                let picture_ms = self.pictures as f64 * 1000.0 / self.frame_rate;
                self.pictures += 1;
                Some(picture_ms as u64)
            }
            _ => None,
        }
    }

    /// What the stream is, once known.
    pub(crate) fn container(&self) -> Option<Container> {
        self.scanner.container()
    }

    /// Takes the next bytes of the stream.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.scanner.push(bytes, &mut self.events);
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            match event {
                Event::Unit { at, time_ms } => {
                    let time_ms = time_ms.or_else(|| self.picture_ms());
                    self.mark(Mark { at, time_ms, join: false });
                }
                Event::Join(join) => {
                    self.mark(Mark { at: join.at, time_ms: None, join: true });
                    if self.resuming && join.at >= self.base {
                        self.resume_at(join.at, join.lead().into());
                    }
                }
                Event::Info => {}
            }
        }
        self.events = events;
        // A stream without join points would be waited for in vain.
        self.resuming &= self.container() != Some(Container::Opaque);
        if self.resuming {
            self.forget();
        }
    }

    /// The connection was lost, and with it an unknown part of what was taken: from now on nothing is given out before
    /// the next join point, which comes with the init it needs. A stream without join points goes on where it is.
    pub(crate) fn resume(&mut self) {
        if self.base == 0 && self.buffer.is_empty() {
            return;
        }
        self.resuming = self.container() != Some(Container::Opaque);
    }

    /// The next chunk of whole units, none of which is due after `until_ms` on the stream's own clock.
    pub(crate) fn take(&mut self, until_ms: Option<u64>) -> Option<Bytes> {
        if self.resuming {
            return None;
        }
        if let Some(lead) = self.lead.take().filter(|lead| !lead.is_empty()) {
            return Some(lead);
        }
        let due = |time_ms: Option<u64>| match (time_ms, until_ms) {
            (Some(time), Some(until)) => time <= until,
            _ => true,
        };
        if !due(self.time_ms) {
            return None;
        }
        // An opaque stream has no units: whatever is there is whole.
        if self.container() == Some(Container::Opaque) && self.marks.is_empty() {
            return self.take_rest();
        }
        let mut end = None;
        for mark in &self.marks {
            let len = self.index(mark.at);
            if end.is_some() && len > COALESCE_BYTES.min(self.chunk_bytes_max) {
                break;
            }
            end = Some(mark.at);
            if mark.join || len >= COALESCE_BYTES || !due(mark.time_ms) {
                break;
            }
        }
        match end {
            Some(end) => Some(self.cut(end)),
            // A unit larger than a chunk may be is cut wherever the bound falls.
            None if self.buffer.len() >= self.chunk_bytes_max => Some(self.cut(self.end())),
            None => None,
        }
    }

    /// What is left, whole or not: the input is idle, or over.
    pub(crate) fn take_rest(&mut self) -> Option<Bytes> {
        if self.resuming || self.buffer.is_empty() {
            return None;
        }
        if let Some(lead) = self.lead.take().filter(|lead| !lead.is_empty()) {
            return Some(lead);
        }
        let end = self.marks.front().map_or(self.end(), |mark| mark.at);
        Some(self.cut(end))
    }

    /// The time of the unit that comes next, while one is waiting.
    pub(crate) fn next_time_ms(&self) -> Option<u64> {
        if self.resuming || self.buffer.is_empty() { None } else { self.time_ms }
    }

    /// Whether the end of the unit that comes next is known.
    pub(crate) fn has_whole_unit(&self) -> bool {
        !self.resuming && !self.marks.is_empty()
    }

    /// Bytes that wait to be taken.
    pub(crate) fn waiting(&self) -> usize {
        if self.resuming { 0 } else { self.buffer.len() }
    }

    fn end(&self) -> u64 {
        self.base + self.buffer.len() as u64
    }

    fn index(&self, at: u64) -> usize {
        // The buffer is in memory, so a difference within it fits.
        usize::try_from(at.saturating_sub(self.base)).unwrap_or(usize::MAX).min(self.buffer.len())
    }

    fn mark(&mut self, mark: Mark) {
        if mark.at == self.base {
            self.time_ms = mark.time_ms.or(self.time_ms);
            return;
        }
        // A unit that was revealed after its first bytes were given out cannot be cut out any more.
        if mark.at < self.base {
            return;
        }
        let place = self.marks.partition_point(|known| known.at < mark.at);
        match self.marks.get_mut(place).filter(|known| known.at == mark.at) {
            Some(known) => {
                known.join |= mark.join;
                known.time_ms = known.time_ms.or(mark.time_ms);
            }
            None => self.marks.insert(place, mark),
        }
    }

    /// Gives out the bytes before `at`, or as many of them as a chunk may have.
    fn cut(&mut self, at: u64) -> Bytes {
        let len = self.index(at).min(self.chunk_bytes_max);
        let chunk = self.buffer.split_to(len).freeze();
        self.advance(len);
        chunk
    }

    fn advance(&mut self, len: usize) {
        self.base += len as u64;
        while let Some(mark) = self.marks.front().filter(|mark| mark.at <= self.base) {
            self.time_ms = if mark.at == self.base { mark.time_ms.or(self.time_ms) } else { self.time_ms };
            self.marks.pop_front();
        }
    }

    fn resume_at(&mut self, at: u64, lead: Bytes) {
        let len = self.index(at);
        let _ = self.buffer.split_to(len);
        self.advance(len);
        self.lead = Some(lead);
        self.resuming = false;
    }

    /// Drops what is too old to be the beginning of the next join point.
    fn forget(&mut self) {
        let excess = self.buffer.len().saturating_sub(JOIN_LOOKBACK_BYTES);
        let _ = self.buffer.split_to(excess);
        self.advance(excess);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FLV_HEADER: [u8; 13] = [b'F', b'L', b'V', 1, 1, 0, 0, 0, 9, 0, 0, 0, 0];

    fn tag(time_ms: u32, body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(body.len()).unwrap().to_be_bytes();
        let time = time_ms.to_be_bytes();
        let mut tag = vec![9, size[1], size[2], size[3], time[1], time[2], time[3], time[0], 0, 0, 0];
        tag.extend_from_slice(body);
        tag.extend_from_slice(&(11 + u32::try_from(body.len()).unwrap()).to_be_bytes());
        tag
    }

    fn sequence_header() -> Vec<u8> {
        tag(0, &[0x17, 0, 0, 0, 0, 1, 0x64, 0, 0x1f, 0xff, 0xe0, 0])
    }

    fn picture(index: u32) -> Vec<u8> {
        let first = if index.is_multiple_of(4) { 0x17 } else { 0x27 };
        let mut body = vec![first, 1, 0, 0, 0, 0, 0, 0, 60];
        body.extend(std::iter::repeat_n(0x65, 60));
        tag(index * 40, &body)
    }

    fn film(pictures: u32) -> Vec<u8> {
        let mut film = FLV_HEADER.to_vec();
        film.extend(sequence_header());
        film.extend((0..pictures).flat_map(picture));
        film
    }

    fn drain(cutter: &mut Cutter) -> Vec<Bytes> {
        std::iter::from_fn(|| cutter.take(None)).collect()
    }

    #[test]
    fn pictures_without_a_clock_come_at_the_rate_that_was_given() {
        let picture = [0xFF, 0xD8, 0xFF, 0xDA, 0, 2, 1, 0xFF, 0xD9];
        let mut cutter = Cutter::new(Some(Container::Mjpeg), 1 << 20).with_frame_rate(12.5);
        cutter.push(&picture.repeat(4));
        let mut times = vec![];
        while let Some(time_ms) = cutter.next_time_ms().filter(|_| times.len() < 3) {
            times.push(time_ms);
            assert_eq!(cutter.take(Some(time_ms)).as_deref(), Some(&picture[..]));
        }
        assert_eq!(times, [0, 80, 160]);
    }

    #[test]
    fn an_unfinished_unit_waits_for_the_rest_or_for_silence() {
        let mut cutter = Cutter::new(Some(Container::Flv), 1 << 20);
        let film = film(2);
        let last = picture(1).len();
        cutter.push(&film[..film.len() - 5]);
        let taken: usize = drain(&mut cutter).iter().map(Bytes::len).sum();
        assert_eq!(taken, film.len() - last);
        assert_eq!(cutter.waiting(), last - 5);
        assert_eq!(cutter.take_rest().unwrap().len(), last - 5);
        assert_eq!(cutter.take_rest(), None);
    }

    #[test]
    fn a_join_point_begins_a_chunk() {
        let mut cutter = Cutter::new(Some(Container::Flv), 1 << 20);
        cutter.push(&film(9));
        let chunks = drain(&mut cutter);
        let key_frames =
            chunks.iter().filter(|chunk| chunk.get(11) == Some(&0x17) && chunk.get(12) == Some(&1));
        assert_eq!(key_frames.count(), 2, "those of pictures 0 and 4: that of 8 is not whole yet");
    }

    #[test]
    fn units_are_given_out_when_they_are_due() {
        let mut cutter = Cutter::new(Some(Container::Flv), 1 << 20);
        let film = film(5);
        cutter.push(&film);
        let mut taken = 0;
        let mut until = |ms: u64, cutter: &mut Cutter| {
            while let Some(chunk) = cutter.take(Some(ms)) {
                taken += chunk.len();
            }
            taken
        };
        let head = FLV_HEADER.len() + sequence_header().len();
        assert_eq!(until(0, &mut cutter), head + picture(0).len());
        assert_eq!(cutter.next_time_ms(), Some(40));
        assert_eq!(until(39, &mut cutter), head + picture(0).len());
        assert_eq!(until(80, &mut cutter), head + 3 * picture(0).len());
    }

    #[test]
    fn after_a_loss_the_stream_goes_on_at_a_join_point_with_its_init() {
        let mut cutter = Cutter::new(Some(Container::Flv), 1 << 20);
        let film = film(10);
        let (length, head) = (picture(0).len(), FLV_HEADER.len() + sequence_header().len());
        cutter.push(&film[..head + length * 2 + 7]);
        let _ = drain(&mut cutter);
        cutter.resume();
        cutter.push(&film[head + length * 2 + 7..head + length * 3]);
        assert_eq!((cutter.take(None), cutter.take_rest()), (None, None));
        cutter.push(&film[head + length * 3..]);
        let mut bytes = drain(&mut cutter).concat();
        while let Some(rest) = cutter.take_rest() {
            bytes.extend_from_slice(&rest);
        }
        assert!(bytes.starts_with(b"FLV"), "init first");
        assert!(bytes.ends_with(&film[head + length * 4..]), "then everything from picture 4 on");
    }

    #[test]
    fn an_unknown_stream_is_given_out_as_it_comes() {
        let mut cutter = Cutter::new(Some(Container::Opaque), 10);
        cutter.push(b"hello");
        assert_eq!(cutter.take(None).unwrap(), "hello");
        cutter.push(b"a longer text");
        assert_eq!(cutter.take(None).unwrap(), "a longer t");
        assert_eq!(cutter.take(None).unwrap(), "ext");
        cutter.resume();
        cutter.push(b"on");
        assert_eq!(cutter.take(None).unwrap(), "on");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_doubled_and_no_chunk_is_too_large(
            pictures in 0u32..12,
            noise in prop::collection::vec(any::<u8>(), 0..40),
            cuts in prop::collection::vec(1usize..200, 1..60),
            idle in prop::collection::vec(any::<bool>(), 1..60),
            chunk_bytes_max in 1usize..400,
            known in any::<bool>(),
        ) {
            let mut film = film(pictures);
            film.extend(noise);
            let mut cutter = Cutter::new(known.then_some(Container::Flv), chunk_bytes_max);
            let mut rest = film.as_slice();
            let mut got = Vec::new();
            for (cut, idle) in cuts.iter().cycle().zip(idle.iter().cycle()) {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                cutter.push(now);
                rest = later;
                while let Some(chunk) = cutter.take(None) {
                    prop_assert!(!chunk.is_empty() && chunk.len() <= chunk_bytes_max);
                    got.extend_from_slice(&chunk);
                }
                while *idle && let Some(chunk) = cutter.take_rest() {
                    prop_assert!(!chunk.is_empty() && chunk.len() <= chunk_bytes_max);
                    got.extend_from_slice(&chunk);
                }
            }
            while let Some(chunk) = cutter.take_rest() {
                got.extend_from_slice(&chunk);
            }
            prop_assert_eq!(got, film);
        }
    }
}
