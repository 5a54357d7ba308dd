//! When which device is to be asked for pictures. Pure: the time comes in.

use std::collections::BTreeSet;

/// How often an agent is asked. It sends pictures for three whole seconds after a request, and one may be lost.
const ASK_MS: u64 = 2_000;

/// The second request comes this much earlier at most, so that cameras that began together are not asked together.
pub(super) const SPREAD_MS: u64 = 1_000;

/// Requests are due at multiples of this, so that those of thousands of agents go out together and nobody is woken for each.
pub(super) const TOGETHER_MS: u64 = 50;

/// After this long without a picture it is asked less often: longer than the longest time between two key frames, and 5 s.
pub(super) const QUIET_MS: u64 = 15_000;

/// How often it is asked then.
const ASK_QUIET_MS: u64 = 10_000;

/// The devices that are asked, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Asks {
    devices: Vec<Option<Asked>>,
    due: BTreeSet<(u64, usize)>,
}

/// A device that is asked.
#[derive(Debug, Clone, Copy)]
struct Asked {
    asked_ms: u64,
    next_ms: u64,
    /// When the last picture came, or it was begun with.
    picture_ms: u64,
}

impl Asks {
    /// Whether a device is asked.
    pub(super) fn has(&self, device: usize) -> bool {
        self.devices.get(device).is_some_and(Option::is_some)
    }

    /// All that are asked.
    pub(super) fn all(&self) -> Vec<usize> {
        self.due.iter().map(|(_, device)| *device).collect()
    }

    /// A device is asked from now on, and was just now; again so much earlier than usual. Also where it is asked already.
    pub(super) fn begin(&mut self, device: usize, earlier_ms: u64, now_ms: u64) {
        if self.devices.len() <= device {
            self.devices.resize(device + 1, None);
        }
        let picture_ms = self.devices[device].map_or(now_ms, |asked| asked.picture_ms);
        let next_ms = due(now_ms, ASK_MS.saturating_sub(earlier_ms));
        self.put(device, Asked { asked_ms: now_ms, next_ms, picture_ms });
    }

    /// The next that is to be asked now, and is taken to be.
    pub(super) fn next_due(&mut self, now_ms: u64) -> Option<usize> {
        let device = self.due.first().filter(|(due_ms, _)| *due_ms <= now_ms).map(|(_, device)| *device)?;
        let asked = self.devices[device]?;
        let is_quiet = now_ms.saturating_sub(asked.picture_ms) >= QUIET_MS;
        let next_ms = due(now_ms, if is_quiet { ASK_QUIET_MS } else { ASK_MS });
        self.put(device, Asked { asked_ms: now_ms, next_ms, ..asked });
        Some(device)
    }

    /// A picture came: an agent that was quiet is asked as often as the others again.
    pub(super) fn pictured(&mut self, device: usize, now_ms: u64) {
        let Some(Some(asked)) = self.devices.get_mut(device) else { return };
        asked.picture_ms = now_ms;
        let (asked, soon_ms) = (*asked, due(asked.asked_ms, ASK_MS));
        if soon_ms < asked.next_ms {
            self.put(device, Asked { next_ms: soon_ms, ..asked });
        }
    }

    /// A device is asked no more. Whether it was.
    pub(super) fn end(&mut self, device: usize) -> bool {
        let Some(asked) = self.devices.get_mut(device).and_then(Option::take) else { return false };
        self.due.remove(&(asked.next_ms, device))
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    fn put(&mut self, device: usize, asked: Asked) {
        if let Some(before) = self.devices[device].replace(asked) {
            self.due.remove(&(before.next_ms, device));
        }
        self.due.insert((asked.next_ms, device));
    }
}

/// When what is to be done after so long is done: a little earlier rather than later.
fn due(now_ms: u64, after_ms: u64) -> u64 {
    let at_ms = now_ms.saturating_add(after_ms);
    (at_ms - at_ms % TOGETHER_MS).max(now_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_happens_who_is_asked_is_due_once_and_nobody_else_is(
            steps in prop::collection::vec((0_u8..5, 0_usize..4, 0_u64..3_000), 0..200),
        ) {
            let (mut asks, mut now_ms) = (Asks::default(), 7);
            let mut running = BTreeSet::new();
            for (step, device, ms) in steps {
                match step {
                    0 => {
                        asks.begin(device, ms.min(SPREAD_MS), now_ms);
                        running.insert(device);
                    }
                    1 => asks.pictured(device, now_ms),
                    2 => prop_assert_eq!(asks.end(device), running.remove(&device)),
                    _ => {
                        now_ms += ms;
                        while let Some(device) = asks.next_due(now_ms) {
                            prop_assert!(running.contains(&device));
                        }
                    }
                }
                let mut all = asks.all();
                all.sort_unstable();
                prop_assert_eq!(all, running.iter().copied().collect::<Vec<_>>());
                prop_assert!((0..4).all(|device| asks.has(device) == running.contains(&device)));
                prop_assert!(asks.next().is_none_or(|next| next <= now_ms + ASK_QUIET_MS));
            }
        }
    }
}
