//! Fragmented MP4 (ISO/IEC 14496-12).
//!
//! A decoder joins at a fragment whose first picture is a sync sample, behind `ftyp` and `moov`; without video, at
//! any fragment. The boxes that announce a fragment (`styp`, `sidx`, `prft`, `emsg`) belong to it.

mod boxes;
mod fragment;
mod movie;
mod sample_entry;

use bytes::Bytes;

use self::boxes::Header;
use self::fragment::Fragment;
use self::movie::Movie;
use super::Scan;
use super::assembler::Assembler;
use crate::report::Report;

/// Largest `ftyp`, `moov` and `moof` read. A real `moov` of a fragmented stream has a kilobyte per track; a
/// `moof` has sixteen bytes per sample.
const BOX_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Fmp4 {
    bytes: Assembler,
    /// Not a box where one had to be: there is no way back into step.
    lost: bool,
    stream: Stream,
}

/// What the boxes said so far.
#[derive(Debug, Default)]
struct Stream {
    ftyp: Bytes,
    init: Bytes,
    movie: Option<Movie>,
    /// Where the boxes that announce the next fragment start.
    announced: Option<u64>,
}

impl Scan for Fmp4 {
    fn push(&mut self, mut input: &[u8], report: &mut Report) {
        while self.step(&mut input, report).is_some() {}
    }

    fn retained(&self) -> usize {
        self.bytes.retained() + self.stream.ftyp.len() + self.stream.init.len()
    }
}

impl Fmp4 {
    /// `None` when it takes more bytes to go on.
    fn step(&mut self, input: &mut &[u8], report: &mut Report) -> Option<()> {
        if self.lost {
            return None;
        }
        let at = self.bytes.at();
        let Some(header) = Header::peek(&mut self.bytes, input)? else {
            self.lost = true;
            return None;
        };
        let wanted = matches!(&header.kind, b"ftyp" | b"moov" | b"moof");
        match header.size {
            Some(size) if wanted && size <= BOX_BYTES_MAX => {
                let whole = self.bytes.peek(input, usize::try_from(size).ok()?)?;
                self.stream.whole_box(at, &header, whole, report);
            }
            _ => self.stream.passed_box(at, &header.kind),
        }
        self.bytes.consume(input, header.size.unwrap_or(u64::MAX));
        Some(())
    }
}

impl Stream {
    fn whole_box(&mut self, at: u64, header: &Header, whole: &[u8], report: &mut Report) {
        let content = &whole[header.bytes..];
        match &header.kind {
            b"ftyp" => self.ftyp = Bytes::copy_from_slice(whole),
            b"moov" => {
                // Also in the middle of a stream: an encoder that starts over, or that repeats its init.
                let movie = Movie::parse(content);
                report.tracks(movie.infos.clone());
                self.init = [&self.ftyp, whole].concat().into();
                self.movie = Some(movie);
            }
            _ => self.fragment(self.announced.unwrap_or(at), content, report),
        }
        self.announced = None;
    }

    fn passed_box(&mut self, at: u64, kind: &[u8; 4]) {
        match kind {
            b"styp" | b"sidx" | b"prft" | b"emsg" => {
                self.announced.get_or_insert(at);
            }
            // Too large to keep, so nobody can join from here on.
            b"moov" => self.movie = None,
            _ => self.announced = None,
        }
    }

    fn fragment(&self, at: u64, content: &[u8], report: &mut Report) {
        let Some(movie) = &self.movie else {
            report.unit(at, None);
            return;
        };
        let fragment = Fragment::parse(content, movie);
        report.unit(at, fragment.time_ms);
        if fragment.joins {
            report.join(at, &self.init);
        }
    }
}
