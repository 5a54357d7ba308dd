//! The backbone of a cluster: one connection to a NATS server, which the client library makes, watches and makes again.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Nothing waits for a connection: what cannot go out now is refused, and what waits to be    │
//! │ written is at most OUTGOING_BYTES_MAX, or one message where that is longer.                │
//! └──────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Every payload carries its share of that bound with it and gives it back when the library lets go of it, which is when it
//! has been written. Subscriptions and messages go through one queue to one socket, so a subscription is with the server
//! before anything that is published after it; the server hands interest on to others of its cluster before messages, in
//! the same order. A new connection gets the subscriptions first, then what the library had taken when the old one broke:
//! at most [`COMMANDS_MAX`] messages, late, but in order.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, PublishErrorKind, ServerAddr, StatusCode, Subject};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use relay_lifecycle::backoff::{Backoff, entropy};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::{Backbone, Contact, Disconnected, Message, PublishError, RequestError, Subscription};
use crate::tls::install_crypto_provider;

/// Bytes of payload that wait to be written to the server. A tenth of a second of a network of 1 Gbit/s: what waits longer
/// than that is late, and whoever publishes does better to know.
pub const OUTGOING_BYTES_MAX: u32 = 16 << 20;

/// Messages and subscriptions that the library takes before it has written them. They outlive a connection, so few: but
/// enough that a publisher and the task that writes need not take turns.
pub const COMMANDS_MAX: usize = 64;

/// Messages that wait for one subscriber; further ones are lost to it. A snapshot of small chunks comes at once, and a
/// second of a busy channel must fit behind it.
pub const WAITING_MAX: usize = 8192;

/// The library pings a server that has been silent for so long, and gives up a connection on which it would have to send a
/// third ping without an answer: after three times this, 4.5 s.
const PING_INTERVAL: Duration = Duration::from_millis(1500);

/// For TCP, TLS and the greeting, of one server. A server in the same data centre takes milliseconds; one that is frozen
/// takes all of it, and others of its cluster are waiting to be asked.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// A server that was only restarted is back at once, and so is the next of a cluster.
const RECONNECT_FIRST: Duration = Duration::from_millis(100);

/// Nodes of a cluster that lost its server come back spread over this.
const RECONNECT_LONGEST: Duration = Duration::from_secs(2);

/// For the last messages to reach the server.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Different troubles that are logged during one connection, or while there is none.
const TROUBLES_MAX: usize = 8;

/// No server takes less, whatever it says: what is cut into messages must find room for more than envelopes.
const MESSAGE_BYTES_MIN: usize = 1 << 10;

/// Where the servers are, and who this node is to them.
#[derive(Clone)]
pub struct Config {
    /// Servers of one cluster, separated by commas: `nats://HOST:PORT`, or `tls://…` where nothing but TLS will do. A
    /// `USER:PASSWORD@` or `TOKEN@` before the host is percent-encoded, and holds for all.
    pub urls: String,
    /// A file with a token and a key, as `nsc` writes it.
    pub credentials_file: Option<PathBuf>,
    /// Certificates to trust, in PEM, instead of those that the system trusts. With it nothing but TLS will do.
    pub ca_file: Option<PathBuf>,
    /// Name of the node, for whoever looks at the server's connections.
    pub name: String,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { urls: _, credentials_file, ca_file, name } = self;
        f.debug_struct("Config")
            .field("urls", &"***")
            .field("credentials_file", credentials_file)
            .field("ca_file", ca_file)
            .field("name", name)
            .finish()
    }
}

impl Config {
    /// Reads the addresses, and does nothing with them.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn check(&self) -> Result<(), ConfigError> {
        parse_urls(&self.urls).map(|_| ())
    }
}

