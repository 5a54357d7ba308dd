//! Brings one endpoint its events, for as long as it is this replica's duty. What is sent when is the queue's decision; here
//! things wait.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use hyper::StatusCode;
use prometheus::IntGauge;
use relay_cluster::journal::{Delivered, Reading};
use relay_cluster::registry::Unavailable;
use relay_lifecycle::backoff::entropy;
use relay_proto::event::EventId;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tracing::{debug, info, warn};

use super::client::{Client, TrustError, Verdict};
use super::endpoints::Endpoint;
use super::limits::Limits;
use super::link::Link;
use super::metrics::EndpointMetrics;
use super::queue::{Attempt, BEFORE_ALL, Next, Outcome, Progress, Queue, Save, Thoroughness};

/// How often the journal is told how far an endpoint is though nothing happens: it forgets what nobody has touched for days.
const REFRESH: Duration = Duration::from_secs(60 * 60);

/// Brings one endpoint its events.
#[derive(Debug)]
pub(super) struct Deliverer {
    endpoint: Endpoint,
    client: Client,
    limits: Limits,
    link: Link,
    metrics: EndpointMetrics,
    /// It has said that it is gone. Until the process starts again: its address changes only then.
    muted: AtomicBool,
}

/// The endpoint has said that it is gone.
struct Gone;

/// A count that is over when the deliverer is dropped.
struct Held(IntGauge);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.set(0);
    }
}

impl Deliverer {
    pub(super) fn new(
        endpoint: Endpoint,
        limits: Limits,
        link: Link,
        metrics: EndpointMetrics,
    ) -> Result<Self, TrustError> {
        let client = Client::new(&endpoint, &limits)?;
        Ok(Self { endpoint, client, limits, link, metrics, muted: AtomicBool::new(false) })
    }

    /// Delivers until it is dropped, or the endpoint is gone.
    pub(super) async fn run(self: Arc<Self>, mut hints: watch::Receiver<EventId>) {
        if self.muted.load(Ordering::Relaxed) {
            return;
        }
        let from = self.begin().await;
        let mut progress = Progress::new(from.through);
        let mut queue = Queue::new(self.limits, from);
        let Gone = self.deliver(&mut queue, &mut progress, &mut hints).await;
        self.muted.store(true, Ordering::Relaxed);
        self.metrics.muted.set(1);
        let endpoint = &self.endpoint.name;
        warn!(endpoint, "webhook endpoint is gone: nothing is sent to it until the next start");
        // What was delivered beside it.
        while let Some(save) = progress.next(queue.through(), Thoroughness::Needed)
            && self.save(&save).await.is_ok()
        {
            progress.saved(&save);
        }
    }

    /// How far the endpoint is. Waits for the journal.
    async fn begin(&self) -> Delivered {
        loop {
            match self.place().await {
                Ok(from) => return from,
                Err(error) => {
                    debug!(endpoint = self.endpoint.name, %error, "cannot tell how far a webhook endpoint is");
                    sleep(self.limits.poll_interval).await;
                }
            }
        }
    }

    async fn place(&self) -> Result<Delivered, Unavailable> {
        let name = &self.endpoint.name;
        let from = self.link.ask(|journal| journal.delivered(name)).await?;
        let newest = self.link.ask(|journal| journal.newest()).await?;
        if from == Delivered::default() {
            // Not its history. Noted before anything is sent: a successor must not begin later.
            let through = newest.max(BEFORE_ALL);
            self.link.ask(|journal| journal.advance_delivered(name, through)).await?;
            info!(endpoint = name, %through, "webhook endpoint is new");
        } else if from.through == BEFORE_ALL {
            return Ok(Delivered { through: EventId::FIRST, ..from });
        } else if from.through <= newest {
            return Ok(from);
        }
        // New, or the journal has lost what came after its newest event.
        Ok(Delivered { through: newest, ..Delivered::default() })
    }

