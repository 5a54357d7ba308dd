//! A push of real video by RTMP: one ffmpeg encodes, another sends, so that a change of the picture keeps the connection.
//!
//! A device that changes its lens goes on in the same stream, with other parameters of its codec. Here the encoder is
//! replaced by one with another size, and the sender reads on: the stream has a new sequence header, and timestamps go on.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// What is read from the encoder at once.
const READ_BYTES: usize = 32 << 10;

/// Of what ffmpeg complains about, what is kept.
const COMPLAINT_BYTES_MAX: u64 = 4 << 10;

/// How long the sender may take to end its stream.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// Width and height by quality: half of what devices send, since many run on one machine.
const SIZES: [(u32, u32); 5] = [(640, 360), (480, 270), (640, 360), (640, 360), (960, 540)];

/// What is in the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) quality: u64,
    /// Which of the lenses.
    pub(super) lens: usize,
}

impl Picture {
    /// Each lens has another size, and both numbers are even, as H.264 wants.
    fn size(self) -> (u32, u32) {
        let quality = usize::try_from(self.quality).unwrap_or_default().min(SIZES.len() - 1);
        let (width, height) = SIZES[quality];
        let smaller = |of: u32| match self.lens {
            0 => of,
            1 => (of * 3 / 4) & !1,
            _ => (of / 2) & !1,
        };
        (smaller(width), smaller(height))
    }
}

/// Two processes, which are killed when this is dropped.
#[derive(Debug)]
pub(super) struct Push {
    encoder: Encoder,
    sender: Child,
    input: ChildStdin,
}

#[derive(Debug)]
struct Encoder {
    child: Child,
    output: ChildStdout,
}

fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin"]).stdin(Stdio::null()).stderr(Stdio::null());
    command.kill_on_drop(true);
    command
}

impl Encoder {
    fn start(picture: Picture) -> io::Result<Self> {
        let (width, height) = picture.size();
        let mut command = ffmpeg();
        command.args(["-re", "-f", "lavfi", "-i", &format!("testsrc2=size={width}x{height}:rate=25")]);
        command.args("-threads 1 -c:v libx264 -preset ultrafast -tune zerolatency -g 25".split(' '));
        command.args("-pix_fmt yuv420p -f h264 pipe:1".split(' '));
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { child, output })
    }

    /// Lets it end after a whole picture.
    fn end(&self) {
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            // One that has ended is what was wanted.
            let _ = kill_process(pid, Signal::INT);
        }
    }
}

impl Push {
    pub(super) fn start(url: &str, picture: Picture) -> io::Result<Self> {
        let mut command = ffmpeg();
        // Nothing is kept back to find out what it is, and times are those of arrival.
        command.args(
            "-fflags nobuffer -probesize 32 -analyzeduration 0 -use_wallclock_as_timestamps 1".split(' '),
        );
        command.args("-f h264 -framerate 25 -i pipe:0 -c copy -bsf:v extract_extradata".split(' '));
        command.args(["-flvflags", "no_duration_filesize", "-f", "flv", url]);
        let mut sender =
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let input = sender.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { encoder: Encoder::start(picture)?, sender, input })
    }

    /// Pushes the pictures that are wanted, until the sender ends, or `stop` is dropped: then it says farewell, as a device
    /// does. What it complained about, without the URL.
    pub(super) async fn run(
        mut self,
        url: &str,
        changes: mpsc::Receiver<Picture>,
        stop: oneshot::Receiver<()>,
    ) -> String {
        let complaint = self.sender.stderr.take();
        let Self { mut encoder, mut sender, mut input } = self;
        tokio::select! {
            () = pump(&mut encoder, &mut input, changes) => {}
            _ = sender.wait() => {}
            _ = stop => {}
        }
        drop(input);
        // One that does not end by itself is killed.
        let _ = timeout(FAREWELL_TIMEOUT, sender.wait()).await;
        drop(sender);
        let mut text = Vec::new();
        if let Some(complaint) = complaint {
            // What cannot be read is not told.
            let _ = complaint.take(COMPLAINT_BYTES_MAX).read_to_end(&mut text).await;
        }
        without_key(&String::from_utf8_lossy(&text), url)
    }
}

/// Hands over what is encoded, until one of both ends.
async fn pump(encoder: &mut Encoder, input: &mut ChildStdin, mut changes: mpsc::Receiver<Picture>) {
    let mut buffer = vec![0; READ_BYTES];
    let mut wanted = None;
    loop {
        tokio::select! {
            read = encoder.output.read(&mut buffer) => match read {
                Ok(len @ 1..) => {
                    if input.write_all(&buffer[..len]).await.is_err() {
                        return;
                    }
                }
                // It has ended, as it was told to.
                _ => match wanted.take().map(Encoder::start) {
                    Some(Ok(next)) => *encoder = next,
                    _ => return,
                },
            },
            Some(picture) = changes.recv() => {
                wanted = Some(picture);
                encoder.end();
            }
        }
    }
}

/// A complaint has the URL, or what of it the server was told.
fn without_key(complaint: &str, url: &str) -> String {
    let name = url.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(url);
    complaint.replace(url, "URL").replace(name, "KEY").trim().to_owned()
}

/// Of an RTMP URL, the channel: what stands between the app and the key.
pub(super) fn channel(url: &str) -> &str {
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    let name = path.split('/').nth(2).unwrap_or_default();
    name.split('?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lens_is_of_another_size() {
        let size = |quality, lens| Picture { quality, lens }.size();
        assert_eq!([size(0, 0), size(0, 1), size(0, 2)], [(640, 360), (480, 270), (320, 180)]);
        for (quality, lens) in (0..6).flat_map(|quality| [(quality, 0), (quality, 1), (quality, 2)]) {
            let (width, height) = size(quality, lens);
            assert!(width % 2 == 0 && height % 2 == 0, "{width}x{height}");
        }
    }

    #[test]
    fn a_complaint_has_no_key() {
        let complaint = without_key(
            "rtmp://n/live/c/hunter2: refused\nServer error: hunter2\n",
            "rtmp://n/live/c/hunter2",
        );
        assert_eq!(complaint, "URL: refused\nServer error: KEY");
        assert_eq!(without_key("x", "rtmp://n/"), "x");
    }

    #[test]
    fn the_key_is_no_part_of_the_channel() {
        for url in ["rtmp://n:1935/live/c/key", "rtmp://n:1935/live/c?key=key", "rtmp://n/live/c"] {
            assert_eq!(channel(url), "c", "{url}");
        }
        assert_eq!(channel("agora"), "");
    }
}
