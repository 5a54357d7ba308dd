//! Something to look at: ffmpeg's test picture, published over the wire like anybody's stream.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use relay_lifecycle::backoff::{Backoff, entropy};
use relay_lifecycle::drain::{Drain, Phase};
use relay_media::Container;
use tracing::{info, warn};

use crate::client::address::Address;
use crate::client::cutter::FRAME_RATE;
use crate::client::input;
use crate::client::retry::Retry;
use crate::client::watch::Logged;
use crate::publish::{Pace, Source, publish};

/// Channel and key of the demo.
const NAME: &str = "demo";

/// A key frame every second, so that whoever opens the page sees a picture at once; no B-frames and no look-ahead, so
/// that the delay that is seen is the relay's.
const FFMPEG: &str = "-nostdin -hide_banner -loglevel error \
    -re -f lavfi -i testsrc2=size=1280x720:rate=25 -re -f lavfi -i sine=frequency=330:sample_rate=44100 \
    -c:v libx264 -preset ultrafast -tune zerolatency -pix_fmt yuv420p -b:v 1500k -maxrate 1500k -bufsize 750k -g 25 \
    -c:a aac -b:a 96k -flush_packets 1 -f flv -";

/// Bounds of the pause before ffmpeg is started again.
const RESTART: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// An ffmpeg that ran for so long was well: its next pause is a short one.
const WELL_AFTER: Duration = Duration::from_secs(10);

/// A child that does not outlive its owner. Should the owner be killed, the broken pipe ends it.
struct Ffmpeg(Child);

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        // Both fail only for a child that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Publishes until the drain begins, or until there is no ffmpeg.
pub(super) async fn run(node: SocketAddr, mut drain: Drain) {
    let (Ok(channel), Ok(key)) = (NAME.parse(), NAME.parse()) else { return };
    let address = Address::new(node.ip().to_string(), node.port(), channel, key);
    let mut restarts = Backoff::new(RESTART.0, RESTART.1, entropy);
    loop {
        let started = tokio::time::Instant::now();
        match start() {
            Ok((ffmpeg, input)) => {
                info!(channel = NAME, pid = ffmpeg.0.id(), "demo started");
                let source = Source {
                    input,
                    container: Some(Container::Flv),
                    chunk_bytes_max: relay_proto::websocket::CHUNK_BYTES_MAX,
                    pace: Pace::AsItComes,
                    frame_rate: FRAME_RATE,
                    again: None,
                };
                let result = publish(&address, source, Retry::new(WELL_AFTER), &Logged, drain.clone()).await;
                drop(ffmpeg);
                if drain.phase() >= Phase::Draining {
                    return;
                }
                let reason =
                    result.err().map_or_else(|| "ffmpeg ended".to_owned(), |failure| failure.to_string());
                warn!(reason, "demo interrupted");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                warn!(
                    "no demo: ffmpeg is not installed (Debian: apt install ffmpeg; macOS: brew install ffmpeg)"
                );
                return;
            }
            Err(error) => warn!(%error, "demo cannot start ffmpeg"),
        }
        if started.elapsed() >= WELL_AFTER {
            restarts.reset();
        }
        tokio::select! {
            biased;
            () = drain.reached(Phase::Draining) => return,
            () = tokio::time::sleep(restarts.next()) => {}
        }
    }
}

fn start() -> io::Result<(Ffmpeg, input::Input)> {
    let mut child = Command::new("ffmpeg")
        .args(FFMPEG.split_whitespace())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ffmpeg = Ffmpeg(child);
    if let Some(stderr) = stderr {
        // Ends with ffmpeg, whose death closes the pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                warn!(child = "ffmpeg", "{line}");
            }
        });
    }
    let stdout = stdout.ok_or_else(|| io::Error::other("ffmpeg has no output"))?;
    Ok((ffmpeg, input::read(File::from(OwnedFd::from(stdout)))))
}
