//! `GET /v1/events`: events as they happen, to whoever follows them (server-sent events, WHATWG HTML section 9.2).
//!
//! Nothing is kept for a client but where it is: what it does not take stays where it is until it does, and the connection of
//! one that takes nothing ends by itself. It then comes back and goes on where it was.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Method, Uri};
use relay_cluster::registry::Unavailable;
use relay_proto::ChannelName;
use relay_proto::event::{Event, EventId, EventKind};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::access::Reader;
use super::problem::{Kind, Problem};
use super::{NOSNIFF, query, soon};
use crate::events::{Read, read};
use crate::metrics::Counted;
use crate::recent::{Following, Known, Told};
use crate::replica::Replica;

/// Proxies mostly end what is silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Events in one piece of the answer.
const PIECE_EVENTS_MAX: usize = 64;

/// How long to wait with the next attempt where the journal does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// Where an EventSource says how far it is.
const LAST_EVENT_ID: &str = "last-event-id";

const PARAMETERS: &str = "the parameters are after, type, channel, and no others";

/// `GET /v1/events`.
pub(super) async fn events(
    _: Reader,
    State(replica): State<Arc<Replica>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (mut after, mut filter) = (None::<EventId>, Filter::default());
    for pair in query::pairs(uri.query()) {
        let (name, value) = pair?;
        match &*name {
            "after" => query::once(&mut after, "after", query::parse("after", &value)?)?,
            "channel" => query::once(&mut filter.channel, "channel", query::parse("channel", &value)?)?,
            "type" => {
                for name in value.split(',').filter(|name| !name.is_empty()) {
                    let kind = EventKind::ALL.iter().find(|kind| kind.name() == name);
                    let kind = *kind.ok_or_else(|| Problem::bad("type is not that of an event"))?;
                    if !filter.kinds.contains(&kind) {
                        filter.kinds.push(kind);
                    }
                }
            }
            _ => return Err(query::unknown(PARAMETERS)),
        }
    }
    // A client that comes back has the address that it began with, so the header counts.
    if let Some(last) = headers.get(LAST_EVENT_ID) {
        let last = last.to_str().map_err(|_| Problem::bad("Last-Event-ID is not that of an event"))?;
        after = Some(query::parse("Last-Event-ID", last)?);
    }
    // What a client names is looked for in the journal first.
    let after = after.map(|id| Known { id, era: 0 }).or_else(|| replica.recent.newest());
    let after = after.ok_or_else(|| {
        Problem::new(Kind::Unavailable).because("the journal has not answered yet").retry_after(soon())
    })?;
    let Ok(permit) = Arc::clone(&replica.followers).try_acquire_owned() else {
        return Err(Problem::new(Kind::Busy).retry_after(soon()));
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform")),
        (header::X_CONTENT_TYPE_OPTIONS, NOSNIFF),
        // nginx gathers answers otherwise.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    if method == Method::HEAD {
        return Ok(headers.into_response());
    }
    let counted = Counted::new(&replica.metrics.sse_clients);
    let news = replica.recent.news();
    let follower =
        Follower { replica, after, filter, news, begun: false, _permit: permit, _counted: counted };
    let pieces = stream::unfold(follower, async |mut follower| {
        let piece = follower.next().await?;
        Some((Ok::<_, Infallible>(piece), follower))
    });
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// Which events are told.
#[derive(Debug, Default)]
struct Filter {
    kinds: Vec<EventKind>,
    channel: Option<ChannelName>,
}

impl Filter {
    fn lets(&self, event: &Event) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && (self.channel.is_none() || self.channel == event.channel)
    }
}

