//! One time for all tracks, that only grows, whatever the sender's clock does.

/// Ticks per second of everything in a [`Timeline`].
pub(crate) const TICKS_PER_SECOND: i64 = 90_000;

/// A step forwards by more than this is a clock that was set, not a pause: nobody wants to watch it pass.
const PAUSE_MAX: i64 = 10 * TICKS_PER_SECOND;

/// A step backwards by no more than this is a rounding error or a muxer's reordering, and is straightened out.
const JITTER_MAX: i64 = TICKS_PER_SECOND / 10;

/// How far a track may be behind where another track's jump puts it.
const SKEW_MAX: i64 = TICKS_PER_SECOND;

/// Duration of a picture that nothing tells the duration of.
const STEP_DEFAULT: i64 = TICKS_PER_SECOND / 25;

/// Maps the time stamps of a stream to a time that starts at 0.
///
/// Time stamps are numbers modulo `modulus`, so a wrap is no event. When the clock jumps, each track meets the
/// jump in its own packet; the first decides by how much, and the others follow it to stay together.
#[derive(Debug)]
pub struct Timeline {
    modulus: i64,
    /// What is added to a time stamp, since the last jump.
    shift: Option<i64>,
    /// The latest time given out.
    latest: i64,
}

/// Where one track is on a [`Timeline`].
#[derive(Debug, Default)]
pub struct TrackTime {
    last: Option<Last>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    time: i64,
    step: i64,
    shift: i64,
}

impl Timeline {
    /// Of time stamps that start again at `modulus`, in ticks of 1/90,000 s.
    pub fn new(modulus: i64) -> Self {
        Self { modulus, shift: None, latest: 0 }
    }

    /// The time of the track's next time stamp, after that of the one before.
    pub fn place(&mut self, track: &mut TrackTime, stamp: i64) -> i64 {
        let shift = *self.shift.get_or_insert(-stamp);
        let last = match track.last {
            Some(last) => self.next(last, stamp, shift),
            None => {
                let distance = self.distance(stamp + shift, self.latest);
                let is_near = distance.abs() <= PAUSE_MAX;
                let time = if is_near { self.latest + distance } else { self.latest };
                Last { time, step: STEP_DEFAULT, shift: if is_near { shift } else { time - stamp } }
            }
        };
        track.last = Some(last);
        self.latest = self.latest.max(last.time);
        last.time
    }

    fn next(&mut self, last: Last, stamp: i64, shift: i64) -> Last {
        let forwards = self.distance(stamp + last.shift, last.time);
        if (1..=PAUSE_MAX).contains(&forwards) {
            return Last { time: last.time + forwards, step: forwards, ..last };
        }
        if (-JITTER_MAX..=0).contains(&forwards) {
            return Last { time: last.time + 1, ..last };
        }
        let followed = self.distance(stamp + shift, last.time);
        if (-SKEW_MAX..=PAUSE_MAX).contains(&followed) {
            return Last { time: last.time + followed.max(1), shift, ..last };
        }
        let time = last.time + last.step;
        let shift = (time - stamp) % self.modulus;
        self.shift = Some(shift);
        Last { time, shift, ..last }
    }

    /// How far `to` lies after `from`, the shorter way round.
    fn distance(&self, to: i64, from: i64) -> i64 {
        let forwards = (to - from).rem_euclid(self.modulus);
        if forwards > self.modulus / 2 { forwards - self.modulus } else { forwards }
    }

    /// How far a picture is shown after it is decoded, from its two time stamps.
    pub(crate) fn composition_offset(&self, presentation: i64, decoding: i64) -> i64 {
        let offset = self.distance(presentation, decoding);
        if offset.abs() <= PAUSE_MAX { offset } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRAP: i64 = 1 << 33;
    const FRAME: i64 = 3600;

    fn places(stamps: impl IntoIterator<Item = i64>) -> Vec<i64> {
        let (mut timeline, mut track) = (Timeline::new(WRAP), TrackTime::default());
        stamps.into_iter().map(|stamp| timeline.place(&mut track, stamp)).collect()
    }

    #[test]
    fn a_wrap_is_no_event() {
        let stamps = (0..10).map(|frame| (WRAP - 5 * FRAME + frame * FRAME) % WRAP);
        assert_eq!(places(stamps), (0..10).map(|frame| frame * FRAME).collect::<Vec<_>>());
    }

    #[test]
    fn jumps_both_ways_go_on_by_the_last_step() {
        assert_eq!(
            places([0, FRAME, 900 * TICKS_PER_SECOND, 900 * TICKS_PER_SECOND + FRAME]),
            [0, FRAME, 2 * FRAME, 3 * FRAME]
        );
        assert_eq!(
            places([500_000_000, 500_000_000 + FRAME, 7, 7 + FRAME]),
            [0, FRAME, 2 * FRAME, 3 * FRAME]
        );
    }

    #[test]
    fn a_pause_stays_a_pause_and_time_never_stands_still() {
        assert_eq!(places([0, 5 * TICKS_PER_SECOND]), [0, 5 * TICKS_PER_SECOND]);
        assert_eq!(places([0, FRAME, FRAME, FRAME - 90]), [0, FRAME, FRAME + 1, FRAME + 2]);
    }

    #[test]
    fn tracks_stay_together_over_a_jump_that_each_meets_at_its_own_time() {
        let mut timeline = Timeline::new(WRAP);
        let (mut video, mut audio) = (TrackTime::default(), TrackTime::default());
        let jump = 70_000 * TICKS_PER_SECOND;
        assert_eq!(timeline.place(&mut video, 1000), 0);
        assert_eq!(timeline.place(&mut audio, 1500), 500);
        assert_eq!(timeline.place(&mut video, 1000 + FRAME), FRAME);
        assert_eq!(timeline.place(&mut video, jump), 2 * FRAME);
        assert_eq!(timeline.place(&mut audio, 1500 + FRAME), 500 + FRAME, "still before the jump");
        assert_eq!(timeline.place(&mut audio, jump + 500), 2 * FRAME + 500);
    }
}
