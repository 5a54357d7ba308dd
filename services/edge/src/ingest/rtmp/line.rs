//! A publisher by RTMP as others see it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use relay_proto::websocket::Close;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use crate::heard::Heard;

/// What its own task and others share of a connection.
#[derive(Debug)]
pub(crate) struct Line {
    heard: Heard,
    ping: Notify,
    dismissed: watch::Sender<Option<Close>>,
    sent_bytes: AtomicU64,
}

impl Line {
    pub(crate) fn new() -> Self {
        Self {
            heard: Heard::new(),
            ping: Notify::new(),
            dismissed: watch::Sender::new(None),
            sent_bytes: AtomicU64::new(0),
        }
    }

    /// Asks the session to end with this. The first who asks is heard.
    pub(crate) fn dismiss(&self, close: Close) {
        self.dismissed.send_if_modified(|dismissed| {
            let is_first = dismissed.is_none();
            dismissed.get_or_insert(close);
            is_first
        });
    }

    /// Waits until the session is asked to end.
    pub(crate) async fn dismissed(&self) -> Close {
        let mut dismissed = self.dismissed.subscribe();
        loop {
            if let Some(close) = *dismissed.borrow_and_update() {
                return close;
            }
            if dismissed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// When the last byte came.
    pub(crate) fn heard(&self) -> &Heard {
        &self.heard
    }

    /// Asks for a sign of life.
    pub(crate) fn ping(&self) {
        self.ping.notify_one();
    }

    /// Waits until a sign of life is asked for. For the session's task only.
    pub(crate) async fn pinged(&self) {
        self.ping.notified().await;
    }

    /// Pings now and then, and returns when nothing was heard for too long.
    pub(crate) async fn keep(&self, ping_interval: Duration, idle_timeout: Duration) -> Close {
        let mut next_ping = Instant::now() + ping_interval;
        loop {
            let now = Instant::now();
            let silent_until = self.heard.last() + idle_timeout;
            if now >= silent_until {
                return Close::Idle;
            }
            if now >= next_ping {
                self.ping();
                next_ping = now + ping_interval;
            }
            sleep_until(next_ping.min(silent_until)).await;
        }
    }

    /// Bytes that the socket took.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn note_sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::{advance, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_who_dismisses_is_heard() {
        let line = Line::new();
        assert_eq!(line.dismissed().now_or_never(), None);
        line.dismiss(Close::Kicked);
        line.dismiss(Close::Banned);
        assert_eq!(line.dismissed().now_or_never(), Some(Close::Kicked));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_publisher_is_pinged_and_then_given_up() {
        let line = Line::new();
        assert!(timeout(SECOND * 21, line.keep(SECOND * 20, SECOND * 60)).await.is_err());
        assert!(line.pinged().now_or_never().is_some());
        line.heard().note();
        advance(SECOND * 30).await;
        let began = Instant::now();
        assert_eq!(line.keep(SECOND * 20, SECOND * 60).await, Close::Idle);
        assert_eq!(began.elapsed(), SECOND * 30, "since the last byte");
    }
}
