//! `relaycast`: nodes, stream-managers, bridges and clients in one binary.

mod client;
mod exit;
mod probe;
mod publish;
mod receive;
mod server;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use relay_lifecycle::drain::{self, Drain};

use crate::client::address::redact;
use crate::exit::{EXIT_CODES, Exit, Failure};

/// A node turns over the memory of its rings for as long as it runs. This allocator serves a chunk with less work than that
/// of the C library, most of all on threads that are not the first, and gives back what a quiet node does not need.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A horizontally scaled media relay
///
/// Try it: `relaycast standalone --demo`, then open the address it prints.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Standalone(Box<server::StandaloneArgs>),
    Edge(Box<server::EdgeArgs>),
    Manager(Box<server::ManagerArgs>),
    Bridge(Box<server::BridgeArgs>),
    Publish(publish::Args),
    Receive(receive::Args),
    Probe(probe::Args),
}

fn main() -> ExitCode {
    let exit = match Cli::try_parse() {
        Ok(cli) => match cli.command.run() {
            Ok(()) => Exit::Ok,
            Err(failure) => {
                for line in redact(&failure.to_string()).lines() {
                    // Without a standard error the exit code still tells.
                    let _ = writeln!(std::io::stderr(), "error: {line}");
                }
                failure.exit()
            }
        },
        Err(error) => usage(&error),
    };
    exit.into()
}

/// Help, version, or what is wrong with the command line. clap quotes what it was given, and that may hold a key.
fn usage(error: &clap::Error) -> Exit {
    let text = error.render();
    if error.use_stderr() {
        let mut stderr = anstream::stderr();
        let _ = write!(stderr, "{}", redact(&text.ansi().to_string()));
        Exit::Usage
    } else {
        let _ = write!(anstream::stdout(), "{}", text.ansi());
        Exit::Ok
    }
}

impl Command {
    fn run(self) -> Result<(), Failure> {
        match self {
            Self::Standalone(args) => args.run(),
            Self::Edge(args) => args.run(),
            Self::Manager(args) => args.run(),
            Self::Bridge(args) => args.run(),
            Self::Publish(args) => client(|drain| args.run(drain)),
            Self::Receive(args) => client(|drain| args.run(drain)),
            Self::Probe(args) => client(|drain| args.run(drain)),
        }
    }
}

/// Runs a client until it is done. The first signal asks it to leave in order, the second ends it.
fn client<F>(run: impl FnOnce(Drain) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("runtime", &error))?;
    let result = runtime.block_on(async {
        let (trigger, drain) = drain::channel();
        let signals = drain::on_signals(trigger).map_err(|error| Failure::io("signals", &error))?;
        let mut cut = drain.clone();
        tokio::select! {
            result = Box::pin(run(drain)) => result,
            () = cut.reached(drain::Phase::Cut) => Ok(()),
            never = signals => match never {},
        }
    });
    // A name that is still being resolved must not hold the process.
    runtime.shutdown_background();
    result
}