/// One who follows.
struct Follower {
    replica: Arc<Replica>,
    /// How far it is.
    after: Known,
    filter: Filter,
    news: watch::Receiver<EventId>,
    begun: bool,
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

impl Follower {
    /// The next piece of the answer; `None` when the replica leaves.
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.begun, true) {
            // When a replica leaves, all who follow it come back, and not all at once.
            return Some(format!("retry: {}\n\n", soon().as_millis() + 500).into());
        }
        let silent_until = Instant::now() + KEEP_ALIVE;
        let replica = Arc::clone(&self.replica);
        tokio::select! {
            biased;
            () = replica.left() => None,
            piece = timeout_at(silent_until, self.piece()) => {
                Some(piece.unwrap_or(Bytes::from_static(b":\n\n")))
            }
        }
    }

    /// What the journal has told, as far as it is to be told on.
    fn take(&mut self, read: Read, era: u64) -> Bytes {
        let Known { id: before, .. } = self.after;
        let mut piece = BytesMut::new();
        match read {
            Read::Lost(newest) => {
                self.after.id = newest;
                piece.put_slice(gap(before).as_bytes());
            }
            Read::On(reading) => {
                if reading.gap {
                    piece.put_slice(gap(before).as_bytes());
                }
                self.after.id = reading.events.last().map_or(before, |last| last.id);
                for event in reading.events.into_iter().filter(|event| self.filter.lets(event)) {
                    piece.put_slice(&Told::new(event).frame);
                }
            }
        }
        self.after.era = era;
        piece.freeze()
    }

    /// What the journal has, when it is this one's turn.
    async fn read(&self) -> Result<Read, Unavailable> {
        let _turn = self.replica.backlogs.acquire().await;
        read(&self.replica, self.after.id).await
    }

    /// Safe to cancel.
    async fn piece(&mut self) -> Bytes {
        loop {
            self.news.borrow_and_update();
            match self.replica.recent.after(self.after, PIECE_EVENTS_MAX) {
                Following::Here(told) => {
                    let Some(last) = told.last() else {
                        // The sender lives as long as the replica.
                        let _ = self.news.changed().await;
                        continue;
                    };
                    self.after.id = last.event.id;
                    let mut frames = told.iter().filter(|told| self.filter.lets(&told.event));
                    if let Some(first) = frames.next() {
                        return joined(first, frames.map(|told| &**told));
                    }
                }
                Following::InJournal(era) => match self.read().await {
                    Ok(read) => {
                        let piece = self.take(read, era);
                        if !piece.is_empty() {
                            return piece;
                        }
                        // What is here begins later than the journal ends: it is about to notice.
                        if matches!(self.replica.recent.after(self.after, 0), Following::InJournal(_)) {
                            sleep(RETRY).await;
                        }
                    }
                    Err(_) => sleep(RETRY).await,
                },
            }
        }
    }
}

fn gap(after: EventId) -> String {
    format!("event: gap\ndata: {{\"after\":\"{after}\"}}\n\n")
}

/// The frames of events; where it is one, as it is kept.
fn joined<'a>(first: &'a Told, more: impl Iterator<Item = &'a Told>) -> Bytes {
    let mut more = more.peekable();
    if more.peek().is_none() {
        return first.frame.clone();
    }
    let mut piece = BytesMut::from(&*first.frame);
    more.for_each(|told| piece.put_slice(&told.frame));
    piece.freeze()
}

#[cfg(test)]
mod tests {
    use relay_proto::event::Fact;
    use relay_proto::registry::Role;

    use super::*;
    use crate::http::tests::replica;

    #[tokio::test(start_paused = true)]
    async fn no_more_read_a_backlog_at_a_time_than_may() {
        let replica = replica();
        let fact = Fact::Refused {
            node: "n1".parse().unwrap(),
            channel: None,
            role: Role::Receive,
            reason: "full".to_owned(),
        };
        replica.links.journal.record(&[fact]).await.unwrap();
        let mut follower = Follower {
            after: Known { id: EventId::FIRST, era: 0 },
            filter: Filter::default(),
            news: replica.recent.news(),
            begun: true,
            _permit: Arc::clone(&replica.followers).try_acquire_owned().unwrap(),
            _counted: Counted::new(&replica.metrics.sse_clients),
            replica: Arc::clone(&replica),
        };
        let most = u32::try_from(replica.backlogs.available_permits()).unwrap();
        let others = replica.backlogs.acquire_many(most).await.unwrap();
        let began = Instant::now();
        assert_eq!(follower.next().await.unwrap(), ":\n\n", "and it is kept alive while it waits");
        assert_eq!(began.elapsed(), KEEP_ALIVE);
        drop(others);
        assert!(follower.next().await.unwrap().starts_with(b"id: "));
        assert_eq!(replica.backlogs.available_permits(), most as usize);
    }
}
