//! `relaycast edge` and `relaycast standalone`: one node, with different defaults.

mod demo;
mod files;
mod flags;
mod links;
mod settings;

use std::io::{IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use prometheus::Registry;
use relay_edge::Edge;
use relay_lifecycle::admin::Admin;
use relay_lifecycle::config::{
    Effective, File, Origin, Resolved, Setting, Settings, Sources, from_environment, resolve,
    unknown_variables,
};
use relay_lifecycle::drain::{self, Drain};
use relay_lifecycle::readiness::Readiness;
use relay_lifecycle::{process, telemetry};
use tokio::task::JoinSet;
use tracing::{info, warn};

use self::flags::{Flags, Role};
use self::settings::{Cluster, NodeSettings, SECRETS};
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

/// Runs one node on this machine, for a look around
///
/// The same as `edge`, reachable from this machine only unless --listen says otherwise. With --demo it has something
/// to show.
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

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Configuration")]
struct Common {
    /// Reads settings from a TOML file: the long names of these flags, without dashes in front
    #[arg(long, value_name = "FILE", env = "RELAYCAST_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,

    /// Checks all settings, prints those in force as such a file, and exits with 0 or 2
    #[arg(long)]
    check: bool,
}

/// The variables that are read here and are no settings.
const VARIABLES: [&str; 2] = ["RELAYCAST_CONFIG", "RELAYCAST_DEMO"];

#[derive(Debug)]
struct EdgeRole;

impl Role for EdgeRole {
    type Settings = NodeSettings;
    const DEFAULTS: &'static [(&'static str, &'static str)] = &[];
}

#[derive(Debug)]
struct StandaloneRole;

impl Role for StandaloneRole {
    type Settings = NodeSettings;
    /// A laptop is not a server: nobody else reaches it unless that is asked for.
    const DEFAULTS: &'static [(&'static str, &'static str)] = &[("listen", "127.0.0.1:8080")];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Demo {
    Off,
    On,
}

impl EdgeArgs {
    /// Runs the node until it is told to leave.
    pub(crate) fn run(self) -> Result<(), Failure> {
        self.common.run(self.flags, Demo::Off)
    }
}

impl StandaloneArgs {
    /// Runs the node until it is told to leave.
    pub(crate) fn run(self) -> Result<(), Failure> {
        self.common.run(self.flags, if self.demo { Demo::On } else { Demo::Off })
    }
}

impl Common {
    fn run<R: Role<Settings = NodeSettings>>(self, flags: Flags<R>, demo: Demo) -> Result<(), Failure> {
        let variables = from_environment();
        let unknown = unknown_variables(variables.keys().map(String::as_str), &known_variables());
        let file = self.read_file()?;
        let sources = Sources { flags: flags.texts, variables, file: file.as_ref(), defaults: R::DEFAULTS };
        let Resolved { settings, effective } = resolve::<NodeSettings>(&sources).map_err(Failure::usage)?;
        let log = settings.log();
        let admin_listen = settings.admin_listen;
        let cluster = settings.cluster().map_err(Failure::usage)?;
        let config = settings.into_config();
        config.check().map_err(Failure::usage)?;
        if let Some(cluster) = &cluster {
            links::check(&config.node_id, cluster)?;
        }
        if self.check {
            return print(&effective, &unknown);
        }
        telemetry::init(&log).map_err(Failure::usage)?;
        for sentence in &unknown {
            warn!("{sentence}");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::io("runtime", &error))?;
        let result = runtime.block_on(serve(config, cluster, admin_listen, demo));
        // Everything that matters has ended in order; a name that is still being resolved must not hold the process.
        runtime.shutdown_background();
        result
    }

    fn read_file(&self) -> Result<Option<File>, Failure> {
        let Some(path) = &self.config else { return Ok(None) };
        let name = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|error| Failure::usage(format_args!("{name}: {error}")))?;
        File::parse(&name, &text).map(Some).map_err(Failure::usage)
    }
}

/// Every variable that some command of this program reads.
fn known_variables() -> Vec<String> {
    let others = VARIABLES.into_iter().chain(crate::client::args::VARIABLES).map(str::to_owned);
    NodeSettings::SETTINGS.iter().map(Setting::variable).chain(others).collect()
}

