//! `relaycast-loadtest sim`.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::Exit;
use crate::sim::broker::Address;
use crate::sim::events::Events;
use crate::sim::kerberos;

/// How many devices come per second, where there are many: as fast as a broker takes them without refusing any.
const ARRIVALS_PER_SECOND: f64 = 500.0;

/// Simulates cameras and docks on a broker of MQTT: whoever has no hardware tries with these
///
/// Devices come, and do what those of their makers do, until they are told to leave by SIGINT or SIGTERM. What happens is
/// told on standard output, a line each.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    device: Device,
}

#[derive(Debug, clap::Subcommand)]
enum Device {
    Kerberos(Box<Kerberos>),
}

/// What every device is told.
#[derive(Debug, clap::Args)]
struct Common {
    /// The broker, such as mqtt://USER:PASSWORD@HOST:1883
    #[arg(long, value_name = "URL", env = "RELAYCAST_MQTT", hide_env_values = true)]
    mqtt: Address,

    /// Tell what happens in JSON, for programs
    #[arg(long)]
    json: bool,

    /// Break down once, this many seconds after the start
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    reboot_after: Option<Duration>,

    /// How long it stays away then
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "9", requires = "reboot_after")]
    reboot_for: Duration,
}

/// Agents of Kerberos with a camera each
///
/// They send a picture at a key frame, once per second at the most, for three seconds after a request. Their clients are
/// bound to drop what they do not like without a word; here it is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  relaycast-loadtest sim kerberos --mqtt mqtt://localhost --hub HUB
  relaycast-loadtest sim kerberos --mqtt mqtt://localhost --hub HUB --hidden PRIVATE_KEY --chunked --gop 4
  relaycast-loadtest sim kerberos --mqtt mqtt://localhost --hub HUB --count 2000 --image-bytes 30000 --json

What happens: connected, disconnected, requested, dropped (with the reason), picture, answered, ptz, rebooting, unsent, and
error where a real agent might crash.")]
struct Kerberos {
    #[command(flatten)]
    common: Common,

    /// The key of the hub, which is in the topics
    #[arg(long, value_name = "KEY")]
    hub: String,

    /// How many agents there are, named cam1, cam2 and so on
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=2500))]
    count: u16,

    /// The key of an agent (repeatable)
    #[arg(long = "device", value_name = "KEY", conflicts_with = "count")]
    devices: Vec<String>,

    /// The private key of the hub: what is sent is hidden by it, and what comes hidden is opened with it
    #[arg(long, value_name = "KEY")]
    hidden: Option<String>,

    /// The key by which what is sent is encrypted from end to end. The signature is left empty
    #[arg(long, value_name = "KEY")]
    symmetric: Option<String>,

    /// Send pictures in chunks, on a topic of the agent
    #[arg(long)]
    chunked: bool,

    /// From key frame to key frame
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    gop: Duration,

    /// The least bytes of a picture
    #[arg(long, value_name = "NUMBER", default_value = "0", value_parser = clap::value_parser!(u32).range(..=8_388_608))]
    image_bytes: u32,

    /// Hear everything and answer nothing, as with a camera that is down
    #[arg(long)]
    silent: bool,
}

/// A duration of at least a millisecond.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "no number".to_owned())?;
    if !(0.001..=1e6).contains(&seconds) {
        return Err("not from 0.001 to 1000000".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

impl Common {
    fn reboot(&self) -> Option<(Duration, Duration)> {
        self.reboot_after.map(|after| (after, self.reboot_for))
    }
}

/// How long it takes until all have come.
fn spread(devices: usize) -> Duration {
    Duration::from_secs_f64((devices - 1) as f64 / ARRIVALS_PER_SECOND)
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Box<dyn Error>> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            match self.device {
                Device::Kerberos(args) => args.run().await,
            }
        })?;
        Ok(Exit::Done)
    }
}

/// Runs devices until the process is told to end. What they own ends with them.
async fn until_told<D>(devices: impl IntoIterator<Item = D>) -> std::io::Result<()>
where
    D: Future<Output = ()> + Send + 'static,
{
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut all: JoinSet<()> = JoinSet::new();
    for device in devices {
        all.spawn(device);
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    all.shutdown().await;
    Ok(())
}

impl Kerberos {
    async fn run(self) -> std::io::Result<()> {
        let devices = if self.devices.is_empty() {
            (1..=self.count).map(|n| format!("cam{n}")).collect()
        } else {
            self.devices
        };
        let events = Events { json: self.common.json };
        let plan = kerberos::Plan {
            reboot: self.common.reboot(),
            broker: self.common.mqtt,
            hub: self.hub,
            hidden: self.hidden,
            symmetric: self.symmetric,
            chunked: self.chunked,
            gop: self.gop,
            image_bytes: self.image_bytes as usize,
            silent: self.silent,
            spread: spread(devices.len()),
        };
        let agents = Arc::new(kerberos::Agents::new(plan, events));
        until_told(devices.into_iter().map(|device| agents.clone().be(device))).await
    }
}
