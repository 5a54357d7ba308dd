//! When a client leaves of its own accord: at a signal, or when its time is up.

use std::future;
use std::time::Duration;

use relay_lifecycle::drain::{Drain, Phase};
use tokio::time::{Instant, sleep_until};

/// Asked between any two things that a client does.
#[derive(Debug)]
pub(crate) struct Leave {
    drain: Drain,
    deadline: Option<Instant>,
}

impl Leave {
    /// At a signal, or after `limit` from now.
    pub(crate) fn new(drain: Drain, limit: Option<Duration>) -> Self {
        // A limit beyond the clock's range is none.
        Self { drain, deadline: limit.and_then(|limit| Instant::now().checked_add(limit)) }
    }

    /// Returns when it is time to go.
    pub(crate) async fn asked(&mut self) {
        let time_is_up = async {
            match self.deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.drain.reached(Phase::Draining) => {}
            () = time_is_up => {}
        }
    }

    /// Whether a signal asked, and not the clock.
    pub(crate) fn is_signalled(&self) -> bool {
        self.drain.phase() >= Phase::Draining
    }
}

#[cfg(test)]
mod tests {
    use relay_lifecycle::drain;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_signal_or_the_clock_whichever_is_first() {
        let (trigger, drain) = drain::channel();
        let began = Instant::now();
        let mut timed = Leave::new(drain.clone(), Some(Duration::from_secs(3)));
        timed.asked().await;
        assert_eq!(began.elapsed(), Duration::from_secs(3));
        assert!(!timed.is_signalled());
        let mut endless = Leave::new(drain, None);
        assert!(tokio::time::timeout(Duration::from_secs(3600), endless.asked()).await.is_err());
        trigger.advance();
        endless.asked().await;
        assert!(endless.is_signalled());
    }
}
