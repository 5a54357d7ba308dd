//! When the last byte came from a client.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Noted for every read, so it takes no lock unless somebody waits.
#[derive(Debug)]
pub(crate) struct Heard {
    opened: Instant,
    last_ns: AtomicU64,
    awaited: AtomicBool,
    next: Notify,
}

impl Heard {
    pub(crate) fn new() -> Self {
        Self {
            opened: Instant::now(),
            last_ns: AtomicU64::new(0),
            awaited: AtomicBool::new(false),
            next: Notify::new(),
        }
    }

    /// Bytes came.
    pub(crate) fn note(&self) {
        let since_ns = u64::try_from(self.opened.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last_ns.store(since_ns, Ordering::Relaxed);
        if self.awaited.load(Ordering::SeqCst) && self.awaited.swap(false, Ordering::SeqCst) {
            self.next.notify_waiters();
        }
    }

    /// When the last byte came; at first, when the session began.
    pub(crate) fn last(&self) -> Instant {
        self.opened + Duration::from_nanos(self.last_ns.load(Ordering::Relaxed))
    }

    /// What comes from now on: done with the first byte. Safe to cancel.
    pub(crate) fn next(&self) -> impl Future<Output = ()> {
        // Waits from here on, before it is polled.
        let next = self.next.notified();
        self.awaited.store(true, Ordering::SeqCst);
        next
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_time_of_the_last_byte_is_told() {
        let heard = Heard::new();
        let began = Instant::now();
        assert_eq!(heard.last(), began);
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(heard.last(), began);
        heard.note();
        assert_eq!(heard.last(), began + Duration::from_millis(1500));
    }

    #[test]
    fn everybody_who_waits_learns_of_the_next_byte_and_of_no_earlier_one() {
        let heard = Heard::new();
        heard.note();
        let (mut one, mut other) = (pin!(heard.next()), pin!(heard.next()));
        assert_eq!(one.as_mut().now_or_never(), None);
        heard.note();
        assert_eq!(one.as_mut().now_or_never(), Some(()));
        assert_eq!(other.as_mut().now_or_never(), Some(()), "polled for the first time after the byte");
        assert_eq!(heard.next().now_or_never(), None);
    }
}
