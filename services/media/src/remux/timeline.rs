//! One time for all tracks, that only grows, whatever the sender's clock does.

/// Ticks per second of everything in a [`Timeline`].
pub(crate) const TICKS_PER_SECOND: i64 = 90_000;

/// A step forwards by more than this is a clock that was set, not a pause: nobody wants to watch it pass. A track that goes
/// on where another one is has paused alone, and is let.
const PAUSE_MAX: i64 = 10 * TICKS_PER_SECOND;

/// A step backwards by no more than this is a rounding error or a muxer's reordering, and is straightened out.
const JITTER_MAX: i64 = TICKS_PER_SECOND / 10;

/// How far tracks may be apart that are sent together, and so how long after a jump a track may not have met it.
const SKEW_MAX: i64 = TICKS_PER_SECOND;

/// A longer step was a pause, which says nothing about the next.
const STEP_MAX: i64 = TICKS_PER_SECOND;

/// Duration of a picture that nothing tells the duration of.
const STEP_DEFAULT: i64 = TICKS_PER_SECOND / 25;

/// Maps the time stamps of a stream to a time that starts at 0 and grows in each track.
///
/// Time stamps are numbers modulo `modulus`, so a wrap is no event. When the clock jumps, each track meets the
/// jump in its own packet; the first decides by how much, and the others follow it to stay together. One that would
/// have to go back for that takes them along instead: later they all step forwards.
#[derive(Debug)]
pub struct Timeline {
    modulus: i64,
    /// `None` before the first time stamp.
    clock: Option<Clock>,
    /// The latest time given out.
    latest: i64,
}

/// What the sender's clock shows, since a jump.
#[derive(Debug, Clone, Copy)]
struct Clock {
    /// Which it is of those that there were.
    number: u64,
    /// What is added to a time stamp.
    shift: i64,
    /// When it began.
    since: i64,
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
    clock: Clock,
}

impl Timeline {
    /// Of time stamps that start again at `modulus`, in ticks of 1/90,000 s.
    pub fn new(modulus: i64) -> Self {
        Self { modulus, clock: None, latest: 0 }
    }

    /// The time of the track's next time stamp, after that of the one before.
    pub fn place(&mut self, track: &mut TrackTime, stamp: i64) -> i64 {
        let clock = *self.clock.get_or_insert(Clock { number: 1, shift: -stamp, since: 0 });
        let last = match track.last {
            Some(last) => self.next(last, stamp, clock),
            None => self.first(stamp, clock),
        };
        track.last = Some(last);
        self.latest = self.latest.max(last.time);
        last.time
    }

    fn first(&self, stamp: i64, clock: Clock) -> Last {
        let distance = self.distance(stamp + clock.shift, self.latest);
        let is_near = distance.abs() <= PAUSE_MAX;
        let time = if is_near { self.latest + distance } else { self.latest };
        // A clock of its own is none of those that there were.
        let clock = if is_near { clock } else { Clock { number: 0, shift: time - stamp, since: time } };
        Last { time, step: STEP_DEFAULT, clock }
    }

