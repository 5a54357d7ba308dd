//! Brings cameras and docks that speak MQTT to the cluster: starts them when somebody wants to see them, and stops them when
//! nobody does any more.
//!
//! [`broker`] is the connection to the devices; a [`driver`] knows what one family of them says. [`source`] decides what is done
//! with one camera, and `core` owns all of them. [`demand`] knows from the nodes' reports who is watched and who has media,
//! [`picker`] asks a stream-manager for a node, [`pictures`] brings there what comes over MQTT. Any number of equal replicas may
//! run: each source is leased by one at a time.

pub mod broker;
pub mod config;
mod core;
mod demand;
pub mod dji;
mod driver;
pub mod kerberos;
mod metrics;
mod picker;
mod pictures;
mod rendezvous;
mod rest;
pub mod source;
pub mod telemetry;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use relay_cluster::Links;
use relay_lifecycle::backoff::entropy;
use relay_lifecycle::drain::Drain;
use relay_lifecycle::readiness::Readiness;
use relay_proto::Incarnation;
use relay_proto::backbone::Peer;
use relay_proto::source::{Answered, Ask, SourceKind};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::error;

pub use config::Config;

use crate::broker::{Broker, Inbox};
use crate::core::{Core, Desk, Parts};
use crate::dji::Dji;
use crate::driver::{Driver, Effects};
use crate::kerberos::Kerberos;
use crate::metrics::Metrics;
use crate::picker::Picker;
use crate::telemetry::Telemetry;

/// A bridge that is bound and not yet serving.
#[derive(Debug)]
pub struct Bridge {
    core: Core,
    inbox: Inbox,
    requests: mpsc::Receiver<(Ask, oneshot::Sender<Answered>)>,
    desk: Desk,
    socket: TcpListener,
    address: SocketAddr,
    config: Config,
    readiness: Readiness,
}

/// Why a bridge cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Keys of sources are made of it.
    #[error("a bridge needs cluster-secret, the same as all nodes have")]
    NoSecret,
    /// The broker cannot be spoken to with these settings.
    #[error(transparent)]
    Broker(#[from] broker::SettingsError),
    /// No stream-manager can be asked.
    #[error(transparent)]
    Picker(#[from] picker::PickerError),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// A metric of this name is registered already.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

impl Bridge {
    /// Checks the settings, registers the metrics and takes the address; connects to nobody yet. Unready until there has been a
    /// connection to the broker, and the other bridges have been told of this one.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind(
        config: Config,
        links: Links,
        registry: &prometheus::Registry,
        readiness: &Readiness,
    ) -> Result<Self, BindError> {
        if links.secret.is_empty() {
            return Err(BindError::NoSecret);
        }
        let metrics = Arc::new(Metrics::register(registry)?);
        let listen = |source| BindError::Listen { address: config.listen, source };
        let socket = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = socket.local_addr().map_err(listen)?;
        let peer = Peer { node: config.name.clone(), incarnation: Incarnation::new(entropy()) };
        let mut effects = Effects::new();
        let mut drivers: Vec<(SourceKind, Box<dyn Driver>)> = Vec::new();
        if let Some(settings) = config.kerberos.clone() {
            drivers.push((SourceKind::Kerberos, Box::new(Kerberos::new(settings, entropy(), &mut effects))));
        }
        drivers.push((SourceKind::Dji, Box::new(Dji::new(config.dji.clone(), entropy(), &mut effects))));
        let telemetry = Telemetry::new(config.telemetry.clone());
        let mut filters: Vec<_> = drivers.iter().flat_map(|(_, driver)| driver.filters()).collect();
        filters.extend(telemetry.filters());
        let (publisher, inbox) = Broker::connect(config.mqtt.clone(), filters)?;
        let picker = Picker::new(&config.managers, config.manager_token.as_ref())?;
        let (core, desk, requests) = Core::new(Parts {
            links,
            peer,
            publisher,
            picker,
            drivers,
            effects,
            telemetry,
            always_on: config.always_on.clone(),
            timing: config.timing,
            registry_interval: config.registry_interval,
            metrics,
            broker_latch: Some(readiness.latch("broker")),
            told_latch: Some(readiness.latch("bridges")),
        });
        let readiness = readiness.clone();
        Ok(Self { core, inbox, requests, desk, socket, address, config, readiness })
    }

    /// The address that was taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the drain is over.
    pub async fn run(self, drain: Drain) {
        let Self { core, inbox, requests, desk, socket, config, readiness, .. } = self;
        let mut tasks = JoinSet::new();
        let serving = rest::serve(socket, desk, config.access, drain.clone());
        tasks.spawn(async move {
            if let Err(error) = serving.await {
                error!(%error, "the REST of the bridge ended");
            }
        });
        core.run(inbox, requests, drain).await;
        readiness.leave();
        tasks.shutdown().await;
    }
}

/// For the fuzz targets only.
#[cfg(fuzzing)]
pub mod fuzzing {
    /// Hears what agents of Kerberos say, as a bridge that waits for everything.
    pub fn kerberos(messages: &[Vec<u8>]) {
        crate::kerberos::fuzzing::hear_anything(messages);
    }

    /// Hears what gateways of DJI say, as a bridge that waits for everything.
    pub fn dji(messages: &[Vec<u8>]) {
        crate::dji::fuzzing::hear_anything(messages);
    }
}
