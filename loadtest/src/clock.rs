//! One clock for everything that is measured: nanoseconds since the run began.

use std::time::{Duration, Instant};

/// Nanoseconds since some moment, the same for all threads of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now_ns(self) -> u64 {
        ns(self.0.elapsed())
    }
}

/// A duration in nanoseconds: 584 years fit.
pub(crate) fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