/// The settings in force, as a file that `--config` reads.
fn print(effective: &[Effective], unknown: &[String]) -> Result<(), Failure> {
    let mut text = String::new();
    for sentence in unknown {
        text.push_str(&format!("# warning: {sentence}\n"));
    }
    for Effective { key, text: value, origin } in effective {
        let origin = match origin {
            Origin::Flag => "flag".to_owned(),
            Origin::Variable => "environment".to_owned(),
            Origin::File(place) => place.clone(),
            Origin::Default => "default".to_owned(),
        };
        let line = match value {
            Some(_) if SECRETS.contains(&key.as_str()) => format!("# {key} is set"),
            Some(value) => format!("{key} = {}", toml_value(value)),
            None => format!("# {key} is not set"),
        };
        text.push_str(&format!("{line:<44}  # {origin}\n"));
    }
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::io("standard output", &error))
        }
        _ => Ok(()),
    }
}

fn toml_value(text: &str) -> String {
    if text.parse::<i64>().is_ok() || matches!(text, "true" | "false") {
        text.to_owned()
    } else {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

/// Binds, announces, serves, leaves.
async fn serve(
    config: relay_edge::Config,
    cluster: Option<Cluster>,
    admin_listen: SocketAddr,
    demo: Demo,
) -> Result<(), Failure> {
    let registry = Registry::new();
    process::register(&registry, env!("CARGO_PKG_VERSION")).map_err(|error| Failure::new(Exit::Io, error))?;
    let readiness = Readiness::new();
    let listening = readiness.latch("listener");
    let node = config.node_id.clone();
    files::raise_limit(config.sessions_max, config.handshakes_max);

    let links = links::open(&node, cluster).await?;
    let backbone = Arc::clone(&links.backbone);
    let edge = Edge::bind(config, links, &registry, &readiness)
        .await
        .map_err(|error| Failure::new(Exit::Io, error))?;
    let admin = Admin::bind(admin_listen, registry, readiness).await.map_err(|error| {
        Failure::io(format_args!("cannot listen on {admin_listen} (--admin-listen)"), &error)
    })?;
    let (trigger, drain) = drain::channel();
    let signals = drain::on_signals(trigger).map_err(|error| Failure::io("signals", &error))?;

    // Bound is ready: from here on the system queues whoever connects.
    listening.ready();
    let (listen, admin_listen) = (edge.local_addr(), admin.local_addr());
    info!(%listen, admin = %admin_listen, %node, version = env!("CARGO_PKG_VERSION"), "serving");
    greet(listen, admin_listen, demo);

    let mut tasks = JoinSet::new();
    tasks.spawn(admin.run(drain.clone()));
    if demo == Demo::On {
        tasks.spawn(demo::run(reachable(listen), drain.clone()));
    }
    run_until_drained(edge, drain, signals).await;
    tasks.shutdown().await;
    backbone.close().await;
    info!("ended");
    Ok(())
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

/// Tells a person at a terminal what to do next; a log collector does not want to know.
fn greet(listen: SocketAddr, admin: SocketAddr, demo: Demo) {
    if !std::io::stdout().is_terminal() {
        return;
    }
    let (listen, admin) = (reachable(listen), reachable(admin));
    let watch = match demo {
        Demo::On => format!("http://{listen}/#watch=demo&key=demo"),
        Demo::Off => format!("http://{listen}/"),
    };
    let text = format!(
        "\n  open     {watch}\n  publish  ffmpeg -re -i FILE -c copy -f flv - | relaycast publish ws://{listen}/CHANNEL/KEY\n  metrics  http://{admin}/metrics\n\n"
    );
    // Without a terminal there is nobody to greet.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// An address of this machine for a socket that listens on all of them.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => address,
        IpAddr::V4(_) | IpAddr::V6(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_check_prints_is_a_file_that_means_the_same() {
        let resolved = resolve::<NodeSettings>(&Sources {
            defaults: &[("advertise-url", "ws://a\"b\\c"), ("receivers-per-channel-max", "7")],
            ..Sources::default()
        })
        .unwrap();
        let text: String = resolved
            .effective
            .iter()
            .filter_map(|setting| Some(format!("{} = {}\n", setting.key, toml_value(setting.text.as_ref()?))))
            .collect();
        let file = File::parse("t", &text).unwrap();
        let again = resolve::<NodeSettings>(&Sources { file: Some(&file), ..Sources::default() }).unwrap();
        let texts =
            |effective: Vec<Effective>| effective.into_iter().map(|setting| setting.text).collect::<Vec<_>>();
        assert_eq!(texts(again.effective), texts(resolved.effective));
    }
}
