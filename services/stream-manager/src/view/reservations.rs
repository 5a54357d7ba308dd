//! Places that are kept on a node for clients that were sent there and have not arrived.

use std::collections::VecDeque;

/// Entries per lifetime: places that are kept at about the same time share one, so that a node has no more than these,
/// whatever the rate of picks.
const GRAINS: u64 = 64;

/// Of the time for which a place is kept, one part in so many is when its client comes if it comes at all. Half of the
/// default is five seconds: three for the slowest connections, and two until the node's next heartbeat tells.
const EXPECTED_PART: u64 = 2;

/// Places, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    /// When they end, and how many.
    queue: VecDeque<(u64, u64)>,
    total: u64,
}

impl Reservations {
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// Keeps `count` more for `keep_ms`, and up to a grain longer.
    pub(crate) fn add(&mut self, count: u32, now: u64, keep_ms: u64) {
        if count == 0 || keep_ms == 0 {
            return;
        }
        let grain = (keep_ms / GRAINS).max(1);
        let ends = now.saturating_add(keep_ms).div_ceil(grain).saturating_mul(grain);
        let count = u64::from(count);
        match self.queue.back_mut() {
            // Never before the last one, so that the queue stays in order.
            Some((last, places)) if *last >= ends => *places = places.saturating_add(count),
            _ => self.queue.push_back((ends, count)),
        }
        self.total = self.total.saturating_add(count);
    }

    /// So many have arrived: as far as anybody can tell those that were sent first, of those that can still be
    /// expected. Who was sent longer ago will rather never come, and its place is not to pass on to those who do: it
    /// would be kept for ever.
    pub(crate) fn fulfil(&mut self, mut count: u64, now: u64, keep_ms: u64) {
        let expected_until = now.saturating_add(keep_ms - keep_ms / EXPECTED_PART);
        let expected = self.queue.partition_point(|(ends, _)| *ends <= expected_until);
        let late = (0..expected).rev();
        for index in (expected..self.queue.len()).chain(late) {
            let places = &mut self.queue[index].1;
            let arrived = count.min(*places);
            *places -= arrived;
            count -= arrived;
            self.total = self.total.saturating_sub(arrived);
            if count == 0 {
                break;
            }
        }
        self.queue.retain(|(_, places)| *places > 0);
    }

    /// Gives up what was kept long enough.
    pub(crate) fn expire(&mut self, now: u64) {
        while let Some((_, places)) = self.queue.pop_front_if(|(ends, _)| *ends <= now) {
            self.total = self.total.saturating_sub(places);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP_MS: u64 = 6_400;

    #[test]
    fn a_place_is_kept_until_its_client_arrives_or_its_time_is_over() {
        let mut places = Reservations::default();
        places.add(3, 1_000, KEEP_MS);
        places.add(2, 2_000, KEEP_MS);
        assert_eq!(places.total(), 5);
        places.fulfil(4, 3_000, KEEP_MS);
        assert_eq!(places.total(), 1);
        places.expire(8_399);
        assert_eq!(places.total(), 1);
        places.expire(8_400);
        assert_eq!(places.total(), 0);
    }

    #[test]
    fn who_arrives_is_not_taken_for_one_that_was_sent_long_ago() {
        let mut places = Reservations::default();
        places.add(1, 0, KEEP_MS);
        places.add(1, 5_000, KEEP_MS);
        places.fulfil(1, 5_500, KEEP_MS);
        places.expire(6_400);
        assert_eq!(places.total(), 0, "the one that never came was given up in time");
        places.add(2, 10_000, KEEP_MS);
        places.fulfil(1, 16_000, KEEP_MS);
        assert_eq!(places.total(), 1, "unless no other can be meant");
    }

    #[test]
    fn who_was_not_sent_arrives_all_the_same() {
        let mut places = Reservations::default();
        places.fulfil(7, 0, KEEP_MS);
        places.add(1, 0, KEEP_MS);
        places.fulfil(u64::MAX, 0, KEEP_MS);
        assert_eq!(places.total(), 0);
        places.add(1, 0, KEEP_MS);
        assert_eq!(places.total(), 1);
    }

    #[test]
    fn one_in_twenty_that_never_comes_does_not_fill_the_places() {
        let mut places = Reservations::default();
        for second in 0..600 {
            places.expire(second * 1_000);
            places.add(100, second * 1_000, 10_000);
            places.fulfil(95, second * 1_000 + 900, 10_000);
        }
        assert!(places.total() <= 550, "{}", places.total());
    }

    #[test]
    fn a_million_places_take_a_few_entries() {
        let mut places = Reservations::default();
        for pick in 0..1_000_000_u64 {
            places.add(1, pick / 50, 10_000);
            places.expire(pick / 50);
        }
        assert!(places.queue.len() <= 66, "{}", places.queue.len());
        assert!((500_000..=510_000).contains(&places.total()), "{}", places.total());
    }
}
