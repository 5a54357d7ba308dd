//! `relaycast edge` and `relaycast standalone`: one node, the second with a stream-manager beside it.

use std::io::{IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use relay_cluster::Links;
use relay_edge::Edge;
use relay_lifecycle::access::Access;
use relay_lifecycle::config::TimeSpan;
use relay_lifecycle::drain::{self, Drain};
use relay_lifecycle::readiness::Readiness;
use relay_lifecycle::telemetry::Log;
use relay_mqtt_bridge::Bridge;
use relay_proto::NodeId;
use relay_stream_manager::Manager;
use tokio::task::JoinSet;
use tracing::field::display;
use tracing::info;

use super::flags::{Flags, Role};
use super::ports::{Otherwise, free};
use super::settings::{
    BesideNode, BridgeSettings, Cluster, ClusterSettings, EdgeSettings, NodeSettings, StandaloneSettings,
};
use super::{Common, Plan, admin, bridge, broker, demo, files, links, metrics, reachable};
use crate::exit::{Exit, Failure};

/// Runs one node
///
/// Settings come from flags, then RELAYCAST_… variables, then the file of --config, then defaults. Durations are
/// written as 500ms, 15s, 2m or 1h; sizes as 512KiB, 8MiB or 1GiB.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::exit::EXIT_CODES)]
pub(crate) struct EdgeArgs {
    #[command(flatten)]
    common: Common,

    #[command(flatten)]
    flags: Flags<EdgeRole>,
}

/// Runs one node, a stream-manager and an MQTT bridge with its broker on this machine, for a look around
///
/// The same as `edge`, `manager` and `bridge` in one process, reachable from this machine only unless --listen, --manager-listen
/// and --mqtt-listen say otherwise. With --demo it has something to show.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::exit::EXIT_CODES)]
pub(crate) struct StandaloneArgs {
    /// Publishes a test picture with sound as channel demo, key demo (needs ffmpeg)
    #[arg(long, env = "RELAYCAST_DEMO", hide_env_values = true)]
    demo: bool,

    #[command(flatten)]
    common: Common,

    #[command(flatten)]
    flags: Flags<StandaloneRole>,
}

#[derive(Debug)]
struct EdgeRole;

impl Role for EdgeRole {
    type Settings = EdgeSettings;
    const DEFAULTS: &'static [(&'static str, &'static str)] = &[];
}

#[derive(Debug)]
struct StandaloneRole;

impl Role for StandaloneRole {
    type Settings = StandaloneSettings;
    /// A laptop is not a server: nobody else reaches it unless that is asked for.
    const DEFAULTS: &'static [(&'static str, &'static str)] = &[("listen", "127.0.0.1:8080")];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Demo {
    Off,
    On,
}

struct Node {
    config: relay_edge::Config,
    admin_listen: SocketAddr,
    cluster: Option<Cluster>,
    manager: Option<relay_stream_manager::Config>,
    bridge: Option<BridgePlan>,
    demo: Demo,
}

/// A bridge beside the node; its broker may be there as well.
struct BridgePlan {
    settings: BridgeSettings,
    listen: SocketAddr,
    mqtt_listen: Option<SocketAddr>,
    interval: TimeSpan,
    /// Of the stream-manager: who may call the one may call the other.
    access: Access,
}

/// Where a broker is expected on a machine (the port that IANA assigned).
const MQTT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1883);

/// Where RTMP is (the port that IANA assigned).
const RTMP_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1935);

impl EdgeArgs {
    /// Runs the node until it is told to leave.
    pub(crate) fn run(self) -> Result<(), Failure> {
        self.common.run(self.flags, |settings| {
            let EdgeSettings { node, cluster, logs } = settings;
            plan(node, cluster).map(|node| (logs.log(), node))
        })
    }
}