    async fn deliver(
        &self,
        queue: &mut Queue,
        progress: &mut Progress,
        hints: &mut watch::Receiver<EventId>,
    ) -> Gone {
        let held = Held(self.metrics.held.clone());
        let began = Instant::now();
        let now = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut attempts = FuturesUnordered::new();
        let mut reading: Option<BoxFuture<'_, _>> = None;
        let mut saving: Option<BoxFuture<'_, _>> = None;
        let mut poll = interval(self.limits.poll_interval);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Whether there may be more to read; whether the journal took what it was told; where it last had a gap.
        let (mut behind, mut may_save, mut gap) = (true, true, None);
        let mut thoroughness = Thoroughness::Needed;
        let mut hinted = true;
        let mut refreshed = began;
        loop {
            while let Some(attempt) = queue.next(now()) {
                attempts.push(async move {
                    let verdict = self.client.post(&attempt.event).await;
                    (attempt, verdict)
                });
            }
            held.0.set(i64::try_from(queue.held()).unwrap_or(i64::MAX));
            let room = queue.room();
            if behind && room > 0 && reading.is_none() {
                // A hint that comes meanwhile asks for another page.
                behind = false;
                let after = queue.read();
                reading = Some(Box::pin(async move { (room, self.read(after, room).await) }));
            }
            if may_save && saving.is_none() {
                if let Some(save) = progress.next(queue.through(), thoroughness) {
                    saving = Some(Box::pin(async move {
                        let saved = self.save(&save).await;
                        (save, saved)
                    }));
                }
                thoroughness = Thoroughness::Needed;
            }
            tokio::select! {
                Some((attempt, verdict)) = attempts.next() => {
                    let Some(outcome) = outcome(&verdict) else {
                        self.metrics.gone.inc();
                        return Gone;
                    };
                    self.settle(queue, progress, &attempt, (outcome, &verdict), now());
                }
                (room, read) = answered(&mut reading) => {
                    reading = None;
                    // Without an answer it is asked again at the next tick.
                    if let Ok((Reading { events, gap: forgotten }, newest)) = read {
                        if forgotten && gap != Some(queue.read()) {
                            gap = Some(queue.read());
                            self.metrics.gaps.inc();
                            let endpoint = &self.endpoint.name;
                            warn!(endpoint, after = %queue.read(), "events were forgotten before they could be delivered");
                        }
                        if let Some(newest) = newest {
                            queue.rewind(newest);
                            progress.forgotten();
                            behind = newest > queue.read();
                        } else {
                            behind |= events.len() == room;
                            queue.push(events, |event| self.endpoint.filter.takes(event), now());
                        }
                    }
                }
                (save, saved) = answered(&mut saving) => {
                    saving = None;
                    match saved {
                        Ok(()) => progress.saved(&save),
                        // At the next tick.
                        Err(_) => may_save = false,
                    }
                }
                changed = hints.changed(), if hinted => {
                    // Without hints there is the interval.
                    hinted = changed.is_ok();
                    behind = true;
                }
                _ = poll.tick() => {
                    (behind, may_save, thoroughness) = (true, true, Thoroughness::All);
                    if refreshed.elapsed() >= REFRESH {
                        refreshed = Instant::now();
                        progress.forgotten();
                    }
                }
                () = moment(began, queue.next_at()) => {}
            }
        }
    }

    /// Notes what became of an attempt.
    fn settle(
        &self,
        queue: &mut Queue,
        progress: &mut Progress,
        attempt: &Attempt,
        (outcome, verdict): (Outcome, &Verdict),
        now: u64,
    ) {
        let Attempt { event, subject, number } = attempt;
        let endpoint = &self.endpoint.name;
        match outcome {
            Outcome::Delivered => self.metrics.delivered.inc(),
            Outcome::Failed => self.metrics.failed.inc(),
            Outcome::Refused => self.metrics.refused.inc(),
            Outcome::Later(_) => self.metrics.later.inc(),
        }
        match queue.settle(attempt, outcome, now, entropy()) {
            Next::Settled => debug!(endpoint, event = %event.id, attempt = number, "webhook delivered"),
            Next::Again => {
                debug!(endpoint, event = %event.id, attempt = number, ?verdict, "webhook not delivered");
                return;
            }
            Next::Dead => {
                self.metrics.dead.inc();
                warn!(endpoint, event = %event.id, attempts = number, ?verdict, "webhook given up");
            }
        }
        progress.settled(Arc::clone(subject), event.id);
    }

    /// What comes after this event; and the newest that there is, where the journal does not have this one any more nor any later.
    async fn read(&self, after: EventId, max: usize) -> Result<(Reading, Option<EventId>), Unavailable> {
        let reading = self.link.ask(|journal| journal.read(after, max)).await?;
        let is_lost = reading.gap && reading.events.first().is_none_or(|event| event.id <= after);
        let newest = if is_lost { Some(self.link.ask(|journal| journal.newest()).await?) } else { None };
        Ok((reading, newest))
    }

    async fn save(&self, save: &Save) -> Result<(), Unavailable> {
        let name = &self.endpoint.name;
        self.link
            .ask(|journal| match save {
                Save::Through(through) => journal.advance_delivered(name, *through),
                Save::Subject(subject, id) => journal.note_delivered(name, subject, *id),
            })
            .await
    }
}

/// What a verdict means for the event; `None` for the end of the endpoint.
fn outcome(verdict: &Verdict) -> Option<Outcome> {
    Some(match verdict {
        Verdict::Delivered => Outcome::Delivered,
        Verdict::Gone => return None,
        Verdict::Silent | Verdict::Broken(_) => Outcome::Failed,
        Verdict::Status(_, Some(pause)) => Outcome::Later(*pause),
        Verdict::Status(status, None) => match *status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                Outcome::Failed
            }
            status if status.is_redirection() || status.is_client_error() => Outcome::Refused,
            _ => Outcome::Failed,
        },
    })
}

/// The answer, once somebody was asked.
async fn answered<T>(asked: &mut Option<BoxFuture<'_, T>>) -> T {
    match asked {
        Some(answer) => answer.await,
        None => pending().await,
    }
}

async fn moment(began: Instant, ms: Option<u64>) {
    match ms.and_then(|ms| began.checked_add(Duration::from_millis(ms))) {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}
