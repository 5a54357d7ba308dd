use proptest::prelude::*;

use super::*;

fn media(kind: MediaKind, time_ms: u32, body: &[u8]) -> Media {
    Media { kind, time_ms, body: [&[0; ROOM_BEFORE], body].concat() }
}

fn carry(carrier: &mut Carrier, media: Media) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    carrier.take(media, |chunk| chunks.push(chunk.payload().to_vec()));
    chunks
}

fn metadata(values: &[(&str, Value)]) -> Vec<u8> {
    let mut bytes = SET_DATA_FRAME.to_vec();
    Value::text("onMetaData").write(&mut bytes);
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Value::Object(values).write(&mut bytes);
    bytes
}

/// The time of the tag that becomes of this, if one does.
fn carried(carrier: &mut Carrier, kind: MediaKind, time_ms: u32) -> Option<u32> {
    let chunks = carry(carrier, media(kind, time_ms, &[0x27, 1, 0, 0, 0]));
    let tag = chunks.last()?;
    Some(u32::from_be_bytes([tag[7], tag[4], tag[5], tag[6]]))
}

fn time(carrier: &mut Carrier, kind: MediaKind, time_ms: u32) -> u32 {
    carried(carrier, kind, time_ms).unwrap()
}

#[test]
fn a_message_is_a_tag_behind_a_header_that_says_what_comes() {
    let mut carrier = Carrier::default();
    let said = metadata(&[("videocodecid", Value::Number(7.0))]);
    assert!(carry(&mut carrier, media(MediaKind::Data, 0, &said)).is_empty());
    let chunks = carry(&mut carrier, media(MediaKind::Video, 70, &[0x17, 1, 2]));
    assert_eq!(chunks[0], b"FLV\x01\x01\0\0\0\x09\0\0\0\0");
    assert_eq!(chunks[1][11..chunks[1].len() - 4], said[SET_DATA_FRAME.len()..]);
    assert_eq!(chunks[2], b"\x09\0\0\x03\0\0\0\0\0\0\0\x17\x01\x02\0\0\0\x0e");
    assert_eq!(carry(&mut carrier, media(MediaKind::Data, 0, &said)).len(), 1, "later it goes on at once");
}

#[test]
fn the_header_names_what_was_announced_and_what_came_and_else_both() {
    let flags = |said: Option<Vec<u8>>, kind| {
        let mut carrier = Carrier::default();
        if let Some(said) = said {
            carry(&mut carrier, media(MediaKind::Data, 0, &said));
        }
        carry(&mut carrier, media(kind, 0, &[0xAF, 1, 2]))[0][4]
    };
    let has = |name| Some(metadata(&[(name, Value::Boolean(true))]));
    assert_eq!(flags(None, MediaKind::Audio), 5);
    assert_eq!(flags(Some(metadata(&[])), MediaKind::Video), 5);
    assert_eq!(flags(has("hasAudio"), MediaKind::Audio), 4);
    assert_eq!(flags(has("hasAudio"), MediaKind::Video), 5);
    assert_eq!(flags(has("width"), MediaKind::Video), 1);
}

#[test]
fn what_is_no_named_value_stays_out() {
    let mut carrier = Carrier::default();
    time(&mut carrier, MediaKind::Video, 0);
    for odd in [&b"\x02\0\x09onMet"[..], b"\x05", b"\x02\0\x02|R", b"\x02\0\x0aonMetaData\x03\0\x01a"] {
        assert!(carry(&mut carrier, media(MediaKind::Data, 0, odd)).is_empty());
    }
    let long = metadata(&[("x", Value::text("y".repeat(COMMAND_BYTES_MAX)))]);
    assert!(carry(&mut carrier, media(MediaKind::Data, 0, &long)).is_empty());
}

