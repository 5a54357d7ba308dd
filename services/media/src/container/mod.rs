//! One module per container, and how one is told from another.

pub(crate) mod annexb;
pub(crate) mod mpegts;

use std::fmt::Debug;

use crate::scanner::Report;

/// Implemented once per container. Keeps its own absolute offset, which starts at zero.
pub(crate) trait Scan: Debug + Send {
    /// Takes the next bytes of the stream.
    fn push(&mut self, bytes: &[u8], report: &mut Report);

    /// Bytes kept between pushes, the init among them.
    fn retained(&self) -> usize {
        0
    }
}
