//! Carries messages between nodes, by subject. What is published reaches whoever is subscribed at that moment, in order, or
//! not at all: nothing is kept, and whoever cannot keep up loses messages.

pub mod memory;
pub mod nats;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::sync::watch;

pub use memory::MemoryBackbone;
pub use nats::NatsBackbone;

/// What carries messages between nodes.
pub trait Backbone: fmt::Debug + Send + Sync {
    /// Publishes a message of at most [`Backbone::message_bytes_max`]. `reply` is where answers go, if any are wanted.
    ///
    /// Waits while too much is on its way out, so never to be called by whoever must not wait.
    fn publish<'a>(
        &'a self,
        subject: &'a str,
        reply: Option<&'a str>,
        message: Bytes,
    ) -> BoxFuture<'a, Result<(), PublishError>>;

    /// Gets whatever is published on this subject from now on: what is asked for after this returned is answered to it. Ends
    /// when dropped.
    fn subscribe<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Subscription, Disconnected>>;

    /// A subject that nobody else has.
    fn inbox(&self) -> String;

    /// Publishes a message and waits for the first answer.
    fn request<'a>(
        &'a self,
        subject: &'a str,
        message: Bytes,
        within: Duration,
    ) -> BoxFuture<'a, Result<Bytes, RequestError>>;

    /// The longest message.
    fn message_bytes_max(&self) -> usize;

    /// Follows whether there is a connection.
    fn contact(&self) -> watch::Receiver<Contact>;

    /// Ends the connection once all that was published is out, or soon. Whoever only drops it loses what came last.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Messages of one subject.
pub type Subscription = BoxStream<'static, Message>;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What was published.
    pub payload: Bytes,
    /// Where an answer is wanted.
    pub reply: Option<String>,
    /// Nobody was there to hear the request whose answer this would have been. Has no payload.
    pub no_responders: bool,
}

/// There is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the backbone is not connected")]
pub struct Disconnected;

/// Why a message is not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// It is longer than [`Backbone::message_bytes_max`]; the connection is as it was.
    #[error("the message is longer than the backbone takes")]
    TooLong,
    /// There is no connection.
    #[error(transparent)]
    Disconnected(#[from] Disconnected),
}

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Nobody is subscribed to the subject.
    #[error("nobody is there to answer")]
    NoResponders,
    /// Nobody answered in time.
    #[error("no answer came in time")]
    Timeout,
    /// The request is longer than [`Backbone::message_bytes_max`].
    #[error("the message is longer than the backbone takes")]
    TooLong,
    /// There is no connection.
    #[error(transparent)]
    Disconnected(#[from] Disconnected),
}

impl From<PublishError> for RequestError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::TooLong => Self::TooLong,
            PublishError::Disconnected(error) => Self::Disconnected(error),
        }
    }
}

/// Whether there is a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact {
    /// It is there.
    pub connected: bool,
    /// How often it has been made, or messages were lost while it lasted: whoever waits for something asks again.
    pub generation: u64,
}
