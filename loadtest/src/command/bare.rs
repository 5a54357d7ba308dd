//! `relaycast-loadtest bare-nats`, which `cluster` starts.

use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

use crate::Exit;
use crate::cluster::{Load, bare};

/// One side of bare NATS, until standard input ends
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    side: Side,
}

#[derive(Debug, clap::Subcommand)]
enum Side {
    /// Publishes
    Publish {
        /// The server: nats://HOST:PORT
        #[arg(long)]
        nats: String,
        /// Subjects
        #[arg(long)]
        channels: usize,
        /// Messages per second and subject
        #[arg(long)]
        rate: f64,
        /// Bytes per message
        #[arg(long)]
        bytes: usize,
    },
    /// Subscribes
    Subscribe {
        /// The server: nats://HOST:PORT
        #[arg(long)]
        nats: String,
        /// Subjects
        #[arg(long)]
        channels: usize,
        /// Milliseconds after the first message in which latencies are not recorded
        #[arg(long)]
        skip_ms: u64,
    },
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Box<dyn Error>> {
        // On one thread nothing is handed over: the least that it can take and cost.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let line = match self.side {
            Side::Publish { nats, channels, rate, bytes } => {
                let load = Load { channels, rate, bytes };
                serde_json::to_string(&runtime.block_on(bare::publish(&nats, load))?)
            }
            Side::Subscribe { nats, channels, skip_ms } => {
                let ready = || {
                    // Whoever started it waits for this.
                    let _ = writeln!(io::stdout(), "ready");
                };
                let skip = Duration::from_millis(skip_ms);
                serde_json::to_string(&runtime.block_on(bare::subscribe(&nats, channels, skip, ready))?)
            }
        };
        // Where it failed, standard input may still be read.
        runtime.shutdown_background();
        writeln!(io::stdout(), "{}", line?)?;
        Ok(Exit::Done)
    }
}
