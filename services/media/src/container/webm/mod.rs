//! WebM and Matroska (RFC 8794 and RFC 9559).
//!
//! A decoder joins at a cluster whose first picture is a key frame, behind the header, the tracks, and the start
//! of a segment without end. When a key frame lies further inside a cluster, the preamble is the start of a cluster
//! of the same time.
//!
//! Segments, clusters and block groups are entered, everything else is read or passed over as a whole. Ids are
//! unique across levels, so where a segment or a cluster ends need not be known: something else starts there.

mod ebml;
mod id;
mod init;

use self::ebml::{Header, uint};
use self::init::{INIT_BYTES_MAX, Init, is_kept, whole};
use super::Scan;
use super::assembler::Assembler;
use crate::report::Report;

/// Track number (at most eight bytes), relative timestamp, flags: what precedes the data of a block.
const BLOCK_HEADER_BYTES_MAX: usize = 11;

#[derive(Debug, Default)]
pub(super) struct WebM {
    bytes: Assembler,
    /// Not an element where one had to be: there is no way back into step.
    lost: bool,
    segment: Segment,
}

/// What the elements said so far.
#[derive(Debug, Default)]
struct Segment {
    init: Option<Init>,
    cluster: Option<Cluster>,
    group: Option<Group>,
}

#[derive(Debug)]
struct Cluster {
    at: u64,
    timestamp: Option<u64>,
    /// Whether its unit was reported, which waits for the timestamp.
    reported: bool,
    /// Whether a block of the video track has come.
    has_video: bool,
}

/// A block group, up to where it has been read. It holds a key frame unless it refers to another block. A broken one,
/// in which another block or cluster starts, is given up: it would be reported behind what starts in it.
#[derive(Debug)]
struct Group {
    at: u64,
    end: u64,
    block: Option<BlockHeader>,
    refers: bool,
}

#[derive(Debug, Clone, Copy)]
struct BlockHeader {
    track: u64,
    timestamp: i16,
    flags: u8,
}

impl Scan for WebM {
    fn push(&mut self, mut input: &[u8], report: &mut Report) {
        while self.step(&mut input, report).is_some() {}
    }

    fn retained(&self) -> usize {
        self.bytes.retained() + self.segment.init.as_ref().map_or(0, Init::retained)
    }
}

impl WebM {
    /// `None` when it takes more bytes to go on.
    fn step(&mut self, input: &mut &[u8], report: &mut Report) -> Option<()> {
        if self.lost {
            return None;
        }
        let at = self.bytes.at();
        self.segment.end_group(at, report);
        let Ok(header) = Header::peek(&mut self.bytes, input) else {
            self.lost = true;
            return None;
        };
        let header = header?;
        let whole = whole(&header);
        let consumed = match (header.id, header.size) {
            (id::SEGMENT, _) => {
                self.segment.start();
                header.bytes as u64
            }
            (id::CLUSTER, _) => {
                self.segment.cluster(at, report);
                header.bytes as u64
            }
            (id::BLOCK_GROUP, Some(size)) => {
                let end = at.saturating_add(header.bytes as u64).saturating_add(size);
                self.segment.group = Some(Group { at, end, block: None, refers: false });
                header.bytes as u64
            }
            (_, None) => {
                self.lost = true;
                return None;
            }
            (element, Some(size)) => {
                // How much of the element has to be seen.
                let shown = match element {
                    id::EBML if size < INIT_BYTES_MAX as u64 => size,
                    id::TIMESTAMP => size.min(8),
                    id::SIMPLE_BLOCK | id::BLOCK => size.min(BLOCK_HEADER_BYTES_MAX as u64),
                    _ if is_kept(element) && self.segment.wants(whole) => size,
                    _ => 0,
                };
                let bytes = self.bytes.peek(input, header.bytes + usize::try_from(shown).ok()?)?;
                self.segment.element(at, &header, bytes, shown == size, report);
                whole.unwrap_or(u64::MAX)
            }
        };
        self.bytes.consume(input, consumed);
        Some(())
    }
}

impl Segment {
    fn start(&mut self) {
        if let Some(init) = &mut self.init {
            init.segment();
        }
    }

    /// Whether an element of the segment's head is to be kept.
    fn wants(&self, bytes: Option<u64>) -> bool {
        let has_room = |init: &Init| bytes.is_some_and(|bytes| init.has_room(bytes));
        self.cluster.is_none() && self.init.as_ref().is_some_and(has_room)
    }

