//! The muxer: samples in, fragments out.
//!
//! It waits for both tracks where both were announced, but not for ever, and starts at a key frame. From then on
//! each picture is a fragment at once, together with the sound that came since the last.

use std::collections::VecDeque;

use super::fragment::{self, Run, Sample};
use super::init;
use super::timeline::TICKS_PER_SECOND;
use super::track::{AudioConfig, AudioSample, VideoConfig, VideoSample};
use crate::Fragment;

/// How much of one track is held back for the first sign of the other. A player would rather start without.
const WAIT_MAX: i64 = TICKS_PER_SECOND;
const WAIT_PICTURES_MAX: usize = 120;
const WAIT_BYTES_MAX: usize = 16 << 20;

/// Frames of sound that may wait for a picture: more than a second at any rate. Those of a stream whose pictures
/// stopped go out alone.
const SOUND_FRAMES_MAX: usize = 128;

/// Frames in a fragment of a stream without pictures: about 90 ms.
const SOUND_ONLY_FRAMES: usize = 4;

/// A picture that lasted longer than this was followed by a pause, which says nothing about the next.
const PICTURE_DURATION_MAX: i64 = TICKS_PER_SECOND;

/// Duration of the first picture, where the stream does not tell.
const PICTURE_DURATION_DEFAULT: i64 = TICKS_PER_SECOND / 25;

/// Sound that is off by less is put where the frame before it ended: containers with coarse time stamps (FLV has
/// milliseconds) would tear it apart.
const SOUND_JITTER_MAX: i64 = TICKS_PER_SECOND * 4 / 100;

/// Which tracks the stream announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) video: bool,
    pub(crate) audio: bool,
}

/// Puts samples together to fragments.
#[derive(Debug)]
pub(crate) struct Muxer {
    expected: Expected,
    video: Option<VideoConfig>,
    audio: Option<AudioConfig>,
    /// What the init that the player has does not say yet.
    is_stale: bool,
    /// The tracks of the last init; `None` while waiting.
    playing: Option<Expected>,
    pictures: VecDeque<VideoSample>,
    sound: VecDeque<AudioSample>,
    /// Time of the stream that is 0 in the fragments.
    base: i64,
    picture_time: Option<i64>,
    picture_duration: i64,
    /// Where the last frame of sound ended, in samples.
    sound_end: Option<i64>,
    sequence: u32,
    unsupported: Option<String>,
    fragments: Vec<Fragment>,
}

impl Muxer {
    pub(crate) fn new(expected: Expected) -> Self {
        Self {
            expected,
            video: None,
            audio: None,
            is_stale: true,
            playing: None,
            pictures: VecDeque::new(),
            sound: VecDeque::new(),
            base: 0,
            picture_time: None,
            picture_duration: PICTURE_DURATION_DEFAULT,
            sound_end: None,
            sequence: 0,
            unsupported: None,
            fragments: Vec::new(),
        }
    }

    /// Moves out what was made.
    pub(crate) fn drain(&mut self, fragments: &mut Vec<Fragment>) {
        fragments.append(&mut self.fragments);
    }

    pub(crate) fn expect(&mut self, expected: Expected) {
        self.expected = expected;
        self.start_if_ready();
    }

    pub(crate) fn expected(&mut self) -> &mut Expected {
        &mut self.expected
    }

    /// A track has a codec that is left out.
    pub(crate) fn leave_out(&mut self, codec: impl FnOnce() -> String) {
        if self.unsupported.is_none() {
            self.unsupported = Some(codec());
        }
    }

    /// The codec that was left out, when nothing else is there.
    pub(crate) fn unsupported(&self) -> Option<&str> {
        if self.video.is_some() || self.audio.is_some() { None } else { self.unsupported.as_deref() }
    }

    pub(crate) fn retained(&self) -> usize {
        let pictures: usize = self.pictures.iter().map(|picture| picture.data.capacity()).sum();
        let sound: usize = self.sound.iter().map(|frame| frame.data.capacity()).sum();
        pictures + sound
    }

    /// What the pictures that follow need. Counts from the next key frame.
    pub(crate) fn video_config(&mut self, config: VideoConfig) {
        if self.video.as_ref() != Some(&config) {
            self.video = Some(config);
            self.is_stale = true;
            // Pictures that still wait would need the old one.
            self.pictures.clear();
        }
    }

    /// What the sound that follows needs.
    pub(crate) fn audio_config(&mut self, config: AudioConfig) {
        if self.audio.as_ref() == Some(&config) {
            return;
        }
        if self.playing.is_some_and(|tracks| tracks.audio) {
            self.emit(None);
        }
        self.sound.clear();
        self.sound_end = None;
        self.audio = Some(config);
        self.is_stale = true;
    }

    pub(crate) fn picture(&mut self, picture: VideoSample) {
        if self.video.is_none() {
            return;
        }
        match self.playing {
            None if self.pictures.is_empty() && !picture.is_key => {}
            None => {
                self.pictures.push_back(picture);
                self.start_if_ready();
            }
            Some(tracks) => {
                let is_new = self.is_stale || !tracks.video;
                if is_new && picture.is_key {
                    self.init(Expected { video: true, audio: self.audio.is_some() });
                } else if !tracks.video {
                    return;
                }
                self.emit(Some(picture));
            }
        }
    }

