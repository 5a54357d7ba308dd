//! The node's bound on cached bytes, shared by the rings of all its channels.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts what all rings hold.
#[derive(Debug)]
pub(crate) struct CacheBudget {
    used: AtomicUsize,
    max: usize,
}

impl CacheBudget {
    pub(crate) fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max }
    }

    /// Bytes that all rings hold.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// What each of `rings` rings may hold: everything while there is room, an equal share when there is little. Whoever
    /// appends makes room in its own ring only, so without this a newcomer would find the budget taken.
    pub(crate) fn share(&self, rings: usize) -> usize {
        let is_short = self.used() > self.max - self.max / 8;
        if is_short { self.max / rings.max(1) } else { usize::MAX }
    }

    /// A ring went from `before` to `after` bytes. Tells whether all rings together are within the budget.
    pub(crate) fn settle(&self, before: usize, after: usize) -> bool {
        let used = if after >= before {
            self.used.fetch_add(after - before, Ordering::Relaxed) + (after - before)
        } else {
            self.used.fetch_sub(before - after, Ordering::Relaxed) - (before - after)
        };
        used <= self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_share_what_is_short() {
        let budget = CacheBudget::new(800);
        assert!(budget.settle(0, 700));
        assert_eq!(budget.share(4), usize::MAX, "an eighth is left");
        assert!(budget.settle(0, 100), "at the bound");
        assert_eq!(budget.share(4), 200);
        assert!(!budget.settle(100, 101), "beyond it");
        assert!(budget.settle(701, 0));
        assert_eq!(budget.used(), 100);
    }
}