#[test]
fn times_pass_small_steps_and_go_on_over_jumps() {
    use MediaKind::{Audio, Video};
    let mut carrier = Carrier::default();
    let mut of = |kind, ms| time(&mut carrier, kind, ms);
    assert_eq!((of(Video, 5000), of(Audio, 5010), of(Video, 5040)), (0, 10, 40));
    assert_eq!((of(Video, 9000), of(Audio, 9010)), (4000, 4010), "a pause is a pause");
    assert_eq!((of(Video, 9040), of(Audio, 9050)), (4040, 4050));
    assert_eq!((of(Video, 3_000_000), of(Audio, 3_000_010)), (4080, 4090), "a leap is one step");
    assert_eq!((of(Video, 0), of(Audio, 10)), (4120, 4130), "and so is one back");
}

#[test]
fn a_late_sequence_header_of_time_zero_moves_nothing() {
    let mut carrier = Carrier::default();
    time(&mut carrier, MediaKind::Video, 0);
    assert_eq!(time(&mut carrier, MediaKind::Video, 40), 40);
    let chunks = carry(&mut carrier, media(MediaKind::Video, 0, &[0x17, 0, 0, 0, 0, 1]));
    assert_eq!(chunks[0][4..8], [0, 0, 40, 0]);
    assert_eq!(time(&mut carrier, MediaKind::Video, 80), 80);
}

#[test]
fn frames_of_one_time_follow_each_other_by_a_millisecond() {
    use MediaKind::{Audio, Video};
    let mut carrier = Carrier::default();
    let mut of = |kind, ms| time(&mut carrier, kind, ms);
    assert_eq!((of(Video, 0), of(Video, 40), of(Video, 40), of(Video, 40)), (0, 40, 41, 42));
    assert_eq!((of(Audio, 40), of(Audio, 60)), (40, 60), "each track for itself");
    assert_eq!((of(Video, 80), of(Video, 50), of(Video, 90)), (80, 81, 90), "a step back, too");
}

#[test]
fn sound_from_before_the_first_picture_is_left_out_and_a_picture_from_before_the_first_sound_is_not() {
    use MediaKind::{Audio, Video};
    let mut carrier = Carrier::default();
    assert_eq!(carried(&mut carrier, Video, 1000), Some(0));
    assert_eq!((carried(&mut carrier, Audio, 960), carried(&mut carrier, Audio, 999)), (None, None));
    assert_eq!(
        (carried(&mut carrier, Audio, 1020), carried(&mut carrier, Video, 1040)),
        (Some(20), Some(40))
    );
    let mut carrier = Carrier::default();
    assert_eq!(carried(&mut carrier, Audio, 1000), Some(0));
    assert_eq!((carried(&mut carrier, Video, 920), carried(&mut carrier, Video, 960)), (Some(0), Some(1)));
    assert_eq!(
        (carried(&mut carrier, Video, 1040), carried(&mut carrier, Audio, 1020)),
        (Some(40), Some(20))
    );
}

/// What a sender's clock does, `after` so many milliseconds, by which everybody has met what it did before.
#[derive(Debug, Clone, Copy)]
struct Jump {
    after: i64,
    by: i64,
}

/// A sender with two tracks of one clock.
#[derive(Debug, Clone)]
struct Sender {
    clock: u32,
    /// Least and greatest step of pictures, then of sound.
    steps: [(u32, u32); 2],
    /// How much later than pictures of its time sound is sent; negative for sooner.
    sound_delay: i64,
    /// Of a hundred messages, how many have the time of the one before.
    repeats: u32,
    jumps: Vec<Jump>,
    seed: u32,
}

/// A message as it is sent.
#[derive(Debug, Clone, Copy)]
struct Sent {
    kind: MediaKind,
    /// When, by a clock that nobody sets.
    at: i64,
    says: u32,
    is_repeat: bool,
}

fn any_sender() -> impl Strategy<Value = Sender> {
    let by = prop_oneof![
        -160i64..160,
        -1200i64..1200,
        -12_000i64..12_000,
        9900i64..10_100,
        -4_000_000_000i64..4_000_000_000,
    ];
    let jump = (4000i64..8000, by).prop_map(|(after, by)| Jump { after, by });
    let step = || (10u32..60, 0u32..12).prop_map(|(least, more)| (least, least + more));
    let clock = prop_oneof![Just(0), any::<u32>(), u32::MAX - 20_000..u32::MAX];
    let repeats = prop_oneof![Just(0u32), Just(5)];
    (clock, [step(), step()], -500i64..500, repeats, prop::collection::vec(jump, 0..5), any::<u32>())
        .prop_map(|(clock, steps, sound_delay, repeats, jumps, seed)| Sender {
            clock,
            steps,
            sound_delay,
            repeats,
            jumps,
            seed,
        })
}

