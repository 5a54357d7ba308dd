//! One module per container, and how one is told from another.

pub(crate) mod annexb;
mod assembler;
pub(crate) mod detect;
mod flv;
mod fmp4;
mod mjpeg;
pub(crate) mod mpegts;
mod tracks;
mod webm;

use std::fmt::Debug;

use crate::Container;
use crate::codec::nal::NalCodec;
use crate::report::Report;

/// Implemented once per container. Keeps its own absolute offset, which starts at zero.
pub(crate) trait Scan: Debug + Send {
    /// Takes the next bytes of the stream.
    fn push(&mut self, bytes: &[u8], report: &mut Report);

    /// Bytes kept between pushes, the init among them.
    fn retained(&self) -> usize {
        0
    }
}

/// The scanner of a container; `None` for an opaque stream, in which there is nothing to find.
pub(crate) fn scan(container: Container) -> Option<Box<dyn Scan>> {
    Some(match container {
        Container::Flv => Box::new(flv::Flv::default()),
        Container::Fmp4 => Box::new(fmp4::Fmp4::default()),
        Container::WebM => Box::new(webm::WebM::default()),
        Container::Mjpeg => Box::new(mjpeg::Mjpeg::default()),
        Container::MpegTs => Box::new(mpegts::MpegTs::new()),
        Container::H264 => Box::new(annexb::AnnexB::new(NalCodec::H264)),
        Container::H265 => Box::new(annexb::AnnexB::new(NalCodec::H265)),
        Container::Opaque => return None,
    })
}

/// Whether the first byte of a stream is where a decoder may start: it is where the init lies within the stream.
pub(crate) fn starts_with_init(container: Container) -> bool {
    matches!(container, Container::Flv | Container::Fmp4 | Container::WebM | Container::Opaque)
}