/// What is wrong with a [`Config`]. Tells no address, since passwords stand there.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no address.
    #[error("no NATS server is named")]
    NoServer,
    /// An address cannot be read.
    #[error("NATS address {number} is not nats://[USER:PASSWORD@]HOST:PORT or tls://…")]
    Address {
        /// Which, from 1 on.
        number: usize,
    },
    /// A client has one user.
    #[error("NATS addresses name different users")]
    Users,
    /// The credentials file cannot be used.
    #[error("{}: {source}", path.display())]
    CredentialsFile {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file with certificates cannot be read.
    #[error("{}: {source}", path.display())]
    CaFile {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// One node's connection to the backbone.
///
/// It ends with the last subscription, after this is dropped; what was published just before may then be lost, which
/// [`Backbone::close`] prevents. While there is no server, the library's task cannot be told: it sleeps for good.
pub struct NatsBackbone {
    client: Client,
    link: Arc<Link>,
    outgoing: Arc<Semaphore>,
}

/// What the library's events are about.
struct Link {
    contact: watch::Sender<Contact>,
    /// What was logged since the connection last came or went.
    troubles: Mutex<BTreeSet<String>>,
    /// The events that the library reports are in a bounded queue, and are lost when it is full; its state is not.
    client: OnceLock<Client>,
}

/// A message on its way out, with its share of [`OUTGOING_BYTES_MAX`].
struct Outgoing {
    message: Bytes,
    _share: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Outgoing {
    fn as_ref(&self) -> &[u8] {
        &self.message
    }
}

/// Who a client says it is.
#[derive(Clone, PartialEq, Eq)]
enum User {
    Token(String),
    Password { user: String, password: String },
}

impl NatsBackbone {
    /// Reads the configuration, and starts to connect: without an end, and without waiting for it.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub async fn start(config: Config) -> Result<Self, ConfigError> {
        let (servers, user) = parse_urls(&config.urls)?;
        install_crypto_provider();
        let link = Arc::new(Link::new());
        let mut options = ConnectOptions::new()
            .name(config.name)
            .retry_on_initial_connect()
            .ping_interval(PING_INTERVAL)
            .connection_timeout(CONNECT_WITHIN)
            .client_capacity(COMMANDS_MAX)
            .subscription_capacity(WAITING_MAX)
            .reconnect_delay_callback(reconnect_delay(Arc::downgrade(&link)))
            // Subjects are made of names that have been checked.
            .skip_subject_validation(true);
        let events = Arc::downgrade(&link);
        options = options.event_callback(move |event| {
            if let Some(link) = events.upgrade() {
                link.on(&event);
            }
            std::future::ready(())
        });
        options = match user {
            Some(User::Token(token)) => options.token(token),
            Some(User::Password { user, password }) => options.user_and_password(user, password),
            None => options,
        };
        if let Some(path) = config.credentials_file {
            let credentials = std::fs::read_to_string(&path).and_then(|text| options.credentials(&text));
            options = credentials.map_err(|source| ConfigError::CredentialsFile { path, source })?;
        }
        if let Some(path) = config.ca_file {
            // Read again for each connection, so certificates may be renewed; a wrong path is told at once.
            options = match std::fs::File::open(&path) {
                Ok(_) => options.add_root_certificates(path).require_tls(true),
                Err(source) => return Err(ConfigError::CaFile { path, source }),
            };
        }
        // With retries this connects in the background, and fails only where there is no server to try.
        let client = options.connect(servers).await.map_err(|_| ConfigError::NoServer)?;
        let _ = link.client.set(client.clone());
        Ok(Self { client, link, outgoing: Arc::new(Semaphore::new(OUTGOING_BYTES_MAX as usize)) })
    }

    async fn send(&self, subject: &str, reply: Option<&str>, message: Bytes) -> Result<(), PublishError> {
        // A server ends the connection of whoever sends more than it takes.
        if message.len() > self.client.max_payload() {
            return Err(PublishError::TooLong);
        }
        self.while_connected(async {
            let bytes = u32::try_from(message.len()).unwrap_or(u32::MAX).min(OUTGOING_BYTES_MAX);
            let share = Arc::clone(&self.outgoing).acquire_many_owned(bytes).await;
            let payload = Bytes::from_owner(Outgoing { message, _share: share.map_err(|_| Disconnected)? });
            let subject = Subject::from(subject);
            let sent = match reply {
                Some(reply) => self.client.publish_with_reply(subject, Subject::from(reply), payload).await,
                None => self.client.publish(subject, payload).await,
            };
            sent.map_err(|error| match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => PublishError::TooLong,
                // The library's task is gone: closed.
                PublishErrorKind::Send | PublishErrorKind::InvalidSubject => Disconnected.into(),
            })
        })
        .await
    }

    async fn listen(&self, subject: &str) -> Result<Subscription, Disconnected> {
        self.while_connected(async {
            let messages = self.client.subscribe(Subject::from(subject)).await.map_err(|_| Disconnected)?;
            Ok(messages.map(Message::from).boxed())
        })
        .await
    }

    /// Two messages and a subscription that comes and goes. The library's own requests share one subscription, but it
    /// never forgets one that was not answered.
    async fn ask(&self, subject: &str, message: Bytes) -> Result<Bytes, RequestError> {
        let inbox = self.inbox();
        let mut answers = self.listen(&inbox).await?;
        self.send(subject, Some(&inbox), message).await?;
        let answer = async { answers.next().await.ok_or(Disconnected) };
        let answer = self.while_connected(answer).await?;
        if answer.no_responders { Err(RequestError::NoResponders) } else { Ok(answer.payload) }
    }

    /// Comes back once the server has taken all that was published before.
    async fn flush(&self) -> Result<(), RequestError> {
        let inbox = self.inbox();
        let mut echo = self.listen(&inbox).await?;
        self.send(&inbox, None, Bytes::new()).await?;
        let echo = async { echo.next().await.ok_or(Disconnected) };
        self.while_connected(echo).await?;
        Ok(())
    }

    /// Ends with the connection what would wait for it.
    async fn while_connected<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E>
    where
        E: From<Disconnected>,
    {
        if !self.link.contact.borrow().connected {
            return Err(Disconnected.into());
        }
        tokio::select! {
            // Nearly always done at once, and then the other is not even begun.
            biased;
            result = work => result,
            () = self.link.gone() => Err(Disconnected.into()),
        }
    }
}

impl fmt::Debug for NatsBackbone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contact = *self.link.contact.borrow();
        f.debug_struct("NatsBackbone").field("contact", &contact).finish_non_exhaustive()
    }
}