    pub(crate) fn sound(&mut self, frame: AudioSample) {
        if self.audio.is_none() || frame.samples == 0 {
            return;
        }
        if self.sound.len() == SOUND_FRAMES_MAX {
            self.sound.pop_front();
        }
        self.sound.push_back(frame);
        match self.playing {
            None => self.start_if_ready(),
            Some(Expected { video: false, .. }) if self.is_stale => {
                self.init(Expected { video: false, audio: true });
            }
            Some(Expected { video: false, .. }) if self.sound.len() >= SOUND_ONLY_FRAMES => self.emit(None),
            Some(_) if self.sound.len() == SOUND_FRAMES_MAX => self.emit(None),
            Some(_) => {}
        }
    }

    /// The stream ended.
    pub(crate) fn finish(&mut self) {
        self.expected = Expected { video: false, audio: false };
        self.start_if_ready();
        self.emit(None);
    }

    fn start_if_ready(&mut self) {
        if self.playing.is_some() {
            return;
        }
        let has = Expected { video: !self.pictures.is_empty(), audio: !self.sound.is_empty() };
        let is_all = (has.video || !self.expected.video) && (has.audio || !self.expected.audio);
        if !(has.video || has.audio) || !(is_all || self.has_waited_enough()) {
            return;
        }
        let first_picture = self.pictures.front().map(|picture| picture.time);
        let first_sound = self.sound.front().map(|frame| frame.time);
        self.base = first_picture.or(first_sound).unwrap_or(0);
        // Sound from before the first picture would start the stream with a black screen.
        self.sound.retain(|frame| frame.time >= self.base);
        self.init(Expected { video: has.video, audio: self.audio.is_some() });
        let sound = std::mem::take(&mut self.sound);
        let (mut sound, pictures) = (sound.into_iter().peekable(), std::mem::take(&mut self.pictures));
        for picture in pictures {
            let due = picture.time;
            self.sound.extend(std::iter::from_fn(|| sound.next_if(|frame| frame.time <= due)));
            self.emit(Some(picture));
        }
        self.sound.extend(sound);
    }

    fn has_waited_enough(&self) -> bool {
        let span = |first: Option<i64>, last: Option<i64>| last.unwrap_or(0) - first.unwrap_or(0);
        let pictures = span(
            self.pictures.front().map(|picture| picture.time),
            self.pictures.back().map(|picture| picture.time),
        );
        let sound =
            span(self.sound.front().map(|frame| frame.time), self.sound.back().map(|frame| frame.time));
        pictures.max(sound) >= WAIT_MAX
            || self.pictures.len() >= WAIT_PICTURES_MAX
            || self.sound.len() == SOUND_FRAMES_MAX
            || self.pictures.iter().map(|picture| picture.data.len()).sum::<usize>() >= WAIT_BYTES_MAX
    }

    fn init(&mut self, tracks: Expected) {
        let video = self.video.as_ref().filter(|_| tracks.video);
        let audio = self.audio.as_ref().filter(|_| tracks.audio);
        if let Some(video) = video {
            self.picture_duration = video.frame_duration().unwrap_or(self.picture_duration);
        }
        if let Some(bytes) = init::write(video, audio) {
            self.fragments.push(Fragment { bytes: bytes.into() });
            self.playing = Some(tracks);
            self.is_stale = false;
        }
    }

    /// Makes a fragment of a picture and of the sound that waits.
    fn emit(&mut self, picture: Option<VideoSample>) {
        // Sound of a track that the player does not know yet goes on waiting.
        let can_sound = self.playing.is_some_and(|tracks| tracks.audio) && !self.is_stale;
        let audio = if can_sound { self.sound_run() } else { None };
        let video = picture.map(|picture| self.picture_run(picture));
        if video.is_some() || audio.is_some() {
            self.sequence = self.sequence.wrapping_add(1);
            let bytes = fragment::write(self.sequence, video.as_ref(), audio.as_ref());
            self.fragments.push(Fragment { bytes: bytes.into() });
        }
    }

    fn picture_run(&mut self, picture: VideoSample) -> Run {
        let time = picture.time - self.base;
        if let Some(step) = self.picture_time.map(|last| time - last)
            && (1..=PICTURE_DURATION_MAX).contains(&step)
        {
            self.picture_duration = step;
        }
        self.picture_time = Some(time);
        Run {
            time: time.max(0).cast_unsigned(),
            samples: vec![Sample {
                duration: self.picture_duration as u32,
                // Bounded by the timeline to a few seconds.
                composition_offset: picture.composition_offset as i32,
                is_key: picture.is_key,
                data: picture.data,
            }],
        }
    }

    fn sound_run(&mut self) -> Option<Run> {
        let rate = i64::from(self.audio.as_ref()?.sample_rate);
        let base = self.base;
        let mut run: Option<Run> = None;
        for frame in self.sound.drain(..) {
            let stamped = (frame.time - base).max(0) * rate / TICKS_PER_SECOND;
            let end = self.sound_end.unwrap_or(stamped);
            let is_gap = stamped - end > SOUND_JITTER_MAX * rate / TICKS_PER_SECOND;
            let start = if is_gap { stamped } else { end };
            self.sound_end = Some(start + i64::from(frame.samples));
            let run = run.get_or_insert_with(|| Run { time: start.cast_unsigned(), samples: Vec::new() });
            if let Some(before) = run.samples.last_mut() {
                before.duration = before.duration.saturating_add(u32::try_from(start - end).unwrap_or(0));
            }
            run.samples.push(Sample {
                duration: frame.samples,
                composition_offset: 0,
                is_key: true,
                data: frame.data,
            });
        }
        run
    }
}
