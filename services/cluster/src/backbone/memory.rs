//! The backbone of nodes that live in one process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::{Backbone, Contact, Disconnected, Message, PublishError, RequestError, Subscription};

/// Messages that wait for one subscriber; further ones are lost to it.
const WAITING_MAX: usize = 4096;

/// As long as a NATS server takes by default.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// One node's end of a backbone in memory.
#[derive(Debug)]
pub struct MemoryBackbone {
    hub: Arc<Hub>,
    contact: watch::Sender<Contact>,
    message_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Hub {
    subscribers: Mutex<Subscribers>,
    next: AtomicU64,
}

/// By subject; each has a number.
type Subscribers = HashMap<String, Vec<(u64, mpsc::Sender<Message>)>>;

/// A place among the subscribers of a subject, for as long as it lives.
#[derive(Debug)]
struct Seat {
    hub: Arc<Hub>,
    subject: String,
    id: u64,
}

impl MemoryBackbone {
    /// A backbone with one end.
    pub fn new() -> Self {
        Self::end(Arc::default())
    }

    /// Another end of it, for another node.
    #[must_use]
    pub fn join(&self) -> Self {
        Self::end(Arc::clone(&self.hub))
    }

    /// The same, with another bound on messages.
    #[must_use]
    pub fn with_message_bytes_max(mut self, bytes: usize) -> Self {
        self.message_bytes_max = bytes;
        self
    }

    /// From now on nothing goes through this end, or everything does again: what a test calls a cut.
    pub fn set_connected(&self, connected: bool) {
        self.contact.send_modify(|contact| {
            contact.connected = connected;
            contact.generation += u64::from(connected);
        });
    }

    fn end(hub: Arc<Hub>) -> Self {
        let contact = watch::Sender::new(Contact { connected: true, generation: 1 });
        Self { hub, contact, message_bytes_max: MESSAGE_BYTES_MAX }
    }

    fn check(&self) -> Result<(), Disconnected> {
        if self.contact.borrow().connected { Ok(()) } else { Err(Disconnected) }
    }
}

impl Default for MemoryBackbone {
    fn default() -> Self {
        Self::new()
    }
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, Subscribers> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells how many subscribers there are.
    fn publish(&self, subject: &str, message: &Message) -> usize {
        let subscribers = self.lock();
        let Some(list) = subscribers.get(subject) else { return 0 };
        for (_, subscriber) in list {
            // Full: lost to it, as on the wire.
            let _ = subscriber.try_send(message.clone());
        }
        list.len()
    }

    fn subscribe(self: &Arc<Self>, subject: &str) -> (Seat, mpsc::Receiver<Message>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        self.lock().entry(subject.to_owned()).or_default().push((id, sender));
        (Seat { hub: Arc::clone(self), subject: subject.to_owned(), id }, receiver)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut subscribers = self.hub.lock();
        if let Some(list) = subscribers.get_mut(&self.subject) {
            list.retain(|(id, _)| *id != self.id);
            if list.is_empty() {
                subscribers.remove(&self.subject);
            }
        }
    }
}

impl Backbone for MemoryBackbone {
    fn publish<'a>(
        &'a self,
        subject: &'a str,
        reply: Option<&'a str>,
        message: Bytes,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        async move {
            self.check()?;
            if message.len() > self.message_bytes_max {
                return Err(PublishError::TooLong);
            }
            let message = Message { payload: message, reply: reply.map(str::to_owned), no_responders: false };
            if self.hub.publish(subject, &message) == 0
                && let Some(reply) = reply
            {
                let nobody = Message { payload: Bytes::new(), reply: None, no_responders: true };
                self.hub.publish(reply, &nobody);
            }
            Ok(())
        }
        .boxed()
    }

    fn subscribe<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Subscription, Disconnected>> {
        async move {
            self.check()?;
            let (seat, receiver) = self.hub.subscribe(subject);
            let contact = self.contact.subscribe();
            let messages =
                stream::unfold((seat, receiver, contact), async |(seat, mut receiver, contact)| {
                    loop {
                        let message = receiver.recv().await?;
                        if contact.borrow().connected {
                            return Some((message, (seat, receiver, contact)));
                        }
                    }
                });
            Ok(messages.boxed())
        }
        .boxed()
    }

    fn inbox(&self) -> String {
        format!("_INBOX.{}", self.hub.next.fetch_add(1, Ordering::Relaxed))
    }

    fn request<'a>(
        &'a self,
        subject: &'a str,
        message: Bytes,
        within: Duration,
    ) -> BoxFuture<'a, Result<Bytes, RequestError>> {
        async move {
            let inbox = self.inbox();
            let mut answers = self.subscribe(&inbox).await?;
            self.publish(subject, Some(&inbox), message).await?;
            match timeout(within, answers.next()).await {
                Ok(Some(answer)) if answer.no_responders => Err(RequestError::NoResponders),
                Ok(Some(answer)) => Ok(answer.payload),
                Ok(None) | Err(_) => Err(RequestError::Timeout),
            }
        }
        .boxed()
    }

    fn message_bytes_max(&self) -> usize {
        self.message_bytes_max
    }

    fn contact(&self) -> watch::Receiver<Contact> {
        self.contact.subscribe()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move { self.set_connected(false) }.boxed()
    }
}
