//! `relaycast bridge`: a bridge by itself, of which a cluster has any number.

use std::net::SocketAddr;
use std::sync::Arc;

use relay_lifecycle::drain;
use relay_lifecycle::readiness::Readiness;
use relay_mqtt_bridge::config::Config;
use relay_mqtt_bridge::{BindError, Bridge};
use tokio::task::JoinSet;
use tracing::info;

use super::flags::{Flags, Role};
use super::settings::{BridgeAlone, BridgeRoleSettings, Cluster, access, drawn_name, secret};
use super::{Common, Plan, Threads, admin, links, metrics};
use crate::exit::{Exit, Failure};

/// Runs a bridge: starts cameras and docks over MQTT when somebody wants to see them, and stops them after that
///
/// Run two or more; they share the devices, and one goes on where another fails. Settings come from flags, then RELAYCAST_…
/// variables, then the file of --config, then defaults. Durations are written as 500ms, 15s, 2m or 1h.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::exit::EXIT_CODES)]
pub(crate) struct BridgeArgs {
    #[command(flatten)]
    common: Common,

    #[command(flatten)]
    flags: Flags<BridgeRole>,
}

#[derive(Debug)]
struct BridgeRole;

impl Role for BridgeRole {
    type Settings = BridgeRoleSettings;
    const DEFAULTS: &'static [(&'static str, &'static str)] = &[];
}

struct MqttBridge {
    config: Config,
    admin_listen: SocketAddr,
    cluster: Cluster,
}

impl BridgeArgs {
    /// Runs the bridge until it is told to leave.
    pub(crate) fn run(self) -> Result<(), Failure> {
        self.common.run(self.flags, |settings| {
            let BridgeRoleSettings { alone, mut bridge, cluster, logs } = settings;
            let BridgeAlone { listen, admin_listen, manager, manager_token, reader_tokens, operator_tokens } =
                alone;
            let mqtt = bridge.mqtt.take().ok_or_else(|| {
                Failure::usage("a bridge takes --mqtt; `standalone` has one with a broker of its own")
            })?;
            let access = access(reader_tokens, operator_tokens).map_err(Failure::usage)?;
            let mut config = bridge
                .into_config(listen, drawn_name(), mqtt, manager.0, cluster.registry_interval, access)
                .map_err(Failure::usage)?;
            let token = manager_token.map(|text| secret("manager-token", &text)).transpose();
            config.manager_token = token.map_err(Failure::usage)?;
            config.check().map_err(Failure::usage)?;
            let cluster = cluster.cluster().map_err(Failure::usage)?.ok_or_else(|| {
                Failure::usage("a bridge takes --redis and --nats; `standalone` has one that needs neither")
            })?;
            if cluster.secret.is_none() {
                return Err(Failure::usage(BindError::NoSecret));
            }
            links::check(&config.name, &cluster)?;
            Ok((logs.log(), MqttBridge { config, admin_listen, cluster }))
        })
    }
}

impl Plan for MqttBridge {
    /// Every picture passes from the broker's connection by the core to a node's: on one thread, nobody is woken for it.
    const THREADS: Threads = Threads::One;

    async fn serve(self) -> Result<(), Failure> {
        let Self { config, admin_listen, cluster } = self;
        let metrics = metrics()?;
        let readiness = Readiness::new();
        let name = config.name.clone();

        let links = links::open(&name, Some(cluster)).await?;
        let backbone = Arc::clone(&links.backbone);
        let bridge = Bridge::bind(config, links, &metrics, &readiness).await.map_err(failed)?;
        let admin = admin(admin_listen, metrics, readiness).await?;
        let (trigger, drain) = drain::channel();
        let signals = drain::on_signals(trigger).map_err(|error| Failure::io("signals", &error))?;

        let (listen, admin_listen) = (bridge.local_addr(), admin.local_addr());
        info!(%listen, admin = %admin_listen, %name, version = env!("CARGO_PKG_VERSION"), "serving");
        let mut tasks = JoinSet::new();
        tasks.spawn(admin.run(drain.clone()));
        // A task of its own: nothing else is looked at whenever something happens to it.
        let mut serving = JoinSet::new();
        serving.spawn(bridge.run(drain));
        tokio::select! {
            ended = serving.join_next() => {
                if let Some(Err(error)) = ended {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
            never = signals => match never {},
        }
        tasks.shutdown().await;
        backbone.close().await;
        info!("ended");
        Ok(())
    }
}

/// What kept a bridge from starting, as an exit code.
pub(super) fn failed(error: BindError) -> Failure {
    match error {
        BindError::Listen { .. } | BindError::Metrics(_) => Failure::new(Exit::Io, error),
        error => Failure::usage(error),
    }
}
