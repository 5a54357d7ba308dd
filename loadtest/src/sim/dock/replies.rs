//! Replies on their way: some are lost, come twice, or late.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep_until};

/// What happens to replies.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    /// How many are lost first.
    pub(super) lost: u32,
    /// Each is sent twice.
    pub(super) twice: bool,
    /// How late each is.
    pub(super) late: Duration,
}

/// Replies that were given and not sent.
#[derive(Debug)]
pub(super) struct Replies {
    faults: Faults,
    waiting: VecDeque<(Instant, Value)>,
}

impl Replies {
    pub(super) fn new(faults: Faults) -> Self {
        Self { faults, waiting: VecDeque::new() }
    }

    /// Takes a reply; what becomes of it, in a word.
    pub(super) fn take(&mut self, reply: Value) -> &'static str {
        if let Some(more) = self.faults.lost.checked_sub(1) {
            self.faults.lost = more;
            return "lost";
        }
        let due = Instant::now() + self.faults.late;
        if self.faults.twice {
            self.waiting.push_back((due, reply.clone()));
        }
        self.waiting.push_back((due, reply));
        match (self.faults.twice, self.faults.late.is_zero()) {
            (true, _) => "sent twice",
            (false, true) => "sent",
            (false, false) => "late",
        }
    }

    /// The next that is to be sent, once it is. Nothing is lost where this is not waited for.
    pub(super) async fn due(&mut self) -> Value {
        let Some((due, _)) = self.waiting.front() else { return std::future::pending().await };
        sleep_until(*due).await;
        match self.waiting.pop_front() {
            Some((_, reply)) => reply,
            None => std::future::pending().await,
        }
    }

    /// What was not sent never is.
    pub(super) fn reset(&mut self) {
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_are_lost_and_others_come_late_and_twice() {
        let late = Duration::from_secs(30);
        let mut replies = Replies::new(Faults { lost: 1, twice: true, late });
        assert_eq!(replies.take(1.into()), "lost");
        assert_eq!(replies.take(2.into()), "sent twice");
        assert!(timeout(late - Duration::from_millis(1), replies.due()).await.is_err());
        assert_eq!((replies.due().await, replies.due().await), (2.into(), 2.into()));
        assert!(timeout(late, replies.due()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_without_faults_is_sent_at_once() {
        let mut replies = Replies::new(Faults::default());
        assert_eq!(replies.take(1.into()), "sent");
        assert_eq!(timeout(Duration::ZERO, replies.due()).await, Ok(1.into()));
    }
}
