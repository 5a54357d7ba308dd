//! An even clock from uneven arrivals.

use super::timeline::TICKS_PER_SECOND;

const TICKS_PER_MS: i64 = TICKS_PER_SECOND / 1000;

/// Frames per second until something tells better.
const RATE_DEFAULT: i64 = 25;

/// Fastest and slowest rate that is believed, in frames per second.
const RATE_MAX: i64 = 240;
const RATE_MIN: i64 = 1;

/// An arrival this far from the clock is the network's doing, and changes nothing.
const JITTER_MAX: i64 = TICKS_PER_SECOND / 5;

/// An arrival this late follows a pause of the sender.
const PAUSE_MIN: i64 = TICKS_PER_SECOND;

/// How much of an error is made good with each picture, and how much each counts in the measured rate: one part in
/// so many.
const CORRECTION: i64 = 16;

/// Times pictures that have no time of their own.
#[derive(Debug)]
pub(crate) struct FrameClock {
    period: i64,
    step: i64,
    /// The stream told its rate. Otherwise it is measured.
    is_nominal: bool,
    /// Steps that the period was measured by, at most [`CORRECTION`].
    measured: i64,
    first_ms: Option<u64>,
    last_arrival: i64,
    last: Option<i64>,
}

impl FrameClock {
    pub(crate) fn new() -> Self {
        Self {
            period: TICKS_PER_SECOND / RATE_DEFAULT,
            step: TICKS_PER_SECOND / RATE_DEFAULT,
            is_nominal: false,
            measured: 0,
            first_ms: None,
            last_arrival: 0,
            last: None,
        }
    }

    /// The duration of a picture, in ticks of the timeline, that the stream tells.
    pub(crate) fn set_nominal(&mut self, period: Option<i64>) {
        self.is_nominal = period.is_some();
        self.period = period.unwrap_or(self.period);
        self.step = self.period;
    }

    /// How long a picture lasts at the moment: while an error is made good, more or less than the stream told.
    pub(crate) const fn step(&self) -> i64 {
        self.step
    }

    /// The time of the next picture, which arrived at `now_ms`. Grows with each.
    pub(crate) fn tick(&mut self, now_ms: u64) -> i64 {
        let first_ms = *self.first_ms.get_or_insert(now_ms);
        // Thousands of years; a wrong clock must not overflow.
        let elapsed_ms = now_ms.saturating_sub(first_ms).min(1 << 47);
        let arrival = elapsed_ms.cast_signed() * TICKS_PER_MS;
        let Some(last) = self.last else {
            self.last = Some(0);
            return 0;
        };
        if !self.is_nominal {
            let step =
                (arrival - self.last_arrival).clamp(TICKS_PER_SECOND / RATE_MAX, TICKS_PER_SECOND / RATE_MIN);
            self.measured = (self.measured + 1).min(CORRECTION);
            self.period += (step - self.period) / self.measured;
        }
        self.last_arrival = arrival;
        let expected = last + self.period;
        let error = arrival - expected;
        let time = if error > PAUSE_MIN {
            arrival
        } else if error.abs() > JITTER_MAX {
            expected + (error / CORRECTION).clamp(-self.period / 2, self.period / 2)
        } else {
            expected
        };
        self.step = if error > PAUSE_MIN { self.period } else { time - last };
        self.last = Some(time);
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: i64 = TICKS_PER_SECOND / 25;

    #[test]
    fn jitter_of_the_network_is_not_seen() {
        let mut clock = FrameClock::new();
        clock.set_nominal(Some(FRAME));
        let jitter = [0, 13, 80, 120, 120, 150, 270, 270, 310, 360];
        let times: Vec<i64> = jitter.into_iter().map(|now| clock.tick(now)).collect();
        assert_eq!(times, (0..10).map(|frame| frame * FRAME).collect::<Vec<_>>());
    }

    #[test]
    fn a_stream_that_tells_a_wrong_rate_is_followed_by_the_clock() {
        let mut clock = FrameClock::new();
        clock.set_nominal(Some(FRAME));
        let last = (0..500).map(|frame| clock.tick(frame * 20)).last().unwrap();
        assert!((last - 500 * 20 * TICKS_PER_MS).abs() < TICKS_PER_SECOND, "{last}");
    }

    #[test]
    fn a_pause_is_kept_and_a_clock_that_goes_back_never_turns_time_around() {
        let mut clock = FrameClock::new();
        clock.set_nominal(Some(FRAME));
        assert_eq!(clock.tick(1000), 0);
        assert_eq!(clock.tick(6000), 5 * TICKS_PER_SECOND);
        let mut before = 5 * TICKS_PER_SECOND;
        for _ in 0..1000 {
            let time = clock.tick(0);
            assert!(time > before);
            before = time;
        }
        assert!(clock.tick(u64::MAX) > before);
    }
}
