//! `relaycast receive`: a channel to a file or a pipe.

use std::ffi::OsString;
use std::path::PathBuf;

use relay_lifecycle::config::TimeSpan;
use relay_lifecycle::drain::Drain;
use relay_proto::notice::Notice as ServerNotice;
use relay_proto::websocket::{HEARTBEAT_INTERVAL, Kind};
use tokio::time::{Instant, interval_at, sleep};

use crate::client::address::Address;
use crate::client::args::{Connection, Stream};
use crate::client::connection::{Incoming, Reader, Writer, connect};
use crate::client::console::Console;
use crate::client::leave::Leave;
use crate::client::output::{self, Output};
use crate::client::retry::{Next, Retry};
use crate::client::verdict::Ended;
use crate::client::watch::{Notice, Watch};
use crate::exit::Failure;

/// Receives a channel to a file or standard output
///
/// Example: relaycast receive ws://localhost:8080/cam1/KEY | ffplay -
///
/// Waits for a publisher. Ends with 0 when the publisher ends. The bytes are those of the publisher, from the newest
/// join point on; when the publisher or the connection came back in between, what follows starts with its own init.
///
/// The key in a URL is visible to other users of this machine in `ps`. RELAYCAST_URL, RELAYCAST_KEY and --key-file
/// hide it.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::exit::EXIT_CODES)]
pub(crate) struct Args {
    /// ws://HOST:PORT/CHANNEL/KEY [env: RELAYCAST_URL; the key alone: RELAYCAST_KEY]
    #[arg(value_name = "URL")]
    url: Option<OsString>,

    /// Where to write; - for standard output
    #[arg(value_name = "FILE")]
    file: Option<OsString>,

    /// The same as FILE
    #[arg(short, long, value_name = "FILE", conflicts_with = "file")]
    output: Option<OsString>,

    /// What to start with: gop, a picture at once; live, the least delay; init, the headers at once and then as live
    #[arg(long, value_name = "gop|live|init", default_value = "gop", value_parser = ["gop", "live", "init"], hide_possible_values = true)]
    cache: String,

    /// Drops the channel's cached media after it was received
    #[arg(long)]
    clear_cache: bool,

    /// Ends after this long
    #[arg(long, value_name = "DURATION")]
    duration: Option<TimeSpan>,

    #[command(flatten)]
    stream: Stream,

    #[command(flatten)]
    connection: Connection,
}

/// How one connection ended.
enum End {
    /// We were asked to leave, or the time is up, or nobody reads what we write.
    Finished,
    /// The other side ended it, or the network did.
    Closed(Ended),
}

impl Args {
    /// Runs the command.
    pub(crate) async fn run(self, drain: Drain) -> Result<(), Failure> {
        let (url, address, file) = self.stream.locate(self.url.as_ref(), self.file.as_ref())?;
        let kind = match (url.kind(), self.clear_cache) {
            (None | Some(Kind::Receive), false) => Kind::Receive,
            (None | Some(Kind::Receive), true) | (Some(Kind::ReceiveClearCache), _) => {
                Kind::ReceiveClearCache
            }
            (Some(Kind::Publish | Kind::Probe), _) => {
                return Err(Failure::usage("the URL is not one to receive from: leave its last part out"));
            }
        };
        let path = PathBuf::from(file.or(self.output).unwrap_or_else(|| "-".into()));
        let output = output::open(&path).map_err(|error| Failure::io(path.display(), &error))?;
        let query = format!("cache={}&notices=1", self.cache);
        let console = Console::new(format!("receiving {}", address.channel()), self.connection.verbosity());
        let retry = Retry::new(self.connection.patience());
        let leave = Leave::new(drain, self.duration.map(TimeSpan::get));
        let result = receive(&address, kind, &query, &output, retry, &console, leave).await;
        let written = output.finish().await;
        console.finish();
        written.map_err(|error| Failure::io(path.display(), &error)).and(result)
    }
}

async fn receive(
    address: &Address,
    kind: Kind,
    query: &str,
    output: &Output,
    mut retry: Retry<fn() -> u64>,
    watch: &dyn Watch,
    mut leave: Leave,
) -> Result<(), Failure> {
    let mut again = false;
    loop {
        let connected = tokio::select! {
            biased;
            () = leave.asked() => return Ok(()),
            () = output.broken() => return Ok(()),
            connected = connect(address, kind, query) => connected,
        };
        let next = match connected {
            Ok((mut writer, mut reader)) => {
                watch.notice(&Notice::Connected { address: address.to_string(), again });
                again = true;
                let since = Instant::now();
                match session(&mut writer, &mut reader, output, watch, &mut leave).await {
                    End::Finished => {
                        writer.close(reader).await;
                        return Ok(());
                    }
                    End::Closed(ended) => retry.after_session(&ended, since)?,
                }
            }
            Err(error) => retry.after_connect(error)?,
        };
        let Next::Again { what, delay } = next else { return Ok(()) };
        watch.notice(&Notice::Retrying { what, delay });
        tokio::select! {
            biased;
            () = leave.asked() => return Ok(()),
            () = output.broken() => return Ok(()),
            () = sleep(delay) => {}
        }
    }
}

async fn session(
    writer: &mut Writer,
    reader: &mut Reader,
    output: &Output,
    watch: &dyn Watch,
    leave: &mut Leave,
) -> End {
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT_INTERVAL, HEARTBEAT_INTERVAL);
    loop {
        tokio::select! {
            biased;
            () = leave.asked() => return End::Finished,
            () = output.broken() => return End::Finished,
            _ = heartbeat.tick() => {
                if let Err(ended) = writer.heartbeat().await {
                    return End::Closed(ended);
                }
            }
            incoming = reader.next() => match incoming {
                Incoming::Chunk(chunk) => {
                    watch.passed(chunk.len());
                    let handed_over = tokio::select! {
                        biased;
                        () = leave.asked() => false,
                        handed_over = output.chunk(chunk) => handed_over,
                    };
                    if !handed_over {
                        return End::Finished;
                    }
                }
                Incoming::Text(text) => tell(&text, watch),
                Incoming::Ended(ended) => return End::Closed(ended),
            },
        }
    }
}

/// Shows what the server told. A notice of a newer server is passed over.
fn tell(text: &str, watch: &dyn Watch) {
    match serde_json::from_str(text) {
        Ok(ServerNotice::Stats { receivers, .. }) => watch.viewers(receivers),
        Ok(ServerNotice::Start(start)) => {
            let summary = format!("publication {}: {}", start.epoch, start.container);
            watch.notice(&Notice::Stream { summary });
        }
        Ok(ServerNotice::Skip { .. }) => {
            let text = "the output or the network is too slow: a part of the stream was left out".to_owned();
            watch.notice(&Notice::Warning(text));
        }
        Ok(ServerNotice::Held { grace_ms }) => {
            let text = format!("the publisher vanished; waiting {} s for it", grace_ms.div_ceil(1000));
            watch.notice(&Notice::Warning(text));
        }
        Err(_) => {}
    }
}
