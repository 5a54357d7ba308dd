//! `relaycast publish`: bytes from a file or a pipe to a channel.
//!
//! The input is read no faster than the socket takes it, so back-pressure reaches whoever writes the pipe. Nothing is
//! read while there is no connection either; afterwards the stream goes on at its next join point.

use std::ffi::OsString;
use std::future;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use relay_lifecycle::config::ByteSize;
use relay_lifecycle::drain::{Drain, Phase};
use relay_media::Container;
use relay_proto::websocket::{HEARTBEAT_INTERVAL, Kind};
use tokio::time::{Instant, Interval, MissedTickBehavior, sleep, sleep_until};

use crate::client::address::Address;
use crate::client::args::{Connection, Stream};
use crate::client::connection::{Reader, Writer, connect};
use crate::client::console::Console;
use crate::client::cutter::Cutter;
use crate::client::input::{self, Input};
use crate::client::pacer::Pacer;
use crate::client::retry::{Next, Retry};
use crate::client::verdict::{Ended, History, Verdict};
use crate::client::watch::{Notice, Watch};
use crate::exit::{Exit, Failure};

/// Silence of the input after which a unit is sent although its end was not seen. Half a picture at 25 a second: no
/// viewer notices, and an encoder that writes a picture in two pieces does so within it.
const IDLE_FLUSH: Duration = Duration::from_millis(20);

/// Bytes that may be read ahead of the clock.
const READ_AHEAD_BYTES: usize = 1 << 20;

/// How long the socket may take to say why it takes nothing more.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// Publishes a file or standard input
///
/// Example: ffmpeg -re -i film.mp4 -c copy -f flv - | relaycast publish ws://localhost:8080/cam1/KEY
///
/// The key in a URL is visible to other users of this machine in `ps`. RELAYCAST_URL, RELAYCAST_KEY and --key-file
/// hide it.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::exit::EXIT_CODES)]
pub(crate) struct Args {
    /// ws://HOST:PORT/CHANNEL/KEY [env: RELAYCAST_URL; the key alone: RELAYCAST_KEY]
    #[arg(value_name = "URL")]
    url: Option<OsString>,

    /// What to publish; - for standard input
    #[arg(value_name = "FILE", default_value = "-", hide_default_value = true)]
    file: Option<OsString>,

    /// auto, flv, mpegts, fmp4, webm, mjpeg, h264, h265 or opaque
    #[arg(long, value_name = "NAME", default_value = "auto")]
    container: ContainerChoice,

    /// Largest chunk; at most what the node takes (its --chunk-bytes-max)
    #[arg(long, value_name = "SIZE", default_value = "8MiB")]
    chunk_bytes_max: ByteSize,

    /// Plays a file at the speed of its own clock instead of as fast as it can be sent
    #[arg(long)]
    realtime: bool,

    /// Pictures per second of MJPEG and of H.264 and H.265 byte streams, which do not say
    #[arg(long, value_name = "NUMBER", default_value = "25", requires = "realtime")]
    fps: FrameRate,

    /// Begins again at the end of the file; each round is a publication of its own
    #[arg(long = "loop", requires = "realtime")]
    repeat: bool,

    #[command(flatten)]
    stream: Stream,

    #[command(flatten)]
    connection: Connection,
}

/// Pictures per second: more than none, and no more than any camera makes.
#[derive(Debug, Clone, Copy)]
struct FrameRate(f64);

impl FromStr for FrameRate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(rate) if (0.01..=1000.0).contains(&rate) => Ok(Self(rate)),
            _ => Err("not a number from 0.01 to 1000"),
        }
    }
}

/// A container, or the wish to have it recognised.
#[derive(Debug, Clone, Copy)]
struct ContainerChoice(Option<Container>);

impl std::fmt::Display for ContainerChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.map_or("auto", Container::name))
    }
}

impl std::str::FromStr for ContainerChoice {
    type Err = relay_media::ParseContainerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" { Ok(Self(None)) } else { text.parse().map(|container| Self(Some(container))) }
    }
}

/// What is published, and how.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) input: Input,
    pub(crate) container: Option<Container>,
    pub(crate) chunk_bytes_max: usize,
    pub(crate) pace: Pace,
    pub(crate) frame_rate: f64,
    /// The file to open again at the end.
    pub(crate) again: Option<PathBuf>,
}

impl Source {
    fn cutter(&self) -> Cutter {
        Cutter::new(self.container, self.chunk_bytes_max).with_frame_rate(self.frame_rate)
    }
}

/// How fast the input is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as it comes and the socket takes it.
    AsItComes,
    /// By the times in the stream.
    Realtime,
}

