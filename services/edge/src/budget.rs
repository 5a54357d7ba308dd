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
