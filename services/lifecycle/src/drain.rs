//! Leaving service in order: one signal that everything that runs can see.
//!
//! The first SIGTERM or SIGINT starts the drain, a second one cuts it short. What a drain does is the business of
//! whoever holds a [`Drain`]; this module only says when.

use std::convert::Infallible;
use std::future::Future;
use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::info;

/// How far the process is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// In service.
    Running,
    /// Leaving: nothing new is taken, what runs is handed over.
    Draining,
    /// Leaving now: whatever still runs is dropped.
    Cut,
}

/// Starts a drain. Dropping it starts nothing.
#[derive(Debug, Clone)]
pub struct Trigger(watch::Sender<Phase>);

/// Sees a drain start. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Drain(watch::Receiver<Phase>);

/// A drain that has not started.
pub fn channel() -> (Trigger, Drain) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (Trigger(sender), Drain(receiver))
}

impl Trigger {
    /// Starts the drain; cuts one that has already started.
    pub fn advance(&self) -> Phase {
        self.0.send_modify(|phase| {
            *phase = match *phase {
                Phase::Running => Phase::Draining,
                Phase::Draining | Phase::Cut => Phase::Cut,
            };
        });
        *self.0.borrow()
    }
}

impl Drain {
    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until the drain has come to `phase`. Never returns when the [`Trigger`] is gone before.
    pub async fn reached(&mut self, phase: Phase) {
        if self.0.wait_for(|now| *now >= phase).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Advances `trigger` on every SIGTERM and SIGINT: the first starts the drain, the second cuts it. The handlers stand
/// when this returns, so no signal is lost before the future is first polled.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn on_signals(trigger: Trigger) -> io::Result<impl Future<Output = Infallible>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        loop {
            let name = tokio::select! {
                Some(()) = terminate.recv() => "SIGTERM",
                Some(()) = interrupt.recv() => "SIGINT",
                else => std::future::pending().await,
            };
            let phase = trigger.advance();
            info!(signal = name, ?phase, "leaving");
        }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_holder_sees_the_drain_start_and_be_cut() {
        let (trigger, mut drain) = channel();
        let mut other = drain.clone();
        assert_eq!(drain.phase(), Phase::Running);
        assert!(timeout(Duration::from_secs(60), drain.reached(Phase::Draining)).await.is_err());

        assert_eq!(trigger.advance(), Phase::Draining);
        drain.reached(Phase::Draining).await;
        other.reached(Phase::Draining).await;
        assert!(timeout(Duration::from_secs(60), drain.reached(Phase::Cut)).await.is_err());

        assert_eq!(trigger.advance(), Phase::Cut);
        drain.reached(Phase::Draining).await;
        other.reached(Phase::Cut).await;
        assert_eq!(trigger.advance(), Phase::Cut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_trigger_starts_nothing() {
        let (trigger, mut drain) = channel();
        drop(trigger);
        assert!(timeout(Duration::from_secs(60), drain.reached(Phase::Draining)).await.is_err());
        assert_eq!(drain.phase(), Phase::Running);
    }
}
