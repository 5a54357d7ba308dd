//! `relaycast-loadtest sim`.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::Exit;
use crate::sim::broker::Address;
use crate::sim::dock::{self, Camera, Kind};
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
    /// Docks of DJI, each with an aircraft where one is named
    ///
    /// They come online, tell what they can show, and push real video by RTMP with ffmpeg when they are asked to. A change of
    /// the lens keeps the connection and has another size; pictures have half the size of real ones.
    #[command(after_help = DOCK_HELP)]
    Dock(Box<Dock>),
    /// Remote controllers of DJI
    ///
    /// As docks, but with the cameras of the aircraft alone, other names of lenses and other errors.
    #[command(after_help = DOCK_HELP)]
    Rc(Box<Dock>),
}

const DOCK_HELP: &str = "Examples:
  relaycast-loadtest sim dock --mqtt mqtt://localhost --sn DOCK1 --aircraft AIR1
  relaycast-loadtest sim dock --mqtt mqtt://localhost --sn DOCK1 --camera 165-0-7 --fail-first 3:13006 --lose-replies 1
  relaycast-loadtest sim rc --mqtt mqtt://localhost --sn RC1 --aircraft AIR1 --json
  relaycast-loadtest sim dock --mqtt mqtt://localhost --sn IDLE --count 500

What happens: connected, disconnected, topology, topology_reply, start, stop, lens, quality, camera, requested (what else is
asked), reply (with its result, and what was done to it), push_started, push_ended, rebooting, offline, error.";

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
/// They send a picture at a key frame, once per second at the most, for three seconds after a request. Real ones drop what
/// they do not like without a word; here it is told.
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

    /// Put all agents behind one connection. Every agent hears what is asked of all others of its hub, so that a thousand
    /// with a connection each cost the broker a thousand times as much
    #[arg(long, conflicts_with_all = ["chunked", "reboot_after"])]
    one_connection: bool,

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

/// What docks and controllers are told.
#[derive(Debug, clap::Args)]
struct Dock {
    #[command(flatten)]
    common: Common,

    /// The serial number of the gateway
    #[arg(long, value_name = "SN", default_value = "SIMDOCK")]
    sn: String,

    /// The serial number of its aircraft; there is none, when not given
    #[arg(long, value_name = "SN")]
    aircraft: Option<String>,

    /// A camera and its lenses, such as 52-0-0:wide,zoom,ir (repeatable). Those of type 165 are the dock's, others the
    /// aircraft's [default: 165-0-7:normal on a dock, and one with three lenses on an aircraft]
    #[arg(long = "camera", value_name = "INDEX[:LENSES]")]
    cameras: Vec<Camera>,

    /// How many gateways there are; of more than one, serial numbers end with 0001, 0002 and so on
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=2500))]
    count: u16,

    /// How many cameras may be live at a time [default: all]
    #[arg(long, value_name = "NUMBER")]
    coexist: Option<usize>,

    /// Push nothing, but do as if
    #[arg(long)]
    no_push: bool,

    #[command(flatten)]
    faults: Faults,
}

/// What goes wrong.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Faults")]
struct Faults {
    /// The first replies are not sent
    #[arg(long, value_name = "NUMBER", default_value = "0")]
    lose_replies: u32,

    /// The first starts are refused, with this error: five digits, or six with the source
    #[arg(long, value_name = "NUMBER[:CODE]", value_parser = refusals, default_value = "0")]
    fail_first: (u32, u32),

    /// The first camera streams already, for somebody else
    #[arg(long)]
    already_live: bool,

    /// A start is answered with success, and nothing is pushed
    #[arg(long)]
    no_media: bool,

    /// Where a push breaks off, say that it goes on until told to stop
    #[arg(long)]
    stays_live: bool,

    /// Every reply is sent twice
    #[arg(long)]
    duplicate_replies: bool,

    /// Messages are as sloppy as examples of the maker: 'timestamp:' with its colon, no method
    #[arg(long)]
    sloppy: bool,

    /// How late replies are
    #[arg(long, value_name = "MILLISECONDS", default_value = "0")]
    late_replies: u32,

    /// Leave for ever, this many seconds after the start
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "reboot_after")]
    offline_after: Option<Duration>,
}

/// `NUMBER[:CODE]`
fn refusals(text: &str) -> Result<(u32, u32), std::num::ParseIntError> {
    let (number, code) = text.split_once(':').unwrap_or((text, "13099"));
    Ok((number.parse()?, code.parse()?))
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
                Device::Dock(args) => args.run(Kind::Dock).await,
                Device::Rc(args) => args.run(Kind::Rc).await,
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
        if self.one_connection {
            return until_told([agents.fleet(devices)]).await;
        }
        until_told(devices.into_iter().map(|device| agents.clone().be(device))).await
    }
}

impl Dock {
    async fn run(self, kind: Kind) -> std::io::Result<()> {
        let default = || kind.cameras().iter().filter_map(|camera| camera.parse().ok()).collect();
        let Self { sn, aircraft, count, faults, .. } = self;
        let numbered =
            |name: &str, n: u16| if count == 1 { name.to_owned() } else { format!("{name}{n:04}") };
        let gateways: Vec<_> = (1..=count)
            .map(|n| (numbered(&sn, n), aircraft.as_deref().map(|aircraft| numbered(aircraft, n))))
            .collect();
        let events = Events { json: self.common.json };
        let plan = dock::Plan {
            kind,
            reboot: self.common.reboot(),
            broker: self.common.mqtt,
            cameras: if self.cameras.is_empty() { default() } else { self.cameras },
            coexist: self.coexist,
            pushes: !self.no_push,
            spread: spread(gateways.len()),
            lost_replies: faults.lose_replies,
            refusals: faults.fail_first,
            already_live: faults.already_live,
            no_media: faults.no_media,
            stays_live: faults.stays_live,
            duplicate_replies: faults.duplicate_replies,
            sloppy: faults.sloppy,
            late_replies: Duration::from_millis(faults.late_replies.into()),
            offline_after: faults.offline_after,
        };
        let docks = Arc::new(dock::Docks { plan, events });
        until_told(gateways.into_iter().map(|(sn, aircraft)| docks.clone().be(sn, aircraft))).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_a_number_and_perhaps_a_code() {
        assert_eq!(refusals("3"), Ok((3, 13_099)));
        assert_eq!(refusals("3:327015"), Ok((3, 327_015)));
        assert!(refusals("3:").is_err() && refusals(":1").is_err());
    }

    #[test]
    fn seconds_are_neither_nothing_nor_for_ever() {
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        for wrong in ["0", "-1", "NaN", "inf", "1e7", "x"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
