//! WebM and Matroska (RFC 8794 and RFC 9559).
//!
//! A decoder joins at a cluster whose first picture is a key frame, behind the header, the tracks, and the start
//! of a segment without end. When a key frame lies further inside a cluster, the lead ends with the start of a cluster
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
use crate::scanner::Report;

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

/// A block group, up to where it has been read. It holds a key frame unless it refers to another block.
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
        self.cluster = Some(Cluster { at, timestamp: None, reported: false, has_video: false });
        if let Some(init) = &self.init
            && init.tracks.as_ref().is_some_and(|tracks| tracks.video.is_none())
        {
            report.join(at, &init.lead());
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
            (true, true) => report.join(cluster.at, &init.lead()),
            (true, false) => report.join(at, &init.lead_into_cluster(start)),
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