impl StandaloneArgs {
    /// Runs the node until it is told to leave.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let demo = if self.demo { Demo::On } else { Demo::Off };
        self.common.run(self.flags, |settings| -> Result<(Log, Node), Failure> {
            let StandaloneSettings { mut node, listen, manager, bridge, cluster, logs } = settings;
            let BesideNode { manager_listen, bridge_listen, mqtt_listen } = listen;
            let interval = cluster.registry_interval;
            if node.rtmp_listen.is_none() {
                let listen = free(RTMP_LISTEN, Otherwise::TakeAnother)
                    .map_err(|error| Failure::io("a port for RTMP (--rtmp-listen)", &error))?;
                node.rtmp_listen = Some(listen);
            }
            let node = plan(node, cluster)?;
            let manager = manager
                .into_config(manager_listen, node.config.node_id.clone(), interval)
                .map_err(Failure::usage)?;
            manager.check().map_err(Failure::usage)?;
            let access = manager.access.clone();
            let bridge =
                BridgePlan { settings: bridge, listen: bridge_listen, mqtt_listen, interval, access };
            bridge.check(&node.config.node_id).map_err(Failure::usage)?;
            Ok((logs.log(), Node { manager: Some(manager), bridge: Some(bridge), demo, ..node }))
        })
    }
}

impl BridgePlan {
    /// Whether the settings go together, as far as that can be told before anything runs.
    fn check(&self, node: &NodeId) -> Result<(), String> {
        self.config(node.clone(), SocketAddr::from(([127, 0, 0, 1], 1)), MQTT_LISTEN)?.check()
    }

    fn config(
        &self,
        name: NodeId,
        manager: SocketAddr,
        broker: SocketAddr,
    ) -> Result<relay_mqtt_bridge::Config, String> {
        let mqtt = self.settings.mqtt.clone().unwrap_or_else(|| format!("mqtt://{}", reachable(broker)));
        let managers = vec![format!("http://{}", reachable(manager))];
        let (settings, access) = (self.settings.clone(), self.access.clone());
        // A node is told to whoever has any of them.
        let manager_token = access.0.first().map(|(_, token)| token.clone());
        let config = settings.into_config(self.listen, name, mqtt, managers, self.interval, access)?;
        Ok(relay_mqtt_bridge::Config { manager_token, ..config })
    }

    async fn bind(
        self,
        name: NodeId,
        manager: &Manager,
        links: Links,
        metrics: &prometheus::Registry,
        readiness: &Readiness,
    ) -> Result<Bridge, Failure> {
        let mut broker = MQTT_LISTEN;
        if self.settings.mqtt.is_none() {
            let (listen, otherwise) = self
                .mqtt_listen
                .map_or((MQTT_LISTEN, Otherwise::TakeAnother), |listen| (listen, Otherwise::Fail));
            broker = broker::start(listen, otherwise).await.map_err(|error| {
                Failure::io(format_args!("cannot listen on {listen} (--mqtt-listen)"), &error)
            })?;
            info!(mqtt = %broker, "a broker listens");
        }
        let config = self.config(name, manager.local_addr(), broker).map_err(Failure::usage)?;
        Bridge::bind(config, links, metrics, readiness).await.map_err(bridge::failed)
    }
}

fn plan(node: NodeSettings, cluster: ClusterSettings) -> Result<Node, Failure> {
    let admin_listen = node.admin_listen;
    let config = node.into_config(&cluster).map_err(Failure::usage)?;
    config.check().map_err(Failure::usage)?;
    let cluster = cluster.cluster().map_err(Failure::usage)?;
    if let Some(cluster) = &cluster {
        links::check(&config.node_id, cluster)?;
    }
    Ok(Node { config, admin_listen, cluster, manager: None, bridge: None, demo: Demo::Off })
}

