//! The connection to the MQTT broker. Nobody else speaks to it.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ What is published leaves on the connection that stood at that moment, or never.              │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A command to a device that arrives minutes late is worse than none: the driver has given it up by then, and sends another
//! once it is told [`Heard::Connected`]. So sessions are clean, and each connection starts with an empty queue and subscribes
//! to everything. Subscriptions have quality of service 1; messages that are retained are taken as any.
//!
//! # Large messages
//!
//! A payload of more than [`MESSAGE_BYTES_MAX`] is dropped and told by [`Heard::TooLarge`]; the connection stays. A packet of
//! more than four times that ends the connection, as it cannot be skipped. With MQTT 5 the broker knows that bound and does
//! not send the packet, and nobody is told. With MQTT 3.1.1 the message is told, the connection is made again, and the
//! message is not sent again, unless it is retained: then it ends the next connection too, and is let in, and dropped, on the
//! ones after that. Over websockets, messages of more than 16 MiB end the connection, and a retained one does so again and
//! again, at the pace of a broker that cannot be reached.
//!
//! # Presence
//!
//! On `relaycast/bridge/NAME` the bridge says `online` once it has subscribed, and `offline` when it leaves; when it does not
//! get to say it, the broker does. Neither is retained: what is retained stays for ever when a bridge of this name never
//! comes back. Whoever needs to know later asks the stream-manager.

mod address;
mod connection;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::future::poll_fn;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper_rustls::ConfigBuilderExt;
use relay_lifecycle::backoff::entropy;
use relay_proto::NodeId;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::task::coop::cooperative;
use tokio::time::timeout;

use self::address::Address;
pub use self::address::AddressError;
use self::wire::{Client, Plan};
use crate::driver::{Outgoing, Qos};

/// The largest payload that is passed on. Pictures of cameras have tens of kilobytes, those of old agents hundreds, and
/// encryption makes them larger by 1.8.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// The largest payload that is published: commands have hundreds of bytes, some carry a session description of WebRTC.
pub(crate) const OUTGOING_BYTES_MAX: usize = 1 << 20;

/// What waits to be sent: more than a command to each camera of a large site, in two seconds.
const REQUESTS_MAX: usize = 8192;

/// Filters to subscribe to: a handful for each family of devices, and what is configured of telemetry.
const FILTERS_MAX: usize = 1024;

/// How long a broker may take to let us in and to take our subscriptions.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a farewell may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often the broker is asked for a sign of life, if nothing else is chosen: a broker that hangs is found within twice
/// that, and the demand of viewers does not wait much longer.
pub const DEFAULT_KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Shortest that both versions of the crate take.
const KEEP_ALIVE_MIN: Duration = Duration::from_secs(5);

/// Longest that the protocol can say (MQTT 3.1.1, section 3.1.2.10).
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(u16::MAX as u64);

/// Below which the bridges say that they are there.
const PRESENCE_PREFIX: &str = "relaycast/bridge";

/// A packet with this payload, the longest topic and some properties.
const fn packet_bytes(payload: usize) -> usize {
    payload + (65 << 10)
}

/// Where the broker is and how it is spoken to.
#[derive(Clone)]
pub struct Settings {
    /// `mqtt://[USER[:PASSWORD]@]HOST[:PORT]`; `mqtts` for TLS, `ws` and `wss`, with a path, for websockets.
    pub url: String,
    /// What is spoken.
    pub version: Version,
    /// Certificates in PEM, which are trusted instead of those of the system.
    pub ca_file: Option<PathBuf>,
    /// How often the broker is asked for a sign of life. [`DEFAULT_KEEP_ALIVE`] where nothing speaks for another.
    pub keep_alive: Duration,
    /// The name of this replica. The client id is made of it, with something random: two of a name do not throw each other
    /// out.
    pub name: NodeId,
}

/// Versions of the protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Version {
    /// What every broker speaks.
    #[default]
    V3_1_1,
    /// Tells more of why something is refused.
    V5,
}

