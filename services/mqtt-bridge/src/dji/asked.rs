//! How a video was asked to be, by whoever asked last, and whether it was started. Each is remembered by itself: a bridge that
//! knows an older lens does not undo the newer one of another bridge when it is asked for a quality.

use relay_proto::source::{CameraPosition, SourceId};
use serde::{Deserialize, Serialize};

use crate::driver::{ASKED_PREFIX, STARTED_MS, STARTED_PREFIX};

/// Qualities that there are: adaptive, smooth, standard, high, ultra high.
pub(super) const QUALITY_MAX: u8 = 4;

/// Names of lenses have ten letters at most.
const LENS_BYTES_MAX: usize = 32;

/// Things asked for that are remembered: those of every camera of the largest fleet that is planned for.
pub(super) const REMEMBERED_MAX: usize = 1_000;

/// What can be asked of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Quality,
    Lens,
    Camera,
    Started,
}

/// How a video is to be, and whether a bridge started it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) quality: Quality,
    pub(super) lens: Option<String>,
    pub(super) position: Option<CameraPosition>,
    /// When, in milliseconds since the Unix epoch, it was last known that a bridge has started it. Not after one saw it end.
    pub(super) started_ms: Option<u64>,
    /// What is remembered of it.
    remembered: [bool; What::ALL.len()],
}

/// Which quality, and of whom.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Quality {
    /// The one that counts.
    pub(super) wanted: Option<u8>,
    /// The one it was last started with, by who started it: asked again with the next start, it is no news.
    pub(super) of_start: Option<u8>,
}

impl What {
    pub(super) const ALL: [Self; 4] = [Self::Quality, Self::Lens, Self::Camera, Self::Started];

    /// Under which name it is remembered.
    pub(super) fn name(self, source: &SourceId) -> String {
        let what = match self {
            Self::Quality => "quality",
            Self::Lens => "lens",
            Self::Camera => "camera",
            Self::Started => return format!("{STARTED_PREFIX}{source}"),
        };
        format!("{ASKED_PREFIX}{what}/{source}")
    }

    /// Of which source what is remembered under this name.
    pub(super) fn of(name: &str) -> Option<(Self, SourceId)> {
        let (_, source) = name.strip_prefix(ASKED_PREFIX)?.split_once('/')?;
        let source = source.parse().ok()?;
        let what = Self::ALL.into_iter().find(|what| what.name(&source) == name)?;
        Some((what, source))
    }
}

impl Asked {
    /// The text that is remembered.
    pub(super) fn text(&self, what: What) -> String {
        let text = match what {
            What::Quality => serde_json::to_string(&self.quality),
            What::Lens => serde_json::to_string(&self.lens),
            What::Camera => serde_json::to_string(&self.position),
            What::Started => serde_json::to_string(&self.started_ms),
        };
        text.expect("numbers and texts are JSON")
    }

    /// Takes a text that was remembered. One that is none is passed over.
    pub(super) fn take(&mut self, what: What, text: &str) {
        let is_taken = match what {
            What::Quality => {
                let read = serde_json::from_str::<Quality>(text).ok();
                let may_be = |quality: Option<u8>| quality.is_none_or(|quality| quality <= QUALITY_MAX);
                read.filter(|read| may_be(read.wanted) && may_be(read.of_start))
                    .map(|read| self.quality = read)
            }
            What::Lens => {
                let read = serde_json::from_str::<Option<String>>(text).ok();
                read.filter(|read| read.as_deref().is_none_or(may_be_lens)).map(|read| self.lens = read)
            }
            What::Camera => serde_json::from_str(text).ok().map(|read| self.position = read),
            What::Started => serde_json::from_str(text).ok().map(|read| self.started_ms = read),
        };
        if is_taken.is_some() {
            self.set_remembered(what);
        }
    }

    /// Whether what is live may be what a bridge has started.
    pub(super) fn is_started(&self, unix_ms: u64) -> bool {
        self.started_ms.is_some_and(|at_ms| unix_ms.saturating_sub(at_ms) < STARTED_MS)
    }

    pub(super) fn is_remembered(&self, what: What) -> bool {
        self.remembered[what as usize]
    }

    pub(super) fn set_remembered(&mut self, what: What) {
        self.remembered[what as usize] = true;
    }
}

/// Whether a text may name a lens.
pub(super) fn may_be_lens(text: &str) -> bool {
    (1..=LENS_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
