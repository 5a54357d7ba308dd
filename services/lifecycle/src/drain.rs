//! Leaving service in order: one signal that everything that runs can see.
//!
//! The first SIGTERM or SIGINT starts the drain, a second one cuts it short. What a drain does is the business of
//! whoever holds a [`Drain`]; this module only says when.

use tokio::sync::watch;

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