impl Args {
    /// Runs the command.
    pub(crate) async fn run(self, drain: Drain) -> Result<(), Failure> {
        let (url, address, file) = self.stream.locate(self.url.as_ref(), self.file.as_ref())?;
        if url.kind().is_some_and(|kind| kind != Kind::Publish) {
            return Err(Failure::usage("the URL is not one to publish to: leave its last part out"));
        }
        let path = PathBuf::from(file.unwrap_or_else(|| "-".into()));
        let from_pipe = path == Path::new("-");
        if self.repeat && from_pipe {
            return Err(Failure::usage("--loop needs a file: standard input can be read only once"));
        }
        let source = Source {
            input: input::open(&path).map_err(|error| Failure::io(path.display(), &error))?,
            container: self.container.0,
            chunk_bytes_max: usize::try_from(self.chunk_bytes_max.get()).unwrap_or(usize::MAX),
            pace: if self.realtime { Pace::Realtime } else { Pace::AsItComes },
            frame_rate: self.fps.0,
            again: self.repeat.then_some(path),
        };
        let console = Console::new(format!("publishing {}", address.channel()), self.connection.verbosity());
        let retry = Retry::new(self.connection.patience());
        let result = publish(&address, source, retry, &console, drain).await;
        console.finish();
        result
    }
}

/// How one connection ended.
enum End {
    /// The input is over, or we were asked to leave.
    Finished,
    /// The input is over and begins again.
    Round,
    /// The input broke.
    Input(std::io::Error),
    /// The other side ended it, or the network did.
    Closed(Ended),
}

/// Publishes until the input ends, the drain begins, or the server refuses for good.
pub(crate) async fn publish(
    address: &Address,
    source: Source,
    mut retry: Retry<fn() -> u64>,
    watch: &dyn Watch,
    mut drain: Drain,
) -> Result<(), Failure> {
    let mut feed = Feed::new(source);
    let mut again = false;
    loop {
        let connected = tokio::select! {
            biased;
            () = drain.reached(Phase::Draining) => return Ok(()),
            connected = connect(address, Kind::Publish, "") => connected,
        };
        let next = match connected {
            Ok((mut writer, mut reader)) => {
                watch.notice(&Notice::Connected { address: address.to_string(), again });
                again = true;
                let since = Instant::now();
                match session(&mut feed, &mut writer, &mut reader, watch, &mut drain).await {
                    End::Finished => {
                        let ended = writer.close(reader).await;
                        return goodbye(&ended);
                    }
                    End::Round => {
                        // No goodbye: receivers are held and go on with the next round.
                        writer.hang_up(reader).await;
                        retry.was_served();
                        feed.restart().map_err(|error| Failure::io("input", &error))?;
                        continue;
                    }
                    End::Input(error) => {
                        // The socket is dropped without a goodbye: the stream did not end, it broke.
                        return Err(Failure::io("input", &error));
                    }
                    End::Closed(ended) => {
                        feed.cutter.resume();
                        retry.after_session(&ended, since)?
                    }
                }
            }
            Err(error) => retry.after_connect(error)?,
        };
        let Next::Again { what, delay } = next else { return Ok(()) };
        watch.notice(&Notice::Retrying { what, delay });
        tokio::select! {
            biased;
            () = drain.reached(Phase::Draining) => return Ok(()),
            () = sleep(delay) => {}
        }
    }
}

/// Everything was sent and the server was told. What it answered decides whether it was taken.
fn goodbye(ended: &Ended) -> Result<(), Failure> {
    if ended.error.is_some() {
        match ended.verdict(History::default()) {
            Verdict::Done => Ok(()),
            Verdict::Stop { exit, what, advice } => Err(Failure::advised(exit, &what, advice)),
            Verdict::Again { what, .. } => Err(Failure::new(Exit::Connection, what)),
        }
    } else if ended.code.is_none() && ended.socket.is_some() {
        let what = "the connection was lost before the server confirmed the end";
        Err(Failure::new(Exit::Connection, what))
    } else {
        Ok(())
    }
}

async fn session(
    feed: &mut Feed,
    writer: &mut Writer,
    reader: &mut Reader,
    watch: &dyn Watch,
    drain: &mut Drain,
) -> End {
    let end = tokio::select! {
        biased;
        ended = reader.ended() => return End::Closed(ended),
        end = feed.send(writer, watch, drain) => end,
    };
    match end {
        // The socket takes nothing more; the reading half may still hold the reason.
        End::Closed(lost) => match tokio::time::timeout(LAST_WORDS_TIMEOUT, reader.ended()).await {
            Ok(ended) if ended.error.is_some() || ended.code.is_some() => End::Closed(ended),
            _ => End::Closed(lost),
        },
        end => end,
    }
}