    /// An element that is not entered. `bytes` starts with its header and shows what [`WebM::step`] asked for, which
    /// is `all` of it or the start.
    fn element(&mut self, at: u64, header: &Header, bytes: &[u8], all: bool, report: &mut Report) {
        let data = &bytes[header.bytes..];
        match header.id {
            // Also in the middle of a stream: an encoder that starts over within its connection.
            id::EBML => *self = Self { init: all.then(|| Init::new(bytes)), ..Self::default() },
            id::TIMESTAMP => self.timestamp(uint(data), report),
            id::SIMPLE_BLOCK => {
                self.group = None;
                if let Some(block) = BlockHeader::parse(data) {
                    self.block(at, block, block.flags & 0x80 != 0, report);
                }
            }
            id::BLOCK => {
                if let Some(group) = &mut self.group {
                    group.block = BlockHeader::parse(data);
                }
            }
            id::REFERENCE_BLOCK => {
                if let Some(group) = &mut self.group {
                    group.refers = true;
                }
            }
            kept if all && is_kept(kept) && self.cluster.is_none() => {
                if let Some(init) = &mut self.init {
                    init.element(kept, bytes, header.bytes);
                    if let Some(tracks) = &init.tracks {
                        report.tracks(tracks.list.clone());
                    }
                }
            }
            _ => {}
        }
    }

    fn cluster(&mut self, at: u64, report: &mut Report) {
        self.report_cluster(report);
        self.group = None;
        self.cluster = Some(Cluster { at, timestamp: None, reported: false, has_video: false });
        if let Some(init) = &self.init
            && init.tracks.as_ref().is_some_and(|tracks| tracks.video.is_none())
        {
            report.join(at, init.bytes());
        }
    }

    fn timestamp(&mut self, timestamp: u64, report: &mut Report) {
        if let Some(cluster) = &mut self.cluster {
            cluster.timestamp = Some(timestamp);
        }
        self.report_cluster(report);
    }

    fn report_cluster(&mut self, report: &mut Report) {
        if let Some(cluster) = &mut self.cluster
            && !cluster.reported
        {
            cluster.reported = true;
            let time_ms = cluster.timestamp.map(|timestamp| milliseconds(self.init.as_ref(), timestamp));
            report.unit(cluster.at, time_ms);
        }
    }

    /// Ends a block group of which all has been read.
    fn end_group(&mut self, at: u64, report: &mut Report) {
        if let Some(group) = self.group.take_if(|group| at >= group.end)
            && let Some(block) = group.block
        {
            self.block(group.at, block, !group.refers, report);
        }
    }

    fn block(&mut self, at: u64, block: BlockHeader, key: bool, report: &mut Report) {
        self.report_cluster(report);
        let Some(cluster) = &mut self.cluster else { return };
        let start = cluster.timestamp.unwrap_or_default();
        let timestamp = start.saturating_add_signed(block.timestamp.into());
        report.unit(at, Some(milliseconds(self.init.as_ref(), timestamp)));
        let Some(init) = &self.init else { return };
        if init.tracks.as_ref().and_then(|tracks| tracks.video) != Some(block.track) {
            return;
        }
        let first = !std::mem::replace(&mut cluster.has_video, true);
        match (key, first) {
            (true, true) => report.join(cluster.at, init.bytes()),
            (true, false) => report.join_with(at, init.bytes(), init::cluster_start(start)),
            (false, _) => {}
        }
    }
}

impl BlockHeader {
    fn parse(data: &[u8]) -> Option<Self> {
        let (track, rest) = ebml::number(data)?;
        let &[t1, t0, flags] = rest.first_chunk()?;
        Some(Self { track, timestamp: i16::from_be_bytes([t1, t0]), flags })
    }
}

