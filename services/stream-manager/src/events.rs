//! Follows the journal, and keeps what is new in [`recent`](crate::recent): once, however many follow it here.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use relay_cluster::backbone::Subscription;
use relay_cluster::journal::Reading;
use relay_cluster::registry::Unavailable;
use relay_proto::event::EventId;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::replica::Replica;

/// Events that are read at a time.
pub(crate) const READ_MAX: usize = 500;

/// How often the journal is read where nobody says that there is something new.
const READ_INTERVAL: Duration = Duration::from_millis(500);

/// How long hints gather: with many events, each would have the journal read.
const HINTS_GATHERED: Duration = Duration::from_millis(20);

/// What a call of the journal may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What was read.
#[derive(Debug)]
pub(crate) enum Read {
    /// What follows.
    On(Reading),
    /// The journal has lost the event, or every event: this is its newest.
    Lost(EventId),
}

/// Reads what follows an event from the journal.
pub(crate) async fn read(replica: &Replica, after: EventId) -> Result<Read, Unavailable> {
    let journal = &replica.links.journal;
    let read = timeout(ANSWER_WITHIN, async {
        let reading = journal.read(after, READ_MAX).await?;
        // Then it begins with the oldest that there is, all of which may have been read.
        if reading.gap && reading.events.first().is_none_or(|event| event.id <= after) {
            return Ok(Read::Lost(journal.newest().await?));
        }
        Ok(Read::On(reading))
    });
    let read = read.await.unwrap_or_else(|_| Err(Unavailable("no answer in time".to_owned())));
    read.inspect_err(|_| replica.metrics.journal_errors.inc())
}

/// Follows the journal for as long as it is polled.
pub(crate) async fn follow(replica: Arc<Replica>) {
    let mut hints = Hints { subject: replica.subjects.events(), subscription: None };
    let mut was_up = true;
    loop {
        let up = match replica.recent.newest() {
            Some(newest) => turn(&replica, newest.id).await,
            None => begin(&replica).await,
        };
        match up {
            // There may be more of it.
            Ok(Turn::More) => continue,
            Ok(Turn::Done) => was_up = true,
            Err(error) => {
                if std::mem::replace(&mut was_up, false) {
                    warn!(%error, "the journal does not answer");
                }
            }
        }
        hints.next(&replica).await;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Turn {
    More,
    Done,
}

async fn begin(replica: &Replica) -> Result<Turn, Unavailable> {
    let newest = timeout(ANSWER_WITHIN, replica.links.journal.newest()).await;
    let newest = newest.unwrap_or_else(|_| Err(Unavailable("no answer in time".to_owned())));
    let newest = newest.inspect_err(|_| replica.metrics.journal_errors.inc())?;
    replica.recent.begin(newest);
    debug!(%newest, "journal followed");
    Ok(Turn::Done)
}

async fn turn(replica: &Replica, newest: EventId) -> Result<Turn, Unavailable> {
    match read(replica, newest).await? {
        Read::Lost(begin) => {
            warn!(after = %newest, %begin, "the journal has lost events");
            replica.recent.begin(begin);
            Ok(Turn::Done)
        }
        Read::On(reading) => {
            let turn = if reading.events.len() >= READ_MAX { Turn::More } else { Turn::Done };
            if reading.gap {
                warn!(after = %newest, "events were forgotten before they were read");
            }
            if !reading.events.is_empty() {
                replica.recent.push(reading);
            }
            Ok(turn)
        }
    }
}

/// Who has made the journal grow says so. What is not heard is only read later.
struct Hints {
    subject: String,
    subscription: Option<Subscription>,
}

impl Hints {
    async fn next(&mut self, replica: &Replica) {
        if self.subscription.is_none() {
            let subscribed = timeout(ANSWER_WITHIN, replica.links.backbone.subscribe(&self.subject)).await;
            self.subscription = subscribed.ok().and_then(Result::ok);
        }
        let hint = async {
            match &mut self.subscription {
                Some(subscription) => subscription.next().await.is_some(),
                None => std::future::pending().await,
            }
        };
        match timeout(READ_INTERVAL, hint).await {
            Ok(true) => sleep(HINTS_GATHERED).await,
            // The subscription has ended.
            Ok(false) => {
                self.subscription = None;
                sleep(READ_INTERVAL).await;
            }
            Err(_) => {}
        }
    }
}
