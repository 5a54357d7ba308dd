//! `relaycast-loadtest ceiling`.

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;

use crate::{Exit, ceiling};

/// Serves as a relay that is nothing but its system calls: the ceiling of this machine
///
/// It understands the URLs of Relaycast, and nothing else: no limit, no cache, no key is checked. Only for comparison.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Box<dyn Error>> {
        ceiling::serve(self.listen, |address| {
            // Whoever started it reads where it is; nobody else has to.
            let _ = writeln!(io::stdout(), "listening on {address}");
        })?;
        Ok(Exit::Done)
    }
}
