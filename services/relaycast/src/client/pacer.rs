//! Plays a file at the speed of its own clock. Pure: the time is passed in.

use std::time::Duration;

use tokio::time::Instant;

/// A step of the stream's clock larger than this, either way, is a new beginning and not a pause: a file that was
/// spliced, or a clock that wrapped.
const STEP_MAX: Duration = Duration::from_secs(10);

/// Maps the stream's clock to ours.
#[derive(Debug, Default)]
pub(crate) struct Pacer {
    anchor: Option<Anchor>,
}

#[derive(Debug, Clone, Copy)]
struct Anchor {
    at: Instant,
    time_ms: u64,
    last_ms: u64,
}

impl Pacer {
    /// When a unit of this time is due.
    pub(crate) fn due(&mut self, time_ms: u64, now: Instant) -> Instant {
        let step_max = u64::try_from(STEP_MAX.as_millis()).unwrap_or(u64::MAX);
        let anchor = match self.anchor {
            Some(anchor) if anchor.last_ms.abs_diff(time_ms) <= step_max => anchor,
            // The first unit, or the first after a step: due at once.
            _ => Anchor { at: now, time_ms, last_ms: time_ms },
        };
        self.anchor = Some(Anchor { last_ms: time_ms, ..anchor });
        // A unit from before the anchor is late already.
        anchor.at + Duration::from_millis(time_ms.saturating_sub(anchor.time_ms))
    }

    /// How far the stream's clock has come by now; `None` before the first unit.
    pub(crate) fn now_ms(&self, now: Instant) -> Option<u64> {
        let anchor = self.anchor?;
        let elapsed = u64::try_from(now.saturating_duration_since(anchor.at).as_millis()).unwrap_or(u64::MAX);
        Some(anchor.time_ms.saturating_add(elapsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_plays_at_the_speed_of_its_clock() {
        let start = Instant::now();
        let mut pacer = Pacer::default();
        assert_eq!(pacer.now_ms(start), None);
        let due = |pacer: &mut Pacer, ms| (pacer.due(ms, Instant::now()) - start).as_millis();
        assert_eq!(due(&mut pacer, 5000), 0);
        assert_eq!(due(&mut pacer, 5040), 40);
        assert_eq!(due(&mut pacer, 5020), 20, "tracks need not be in step");
        assert_eq!(due(&mut pacer, 4990), 0, "and one may begin before the first");
        tokio::time::advance(Duration::from_millis(30)).await;
        assert_eq!(pacer.now_ms(Instant::now()), Some(5030));
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_of_the_clock_is_a_new_beginning() {
        let start = Instant::now();
        let mut pacer = Pacer::default();
        assert_eq!(pacer.due(90_000, start), start);
        tokio::time::advance(Duration::from_secs(1)).await;
        let later = Instant::now();
        assert_eq!(pacer.due(0, later), later);
        assert_eq!(pacer.due(40, later), later + Duration::from_millis(40));
        assert_eq!(pacer.due(3_600_000, later), later);
    }
}