impl Sender {
    /// What it sends between two jumps, each part with what its clock did at its beginning.
    fn parts(&self) -> Vec<(i64, Vec<Sent>)> {
        let mut seed = self.seed;
        let mut any = |below: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) % below
        };
        let (mut from, mut clock) = (0, i64::from(self.clock));
        let mut changes = vec![(from, clock)];
        for jump in &self.jumps {
            from += jump.after;
            clock += jump.by;
            changes.push((from, clock));
        }
        let end = from + 4000;
        let mut all = Vec::new();
        for (kind, (least, most)) in [MediaKind::Video, MediaKind::Audio].into_iter().zip(self.steps) {
            let (mut at, mut before) = (i64::from(any(most)), None);
            while at < end {
                let part = changes.partition_point(|(from, _)| *from <= at) - 1;
                let now = (changes[part].1 + at).rem_euclid(1 << 32) as u32;
                let repeated = before.filter(|_| any(100) < self.repeats);
                let says = repeated.unwrap_or(now);
                before = Some(says);
                all.push((part, Sent { kind, at, says, is_repeat: repeated.is_some() }));
                at += i64::from(least + any(most - least + 1));
            }
        }
        let delay = |kind| if kind == MediaKind::Audio { self.sound_delay } else { 0 };
        all.sort_by_key(|(_, sent)| sent.at + delay(sent.kind));
        // A track that is ahead meets a jump while the other is in the part before: a part is over when both have met it.
        let mut parts = vec![(0, Vec::new())];
        parts.extend(self.jumps.iter().map(|jump| (jump.by, Vec::new())));
        let mut met = [0; 2];
        for (part, sent) in all {
            met[usize::from(sent.kind == MediaKind::Audio)] = part;
            let part = met[0].max(met[1]);
            parts[part].1.push(sent);
        }
        parts
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn times_grow_and_sound_stays_with_its_pictures_whatever_the_clock_does(sender in any_sender()) {
        let mut carrier = Carrier::default();
        let mut lasts = [None::<i64>; 2];
        // How much later than it was made each track is.
        let mut lates = [None::<i64>; 2];
        for (part, (by, sents)) in sender.parts().into_iter().enumerate() {
            let before = lates[0];
            for sent in sents {
                let Some(time) = carried(&mut carrier, sent.kind, sent.says).map(i64::from) else { continue };
                let track = usize::from(sent.kind == MediaKind::Audio);
                if let Some(last) = lasts[track].replace(time) {
                    prop_assert!((last + 1..last + 12_000).contains(&time), "{time} after {last}: {sent:?}");
                }
                if !sent.is_repeat {
                    lates[track] = Some(time - sent.at);
                }
            }
            prop_assert_eq!(lates[0], lates[1], "in part {}", part);
            if let (Some(before), [Some(late), _]) = (before, lates) {
                let went = late - before;
                let is_pause = (0..=10_100).contains(&by) && (went - by).abs() <= 1500;
                prop_assert!(is_pause || went.abs() <= 1500, "by {went} for {by} in part {part}");
            }
        }
    }

    #[test]
    fn times_grow_whatever_is_said(
        said in prop::collection::vec((any::<bool>(), prop_oneof![any::<u32>(), 0u32..2000]), 0..60),
    ) {
        let mut carrier = Carrier::default();
        let mut lasts = [None::<u32>; 2];
        for (is_sound, ms) in said {
            let kind = if is_sound { MediaKind::Audio } else { MediaKind::Video };
            let Some(time) = carried(&mut carrier, kind, ms) else { continue };
            let last = lasts[usize::from(is_sound)].replace(time);
            prop_assert!(last.is_none_or(|last| last < time), "{last:?} {time}");
        }
    }
}