    fn next(&mut self, last: Last, stamp: i64, clock: Clock) -> Last {
        let is_current = last.clock.number == clock.number;
        // Another track may have moved it on.
        let own_clock = if is_current { clock } else { last.clock };
        let own = self.distance(stamp + own_clock.shift, last.time);
        let goes_on = |forwards: i64| {
            let is_near_others = (last.time + forwards - self.latest).abs() <= SKEW_MAX;
            forwards > 0 && (forwards <= PAUSE_MAX || is_near_others)
        };
        let is_jitter = (-JITTER_MAX..=0).contains(&own);
        if !is_current {
            let followed = self.distance(stamp + clock.shift, last.time);
            let is_own_possible = goes_on(own) || is_jitter;
            // Where both clocks are, it is the one that makes more of a step of this.
            let is_likelier = (followed - last.step).abs() < (own - last.step).abs();
            // A track that met no jump for so long has passed over a small one.
            let is_overdue = last.time > clock.since + SKEW_MAX;
            let follows = is_likelier || is_overdue || !is_own_possible;
            if follows && goes_on(followed) {
                return last.forwards(followed, clock);
            }
            if follows && (-SKEW_MAX..=0).contains(&followed) {
                let shift = clock.shift + last.step - followed;
                return last.forwards(last.step, *self.clock.insert(Clock { shift, ..clock }));
            }
        }
        if goes_on(own) {
            return last.forwards(own, own_clock);
        }
        if is_jitter {
            return Last { time: last.time + 1, clock: own_clock, ..last };
        }
        let since = last.time + last.step;
        let jumped = Clock { number: clock.number + 1, shift: (since - stamp) % self.modulus, since };
        last.forwards(last.step, *self.clock.insert(jumped))
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

impl Last {
    fn forwards(self, step: i64, clock: Clock) -> Self {
        let usual = if step <= STEP_MAX { step } else { self.step };
        Self { time: self.time + step, step: usual, clock }
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

    #[test]
    fn a_clock_that_is_set_back_by_little_goes_on_by_steps_too() {
        let second = 25 * FRAME;
        assert_eq!(
            places([0, second, second + FRAME, second / 2, second / 2 + FRAME]),
            [0, second, second + FRAME, second + 2 * FRAME, second + 3 * FRAME]
        );
        let long = 8 * TICKS_PER_SECOND;
        assert_eq!(places([0, FRAME, long, 0]), [0, FRAME, long, long + FRAME], "a pause is no step");
    }

    #[test]
    fn a_track_that_would_have_to_go_back_over_a_jump_takes_the_other_along() {
        let mut timeline = Timeline::new(WRAP);
        let (mut video, mut audio) = (TrackTime::default(), TrackTime::default());
        let jump = 70_000 * TICKS_PER_SECOND;
        timeline.place(&mut video, 0);
        timeline.place(&mut audio, 0);
        assert_eq!(timeline.place(&mut audio, 2 * FRAME), 2 * FRAME);
        assert_eq!(timeline.place(&mut audio, 5 * FRAME), 5 * FRAME);
        assert_eq!(timeline.place(&mut video, jump), FRAME);
        assert_eq!(timeline.place(&mut audio, jump), 8 * FRAME);
        assert_eq!(timeline.place(&mut video, jump + FRAME), 9 * FRAME);
        assert_eq!(timeline.place(&mut audio, jump + 3 * FRAME), 11 * FRAME);
    }

    #[test]
    fn a_track_that_pauses_alone_goes_on_where_the_other_is() {
        let mut timeline = Timeline::new(WRAP);
        let (mut video, mut audio) = (TrackTime::default(), TrackTime::default());
        timeline.place(&mut video, 0);
        for second in 0..20 {
            timeline.place(&mut audio, second * TICKS_PER_SECOND);
        }
        assert_eq!(timeline.place(&mut video, 19 * TICKS_PER_SECOND), 19 * TICKS_PER_SECOND);
        assert_eq!(timeline.place(&mut audio, 20 * TICKS_PER_SECOND), 20 * TICKS_PER_SECOND);
    }

    #[test]
    fn what_one_track_takes_for_a_jump_and_the_other_does_not_is_the_same_for_both_in_the_end() {
        let mut timeline = Timeline::new(WRAP);
        let (mut video, mut audio) = (TrackTime::default(), TrackTime::default());
        let ms = TICKS_PER_SECOND / 1000;
        let (mut video_late, mut audio_late) = (0, 0);
        for picture in 0..150 {
            // Set back by 120 ms: from frame to frame that is 80 ms for pictures, and 110 ms for sound.
            let clock = |at: i64| at - if at >= 2000 { 120 } else { 0 };
            let at = picture * 40;
            video_late = timeline.place(&mut video, clock(at) * ms) - at * ms;
            for at in (at..at + 40).step_by(10) {
                audio_late = timeline.place(&mut audio, clock(at) * ms) - at * ms;
            }
        }
        assert_eq!(video_late, audio_late);
    }
}