impl Link {
    fn new() -> Self {
        let contact = watch::Sender::new(Contact { connected: false, generation: 0 });
        Self { contact, troubles: Mutex::default(), client: OnceLock::new() }
    }

    async fn gone(&self) {
        let mut contact = self.contact.subscribe();
        let _ = contact.wait_for(|contact| !contact.connected).await;
    }

    fn on(&self, event: &Event) {
        match event {
            Event::Connected => {
                self.set_connected(true);
                tracing::info!("the backbone is connected");
            }
            Event::Disconnected => {
                self.set_connected(false);
                tracing::warn!("the backbone is not connected");
            }
            // As it was asked to.
            Event::Draining | Event::Closed => self.set_connected(false),
            Event::SlowConsumer(_) => {
                // So many of these come that one of the others may have been lost.
                self.catch_up();
                self.messages_lost();
                self.trouble("a subscriber is too slow, messages are lost");
            }
            Event::LameDuckMode => {
                self.messages_lost();
                self.trouble("the server is leaving");
            }
            Event::ServerError(error) => self.trouble(&error.to_string()),
            Event::ClientError(error) => {
                self.catch_up();
                self.trouble(&error.to_string());
            }
        }
    }

    fn set_connected(&self, connected: bool) {
        self.contact.send_modify(|contact| {
            contact.connected = connected;
            contact.generation += u64::from(connected);
        });
        self.troubles().clear();
    }

