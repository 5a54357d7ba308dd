//! `relaycast-loadtest`: loads a websocket relay from outside, and tells what it cost.

mod bridge;
mod ceiling;
mod clock;
mod cluster;
mod command;
mod compare;
mod payload;
mod picks;
mod plan;
mod process;
mod progress;
mod report;
mod run;
mod sim;
mod swarm;
mod tally;
mod threshold;
mod wire;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Loads a websocket relay from outside, and tells what it cost
///
/// Publishers send messages that carry a stamp; receivers count what is lost, late, twice or out of order, and how long
/// each took. With the process id of the server, its CPU, memory and context switches are told too.
///
/// Try it: `relaycast standalone &` and then `relaycast-loadtest run event --pid $!`
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes:
  0  the run is done, and no threshold was missed
  1  a threshold was missed
  2  the command line is wrong
  3  the run could not be done";

#[derive(Debug, clap::Subcommand)]
enum Command {
    Run(Box<command::run::Args>),
    Compare(command::compare::Args),
    Cluster(command::cluster::Args),
    Picks(Box<command::picks::Args>),
    Ceiling(command::ceiling::Args),
    Sim(command::sim::Args),
    Bridge(Box<command::bridge::Args>),
    #[command(hide = true)]
    BareMqtt(command::bare_mqtt::Args),
    #[command(hide = true)]
    BareNats(command::bare::Args),
    #[command(hide = true)]
    BareHttp(command::bare_http::Args),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Done,
    ThresholdMissed,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::ThresholdMissed => Self::from(1),
        }
    }
}

/// Takes all the open files that the operator allows: each connection is one, and shells start with few.
fn raise_open_files_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Where it fails, the connections that are too many say so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

fn main() -> ExitCode {
    raise_open_files_limit();
    let done = match Cli::parse().command {
        Command::Run(args) => args.run(),
        Command::Compare(args) => args.run(),
        Command::Cluster(args) => args.run(),
        Command::Ceiling(args) => args.run(),
        Command::BareNats(args) => args.run(),
        Command::BareHttp(args) => args.run(),
        Command::Picks(args) => args.run(),
        Command::Bridge(args) => args.run(),
        Command::BareMqtt(args) => args.run(),
        Command::Sim(args) => args.run(),
    };
    done.map_or_else(
        |error| {
            // Without a standard error the exit code still tells.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(3)
        },
        ExitCode::from,
    )
}
