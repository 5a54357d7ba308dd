//! `relaycast edge` and `relaycast standalone`: one node, the second with a stream-manager beside it.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use relay_edge::Edge;
use relay_lifecycle::drain::{self, Drain};
use relay_lifecycle::readiness::Readiness;
use relay_lifecycle::telemetry::Log;
use relay_stream_manager::Manager;
use tokio::task::JoinSet;
use tracing::field::display;
use tracing::info;

use super::flags::{Flags, Role};
use super::settings::{BesideNode, Cluster, ClusterSettings, EdgeSettings, NodeSettings, StandaloneSettings};
use super::{Common, Plan, admin, demo, files, links, metrics, reachable};
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

/// Runs one node and a stream-manager on this machine, for a look around
///
/// The same as `edge` and `manager` in one process, reachable from this machine only unless --listen and --manager-listen say
/// otherwise. With --demo it has something to show.
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
    const DEFAULTS: &'static [(&'static str, &'static str)] =
        &[("listen", "127.0.0.1:8080"), ("rtmp-listen", "127.0.0.1:1935")];
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
    demo: Demo,
}

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
            let StandaloneSettings { node, listen: BesideNode { manager_listen }, manager, cluster, logs } =
                settings;
            let interval = cluster.registry_interval;
            let node = plan(node, cluster)?;
            let manager = manager
                .into_config(manager_listen, node.config.node_id.clone(), interval)
                .map_err(Failure::usage)?;
            manager.check().map_err(Failure::usage)?;
            Ok((logs.log(), Node { manager: Some(manager), demo, ..node }))
        })
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
    Ok(Node { config, admin_listen, cluster, manager: None, demo: Demo::Off })
}

impl Plan for Node {
    async fn serve(self) -> Result<(), Failure> {
        let Self { config, admin_listen, cluster, manager, demo } = self;
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
        let [rtmp, rtmps] = [edge.rtmp_addr(), edge.rtmps_addr()].map(|address| address.map(display));
        match places.manager {
            Some(manager) => {
                info!(%listen, %manager, rtmp, rtmps, admin = %admin_listen, %node, version = env!("CARGO_PKG_VERSION"), "serving");
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
        if demo == Demo::On {
            tasks.spawn(demo::run(reachable(listen), drain.clone()));
        }
        run_until_drained(edge, drain, signals).await;
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
