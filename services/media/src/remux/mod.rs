//! From FLV, MPEG-TS and Annex B to fragmented MP4.
//!
//! ```text
//! bytes ──▶ demuxer (flv, ts, annexb) ──▶ samples ──▶ muxer ──▶ init, fragments
//!             pictures: NAL units           timeline: one time that only grows
//! ```
//!
//! Here media is copied, into fragments; a stream that nobody watches in a browser does not pass here.

mod annexb;
mod audio_frames;
mod boxes;
mod flv;
mod fragment;
mod frame_clock;
mod init;
mod muxer;
mod picture_order;
mod pictures;
mod sample_entry;
mod timeline;
mod track;
mod ts;

use bytes::Bytes;

use self::muxer::{Expected, Muxer};
pub use self::timeline::{Timeline, TrackTime};
use crate::Container;
use crate::codec::nal::NalCodec;

/// A piece of the fragmented MP4 that a [`Remuxer`] makes; each is sent as one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// Whole boxes: `ftyp` + `moov`, or `moof` + `mdat`.
    pub bytes: Bytes,
}

/// Turns FLV, MPEG-TS, H.264 or H.265 into fragmented MP4, a fragment per video access unit.
///
/// The first fragment is an init, and another comes wherever the codec configuration changes. A track whose codec
/// does not go into MP4, or that browsers do not play, is left out.
#[derive(Debug)]
pub struct Remuxer {
    demuxer: Demuxer,
    muxer: Muxer,
}

#[derive(Debug)]
enum Demuxer {
    Flv(Box<flv::Flv>),
    Ts(Box<ts::Ts>),
    AnnexB(Box<annexb::AnnexB>),
}

impl Remuxer {
    /// The most that a remuxer keeps between pushes, in bytes, whatever the stream: an access unit or two, with room
    /// to grow, and a second of pictures while waiting for sound. Of an honest stream it keeps a picture or less.
    pub const RETAINED_BYTES_MAX: usize = 64 << 20;

    /// A remuxer for this container; `None` for those that browsers play as they are, and for opaque streams.
    pub fn new(container: Container) -> Option<Self> {
        let demuxer = match container {
            Container::Flv => Demuxer::Flv(Box::new(flv::Flv::new())),
            Container::MpegTs => Demuxer::Ts(Box::new(ts::Ts::new())),
            Container::H264 => Demuxer::AnnexB(Box::new(annexb::AnnexB::new(NalCodec::H264))),
            Container::H265 => Demuxer::AnnexB(Box::new(annexb::AnnexB::new(NalCodec::H265))),
            Container::Fmp4 | Container::WebM | Container::Mjpeg | Container::Opaque => return None,
        };
        let expected = match demuxer {
            Demuxer::AnnexB(_) => annexb::AnnexB::EXPECTED,
            // Until the stream tells.
            Demuxer::Flv(_) | Demuxer::Ts(_) => Expected { video: true, audio: true },
        };
        Some(Self { demuxer, muxer: Muxer::new(expected) })
    }

    /// Takes the next bytes, cut anywhere, and appends the fragments they complete. `now_ms` is a clock that only
    /// grows; it times the pictures of streams that carry no time themselves (Annex B).
    pub fn push(&mut self, bytes: &[u8], now_ms: u64, fragments: &mut Vec<Fragment>) {
        let Self { demuxer, muxer } = self;
        match demuxer {
            Demuxer::Flv(flv) => flv.push(bytes, muxer),
            Demuxer::Ts(ts) => ts.push(bytes, muxer),
            Demuxer::AnnexB(annexb) => annexb.push(bytes, now_ms, muxer),
        }
        muxer.drain(fragments);
    }

    /// The stream ended: what could only be completed by what follows is complete now.
    pub fn finish(mut self, fragments: &mut Vec<Fragment>) {
        let Self { demuxer, muxer } = &mut self;
        match demuxer {
            // Tags say how long they are.
            Demuxer::Flv(_) => {}
            Demuxer::Ts(ts) => ts.finish(muxer),
            Demuxer::AnnexB(annexb) => annexb.finish(muxer),
        }
        muxer.finish();
        muxer.drain(fragments);
    }

    /// A codec that had to be left out, when so far there is no other: nothing will come out of this stream.
    pub fn unsupported(&self) -> Option<&str> {
        self.muxer.unsupported()
    }

    /// Bytes kept between pushes, at most [`Self::RETAINED_BYTES_MAX`]: an access unit that is not complete, and what
    /// waits for the other track.
    pub fn retained(&self) -> usize {
        self.muxer.retained()
            + match &self.demuxer {
                Demuxer::Flv(flv) => flv.retained(),
                Demuxer::Ts(ts) => ts.retained(),
                Demuxer::AnnexB(annexb) => annexb.retained(),
            }
    }
}
