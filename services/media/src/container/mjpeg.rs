//! JPEG pictures one after another (ITU-T T.81, annex B).
//!
//! Every picture is a join point. Pictures are walked marker by marker, so that a thumbnail within an
//! application segment is not taken for one.

use bytes::Bytes;

use super::assembler::Assembler;
use super::{Scan, tracks};
use crate::report::Report;
use crate::{Track, TrackKind};

#[derive(Debug, Default)]
pub(super) struct Mjpeg {
    bytes: Assembler,
    next: Next,
}

#[derive(Debug, Default, Clone, Copy)]
enum Next {
    /// Before or between pictures; whatever else lies there is passed over.
    #[default]
    Picture,
    /// A marker segment.
    Segment,
    /// Entropy-coded data, which ends at a marker (B.1.1.5).
    Scan,
}

const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;

impl Scan for Mjpeg {
    fn push(&mut self, mut input: &[u8], report: &mut Report) {
        while self.step(&mut input, report).is_some() {}
    }

    fn retained(&self) -> usize {
        self.bytes.retained()
    }
}

impl Mjpeg {
    /// `None` when it takes more bytes to go on.
    fn step(&mut self, input: &mut &[u8], report: &mut Report) -> Option<()> {
        let &[first, marker] = self.bytes.peek(input, 2)?.first_chunk()?;
        if first != 0xFF {
            // Between pictures and in a scan this is the rule; for a segment it means that the picture is broken.
            if matches!(self.next, Next::Segment) {
                self.next = Next::Picture;
            }
            self.bytes.consume_until(input, 0xFF);
            return Some(());
        }
        match (self.next, marker) {
            // Fill bytes (B.1.1.2).
            (_, 0xFF) => self.bytes.consume(input, 1),
            // Also within a picture: one that was cut off gives way to the next.
            (_, SOI) => {
                report.unit(self.bytes.at(), None);
                report.join(self.bytes.at(), &Bytes::new());
                self.bytes.consume(input, 2);
                self.next = Next::Segment;
            }
            (Next::Picture, _) => self.bytes.consume(input, 2),
            (_, EOI) => {
                self.bytes.consume(input, 2);
                self.next = Next::Picture;
            }
            // A stuffed byte, restart markers, and TEM: markers that stand alone.
            (_, 0x00 | 0x01 | 0xD0..=0xD7) => self.bytes.consume(input, 2),
            (_, marker) => {
                let head = self.bytes.peek(input, 4)?;
                let size = u16::from_be_bytes([head[2], head[3]]);
                if is_frame_header(marker)
                    && let &[_, _, _, _, _, h1, h0, w1, w0] = self.bytes.peek(input, 9)?.first_chunk()?
                {
                    let (height, width) = (u16::from_be_bytes([h1, h0]), u16::from_be_bytes([w1, w0]));
                    report.tracks(vec![Track {
                        resolution: tracks::resolution(width.into(), height.into()),
                        ..Track::new(TrackKind::Video, "mjpeg")
                    }]);
                }
                self.bytes.consume(input, 2 + u64::from(size.max(2)));
                self.next = if marker == SOS { Next::Scan } else { Next::Segment };
            }
        }
        Some(())
    }
}

/// SOF of any process; DHT, JPG and DAC lie in the same range (table B.1).
fn is_frame_header(marker: u8) -> bool {
    matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC)
}

#[cfg(test)]
mod tests {
    use crate::{Container, Event, Info, Scanner};

    fn picture(width: u8, height: u8) -> Vec<u8> {
        [
            &[0xFF, 0xD8][..],
            // An application segment with a thumbnail in it.
            &[0xFF, 0xE1, 0, 8, 0xFF, 0xD8, 0xFF, 0xDB, 0xFF, 0xD9],
            &[0xFF, 0xC0, 0, 9, 8, 0, height, 0, width, 3, 1],
            // A scan with a stuffed byte and a restart marker.
            &[0xFF, 0xDA, 0, 4, 1, 1, 0x12, 0xFF, 0x00, 0x34, 0xFF, 0xD0, 0x56],
        ]
        .concat()
    }

    fn joins(stream: &[u8]) -> (Vec<u64>, Option<Info>) {
        let mut scanner = Scanner::new();
        let mut events = Vec::new();
        scanner.push(stream, &mut events);
        let joins = events.iter().filter_map(|event| match event {
            Event::Join(join) => Some(join.at),
            _ => None,
        });
        (joins.collect(), scanner.info().cloned())
    }

    #[test]
    fn each_picture_is_a_join_and_a_thumbnail_is_not() {
        let one = picture(16, 8);
        let stream = [&one[..], &[0xFF, 0xD9, 0, 0], &one, &[0xFF, 0xD9], &one].concat();
        let (joins, info) = joins(&stream);
        let n = one.len() as u64;
        assert_eq!(joins, [0, n + 4, 2 * n + 6]);
        let info = info.unwrap();
        assert_eq!(info.container, Container::Mjpeg);
        assert_eq!(info.tracks[0].resolution, Some((16, 8)));
        assert!(info.is_complete());
    }

    #[test]
    fn a_picture_without_an_end_gives_way_to_the_next() {
        let one = picture(16, 8);
        assert_eq!(joins(&[&one[..], &one].concat()).0, [0, one.len() as u64]);
    }

    #[test]
    fn a_new_size_is_news() {
        let stream = [picture(16, 8), picture(32, 8)].concat();
        assert_eq!(joins(&stream).1.unwrap().tracks[0].resolution, Some((32, 8)));
    }
}
