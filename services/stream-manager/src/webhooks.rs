//! Tells other services what happened, over HTTP. Normative text: `proto/WEBHOOKS.md`.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ An endpoint gets every event it wants at least once, and those of one channel, or of one node,  │
//! │ in order: whoever delivers begins where everything before is settled, and sends the next event  │
//! │ of a subject only after the one before.                                                         │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! One replica at a time has the duty, and with it another: to bury nodes that vanished ([`undertaker`]). That it is one only
//! saves requests; two at once would send things twice, and still in order.

mod client;
mod deliverer;
mod endpoints;
mod filter;
mod limits;
mod link;
mod metrics;
mod queue;
mod signature;
mod undertaker;

use std::future::pending;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntGauge;
use relay_cluster::Journal;
use relay_proto::Incarnation;
use relay_proto::event::EventId;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::info;

use client::TrustError;
use deliverer::Deliverer;
pub use endpoints::{ENDPOINTS_MAX, Endpoint, Problems, parse};
pub use limits::Limits;
use link::Link;
use metrics::Metrics;
pub use undertaker::Census;

/// The name of the duty in the journal.
const DUTY: &str = "webhooks";

/// What webhooks and the undertaker live on.
#[derive(Debug)]
pub struct Sources {
    /// What happened.
    pub journal: Arc<dyn Journal>,
    /// This run of the stream-manager.
    pub holder: Incarnation,
    /// Changes when something has happened. May be late and may miss things: the journal is asked now and then as well.
    pub hints: watch::Receiver<EventId>,
    /// The nodes that are known. Who cannot be heard because this process is cut off must not be called lost.
    pub census: watch::Receiver<Census>,
    /// How much, how often and for how long.
    pub limits: Limits,
}

/// Delivers webhooks and buries nodes, while it is this replica's duty.
#[derive(Debug)]
pub struct Webhooks {
    deliverers: Vec<Arc<Deliverer>>,
    link: Link,
    holder: Incarnation,
    hints: watch::Receiver<EventId>,
    census: watch::Receiver<Census>,
    ttl: Duration,
    on_duty: IntGauge,
}

/// Why webhooks cannot be set up. Has nothing of a secret or an address.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Nobody could be trusted.
    #[error("webhook '{endpoint}': {reason}")]
    Trust {
        /// The endpoint.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// Somebody has these metrics.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// On duty for as long as it lives, for whoever looks at the gauge.
struct OnDuty<'a>(&'a IntGauge);

impl Drop for OnDuty<'_> {
    fn drop(&mut self) {
        self.0.set(0);
    }
}

impl Webhooks {
    /// Reads the certificates that endpoints need. Sends nothing yet.
    ///
    /// # Errors
    /// A certificate file that cannot be used, and metrics that are there already.
    pub fn new(
        endpoints: Vec<Endpoint>,
        sources: Sources,
        registry: &prometheus::Registry,
    ) -> Result<Self, SetupError> {
        let Sources { journal, holder, hints, census, limits } = sources;
        let metrics = Metrics::register(registry)?;
        let link = Link::new(journal, metrics.journal_errors.clone());
        let deliverer = |endpoint: Endpoint| {
            let name = endpoint.name().to_owned();
            let made = Deliverer::new(endpoint, limits, link.clone(), metrics.of(&name));
            made.map(Arc::new).map_err(|reason: TrustError| SetupError::Trust {
                endpoint: name,
                reason: reason.to_string(),
            })
        };
        let deliverers = endpoints.into_iter().map(deliverer).collect::<Result<_, _>>()?;
        Ok(Self { deliverers, link, holder, hints, census, ttl: limits.duty_ttl, on_duty: metrics.on_duty })
    }

    /// Asks for the duty and does it, for as long as it is polled.
    pub async fn run(&self) {
        loop {
            let until = self.obtain().await;
            self.on_duty.set(1);
            let on_duty = OnDuty(&self.on_duty);
            info!(duty = DUTY, "on duty");
            let mut tasks = JoinSet::new();
            for deliverer in &self.deliverers {
                tasks.spawn(Arc::clone(deliverer).run(self.hints.clone()));
            }
            tasks.spawn(undertaker::run(self.link.clone(), self.census.clone()));
            tokio::select! {
                () = self.keep(until) => {}
                () = a_panic_of(&mut tasks) => {}
            }
            // The gauge tells of it until nothing is on its way any more.
            tasks.shutdown().await;
            drop(on_duty);
            info!(duty = DUTY, "not on duty any more");
        }
    }

    /// Gives the duty back, so that another replica need not wait. After [`Webhooks::run`] was dropped.
    pub async fn release(&self) {
        // Otherwise it ends by itself.
        let _ = self.link.ask(|journal| journal.release(DUTY, self.holder)).await;
    }

    /// Waits for the duty. Tells until when it is this replica's.
    async fn obtain(&self) -> Instant {
        loop {
            let asked = Instant::now();
            if let Ok(true) = self.link.ask(|journal| journal.hold(DUTY, self.holder, self.ttl)).await {
                return asked + self.ttl;
            }
            sleep_until(asked + self.ttl / 3).await;
        }
    }

    /// Keeps the duty until it is somebody else's, or may be: when the journal has not answered for too long.
    async fn keep(&self, mut until: Instant) {
        let mut asked = Instant::now();
        loop {
            sleep_until(until.min(asked + self.ttl / 3)).await;
            asked = Instant::now();
            let answer =
                timeout_at(until, self.link.ask(|journal| journal.hold(DUTY, self.holder, self.ttl))).await;
            match answer {
                Ok(Ok(true)) => until = asked + self.ttl,
                Ok(Err(_)) if Instant::now() < until => {}
                // Somebody else's; or the time is over.
                _ => return,
            }
        }
    }
}

/// Waits for ever if none of them panics: that one has come to its end is in order.
async fn a_panic_of(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended
            && let Ok(panic) = error.try_into_panic()
        {
            resume_unwind(panic);
        }
    }
    pending().await
}
