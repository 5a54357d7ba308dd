//! Spaces retries: exponential with full jitter. No clock and no randomness of its own, so a test sees every delay.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────┐
//! │ The n-th delay lies between the hint and the hint plus min(longest, first × 2ⁿ).          │
//! └──────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Full jitter (any point of the interval, zero included) rather than a few percent: after a node is gone, all its
//! clients come back at the same moment, and only a wide spread keeps them from doing so again and again.

use std::time::Duration;

/// A series of growing, random delays.
#[derive(Debug, Clone)]
pub struct Backoff<R> {
    first: Duration,
    longest: Duration,
    ceiling: Duration,
    hint: Duration,
    random: R,
}

impl<R: FnMut() -> u64> Backoff<R> {
    /// Delays of up to `first`, then up to twice that, and so on up to `longest`. `random` gives uniform 64-bit numbers.
    pub fn new(first: Duration, longest: Duration, random: R) -> Self {
        let ceiling = first.min(longest);
        Self { first, longest, ceiling, hint: Duration::ZERO, random }
    }

    /// How long to wait before the next attempt.
    #[expect(clippy::should_implement_trait, reason = "an endless series that is reset is no iterator")]
    pub fn next(&mut self) -> Duration {
        let share = (self.random)() as f64 / u64::MAX as f64;
        let jitter = self.ceiling.mul_f64(share).min(self.ceiling);
        self.ceiling = self.ceiling.saturating_mul(2).min(self.longest);
        std::mem::take(&mut self.hint).saturating_add(jitter)
    }

    /// An attempt succeeded: starts again with the shortest delay.
    pub fn reset(&mut self) {
        self.ceiling = self.first.min(self.longest);
        self.hint = Duration::ZERO;
    }

    /// The other side asked to be left alone for this long: the next delay is not shorter, and still spread.
    pub fn hint(&mut self, min: Duration) {
        self.hint = min;
    }
}

/// Randomness of the operating system. Without any, all delays are the longest of their interval: late, never a storm.
pub fn entropy() -> u64 {
    getrandom::u64().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn delays_stay_within_their_doubling_ceiling(
            first in 0u64..100_000,
            longest in 0u64..10_000_000,
            randoms in prop::collection::vec(any::<u64>(), 1..80),
        ) {
            let (first, longest) = (Duration::from_millis(first), Duration::from_millis(longest));
            let mut numbers = randoms.clone().into_iter();
            let mut backoff = Backoff::new(first, longest, || numbers.next().unwrap());
            for attempt in 0..randoms.len() {
                let doublings = u32::try_from(attempt).unwrap().min(31);
                let ceiling = first.saturating_mul(1 << doublings).min(longest);
                prop_assert!(backoff.next() <= ceiling);
            }
        }

        #[test]
        fn a_hint_is_a_floor_for_one_delay(hint in 0u64..100_000, random in any::<u64>()) {
            let hint = Duration::from_millis(hint);
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8), || random);
            backoff.hint(hint);
            let delay = backoff.next();
            prop_assert!(delay >= hint && delay <= hint + Duration::from_secs(1));
            prop_assert!(backoff.next() <= Duration::from_secs(2));
        }
    }

    #[test]
    fn both_ends_of_the_interval_are_reached_and_reset_starts_again() {
        let mut longest = Backoff::new(Duration::from_secs(1), Duration::from_secs(5), || u64::MAX);
        let delays: Vec<u64> = (0..5).map(|_| longest.next().as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 5, 5]);
        longest.reset();
        assert_eq!(longest.next(), Duration::from_secs(1));
        let mut shortest = Backoff::new(Duration::from_secs(1), Duration::from_secs(5), || 0);
        assert_eq!(shortest.next(), Duration::ZERO);
    }
}