    /// Messages were lost, or will be soon.
    fn messages_lost(&self) {
        self.contact.send_modify(|contact| contact.generation += 1);
    }

    fn catch_up(&self) {
        let Some(client) = self.client.get() else { return };
        let connected = client.connection_state() == State::Connected;
        if self.contact.borrow().connected != connected {
            self.set_connected(connected);
        }
    }

    /// Logs it once: the library tells the same of every attempt, and of every message.
    fn trouble(&self, reason: &str) {
        let mut troubles = self.troubles();
        if troubles.len() < TROUBLES_MAX && troubles.insert(reason.to_owned()) {
            tracing::warn!(reason, "the backbone is in trouble");
        }
    }

    fn troubles(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<async_nats::Message> for Message {
    fn from(message: async_nats::Message) -> Self {
        Self {
            payload: message.payload,
            reply: message.reply.map(|reply| reply.to_string()),
            no_responders: message.status == Some(StatusCode::NO_RESPONDERS),
        }
    }
}

impl Backbone for NatsBackbone {
    fn publish<'a>(
        &'a self,
        subject: &'a str,
        reply: Option<&'a str>,
        message: Bytes,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        self.send(subject, reply, message).boxed()
    }

    fn subscribe<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Subscription, Disconnected>> {
        self.listen(subject).boxed()
    }

    fn inbox(&self) -> String {
        self.client.new_inbox()
    }

    fn request<'a>(
        &'a self,
        subject: &'a str,
        message: Bytes,
        within: Duration,
    ) -> BoxFuture<'a, Result<Bytes, RequestError>> {
        async move { timeout(within, self.ask(subject, message)).await.unwrap_or(Err(RequestError::Timeout)) }
            .boxed()
    }

    fn message_bytes_max(&self) -> usize {
        self.client.max_payload().max(MESSAGE_BYTES_MIN)
    }

    fn contact(&self) -> watch::Receiver<Contact> {
        self.link.contact.subscribe()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            let flushed = timeout(CLOSE_WITHIN, self.flush()).await;
            if !matches!(flushed, Ok(Ok(()))) {
                tracing::warn!("the backbone is closed before the last messages are known to be out");
            }
            self.outgoing.close();
            // The queue is full only where the server takes nothing, and then there is nothing to be in order.
            let _ = self.client.drain().now_or_never();
            self.link.set_connected(false);
        }
        .boxed()
    }
}

/// Delays for the library, which counts attempts from 1 on after each connection.
fn reconnect_delay(link: Weak<Link>) -> impl Fn(usize) -> Duration + Send + Sync + 'static {
    let backoff = Mutex::new(Backoff::new(RECONNECT_FIRST, RECONNECT_LONGEST, entropy));
    move |attempt| {
        if link.strong_count() == 0 {
            // Nobody is left to connect for.
            return Duration::MAX;
        }
        let mut backoff = backoff.lock().unwrap_or_else(PoisonError::into_inner);
        if attempt <= 1 {
            backoff.reset();
        }
        backoff.next()
    }
}

/// Addresses without users, since the library logs addresses and passes over users in them; and the user.
fn parse_urls(urls: &str) -> Result<(Vec<ServerAddr>, Option<User>), ConfigError> {
    let mut servers = Vec::new();
    let mut users: Option<User> = None;
    for (index, text) in urls.split(',').map(str::trim).filter(|text| !text.is_empty()).enumerate() {
        let error = || ConfigError::Address { number: index + 1 };
        let (server, user) = parse_url(text).ok_or_else(error)?;
        servers.push(server);
        match (&users, user) {
            (Some(known), Some(user)) if *known != user => return Err(ConfigError::Users),
            (None, Some(user)) => users = Some(user),
            _ => {}
        }
    }
    if servers.is_empty() { Err(ConfigError::NoServer) } else { Ok((servers, users)) }
}

