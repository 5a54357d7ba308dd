//! An even clock from uneven arrivals.

use std::collections::VecDeque;

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
    /// The stream told its rate. Otherwise it is measured.
    is_nominal: bool,
    /// Steps that the period was measured by, at most [`CORRECTION`].
    measured: i64,
    first_ms: Option<u64>,
    last_arrival: i64,
    last: Option<i64>,
    /// The times of the pictures that come next, as far as one was shown at theirs: what was promised is kept, and
    /// errors are made good behind it.
    promised: VecDeque<i64>,
}

impl FrameClock {
    pub(crate) fn new() -> Self {
        Self {
            period: TICKS_PER_SECOND / RATE_DEFAULT,
            is_nominal: false,
            measured: 0,
            first_ms: None,
            last_arrival: 0,
            last: None,
            promised: VecDeque::new(),
        }
    }

    /// The duration of a picture, in ticks of the timeline, that the stream tells.
    pub(crate) fn set_nominal(&mut self, period: Option<i64>) {
        self.is_nominal = period.is_some();
        self.period = period.unwrap_or(self.period);
    }

    /// The time of the next picture, which arrived at `now_ms`. Grows with each.
    pub(crate) fn tick(&mut self, now_ms: u64) -> i64 {
        let first_ms = *self.first_ms.get_or_insert(now_ms);
        // Thousands of years; a wrong clock must not overflow.
        let elapsed_ms = now_ms.saturating_sub(first_ms).min(1 << 47);
        let arrival = elapsed_ms.cast_signed() * TICKS_PER_MS;
        if self.last.is_none() {
            self.last = Some(0);
            return 0;
        }
        if !self.is_nominal {
            let step =
                (arrival - self.last_arrival).clamp(TICKS_PER_SECOND / RATE_MAX, TICKS_PER_SECOND / RATE_MIN);
            self.measured = (self.measured + 1).min(CORRECTION);
            self.period += (step - self.period) / self.measured;
        }
        self.last_arrival = arrival;
        let time = self.promised.pop_front().unwrap_or_else(|| self.time_after(arrival));
        self.last = Some(time);
        time
    }

    /// The time of the picture that comes so many after the last one: when that one is shown which is decoded early.
    pub(crate) fn promise(&mut self, pictures: usize) -> i64 {
        while self.promised.len() < pictures {
            let ahead = self.promised.len() as i64 + 1;
            let time = self.time_after(self.last_arrival + ahead * self.period);
            self.promised.push_back(time);
        }
        let index = pictures.checked_sub(1);
        index.and_then(|index| self.promised.get(index).copied()).or(self.last).unwrap_or(0)
    }

    /// The time after the last one that was given out or promised, for a picture that arrives then.
    fn time_after(&self, arrival: i64) -> i64 {
        let expected = self.promised.back().copied().or(self.last).unwrap_or(0) + self.period;
        let error = arrival - expected;
        if error > PAUSE_MIN {
            arrival
        } else if error.abs() > JITTER_MAX {
            expected + (error / CORRECTION).clamp(-self.period / 2, self.period / 2)
        } else {
            expected
        }
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

    /// An I picture, then groups of a P picture and two B pictures that are shown before it.
    #[test]
    fn what_is_decoded_early_is_shown_in_turn_whatever_the_clock_does() {
        for arrivals in
            [[0; 61], std::array::from_fn(|n| [0, 9000][n / 30 % 2]), std::array::from_fn(|n| n as u64 * 20)]
        {
            let mut clock = FrameClock::new();
            clock.set_nominal(Some(FRAME));
            let mut shown = vec![0; 61];
            for (decoded, now) in arrivals.into_iter().enumerate() {
                let place = match decoded {
                    0 => 0,
                    _ if decoded % 3 == 1 => decoded + 2,
                    _ => decoded - 1,
                };
                let time = clock.tick(now);
                let delay = 1;
                shown[place] = clock.promise(place + delay - decoded);
                assert!(shown[place] >= time);
            }
            assert!(shown.is_sorted_by(|a, b| a < b), "{shown:?}");
        }
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