impl Plan for Node {
    async fn serve(self) -> Result<(), Failure> {
        let Self { config, admin_listen, cluster, manager, bridge, demo } = self;
        let metrics = metrics()?;
        let readiness = Readiness::new();
        let listening = readiness.latch("listener");
        let node = config.node_id.clone();
        files::raise_limit(config.sessions_max, config.handshakes_max);

        let links = links::open(&node, cluster).await?;
        let backbone = Arc::clone(&links.backbone);
        let manager = match manager {
            Some(config) => Some(
                Manager::bind(config, links.clone(), &metrics, &readiness)
                    .await
                    .map_err(|error| Failure::new(Exit::Io, format_args!("{error} (--manager-listen)")))?,
            ),
            None => None,
        };
        let bridge = match (bridge, &manager) {
            (Some(bridge), Some(manager)) => {
                Some(bridge.bind(node.clone(), manager, links.clone(), &metrics, &readiness).await?)
            }
            _ => None,
        };
        let edge = Edge::bind(config, links, &metrics, &readiness)
            .await
            .map_err(|error| Failure::new(Exit::Io, error))?;
        let admin = admin(admin_listen, metrics, readiness).await?;
        let (trigger, drain) = drain::channel();
        let signals = drain::on_signals(trigger).map_err(|error| Failure::io("signals", &error))?;

        // Bound is ready: from here on the system queues whoever connects.
        listening.ready();
        let places = Places {
            listen: edge.local_addr(),
            manager: manager.as_ref().map(Manager::local_addr),
            admin: admin.local_addr(),
        };
        let Places { listen, admin: admin_listen, .. } = places;
        let bridge_listen = bridge.as_ref().map(|bridge| display(bridge.local_addr()));
        let [rtmp, rtmps] = [edge.rtmp_addr(), edge.rtmps_addr()].map(|address| address.map(display));
        match places.manager {
            Some(manager) => {
                info!(%listen, %manager, bridge = bridge_listen, rtmp, rtmps, admin = %admin_listen, %node, version = env!("CARGO_PKG_VERSION"), "serving");
            }
            None => {
                info!(%listen, rtmp, rtmps, admin = %admin_listen, %node, version = env!("CARGO_PKG_VERSION"), "serving")
            }
        }
        places.greet(demo);

        let mut tasks = JoinSet::new();
        tasks.spawn(admin.run(drain.clone()));
        if let Some(manager) = manager {
            tasks.spawn(manager.run(drain.clone()));
        }
        let mut bridging = JoinSet::new();
        if let Some(bridge) = bridge {
            bridging.spawn(bridge.run(drain.clone()));
        }
        if demo == Demo::On {
            tasks.spawn(demo::run(reachable(listen), drain.clone()));
        }
        run_until_drained(edge, drain, signals).await;
        // Devices are told to stop, which nobody else would do, and its own bounds keep that short.
        while bridging.join_next().await.is_some() {}
        tasks.shutdown().await;
        backbone.close().await;
        info!("ended");
        Ok(())
    }
}

async fn run_until_drained(
    edge: Edge,
    drain: Drain,
    signals: impl Future<Output = std::convert::Infallible>,
) {
    tokio::select! {
        () = Box::pin(edge.run(drain)) => {}
        never = signals => match never {},
    }
}

/// Where everything is.
#[derive(Debug, Clone, Copy)]
struct Places {
    listen: SocketAddr,
    manager: Option<SocketAddr>,
    admin: SocketAddr,
}

impl Places {
    /// Tells a person at a terminal what to do next; a log collector does not want to know.
    fn greet(self, demo: Demo) {
        if !std::io::stdout().is_terminal() {
            return;
        }
        let (listen, admin) = (reachable(self.listen), reachable(self.admin));
        let watch = match demo {
            Demo::On => format!("http://{listen}/#watch=demo&key=demo"),
            Demo::Off => format!("http://{listen}/"),
        };
        let console = match self.manager {
            Some(manager) => format!("  console  http://{}/\n", reachable(manager)),
            None => String::new(),
        };
        let text = format!(
            "\n  open     {watch}\n{console}  publish  ffmpeg -re -i FILE -c copy -f flv - | relaycast publish ws://{listen}/CHANNEL/KEY\n  metrics  http://{admin}/metrics\n\n"
        );
        // Without a terminal there is nobody to greet.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
}