/// Why there can be no connection with these [`Settings`]. Has nothing of the URL.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It is no URL of a broker.
    #[error("the broker's URL {0}")]
    Address(#[from] AddressError),
    /// There is a CA, but nothing is encrypted.
    #[error("a CA is given, but the broker's URL starts with neither 'mqtts' nor 'wss'")]
    CaWithoutTls,
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    CaFile {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file has no certificate, or what is none.
    #[error("{}: no certificates in PEM", .0.display())]
    Ca(PathBuf),
    /// The system has no certificates that could be trusted.
    #[error("the system's certificates: {0}")]
    SystemCertificates(std::io::Error),
    /// Too short or too long.
    #[error("the keep-alive is not from {} to {} seconds", KEEP_ALIVE_MIN.as_secs(), KEEP_ALIVE_MAX.as_secs())]
    KeepAlive,
    /// It is none (MQTT 3.1.1, section 4.7).
    #[error("'{0}' is no filter for topics")]
    Filter(String),
    /// More than [`FILTERS_MAX`].
    #[error("more than {FILTERS_MAX} filters")]
    TooManyFilters,
}

/// A text that is no [`Version`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither '3.1.1' nor '5'")]
pub struct UnknownVersion;

/// Makes the connection.
#[derive(Debug)]
pub(crate) struct Broker;

/// Publishes. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    slot: Slot,
}

/// Drives the connection, and tells what comes.
pub(crate) struct Inbox {
    slot: Slot,
    presence: Outgoing,
    heard: Place,
    /// Ends after a farewell.
    running: Option<BoxFuture<'static, ()>>,
}

/// What comes from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// There is a connection, and the broker has answered to all filters.
    Connected,
    /// There is none any more, or none could be made; another attempt follows. The reason has no secrets.
    Lost { reason: String },
    /// A message. The payload is a part of what was read at once, and keeps all of it: it is for now, not to be kept.
    Message { topic: String, payload: Bytes },
    /// The broker refuses this filter: nothing of it will come. Told before [`Heard::Connected`].
    Forbidden { filter: String },
    /// A message was dropped, as it is larger than [`MESSAGE_BYTES_MAX`].
    TooLarge { bytes: usize },
    /// A message was dropped, as its topic is no UTF-8.
    Unreadable,
}

/// Why something was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotSent {
    #[error("there is no connection to the broker")]
    Disconnected,
    #[error("the broker does not take messages as fast as they are sent")]
    Full,
    #[error("the topic is none, or the payload has more than {OUTGOING_BYTES_MAX} bytes")]
    Invalid,
}

/// Where one thing waits that was heard and is not taken yet. Nothing more is read before it is taken, so that memory is there
/// again to read into; what is not read waits in the broker. [`Inbox`] drives who puts and takes what is put: nobody is woken.
#[derive(Debug, Clone, Default)]
struct Place(Arc<Mutex<Option<Heard>>>);

/// The client of the connection that stands.
#[derive(Clone, Default)]
struct Slot(Arc<Mutex<Option<Client>>>);

/// Empties the slot when the connection ends.
struct Open(Slot);

impl Broker {
    /// Begins nothing before [`Inbox::next`] is called.
    pub(crate) fn connect(
        settings: Settings,
        filters: Vec<String>,
    ) -> Result<(Publisher, Inbox), SettingsError> {
        let address: Address = settings.url.parse()?;
        if settings.keep_alive < KEEP_ALIVE_MIN || settings.keep_alive > KEEP_ALIVE_MAX {
            return Err(SettingsError::KeepAlive);
        }
        if filters.len() > FILTERS_MAX {
            return Err(SettingsError::TooManyFilters);
        }
        if let Some(filter) = filters.iter().find(|filter| !rumqttc::valid_filter(filter)) {
            return Err(SettingsError::Filter(filter.clone()));
        }
        let tls = tls(&address, settings.ca_file)?;
        let presence = |text: &'static str| Outgoing {
            topic: format!("{PRESENCE_PREFIX}/{}", settings.name),
            qos: Qos::AtLeastOnce,
            payload: Bytes::from_static(text.as_bytes()),
        };
        let offline = presence("offline");
        let plan = Plan {
            address,
            version: settings.version,
            tls,
            client: format!("{}-{:016x}", settings.name, entropy()),
            keep_alive: settings.keep_alive,
            will: offline.clone(),
        };
        let slot = Slot::default();
        let heard = Place::default();
        let running = connection::run(plan, filters, presence("online"), slot.clone(), heard.clone());
        let inbox = Inbox { slot: slot.clone(), presence: offline, heard, running: Some(Box::pin(running)) };
        Ok((Publisher { slot }, inbox))
    }
}

impl Publisher {
    /// Hands a message over to be sent, without waiting.
    pub(crate) fn publish(&self, outgoing: Outgoing) -> Result<(), NotSent> {
        if !rumqttc::valid_topic(&outgoing.topic)
            || outgoing.topic.is_empty()
            || outgoing.topic.len() > usize::from(u16::MAX)
            || outgoing.payload.len() > OUTGOING_BYTES_MAX
        {
            return Err(NotSent::Invalid);
        }
        let client = self.slot.lock();
        let client = client.as_ref().ok_or(NotSent::Disconnected)?;
        if client.publish(outgoing) { Ok(()) } else { Err(NotSent::Full) }
    }
}

