//! `relaycast probe`: what is on a channel.

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use relay_lifecycle::config::TimeSpan;
use relay_lifecycle::drain::Drain;
use relay_media::{Info, Scanner};
use relay_proto::api;
use relay_proto::websocket::{HEARTBEAT_INTERVAL, Kind};
use serde::Serialize;
use tokio::time::{Instant, interval_at, sleep};

use crate::client::address::Address;
use crate::client::args::Stream;
use crate::client::connection::{Incoming, Reader, Writer, connect};
use crate::client::leave::Leave;
use crate::client::retry::{Next, Retry};
use crate::client::verdict::Ended;
use crate::exit::{Exit, Failure};

/// Tells what is on a channel: container, codecs, resolution
///
/// Waits for a publisher until the timeout.
///
/// The key in a URL is visible to other users of this machine in `ps`. RELAYCAST_URL, RELAYCAST_KEY and --key-file
/// hide it.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::exit::EXIT_CODES)]
pub(crate) struct Args {
    /// ws://HOST:PORT/CHANNEL/KEY [env: RELAYCAST_URL; the key alone: RELAYCAST_KEY]
    #[arg(value_name = "URL")]
    url: Option<OsString>,

    /// Prints one JSON object
    #[arg(long)]
    json: bool,

    /// How long to wait for a publisher
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    timeout: TimeSpan,

    #[command(flatten)]
    stream: Stream,
}

/// Pause after a channel ended before it had anything to tell: whoever begins so may begin again at once.
const AFTER_AN_END: Duration = Duration::from_millis(200);

/// The answer, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Answer {
    channel: String,
    /// `null` while even the answer's bytes could be several.
    container: Option<&'static str>,
    /// For Media Source Extensions.
    mime: Option<String>,
    tracks: Vec<api::Track>,
    /// Size of the answer: init, and perhaps the first unit.
    bytes: usize,
}

impl Args {
    /// Runs the command.
    pub(crate) async fn run(self, drain: Drain) -> Result<(), Failure> {
        let (url, address, _) = self.stream.locate(self.url.as_ref(), None)?;
        if url.kind().is_some_and(|kind| kind != Kind::Probe) {
            return Err(Failure::usage("the URL is not one to probe: leave its last part out"));
        }
        let span = self.timeout;
        let mut leave = Leave::new(drain, Some(span.get()));
        let answer = match probe(&address, Retry::new(span.get()), &mut leave).await? {
            Some(answer) => answer,
            None if leave.is_signalled() => return Ok(()),
            None => {
                let what = format!("nobody published on {address} within {span}");
                return Err(Failure::new(Exit::Nothing, what));
            }
        };
        let text = if self.json {
            serde_json::to_string(&answer).map_err(|error| Failure::new(Exit::Io, error))? + "\n"
        } else {
            answer.for_people()
        };
        match std::io::stdout().lock().write_all(text.as_bytes()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Failure::io("standard output", &error))
            }
            _ => Ok(()),
        }
    }
}

/// How one connection ended.
enum End {
    Left,
    Answered(Answer),
    Closed(Ended),
}

/// `None` when it was asked to leave before there was an answer.
async fn probe(
    address: &Address,
    mut retry: Retry<fn() -> u64>,
    leave: &mut Leave,
) -> Result<Option<Answer>, Failure> {
    loop {
        let connected = tokio::select! {
            biased;
            () = leave.asked() => return Ok(None),
            connected = connect(address, Kind::Probe, "") => connected,
        };
        let next = match connected {
            Ok((mut writer, mut reader)) => {
                let since = Instant::now();
                match session(address, &mut writer, &mut reader, leave).await {
                    End::Closed(ended) => closed(&mut retry, &ended, since)?,
                    End::Answered(answer) => {
                        writer.close(reader).await;
                        return Ok(Some(answer));
                    }
                    End::Left => {
                        writer.close(reader).await;
                        return Ok(None);
                    }
                }
            }
            Err(error) => retry.after_connect(error)?,
        };
        if let Next::Again { delay, .. } = next {
            tokio::select! {
                biased;
                () = leave.asked() => return Ok(None),
                () = sleep(delay) => {}
            }
        }
    }
}

async fn session(address: &Address, writer: &mut Writer, reader: &mut Reader, leave: &mut Leave) -> End {
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT_INTERVAL, HEARTBEAT_INTERVAL);
    loop {
        tokio::select! {
            biased;
            () = leave.asked() => return End::Left,
            _ = heartbeat.tick() => {
                if let Err(ended) = writer.heartbeat().await {
                    return End::Closed(ended);
                }
            }
            incoming = reader.next() => match incoming {
                Incoming::Chunk(chunk) => return End::Answered(Answer::new(address, &chunk)),
                Incoming::Text(_) => {}
                Incoming::Ended(ended) => return End::Closed(ended),
            },
        }
    }
}

/// A channel that ended before it had anything to tell is waited for again.
fn closed(retry: &mut Retry<fn() -> u64>, ended: &Ended, since: Instant) -> Result<Next, Failure> {
    match retry.after_session(ended, since)? {
        Next::Done => Ok(Next::Again { what: String::new(), delay: AFTER_AN_END }),
        again => Ok(again),
    }
}

impl Answer {
    fn new(address: &Address, bytes: &[u8]) -> Self {
        let mut scanner = Scanner::new();
        scanner.push(bytes, &mut Vec::new());
        let info = scanner.info();
        Self {
            channel: address.channel().to_string(),
            container: info.map(|info| info.container.name()),
            mime: info.and_then(Info::mime),
            tracks: info.map(|info| info.tracks.iter().map(api::Track::from).collect()).unwrap_or_default(),
            bytes: bytes.len(),
        }
    }

    fn for_people(&self) -> String {
        let mut text = format!("container  {}\n", self.container.unwrap_or("not recognised"));
        for track in &self.tracks {
            let mut parts = vec![track.codec.clone()];
            parts.extend(track.width.zip(track.height).map(|(width, height)| format!("{width}x{height}")));
            parts.extend(track.sample_rate.map(|rate| format!("{rate} Hz")));
            parts.extend(track.channels.map(|channels| match channels {
                1 => "mono".to_owned(),
                2 => "stereo".to_owned(),
                more => format!("{more} channels"),
            }));
            text.push_str(&format!("{:<9}  {}\n", track.kind, parts.join("  ")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_aligned_lines() {
        let video = api::Track {
            kind: "video".into(),
            codec: "avc1.64001f".into(),
            width: Some(1280),
            height: Some(720),
            sample_rate: None,
            channels: None,
        };
        let audio = api::Track {
            kind: "audio".into(),
            codec: "mp4a.40.2".into(),
            width: None,
            height: None,
            sample_rate: Some(44_100),
            channels: Some(2),
        };
        let answer = Answer {
            channel: "c".into(),
            container: Some("flv"),
            mime: None,
            tracks: vec![video, audio],
            bytes: 9,
        };
        assert_eq!(
            answer.for_people(),
            "container  flv\nvideo      avc1.64001f  1280x720\naudio      mp4a.40.2  44100 Hz  stereo\n"
        );
        assert_eq!(
            serde_json::to_string(&answer).unwrap(),
            r#"{"channel":"c","container":"flv","mime":null,"tracks":[{"kind":"video","codec":"avc1.64001f","width":1280,"height":720},{"kind":"audio","codec":"mp4a.40.2","sample_rate":44100,"channels":2}],"bytes":9}"#
        );
    }
}
