//! Who wants a channel on this node: receivers and probes, attached or waiting.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ A channel that somebody wants has one upstream, whatever their number and however they come  │
//! │ and go; one that nobody wants has none, after a while.                                       │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::channel::Channel;

/// How many want a channel, and whether its upstream runs.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    state: Mutex<State>,
    changed: Notify,
    /// Whether there is anything to come back to.
    lingers: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    wanted: usize,
    served: bool,
}

/// What came of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upstream {
    Runs,
    /// Whoever wished has to start it.
    Missing,
}

/// One who wants a channel, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Wanted<'a>(&'a Channel);

impl<'a> Wanted<'a> {
    /// Counts somebody in. `start` is called where the channel has no upstream; then it has one.
    pub(crate) fn new(channel: &'a Channel, start: impl FnOnce()) -> Self {
        if channel.demand().join(|| channel.tell_watched(true)) == Upstream::Missing {
            start();
        }
        Self(channel)
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.demand().leave(|| self.0.tell_watched(false));
    }
}

impl Demand {
    /// The upstream asks whether it may end. If so, the next who comes starts another.
    pub(crate) fn retire(&self) -> bool {
        let mut state = self.lock();
        state.served = state.wanted > 0;
        !state.served
    }

    /// The upstream has ended without asking. The next who comes starts another.
    pub(crate) fn abandon(&self) {
        self.lock().served = false;
    }

    fn is_wanted(&self) -> bool {
        self.lock().wanted > 0
    }

    /// Whether something is pulled: without it nobody lingers, since whoever asks for channels that there are not costs
    /// something for as long.
    pub(crate) fn set_pulled(&self, pulled: bool) {
        self.lingers.store(pulled, Ordering::Relaxed);
    }

    /// Waits until nobody has wanted the channel for so long. Safe to cancel. For one task only.
    pub(crate) async fn idle_for(&self, linger: Duration) {
        loop {
            while self.is_wanted() {
                self.changed.notified().await;
            }
            if !self.lingers.load(Ordering::Relaxed) {
                return;
            }
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                () = sleep(linger) => return,
            }
        }
    }

    /// Calls `tell` if somebody wants the channel, while nobody can come or go.
    pub(crate) fn if_wanted(&self, tell: impl FnOnce()) {
        let state = self.lock();
        if state.wanted > 0 {
            tell();
        }
    }

    /// `first` is called while nobody else can come or go, and so is `last` below.
    fn join(&self, first: impl FnOnce()) -> Upstream {
        let mut state = self.lock();
        state.wanted += 1;
        if state.wanted == 1 {
            first();
            self.changed.notify_one();
        }
        if std::mem::replace(&mut state.served, true) { Upstream::Runs } else { Upstream::Missing }
    }

    fn leave(&self, last: impl FnOnce()) {
        let mut state = self.lock();
        state.wanted -= 1;
        if state.wanted == 0 {
            last();
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    const LINGER: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn one_starts_the_upstream_and_the_last_ends_it_after_the_linger() {
        let demand = Demand::default();
        demand.set_pulled(true);
        assert_eq!(
            [demand.join(|| {}), demand.join(|| {}), demand.join(|| {})],
            [Upstream::Missing, Upstream::Runs, Upstream::Runs]
        );
        demand.leave(|| {});
        demand.leave(|| {});
        assert!(timeout(LINGER * 2, demand.idle_for(LINGER)).await.is_err(), "one is left");
        demand.leave(|| {});
        let began = Instant::now();
        demand.idle_for(LINGER).await;
        assert_eq!(began.elapsed(), LINGER);
        assert!(demand.retire());
        assert_eq!(demand.join(|| {}), Upstream::Missing, "the next starts another");
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_back_within_the_linger_keeps_the_upstream() {
        let demand = Demand::default();
        demand.set_pulled(true);
        demand.join(|| {});
        demand.leave(|| {});
        assert!(timeout(LINGER / 2, demand.idle_for(LINGER)).await.is_err());
        assert_eq!(demand.join(|| {}), Upstream::Runs);
        assert!(!demand.retire(), "nor does it end when it wants to");
        demand.leave(|| {});
        let began = Instant::now();
        demand.idle_for(LINGER).await;
        assert_eq!(began.elapsed(), LINGER, "counted from the last who left");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_lingers_where_nothing_is_pulled() {
        let demand = Demand::default();
        demand.join(|| {});
        demand.leave(|| {});
        let began = Instant::now();
        demand.idle_for(LINGER).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
