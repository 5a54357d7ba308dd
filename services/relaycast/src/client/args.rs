//! The flags that all clients share.

use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use relay_lifecycle::config::TimeSpan;
use relay_proto::StreamKey;

use super::address::{Address, StreamUrl};
use super::console::Verbosity;
use crate::exit::Failure;

/// A key file is one line; anything longer is the wrong file.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// The variables that hold secrets. They are read here and not by clap, which prints what it reads.
const URL_VARIABLE: &str = "RELAYCAST_URL";
const KEY_VARIABLE: &str = "RELAYCAST_KEY";

/// The variables that clients read.
pub(crate) const VARIABLES: [&str; 3] = [URL_VARIABLE, KEY_VARIABLE, "RELAYCAST_KEY_FILE"];

/// Where the stream is.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Stream")]
pub(crate) struct Stream {
    /// Reads the key from the first line of FILE, so that it is not visible in `ps`; write the URL without it
    #[arg(long, value_name = "FILE", env = "RELAYCAST_KEY_FILE", hide_env_values = true)]
    key_file: Option<PathBuf>,
}

/// How long and how loud.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// Ends when the connection is lost
    #[arg(long)]
    no_reconnect: bool,

    /// Gives up after being without the stream for this long
    #[arg(long, value_name = "DURATION", default_value = "1m", conflicts_with = "no_reconnect")]
    retry_for: TimeSpan,

    /// Tells on standard error what happens
    #[arg(short, long)]
    verbose: bool,
}

impl Connection {
    pub(crate) fn patience(&self) -> Duration {
        if self.no_reconnect { Duration::ZERO } else { self.retry_for.get() }
    }

    pub(crate) fn verbosity(&self) -> Verbosity {
        if self.verbose { Verbosity::Verbose } else { Verbosity::Normal }
    }
}

impl Stream {
    /// Sorts out the positional arguments `[URL] [FILE]`, the environment and the key file. With `RELAYCAST_URL` set a
    /// single argument that is no URL is the file.
    pub(crate) fn locate(
        &self,
        first: Option<&OsString>,
        second: Option<&OsString>,
    ) -> Result<(StreamUrl, Address, Option<OsString>), Failure> {
        let variable = |name| std::env::var(name).ok().filter(|text: &String| !text.is_empty());
        let (url, file) = arrange(first, second, variable(URL_VARIABLE))?;
        let url: StreamUrl = url.parse().map_err(Failure::usage)?;
        let key = match &self.key_file {
            Some(path) => Some(read_key(path)?),
            // A URL that has its key needs no other; the variable may be there for another command.
            None if url.has_key() => None,
            None => variable(KEY_VARIABLE)
                .map(|text| {
                    text.parse::<StreamKey>()
                        .map_err(|error| Failure::usage(format_args!("{KEY_VARIABLE} {error}")))
                })
                .transpose()?,
        };
        let address = url.clone().with_key(key).map_err(Failure::usage)?;
        Ok((url, address, file))
    }
}

fn arrange(
    first: Option<&OsString>,
    second: Option<&OsString>,
    variable: Option<String>,
) -> Result<(String, Option<OsString>), Failure> {
    let is_url = |text: &OsString| text.to_string_lossy().contains("://");
    match (first, second, variable) {
        (Some(file), None, Some(url)) if !is_url(file) => Ok((url, Some(file.clone()))),
        (Some(url), file, _) => Ok((url.to_string_lossy().into_owned(), file.cloned())),
        (None, _, Some(url)) => Ok((url, None)),
        (None, _, None) => {
            Err(Failure::usage("no URL: write ws://HOST:PORT/CHANNEL/KEY, or set RELAYCAST_URL"))
        }
    }
}

fn read_key(path: &std::path::Path) -> Result<StreamKey, Failure> {
    let unreadable = |error| Failure::io(format_args!("key file {}", path.display()), &error);
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    let line = text.lines().next().unwrap_or_default().trim();
    line.parse().map_err(|error| Failure::usage(format_args!("the key in {} {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_url_in_the_environment_a_lone_argument_is_the_file() {
        let os = |text: &str| OsString::from(text);
        let env = || Some("ws://env/c/k".to_owned());
        let arranged = |first: Option<&str>, second: Option<&str>, variable| {
            let (first, second) = (first.map(os), second.map(os));
            arrange(first.as_ref(), second.as_ref(), variable).ok()
        };
        let is = |url: &str, file: Option<&str>| Some((url.to_owned(), file.map(os)));
        assert_eq!(arranged(Some("ws://h/c/k"), Some("a.ts"), None), is("ws://h/c/k", Some("a.ts")));
        assert_eq!(arranged(Some("ws://h/c/k"), None, env()), is("ws://h/c/k", None));
        assert_eq!(arranged(Some("a.ts"), None, env()), is("ws://env/c/k", Some("a.ts")));
        assert_eq!(arranged(None, None, env()), is("ws://env/c/k", None));
        assert_eq!(arranged(None, None, None), None);
    }
}
