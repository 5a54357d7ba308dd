//! Connections to the broker, one after the other: each begins with nothing of the one before, and subscribes to everything.

use std::collections::VecDeque;
use std::time::Duration;

use relay_lifecycle::backoff::{Backoff, entropy};
use tokio::time::{Instant, sleep, timeout_at};

use super::wire::{Client, Event, Events, Failure, Plan, TOO_SLOW};
use super::{CONNECT_TIMEOUT, Heard, MESSAGE_BYTES_MAX, Place, Slot, packet_bytes};
use crate::driver::Outgoing;

/// Before the first attempt to connect again: a broker that was restarted is there soon.
const RETRY_FIRST: Duration = Duration::from_millis(500);

/// Between attempts at most: people who have repaired a broker look whether the cameras come back.
const RETRY_LONGEST: Duration = Duration::from_secs(15);

/// A connection that stood for this long was a good one: the pauses start small again. One that was accepted and lost at
/// once was not, or a broker that throws us out would be asked twice a second for ever.
const GOOD_AFTER: Duration = Duration::from_secs(30);

/// Filters in one request: some brokers take no more.
const FILTERS_PER_REQUEST: usize = 8;

/// A farewell was said: no more connections.
#[derive(Debug)]
struct Over;

/// How a connection ended.
#[derive(Debug)]
struct End {
    failure: Failure,
    /// Since when the broker knew all filters.
    good_since: Option<Instant>,
}

pub(super) async fn run(plan: Plan, filters: Vec<String>, online: Outgoing, slot: Slot, heard: Place) {
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST, entropy);
    let mut bound = Bound::new();
    let mut connections = Connections { plan, filters, online, slot, heard };
    loop {
        let Ok(End { failure, good_since }) = connections.one(bound.bytes).await else { return };
        let reason = match failure {
            Failure::TooLarge(bytes) => {
                bound.exceeded(bytes);
                connections.heard.put(Heard::TooLarge { bytes }).await;
                format!("a packet of {bytes} bytes came, which is too much to be taken")
            }
            Failure::Other(reason) => reason,
        };
        connections.heard.put(Heard::Lost { reason }).await;
        if good_since.is_some_and(|since| since.elapsed() >= GOOD_AFTER) {
            backoff.reset();
        }
        sleep(backoff.next()).await;
    }
}

/// The packets that a connection takes. More than the messages that are passed on, so that one that is too large costs itself
/// and not the connection.
#[derive(Debug)]
struct Bound {
    bytes: usize,
    /// Of the packet that ended the last connection that ended by one.
    exceeded_by: Option<usize>,
}

impl Bound {
    const fn new() -> Self {
        Self { bytes: packet_bytes(4 * MESSAGE_BYTES_MAX), exceeded_by: None }
    }

    /// A packet ended the connection. One that was sent as it happened is gone with that; one that is retained comes again
    /// with each subscription. The same size twice is that: it is let in from now on, to be dropped here. The protocol
    /// bounds it, by 256 MiB.
    fn exceeded(&mut self, bytes: usize) {
        if self.exceeded_by.replace(bytes) == Some(bytes) {
            self.bytes = self.bytes.max(bytes);
        }
    }
}

struct Connections {
    plan: Plan,
    filters: Vec<String>,
    online: Outgoing,
    slot: Slot,
    heard: Place,
}

impl Connections {
    /// One connection, to its end.
    async fn one(&mut self, packet_bytes_max: usize) -> Result<End, Over> {
        let (client, mut events) = self.plan.open(packet_bytes_max);
        if let Err(failure) = self.begin(&client, &mut events).await {
            return Ok(End { failure, good_since: None });
        }
        // There is room: it is asked for nothing before this but the filters.
        client.publish(self.online.clone());
        let _open = self.slot.open(client);
        self.heard.put(Heard::Connected).await;
        let good_since = Some(Instant::now());
        loop {
            match events.next().await {
                Ok(Event::Left) => return Err(Over),
                Ok(event) => self.pass_on(event).await,
                Err(failure) => return Ok(End { failure, good_since }),
            }
        }
    }

    /// Until the broker has answered to all filters.
    async fn begin(&mut self, client: &Client, events: &mut Events) -> Result<(), Failure> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let mut unsent: VecDeque<Vec<String>> =
            self.filters.chunks(FILTERS_PER_REQUEST).map(<[String]>::to_vec).collect();
        let mut unanswered: Vec<(u16, Vec<String>)> = Vec::new();
        let mut accepted = false;
        while !(accepted && unsent.is_empty() && unanswered.is_empty()) {
            let event = timeout_at(deadline, events.next()).await;
            match event.unwrap_or_else(|_| Err(Failure::Other(TOO_SLOW.to_owned())))? {
                Event::Accepted => {
                    accepted = true;
                    for filters in &unsent {
                        // There is room: `FILTERS_MAX` sees to that.
                        client.subscribe(filters);
                    }
                }
                Event::SubscribeSent(number) => {
                    unanswered.extend(unsent.pop_front().map(|filters| (number, filters)));
                }
                Event::Subscribed(number, granted) => {
                    let Some(at) = unanswered.iter().position(|(of, _)| *of == number) else { continue };
                    let (_, filters) = unanswered.swap_remove(at);
                    // A filter without an answer was not granted either.
                    let granted = granted.into_iter().chain(std::iter::repeat(false));
                    for (filter, _) in filters.into_iter().zip(granted).filter(|(_, granted)| !granted) {
                        self.heard.put(Heard::Forbidden { filter }).await;
                    }
                }
                event => self.pass_on(event).await,
            }
        }
        Ok(())
    }

    async fn pass_on(&self, event: Event) {
        let heard = match event {
            Event::Message(_, payload) if payload.len() > MESSAGE_BYTES_MAX => {
                Heard::TooLarge { bytes: payload.len() }
            }
            Event::Message(topic, payload) => Heard::Message { topic, payload },
            Event::Unreadable => Heard::Unreadable,
            Event::Accepted
            | Event::SubscribeSent(_)
            | Event::Subscribed(..)
            | Event::Left
            | Event::Nothing => return,
        };
        self.heard.put(heard).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_that_comes_again_is_let_in_and_one_that_does_not_is_not() {
        let mut bound = Bound::new();
        let first = bound.bytes;
        bound.exceeded(first + 1);
        bound.exceeded(first + 2);
        bound.exceeded(first + 1);
        assert_eq!(bound.bytes, first);
        bound.exceeded(first + 1);
        assert_eq!(bound.bytes, first + 1);
        bound.exceeded(first + 9);
        bound.exceeded(first + 9);
        assert_eq!(bound.bytes, first + 9);
    }
}
