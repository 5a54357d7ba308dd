//! The last of everything that is told beside a picture. Pure.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Each frame has a higher number than those before it, so whoever follows needs no queue: it   │
//! │ takes what has a higher number than what it took last, and misses only what is out of date.  │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

/// Topics of one channel: docks and aircraft tell of themselves on a handful.
pub(super) const TOPICS_MAX: usize = 64;

/// Bytes of one channel, which all who follow it share.
pub(super) const BYTES_MAX: usize = 1 << 20;

/// What a frame tells of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum About {
    Source,
    Topic(String),
}

/// The last frame of each topic, and of the source.
#[derive(Debug, Default)]
pub(super) struct Kept {
    numbers: HashMap<About, u64>,
    frames: BTreeMap<u64, (About, Bytes)>,
    bytes: usize,
    last: u64,
}

impl Kept {
    /// In place of the last one about the same. What has been told least recently goes where there is no room.
    pub(super) fn put(&mut self, about: About, frame: Bytes) {
        self.remove(&about);
        if frame.len() > BYTES_MAX {
            return;
        }
        while self.frames.len() >= TOPICS_MAX || self.bytes + frame.len() > BYTES_MAX {
            let Some((_, (about, gone))) = self.frames.pop_first() else { break };
            self.numbers.remove(&about);
            self.bytes -= gone.len();
        }
        self.last += 1;
        self.bytes += frame.len();
        self.numbers.insert(about.clone(), self.last);
        self.frames.insert(self.last, (about, frame));
    }

    /// The frame about this.
    pub(super) fn get(&self, about: &About) -> Option<&Bytes> {
        Some(&self.frames.get(self.numbers.get(about)?)?.1)
    }

    /// The frame that came first after this one, with its number.
    pub(super) fn after(&self, number: u64) -> Option<(u64, Bytes)> {
        let (number, (_, frame)) = self.frames.range(number.saturating_add(1)..).next()?;
        Some((*number, frame.clone()))
    }

    fn remove(&mut self, about: &About) {
        let frame = self.numbers.remove(about).and_then(|number| self.frames.remove(&number));
        self.bytes -= frame.map_or(0, |(_, frame)| frame.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topic(name: usize) -> About {
        About::Topic(name.to_string())
    }

    fn taken(kept: &Kept, mut after: u64) -> Vec<Bytes> {
        std::iter::from_fn(|| {
            let (number, frame) = kept.after(after)?;
            after = number;
            Some(frame)
        })
        .collect()
    }

    #[test]
    fn who_comes_late_or_is_slow_takes_the_last_of_each() {
        let mut kept = Kept::default();
        for (about, frame) in [(topic(1), "old"), (topic(2), "other"), (topic(1), "new")] {
            kept.put(about, frame.into());
        }
        kept.put(About::Source, "live".into());
        assert_eq!(taken(&kept, 0), ["other", "new", "live"]);
        assert_eq!(taken(&kept, 2), ["new", "live"]);
        assert_eq!(kept.get(&About::Source), Some(&"live".into()));
        assert_eq!((taken(&kept, 4), kept.get(&topic(9))), (vec![], None));
    }

    #[test]
    fn what_was_told_least_recently_goes_first() {
        let mut kept = Kept::default();
        (0..TOPICS_MAX).for_each(|name| kept.put(topic(name), "x".into()));
        kept.put(topic(0), "again".into());
        assert_eq!(taken(&kept, 0).len(), TOPICS_MAX);
        kept.put(topic(TOPICS_MAX), "x".into());
        assert_eq!(taken(&kept, 0).len(), TOPICS_MAX);
        assert_eq!(kept.get(&topic(1)), None);
        assert!(kept.get(&topic(0)).is_some());
    }

    #[test]
    fn a_frame_as_long_as_all_may_be_takes_the_place_of_all() {
        let mut kept = Kept::default();
        kept.put(topic(1), "x".into());
        kept.put(topic(2), vec![b'x'; BYTES_MAX].into());
        assert_eq!(taken(&kept, 0).len(), 1);
        kept.put(topic(3), vec![b'x'; BYTES_MAX + 1].into());
        assert_eq!((taken(&kept, 0).len(), kept.get(&topic(3))), (1, None));
    }

    proptest! {
        #[test]
        fn it_never_keeps_more_than_it_may(puts in prop::collection::vec((0_usize..100, 0_usize..200_000), 0..200)) {
            let mut kept = Kept::default();
            for (name, len) in puts {
                kept.put(topic(name), vec![b'x'; len].into());
                let frames = taken(&kept, 0);
                prop_assert_eq!(frames.iter().map(Bytes::len).sum::<usize>(), kept.bytes);
                prop_assert!(kept.bytes <= BYTES_MAX && frames.len() <= TOPICS_MAX);
                prop_assert_eq!(kept.numbers.len(), frames.len());
                prop_assert_eq!(kept.get(&topic(name)).map(Bytes::len), Some(len));
            }
        }
    }
}