/// Ticks of the stream's clock in milliseconds.
fn milliseconds(init: Option<&Init>, timestamp: u64) -> u64 {
    let scale = init.map_or(1_000_000, |init| init.timestamp_scale);
    let ms = u128::from(timestamp) * u128::from(scale) / 1_000_000;
    u64::try_from(ms).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use crate::{Container, Event, Join, Scanner};

    fn element(id: &[u8], data: &[u8]) -> Vec<u8> {
        [id, &(data.len() as u64 | 1 << 56).to_be_bytes(), data].concat()
    }

    fn block(track: u8, timestamp: i16, flags: u8) -> Vec<u8> {
        [&[0x80 | track][..], &timestamp.to_be_bytes(), &[flags, 0xEE, 0xEE]].concat()
    }

    fn simple(track: u8, timestamp: i16, flags: u8) -> Vec<u8> {
        element(&[0xA3], &block(track, timestamp, flags))
    }

    fn group(track: u8, timestamp: i16, more: &[u8]) -> Vec<u8> {
        element(&[0xA0], &[&element(&[0xA1], &block(track, timestamp, 0)), more].concat())
    }

    fn cluster(timestamp: u8, blocks: &[Vec<u8>]) -> Vec<u8> {
        element(&CLUSTER, &[element(&[0xE7], &[timestamp]), blocks.concat()].concat())
    }

    const CLUSTER: [u8; 4] = [0x1F, 0x43, 0xB6, 0x75];
    const SEGMENT: [u8; 4] = [0x18, 0x53, 0x80, 0x67];
    const KEY: u8 = 0x80;

    fn header() -> Vec<u8> {
        element(&[0x1A, 0x45, 0xDF, 0xA3], &[])
    }

    /// Track 1 is audio, track 2 video.
    fn tracks(kinds: &[u8]) -> Vec<u8> {
        let entry = |(index, kind): (usize, &u8)| {
            element(&[0xAE], &[element(&[0xD7], &[index as u8 + 1]), element(&[0x83], &[*kind])].concat())
        };
        let entries: Vec<Vec<u8>> = kinds.iter().enumerate().map(entry).collect();
        element(&[0x16, 0x54, 0xAE, 0x6B], &entries.concat())
    }

    /// Real join points, without that at the start of the stream, and the times of the units.
    fn scan(stream: &[u8]) -> (Vec<Join>, Vec<Option<u64>>) {
        let mut events = Vec::new();
        Scanner::for_container(Container::WebM).with_units().push(stream, &mut events);
        let (mut joins, mut times) = (Vec::new(), Vec::new());
        for event in events {
            match event {
                Event::Join(join) => joins.push(join),
                Event::Unit { time_ms, .. } => times.push(time_ms),
                Event::Info => {}
            }
        }
        joins.remove(0);
        (joins, times)
    }

    fn init(tracks: &[u8]) -> Vec<u8> {
        [&header(), &SEGMENT[..], &[1, 255, 255, 255, 255, 255, 255, 255], tracks].concat()
    }

    #[test]
    fn the_segment_of_a_file_goes_on_without_end_in_the_init() {
        let tracks = tracks(&[2, 1]);
        let void = element(&[0xEC], &[0; 9]);
        let first = cluster(1, &[simple(1, 0, KEY), simple(2, 0, KEY), simple(2, 40, 0)]);
        let second = cluster(80, &[simple(1, 0, KEY), simple(2, -1, 0)]);
        let segment = element(&SEGMENT, &[&void[..], &tracks, &first, &second].concat());
        let stream = [header(), segment].concat();
        let at = (stream.len() - first.len() - second.len()) as u64;
        let (joins, times) = scan(&stream);
        assert_eq!(joins, [Join { at, init: init(&tracks).into(), preamble: bytes::Bytes::new() }]);
        assert_eq!(times, [1, 1, 1, 41, 80, 80, 79].map(Some));
    }

    #[test]
    fn a_key_frame_inside_of_a_cluster_gets_the_start_of_one() {
        let tracks = tracks(&[2, 1]);
        let refers = element(&[0xFB], &[1]);
        let blocks = [group(2, 0, &refers), group(2, 40, &[]), simple(1, 50, KEY), simple(2, 80, KEY)];
        let stream = [init(&tracks), cluster(7, &blocks)].concat();
        let after = |blocks: &[Vec<u8>]| (stream.len() - blocks.concat().len()) as u64;
        let start =
            [&CLUSTER[..], &[1, 255, 255, 255, 255, 255, 255, 255, 0xE7, 0x88, 0, 0, 0, 0, 0, 0, 0, 7]];
        let join = |at| Join { at, init: init(&tracks).into(), preamble: start.concat().into() };
        let (joins, _) = scan(&stream);
        assert_eq!(joins[0], join(after(&blocks[1..])));
        assert_eq!(joins[1], join(after(&blocks[3..])));
    }

    #[test]
    fn without_video_every_cluster_will_do() {
        let clusters = [cluster(1, &[simple(1, 0, KEY)]), cluster(2, &[simple(1, 0, 0)])];
        let (joins, _) = scan(&[init(&tracks(&[2])), clusters.concat()].concat());
        assert_eq!(joins.len(), 2);
    }

    #[test]
    fn an_encoder_that_starts_over_brings_its_own_init() {
        let old = [init(&tracks(&[2, 1])), cluster(1, &[simple(2, 0, KEY)])].concat();
        let new = [init(&tracks(&[1])), cluster(1, &[simple(1, 0, KEY)])].concat();
        let (joins, _) = scan(&[old, new].concat());
        assert_eq!(joins[0].init, init(&tracks(&[2, 1])));
        assert_eq!(joins[1].init, init(&tracks(&[1])));
    }
}
