//! `relaycast edge`, `standalone`, `manager` and `bridge`: what runs until it is told to leave.
//!
//! A [`Role`] says which settings there are; a [`Plan`] is what becomes of them. Everything between is the same for all:
//! where settings come from, `--check`, logs, signals, the admin address.

mod bridge;
mod broker;
mod demo;
mod edge;
mod files;
mod flags;
mod links;
mod manager;
mod ports;
mod settings;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use prometheus::Registry;
use relay_lifecycle::admin::Admin;
use relay_lifecycle::config::{
    Effective, File, Origin, Resolved, Setting, Sources, from_environment, resolve, unknown_variables,
};
use relay_lifecycle::process;
use relay_lifecycle::readiness::Readiness;
use relay_lifecycle::telemetry::{self, Log};
use tracing::warn;

pub(crate) use self::bridge::BridgeArgs;
pub(crate) use self::edge::{EdgeArgs, StandaloneArgs};
use self::flags::{Flags, Role};
pub(crate) use self::manager::ManagerArgs;
use self::settings::SECRETS;
use crate::exit::{Exit, Failure};

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

/// How many threads serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Threads {
    /// One for each processor.
    Many,
    /// One: where everything passes through one task, others would only have to be woken.
    One,
}

/// What is to run, its settings checked.
trait Plan {
    const THREADS: Threads = Threads::Many;

    /// Binds, announces, serves, leaves.
    async fn serve(self) -> Result<(), Failure>;
}

impl Common {
    /// Makes a plan of the settings, and serves until it is told to leave.
    fn run<R: Role, P: Plan>(
        self,
        flags: Flags<R>,
        plan: impl FnOnce(R::Settings) -> Result<(Log, P), Failure>,
    ) -> Result<(), Failure> {
        let variables = from_environment();
        let unknown = unknown_variables(variables.keys().map(String::as_str), &known_variables());
        let file = self.read_file()?;
        let elsewhere = settings::of_all_servers().into_iter().map(Setting::key).collect();
        let sources =
            Sources { flags: flags.texts, variables, file: file.as_ref(), defaults: R::DEFAULTS, elsewhere };
        let Resolved { settings, effective } = resolve::<R::Settings>(&sources).map_err(Failure::usage)?;
        let (log, plan) = plan(settings)?;
        if self.check {
            return print(&effective, &unknown);
        }
        telemetry::init(&log).map_err(Failure::usage)?;
        for sentence in &unknown {
            warn!("{sentence}");
        }
        let mut runtime = match P::THREADS {
            Threads::Many => tokio::runtime::Builder::new_multi_thread(),
            Threads::One => tokio::runtime::Builder::new_current_thread(),
        };
        let runtime = runtime.enable_all().build().map_err(|error| Failure::io("runtime", &error))?;
        let result = runtime.block_on(plan.serve());
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
    settings::of_all_servers().into_iter().map(Setting::variable).chain(others).collect()
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

/// The metrics of the process, for whatever runs in it to add its own.
fn metrics() -> Result<Registry, Failure> {
    let registry = Registry::new();
    process::register(&registry, env!("CARGO_PKG_VERSION")).map_err(|error| Failure::new(Exit::Io, error))?;
    Ok(registry)
}

/// Takes the admin address.
async fn admin(listen: SocketAddr, metrics: Registry, readiness: Readiness) -> Result<Admin, Failure> {
    Admin::bind(listen, metrics, readiness)
        .await
        .map_err(|error| Failure::io(format_args!("cannot listen on {listen} (--admin-listen)"), &error))
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
    use super::settings::EdgeSettings;
    use super::*;

    #[test]
    fn what_check_prints_is_a_file_that_means_the_same() {
        let resolved = resolve::<EdgeSettings>(&Sources {
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
        let again = resolve::<EdgeSettings>(&Sources { file: Some(&file), ..Sources::default() }).unwrap();
        let texts =
            |effective: Vec<Effective>| effective.into_iter().map(|setting| setting.text).collect::<Vec<_>>();
        assert_eq!(texts(again.effective), texts(resolved.effective));
    }
}
