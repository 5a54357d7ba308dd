//! Decides which node a client uses, and tells and does over HTTP what operators want to know and done. Never carries media.
//!
//! [`view`] is what is known of the cluster, [`placement`] chooses from it; both are pure. [`intake`] brings facts to the one,
//! [`http`] answers from the other, [`events`] hands on what the journal has. Any number of equal replicas may run: none has
//! anything that the others could not find out.

pub mod capacity;
pub mod config;
mod console;
mod events;
mod http;
mod intake;
mod jpeg;
mod lazy;
mod metrics;
pub mod placement;
mod proxy;
mod recent;
mod red5;
mod replica;
mod server;
mod socket;
mod urls;
pub mod view;
pub mod webhooks;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use relay_cluster::Links;
use relay_lifecycle::drain::Drain;
use relay_lifecycle::readiness::Readiness;
use tokio::task::JoinSet;
use tracing::{error, info};

pub use config::{Config, ConfigError};

use crate::http::Http;
use crate::intake::Ready;
use crate::metrics::Metrics;
use crate::replica::Replica;
use crate::server::Server;
use crate::urls::Public;
use crate::webhooks::Webhooks;

/// How long a client may take nothing of what is written to it.
const WRITE_WITHIN: Duration = Duration::from_secs(20);

/// A stream-manager that is bound and not yet serving.
#[derive(Debug)]
pub struct Manager {
    replica: Arc<Replica>,
    server: Server,
    ready: Ready,
    readiness: Readiness,
    webhooks: Webhooks,
    address: SocketAddr,
}

/// Why a stream-manager cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
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
    /// An endpoint of a webhook cannot be spoken to.
    #[error(transparent)]
    Webhooks(#[from] webhooks::SetupError),
}

impl Manager {
    /// Checks the settings, registers the metrics and takes the address.
    ///
    /// Unready until the registry has answered once, or nodes have reported: from then on there is something to answer from,
    /// whatever becomes of either.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind(
        config: Config,
        links: Links,
        registry: &prometheus::Registry,
        readiness: &Readiness,
    ) -> Result<Self, BindError> {
        config.check()?;
        let metrics = Metrics::register(registry, http::PICK)?;
        let bound = server::listen(config.listen).and_then(|socket| Ok((socket.local_addr()?, socket)));
        let (address, socket) =
            bound.map_err(|source| BindError::Listen { address: config.listen, source })?;
        let ready = Ready::new(links.shared.then(|| readiness.latch("registry")));
        let public = Public::new(config.public_url.as_deref(), address);
        let connections_max = config.connections_max;
        let endpoints = config.webhooks.clone();
        let replica = Arc::new(Replica::new(config, links, metrics, public));
        let sources = webhooks::Sources {
            journal: Arc::clone(&replica.links.journal),
            holder: replica.by.incarnation,
            hints: replica.recent.news(),
            census: replica.census.subscribe(),
            limits: webhooks::Limits::default(),
        };
        let webhooks = Webhooks::new(endpoints, sources, registry)?;
        let server = Server::new(socket, Http::new(Arc::clone(&replica)), connections_max, WRITE_WITHIN);
        Ok(Self { replica, server, ready, readiness: readiness.clone(), webhooks, address })
    }

    /// The address that was taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the drain is over, or something is wrong with this program.
    pub async fn run(self, drain: Drain) {
        let Self { replica, mut server, ready, readiness, webhooks, .. } = self;
        let webhooks = Arc::new(webhooks);
        let mut tasks = JoinSet::new();
        tasks.spawn(intake::hear(Arc::clone(&replica)));
        tasks.spawn(intake::ask(Arc::clone(&replica), ready));
        tasks.spawn(intake::ask_late(Arc::clone(&replica)));
        tasks.spawn(intake::tell(Arc::clone(&replica)));
        tasks.spawn(intake::keep_house(Arc::clone(&replica)));
        tasks.spawn(events::follow(Arc::clone(&replica)));
        let deliveries = Arc::clone(&webhooks);
        tasks.spawn(async move { deliveries.run().await });
        tokio::select! {
            () = server.accept(&drain) => {}
            // None of them returns. Who does not hear of nodes any more must not go on to answer.
            Some(ended) = tasks.join_next() => error!(error = ?ended.err(), "a task of the stream-manager ended"),
        }
        info!("drain began");
        readiness.leave();
        replica.leave();
        server.shutdown(drain).await;
        tasks.shutdown().await;
        webhooks.release().await;
        info!("drain ended");
    }
}

/// For the fuzz targets only.
#[cfg(fuzzing)]
pub mod fuzzing {
    /// Reads the query of a pick.
    pub fn query(text: &str) {
        crate::http::fuzzing::query(text);
    }

    /// Looks for a picture in one piece and in two, and checks that the same is found.
    pub fn picture(bytes: &[u8], cut: usize) {
        crate::jpeg::check(bytes, cut);
    }
}
