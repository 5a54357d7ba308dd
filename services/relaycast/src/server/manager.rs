//! `relaycast manager`: a stream-manager by itself, of which a cluster has any number.

use std::net::SocketAddr;
use std::sync::Arc;

use relay_lifecycle::drain;
use relay_lifecycle::readiness::Readiness;
use relay_stream_manager::{Config, Manager};
use tokio::task::JoinSet;
use tracing::info;

use super::flags::{Flags, Role};
use super::settings::{Alone, Cluster, ManagerRoleSettings, drawn_name};
use super::{Common, Plan, admin, files, links, metrics};
use crate::exit::{Exit, Failure};

/// Runs a stream-manager: tells clients which node to use, and operators all about the cluster
///
/// Run any number; they are equal, and share what they know through --redis and --nats. Settings come from flags, then
/// RELAYCAST_… variables, then the file of --config, then defaults. Durations are written as 500ms, 15s, 2m or 1h.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::exit::EXIT_CODES)]
pub(crate) struct ManagerArgs {
    #[command(flatten)]
    common: Common,

    #[command(flatten)]
    flags: Flags<ManagerRole>,
}

#[derive(Debug)]
struct ManagerRole;

impl Role for ManagerRole {
    type Settings = ManagerRoleSettings;
    const DEFAULTS: &'static [(&'static str, &'static str)] = &[];
}

struct StreamManager {
    config: Config,
    admin_listen: SocketAddr,
    cluster: Cluster,
}

impl ManagerArgs {
    /// Runs the stream-manager until it is told to leave.
    pub(crate) fn run(self) -> Result<(), Failure> {
        self.common.run(self.flags, |settings| {
            let ManagerRoleSettings { listen: Alone { listen, admin_listen }, manager, cluster, logs } =
                settings;
            let config = manager
                .into_config(listen, drawn_name(), cluster.registry_interval)
                .map_err(Failure::usage)?;
            config.check().map_err(Failure::usage)?;
            let cluster = cluster.cluster().map_err(Failure::usage)?.ok_or_else(|| {
                Failure::usage(
                    "a stream-manager takes --redis and --nats; `standalone` has one that needs neither",
                )
            })?;
            links::check(&config.name, &cluster)?;
            Ok((logs.log(), StreamManager { config, admin_listen, cluster }))
        })
    }
}

impl Plan for StreamManager {
    async fn serve(self) -> Result<(), Failure> {
        let Self { config, admin_listen, cluster } = self;
        let metrics = metrics()?;
        let readiness = Readiness::new();
        let name = config.name.clone();
        files::raise_limit(config.connections_max, 0);

        let links = links::open(&name, Some(cluster)).await?;
        let backbone = Arc::clone(&links.backbone);
        let manager = Manager::bind(config, links, &metrics, &readiness)
            .await
            .map_err(|error| Failure::new(Exit::Io, error))?;
        let admin = admin(admin_listen, metrics, readiness).await?;
        let (trigger, drain) = drain::channel();
        let signals = drain::on_signals(trigger).map_err(|error| Failure::io("signals", &error))?;

        let (listen, admin_listen) = (manager.local_addr(), admin.local_addr());
        info!(%listen, admin = %admin_listen, %name, version = env!("CARGO_PKG_VERSION"), "serving");
        let mut tasks = JoinSet::new();
        tasks.spawn(admin.run(drain.clone()));
        tokio::select! {
            () = Box::pin(manager.run(drain)) => {}
            never = signals => match never {},
        }
        tasks.shutdown().await;
        backbone.close().await;
        info!("ended");
        Ok(())
    }
}
