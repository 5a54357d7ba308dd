//! What every part of this stream-manager shares: its settings, its links, and what it knows of the cluster.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ What is known is behind one lock, which nobody holds while waiting for anything.                │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use relay_cluster::Links;
use relay_cluster::backbone::Contact;
use relay_cluster::sources::Sources;
use relay_lifecycle::backoff::entropy;
use relay_proto::Incarnation;
use relay_proto::api::manager::{Reach, ViewState};
use relay_proto::backbone::{Peer, Subjects};
use relay_proto::report::Picked;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, timeout};

use crate::config::Config;
use crate::http::snapshot::Snapshots;
use crate::metrics::Metrics;
use crate::recent::Recent;
use crate::urls::Public;
use crate::view::{Timing, View};
use crate::webhooks::Census;

/// Requests at a time that wait for something to become possible.
pub(crate) const WAITS_MAX: usize = 4096;

/// Requests at a time that ask nodes: each may ask all of them.
const ASKS_MAX: usize = 64;

/// Requests at a time that wait for a bridge, which may take a minute.
const ORDERS_MAX: usize = 64;

/// Clients at a time that follow events.
const FOLLOWERS_MAX: usize = 1024;

/// Of those, how many read what is older than what is kept here at a time. Each page is some milliseconds of Redis, in which no
/// lease is renewed, and who follows needs no token: behind a thousand of them leases would end.
const BACKLOGS_MAX: usize = 2;

/// One of equal stream-managers.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) config: Config,
    pub(crate) links: Links,
    pub(crate) subjects: Subjects,
    pub(crate) by: Peer,
    pub(crate) public: Public,
    pub(crate) metrics: Metrics,
    pub(crate) waits: Semaphore,
    pub(crate) asks: Semaphore,
    pub(crate) orders: Semaphore,
    pub(crate) followers: Arc<Semaphore>,
    pub(crate) backlogs: Semaphore,
    pub(crate) recent: Recent,
    pub(crate) snapshots: Snapshots,
    /// Told whenever something new is known.
    pub(crate) news: watch::Sender<()>,
    /// Every run of a node that is known, and how it is.
    pub(crate) census: watch::Sender<Census>,
    /// Told when there are picks that the other replicas do not know of.
    pub(crate) picked: Notify,
    leaving: watch::Sender<bool>,
    began: Instant,
    known: Mutex<Known>,
    registry_up: AtomicBool,
    contact: watch::Receiver<Contact>,
}

/// What is known of the cluster.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) view: View,
    pub(crate) sources: Sources,
    /// Own picks of which the other replicas have not been told, by the node's number. A node that has taken the number of one
    /// that left gets what was kept there a moment ago, which does it no harm.
    untold: Vec<u32>,
    has_untold: bool,
}

impl Replica {
    pub(crate) fn new(config: Config, links: Links, metrics: Metrics, public: Public) -> Self {
        let timing = Timing::new(config.registry_interval, config.reservation, config.warm_up);
        Self {
            subjects: Subjects::new(links.cluster.clone()),
            by: Peer { node: config.name.clone(), incarnation: Incarnation::new(entropy()) },
            public,
            metrics,
            waits: Semaphore::new(WAITS_MAX),
            asks: Semaphore::new(ASKS_MAX),
            orders: Semaphore::new(ORDERS_MAX),
            followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
            backlogs: Semaphore::new(BACKLOGS_MAX),
            recent: Recent::new(),
            snapshots: Snapshots::default(),
            news: watch::Sender::new(()),
            census: watch::Sender::default(),
            picked: Notify::new(),
            leaving: watch::Sender::new(false),
            began: Instant::now(),
            known: Mutex::new(Known {
                view: View::new(timing),
                sources: Sources::default(),
                untold: Vec::new(),
                has_untold: false,
            }),
            registry_up: AtomicBool::new(false),
            contact: links.backbone.contact(),
            config,
            links,
        }
    }

    /// Milliseconds of a clock that never goes back.
    pub(crate) fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    /// The same, where the time was looked up already.
    pub(crate) fn at(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    /// Never to be held across a wait.
    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How fresh what is known is.
    pub(crate) fn state_of(&self, view: &View, now: u64) -> ViewState {
        let reach = |up| if up { Reach::Up } else { Reach::Down };
        ViewState {
            registry: reach(self.registry_up.load(Ordering::Relaxed)),
            backbone: reach(self.is_connected()),
            age_ms: view.age_ms(now),
        }
    }

    pub(crate) fn set_registry_up(&self, up: bool) {
        self.registry_up.store(up, Ordering::Relaxed);
        self.metrics.registry_up.set(i64::from(up));
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.contact.borrow().connected
    }

    /// Waits until there is a connection to the backbone, or the time is over.
    pub(crate) async fn connected(&self, within: Duration) {
        // A backbone that is gone never has one; who asks it is told so.
        let _ = timeout(within, self.contact.clone().wait_for(|contact| contact.connected)).await;
    }

    /// From now on, what waits for something is answered, and what follows events ends.
    pub(crate) fn leave(&self) {
        self.leaving.send_replace(true);
    }

    /// Waits until the replica leaves.
    pub(crate) async fn left(&self) {
        // The sender is here, so it cannot be gone.
        let _ = self.leaving.subscribe().wait_for(|leaving| *leaving).await;
    }
}

impl Known {
    /// Keeps a place on the node of this number for a client that is sent there. Tells whether the other replicas are to be told
    /// now.
    pub(crate) fn reserve(&mut self, slot: usize, now: u64) -> bool {
        self.view.reserve_at(slot, 1, now);
        if self.untold.len() <= slot {
            self.untold.resize(slot + 1, 0);
        }
        self.untold[slot] = self.untold[slot].saturating_add(1);
        !std::mem::replace(&mut self.has_untold, true)
    }

    /// Picks of which the other replicas are to be told.
    pub(crate) fn take_untold(&mut self) -> Vec<Picked> {
        self.has_untold = false;
        let untold = self.untold.iter_mut().enumerate().filter(|(_, count)| **count > 0);
        let picked = untold.filter_map(|(slot, count)| {
            let count = std::mem::take(count);
            Some(Picked { node: self.view.member(slot)?.record.node.clone(), count })
        });
        picked.collect()
    }
}