/// The input on its way to the socket. Outlives connections.
struct Feed {
    source: Source,
    cutter: Cutter,
    pacer: Pacer,
    heartbeat: Interval,
    over: bool,
    told: bool,
}

impl Feed {
    fn new(source: Source) -> Self {
        let cutter = source.cutter();
        let mut heartbeat = tokio::time::interval(HEARTBEAT_INTERVAL);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { source, cutter, pacer: Pacer::default(), heartbeat, over: false, told: false }
    }

    fn restart(&mut self) -> std::io::Result<()> {
        if let Some(path) = &self.source.again {
            self.source.input = input::open(path)?;
            self.cutter = self.source.cutter();
            self.pacer = Pacer::default();
            self.over = false;
        }
        Ok(())
    }

    /// Sends until the input or the connection ends, or the drain begins.
    async fn send(&mut self, writer: &mut Writer, watch: &dyn Watch, drain: &mut Drain) -> End {
        loop {
            while let Some(chunk) = self.due() {
                let bytes = chunk.len();
                if let Err(ended) = writer.chunk(chunk).await {
                    return End::Closed(ended);
                }
                watch.passed(bytes);
            }
            if self.over && self.cutter.waiting() == 0 {
                return if self.source.again.is_some() { End::Round } else { End::Finished };
            }
            let wake = self.wake();
            tokio::select! {
                biased;
                () = drain.reached(Phase::Draining) => {
                    if let Some(rest) = self.cutter.take_rest()
                        && let Err(ended) = writer.chunk(rest).await
                    {
                        return End::Closed(ended);
                    }
                    return End::Finished;
                }
                _ = self.heartbeat.tick() => {
                    if let Err(ended) = writer.heartbeat().await {
                        return End::Closed(ended);
                    }
                }
                // Before the clock: what has arrived belongs to the unit that silence would otherwise cut.
                read = self.source.input.recv(), if !self.over && self.has_room() => match read {
                    Some(Ok(bytes)) => self.push(&bytes, watch),
                    Some(Err(error)) => return End::Input(error),
                    None => self.over = true,
                },
                () = wake.sleep() => {
                    if wake.flush
                        && let Some(rest) = self.cutter.take_rest()
                    {
                        let bytes = rest.len();
                        if let Err(ended) = writer.chunk(rest).await {
                            return End::Closed(ended);
                        }
                        watch.passed(bytes);
                    }
                }
            }
        }
    }

    fn push(&mut self, bytes: &Bytes, watch: &dyn Watch) {
        self.cutter.push(bytes);
        if let Some(container) = self.cutter.container().filter(|_| !self.told) {
            self.told = true;
            watch.notice(&Notice::Stream { summary: format!("container: {container}") });
            if self.source.pace == Pace::Realtime && container == Container::Opaque {
                let text =
                    "nothing is known of a clock to play it by: it is sent as fast as possible".to_owned();
                watch.notice(&Notice::Warning(text));
            }
        }
    }

    /// Whether more may be read. A unit that is larger than the read-ahead must still become whole.
    fn has_room(&self) -> bool {
        self.cutter.waiting() < READ_AHEAD_BYTES || !self.cutter.has_whole_unit()
    }

    /// The next chunk that may be sent now.
    fn due(&mut self) -> Option<Bytes> {
        let until = match self.source.pace {
            Pace::AsItComes => None,
            Pace::Realtime => {
                let now = Instant::now();
                if self.cutter.next_time_ms().is_some_and(|time_ms| self.pacer.due(time_ms, now) > now) {
                    return None;
                }
                self.pacer.now_ms(now)
            }
        };
        self.cutter.take(until).or_else(|| {
            // The last unit has no successor that would show its end.
            (self.over && !self.cutter.has_whole_unit()).then(|| self.cutter.take_rest()).flatten()
        })
    }

    /// When to look again although nothing was read.
    fn wake(&mut self) -> Wake {
        let now = Instant::now();
        let due = match (self.source.pace, self.cutter.next_time_ms()) {
            (Pace::Realtime, Some(time_ms)) => self.pacer.due(time_ms, now),
            _ => now,
        };
        if due > now {
            Wake { at: Some(due), flush: false }
        } else if self.cutter.waiting() > 0 {
            Wake { at: Some(now + IDLE_FLUSH), flush: true }
        } else {
            Wake { at: None, flush: false }
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Wake {
    at: Option<Instant>,
    flush: bool,
}

impl Wake {
    async fn sleep(self) {
        match self.at {
            Some(at) => sleep_until(at).await,
            None => future::pending().await,
        }
    }
}
