//! Whether this node is in service: it is, until an operator takes it out for a while or its process leaves for good.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Out of service nobody is let in and everybody is sent elsewhere, a little at a time. An      │
//! │ operator brings the node back; a process that leaves stays out whatever an operator says.    │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntGauge;
use relay_lifecycle::readiness::{Latch, Readiness};
use relay_proto::registry::NodeState;
use tokio::sync::watch;
use tracing::info;

use crate::heartbeat::Heartbeat;
use crate::node::Node;

/// Whether the node is in service.
#[derive(Debug)]
pub(crate) struct Service {
    leaving: watch::Sender<Leaving>,
    standing: Mutex<Standing>,
    readiness: Readiness,
    draining: IntGauge,
}

#[derive(Debug, Default)]
struct Standing {
    /// While an operator has taken it out.
    drained: Option<Latch>,
    /// The process leaves.
    for_good: bool,
}

/// Whether the node is on its way out, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    No,
    /// It is, and tells the cluster so; nobody leaves yet.
    Announced,
    /// Sessions leave one by one.
    Paced(Pace),
}

/// How fast sessions leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Receivers and probes leave at random moments from now on, for this long.
    pub(crate) receivers_within: Duration,
    /// Publishers leave after that, within this long.
    pub(crate) publishers_within: Duration,
}

/// Receivers leave a draining node no faster than this, unless the deadline wants it.
const PACE: Duration = Duration::from_millis(2);

/// Shares of the deadline in which receivers, then publishers, leave; the rest is for close handshakes.
const RECEIVERS_SHARE: f64 = 0.6;
const PUBLISHERS_SHARE: f64 = 0.15;

impl Pace {
    /// For so many connections.
    pub(crate) fn of(connections: usize, deadline: Duration) -> Self {
        let receivers_within =
            (PACE * u32::try_from(connections).unwrap_or(u32::MAX)).min(deadline.mul_f64(RECEIVERS_SHARE));
        Self { receivers_within, publishers_within: receivers_within.min(deadline.mul_f64(PUBLISHERS_SHARE)) }
    }
}

impl Service {
    pub(crate) fn new(readiness: &Readiness, draining: IntGauge) -> Self {
        Self {
            leaving: watch::Sender::new(Leaving::No),
            standing: Mutex::default(),
            readiness: readiness.clone(),
            draining,
        }
    }

    pub(crate) fn is_leaving(&self) -> bool {
        *self.leaving.borrow() != Leaving::No
    }

    /// How the node is, as the cluster is told.
    pub(crate) fn state(&self) -> NodeState {
        if self.is_leaving() { NodeState::Draining } else { NodeState::InService }
    }

    pub(crate) fn leaving(&self) -> watch::Receiver<Leaving> {
        self.leaving.subscribe()
    }

    /// An operator takes the node out of service. From now on nobody is let in; the rest is up to [`follow`].
    pub(crate) fn drain(&self) -> NodeState {
        let mut standing = self.lock();
        if !standing.for_good && standing.drained.is_none() {
            standing.drained = Some(self.readiness.latch("draining"));
            self.draining.set(1);
            self.leaving.send_replace(Leaving::Announced);
            info!("taken out of service");
        }
        self.state()
    }

    /// An operator brings it back. Who has not left yet stays.
    pub(crate) fn undrain(&self) -> NodeState {
        let mut standing = self.lock();
        if !standing.for_good
            && let Some(latch) = standing.drained.take()
        {
            self.draining.set(0);
            self.leaving.send_replace(Leaving::No);
            latch.ready();
            info!("back in service");
        }
        self.state()
    }

    /// The process leaves.
    pub(crate) fn leave_for_good(&self) {
        let mut standing = self.lock();
        standing.for_good = true;
        self.readiness.leave();
        self.draining.set(1);
        self.leaving.send_replace(Leaving::Announced);
    }

    /// The cluster knows; sessions leave from now on. Nothing happens where the node has come back meanwhile.
    pub(crate) fn pace(&self, pace: Pace) {
        self.leaving.send_if_modified(|leaving| {
            let is_due = *leaving == Leaving::Announced;
            if is_due {
                *leaving = Leaving::Paced(pace);
            }
            is_due
        });
    }

    fn is_by_operator(&self) -> bool {
        !self.lock().for_good
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does what operators have said, for as long as it is polled: the cluster is told first, then sessions leave.
pub(crate) async fn follow(
    node: Arc<Node>,
    mut leaving: watch::Receiver<Leaving>,
    heartbeat: Arc<Heartbeat>,
) {
    while leaving.changed().await.is_ok() {
        let now = *leaving.borrow_and_update();
        match now {
            Leaving::Announced if node.service.is_by_operator() => {
                heartbeat.beat().await;
                let connections = usize::try_from(node.metrics.connections.get()).unwrap_or(0);
                node.service.pace(Pace::of(connections, node.config.drain_deadline));
            }
            Leaving::No => heartbeat.beat().await,
            Leaving::Announced | Leaving::Paced(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> (Service, Readiness) {
        let readiness = Readiness::new();
        (Service::new(&readiness, IntGauge::new("draining", "x").unwrap()), readiness)
    }

    const PLAN: Pace =
        Pace { receivers_within: Duration::from_millis(1), publishers_within: Duration::from_millis(1) };

    #[test]
    fn an_operator_takes_the_node_out_and_brings_it_back() {
        let (service, readiness) = service();
        assert_eq!(service.undrain(), NodeState::InService, "it is there already");
        for _ in 0..2 {
            assert_eq!(service.drain(), NodeState::Draining);
            assert_eq!(service.drain(), NodeState::Draining, "said twice");
            assert_eq!((readiness.check(), service.draining.get()), (Err(vec!["draining"]), 1));
            assert_eq!(service.undrain(), NodeState::InService);
            assert_eq!((readiness.check(), service.draining.get()), (Ok(()), 0));
        }
    }

    #[test]
    fn a_process_that_leaves_does_not_come_back() {
        for drained in [false, true] {
            let (service, readiness) = service();
            if drained {
                service.drain();
                service.pace(PLAN);
            }
            service.leave_for_good();
            assert_eq!(*service.leaving().borrow(), Leaving::Announced, "the plan is made anew");
            assert_eq!([service.undrain(), service.drain()], [NodeState::Draining; 2]);
            assert_eq!(readiness.check(), Err(vec!["draining"]));
        }
    }

    #[test]
    fn nobody_is_sent_away_by_a_node_that_has_come_back_meanwhile() {
        let (service, _readiness) = service();
        service.drain();
        service.undrain();
        service.pace(PLAN);
        assert_eq!(*service.leaving().borrow(), Leaving::No);
        service.drain();
        service.pace(PLAN);
        assert_eq!(*service.leaving().borrow(), Leaving::Paced(PLAN));
    }

    #[test]
    fn sessions_leave_one_by_one_unless_the_deadline_wants_it_faster() {
        let ms = Duration::from_millis;
        let pace = |connections, deadline| {
            let pace = Pace::of(connections, deadline);
            (pace.receivers_within, pace.publishers_within)
        };
        assert_eq!(pace(0, ms(1000)), (ms(0), ms(0)));
        assert_eq!(pace(10, ms(1000)), (ms(20), ms(20)));
        assert_eq!(pace(10_000, ms(1000)), (ms(600), ms(150)));
    }
}
