//! `relaycast-loadtest bare-mqtt`, which `bridge` starts.

use std::error::Error;
use std::io::{self, Write};

use crate::Exit;
use crate::bridge::bare;

/// Hears messages and decodes the pictures in them, until standard input ends; tells what came at each of its lines
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The broker's port on this machine
    #[arg(long)]
    port: u16,
    /// What is subscribed to (repeatable)
    #[arg(long = "filter", value_name = "FILTER", required = true)]
    filters: Vec<String>,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Box<dyn Error>> {
        // On one thread nothing is handed over: the least that it can take and cost.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tell = |seen: &bare::Bare| {
            if let Ok(line) = serde_json::to_string(seen) {
                // Whoever asked and is gone finds out by himself.
                let _ = writeln!(io::stdout(), "{line}");
            }
        };
        let done = runtime.block_on(bare::run(self.port, &self.filters, tell));
        // Where it failed, standard input may still be read.
        runtime.shutdown_background();
        done.map(|()| Exit::Done)
    }
}