impl Inbox {
    /// Of nobody: what is heard comes from a test.
    #[cfg(test)]
    pub(crate) fn of(mut comes: tokio::sync::mpsc::Receiver<Heard>) -> Self {
        let presence = Outgoing { topic: String::new(), qos: Qos::AtMostOnce, payload: Bytes::new() };
        let heard = Place::default();
        let place = heard.clone();
        let running = async move {
            while let Some(heard) = comes.recv().await {
                place.put(heard).await;
            }
        };
        Self { slot: Slot::default(), presence, heard, running: Some(Box::pin(running)) }
    }

    /// What comes next. Cancel-safe: nothing is lost, and the connection goes on with the next call.
    pub(crate) async fn next(&mut self) -> Heard {
        match self.next_unless_over().await {
            Some(heard) => heard,
            None => std::future::pending().await,
        }
    }

    /// What comes next, if it is there already. Nobody is woken for what comes later, but by [`Self::next`].
    pub(crate) fn next_at_once(&mut self) -> Option<Heard> {
        match self.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(heard) => heard,
            Poll::Pending => None,
        }
    }

    async fn next_unless_over(&mut self) -> Option<Heard> {
        // Of the other tasks of this thread it is the turn now and then, however much there is to be heard.
        cooperative(poll_fn(|context| self.poll_next(context))).await
    }

    /// What was read comes before anything else is read. The connection is driven from here alone, so that nobody has to be
    /// woken for what it reads.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Heard>> {
        loop {
            if let Some(heard) = self.heard.lock().take() {
                return Poll::Ready(Some(heard));
            }
            let Some(running) = &mut self.running else { return Poll::Ready(None) };
            if running.as_mut().poll(context).is_ready() {
                self.running = None;
            } else if self.heard.lock().is_none() {
                return Poll::Pending;
            }
        }
    }

    /// Says farewell, after all that was published; what comes meanwhile is dropped. Returns when that is done, or takes too
    /// long.
    pub(crate) async fn leave(mut self) {
        let Some(client) = self.slot.lock().take() else { return };
        client.publish(self.presence.clone());
        if client.leave() {
            // The broker finds out by itself.
            let _ = timeout(LEAVE_TIMEOUT, async { while self.next_unless_over().await.is_some() {} }).await;
        }
    }
}

impl Place {
    fn lock(&self) -> MutexGuard<'_, Option<Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Done when it is taken.
    async fn put(&self, heard: Heard) {
        *self.lock() = Some(heard);
        poll_fn(|_| if self.lock().is_none() { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

impl Slot {
    fn open(&self, client: Client) -> Open {
        *self.lock() = Some(client);
        Open(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Client>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.lock().take();
    }
}

/// What TLS connections are made with, where there are any.
fn tls(
    address: &Address,
    ca_file: Option<PathBuf>,
) -> Result<Option<Arc<rustls::ClientConfig>>, SettingsError> {
    if !address.is_tls() {
        return if ca_file.is_some() { Err(SettingsError::CaWithoutTls) } else { Ok(None) };
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has what TLS 1.2 and 1.3 need");
    let builder = match ca_file {
        Some(path) => builder.with_root_certificates(certificates(path)?),
        None => builder.with_native_roots().map_err(SettingsError::SystemCertificates)?,
    };
    Ok(Some(Arc::new(builder.with_no_client_auth())))
}

fn certificates(path: PathBuf) -> Result<rustls::RootCertStore, SettingsError> {
    let pem = match std::fs::read(&path) {
        Ok(pem) => pem,
        Err(source) => return Err(SettingsError::CaFile { path, source }),
    };
    let mut store = rustls::RootCertStore::empty();
    let all = CertificateDer::pem_slice_iter(&pem)
        .all(|certificate| certificate.is_ok_and(|certificate| store.add(certificate).is_ok()));
    if all && !store.is_empty() { Ok(store) } else { Err(SettingsError::Ca(path)) }
}

impl FromStr for Version {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        match text {
            "3.1.1" => Ok(Self::V3_1_1),
            "5" => Ok(Self::V5),
            _ => Err(UnknownVersion),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V3_1_1 => "3.1.1",
            Self::V5 => "5",
        })
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("url", &"***")
            .field("version", &self.version)
            .field("ca_file", &self.ca_file)
            .field("keep_alive", &self.keep_alive)
            .field("name", &self.name)
            .finish()
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("connected", &self.lock().is_some()).finish()
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("slot", &self.slot).finish_non_exhaustive()
    }
}
