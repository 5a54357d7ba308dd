//! `relaycast-loadtest bare-http`, which `picks` starts.

use std::error::Error;
use std::net::SocketAddr;
use std::str::FromStr;

use hyper::header::{HeaderName, HeaderValue};

use crate::Exit;
use crate::picks::bare;

/// Answers every request with the same, until it is ended
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,
    /// A header of the answer (repeatable)
    #[arg(long = "header", value_name = "NAME:VALUE")]
    headers: Vec<Header>,
    /// Its body
    #[arg(long, value_name = "TEXT")]
    body: String,
}

#[derive(Debug, Clone)]
struct Header(HeaderName, HeaderValue);

impl FromStr for Header {
    type Err = &'static str;

    fn from_str(header: &str) -> Result<Self, Self::Err> {
        let (name, value) = header.split_once(':').ok_or("no colon")?;
        let name = name.parse().map_err(|_| "no name of a header")?;
        Ok(Self(name, value.parse().map_err(|_| "no value of a header")?))
    }
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Box<dyn Error>> {
        let Self { listen, headers, body } = self;
        let headers = headers.into_iter().map(|Header(name, value)| (name, value)).collect();
        // On one thread nothing is handed over: the least that it can take and cost.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(bare::serve(listen, headers, body))?;
        Ok(Exit::Done)
    }
}