fn parse_url(text: &str) -> Option<(ServerAddr, Option<User>)> {
    let mut url = text.parse::<ServerAddr>().ok()?.into_inner();
    if !matches!(url.scheme(), "nats" | "tls") || url.host_str().is_none_or(str::is_empty) {
        return None;
    }
    let name = percent_decoded(url.username())?;
    let user = match url.password() {
        Some(password) => Some(User::Password { user: name, password: percent_decoded(password)? }),
        None if name.is_empty() => None,
        None => Some(User::Token(name)),
    };
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some((ServerAddr::from_url(url).ok()?, user))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_first_chunk::<2>()?;
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        bytes.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str, password: &str) -> Option<User> {
        Some(User::Password { user: user.into(), password: password.into() })
    }

    #[test]
    fn users_are_taken_out_of_addresses() {
        let (servers, user) = parse_urls("nats://me:p%40ss%2Fw@a:4222, tls://b").ok().unwrap();
        let texts: Vec<&str> = servers.iter().map(ServerAddr::as_url_str).collect();
        assert_eq!(texts, ["nats://a:4222", "tls://b"]);
        assert!(user == password("me", "p@ss/w"));
        assert!(parse_urls("nats://secret@a").ok().unwrap().1 == Some(User::Token("secret".into())));
        assert!(parse_urls("a:4222,b").ok().unwrap().1.is_none());
        assert!(parse_urls("nats://u:p@a,nats://u:p@b").is_ok());
    }

    #[test]
    fn what_is_wrong_is_named_without_what_is_secret() {
        for (urls, expected) in [
            ("", "no NATS server is named"),
            (" , ", "no NATS server is named"),
            (
                "nats://a,http://u:hunter2@b",
                "NATS address 2 is not nats://[USER:PASSWORD@]HOST:PORT or tls://…",
            ),
            ("nats://u:hunter2@a:port", "NATS address 1 is not nats://[USER:PASSWORD@]HOST:PORT or tls://…"),
            ("nats://u:hunter2%4@a", "NATS address 1 is not nats://[USER:PASSWORD@]HOST:PORT or tls://…"),
            ("nats://u:hunter2@", "NATS address 1 is not nats://[USER:PASSWORD@]HOST:PORT or tls://…"),
            ("nats://u:hunter2@a,nats://v:hunter2@b", "NATS addresses name different users"),
        ] {
            assert_eq!(parse_urls(urls).err().unwrap().to_string(), expected, "{urls}");
        }
        let config = Config {
            urls: "nats://u:hunter2@a".into(),
            credentials_file: None,
            ca_file: None,
            name: "n1".into(),
        };
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn delays_begin_short_after_each_connection_and_end_when_nobody_is_left() {
        let link = Arc::new(Link::new());
        let delay = reconnect_delay(Arc::downgrade(&link));
        for _ in 0..100 {
            assert!(delay(1) <= RECONNECT_FIRST);
            assert!((2..50).all(|attempt| delay(attempt) <= RECONNECT_LONGEST));
        }
        drop(link);
        assert_eq!(delay(1), Duration::MAX);
    }

    #[test]
    fn a_trouble_is_kept_once_and_few_are() {
        let link = Link::new();
        for number in 0..100 {
            link.trouble(&number.to_string());
            link.trouble("again");
        }
        assert_eq!(link.troubles().len(), TROUBLES_MAX);
        link.on(&Event::Connected);
        assert!(link.troubles().is_empty());
    }

    #[test]
    fn generations_grow_with_whatever_loses_messages() {
        let link = Link::new();
        let generation = |event: &Event| {
            link.on(event);
            link.contact.borrow().generation
        };
        let seen = [
            generation(&Event::Connected),
            generation(&Event::SlowConsumer(1)),
            generation(&Event::LameDuckMode),
            generation(&Event::Disconnected),
            generation(&Event::Connected),
        ];
        assert_eq!(seen, [1, 2, 3, 3, 4]);
    }
}
