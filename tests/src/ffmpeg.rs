//! What `ffmpeg` makes, and what it thinks of what was received.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

use serde::Deserialize;
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::process::run;

/// A stream made by `ffmpeg` with these arguments, as it comes out of a pipe.
///
/// # Panics
/// When `ffmpeg` is not there or complains.
pub async fn encode(args: &str) -> Vec<u8> {
    let output = run(ffmpeg().args(args.split_whitespace()).arg("-")).await;
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "ffmpeg {args}");
    assert!(output.status.success() && !output.stdout.is_empty(), "ffmpeg {args}: {}", output.status);
    output.stdout
}

/// `ffmpeg` with what every use of it here needs; one thread, since there are as many at a time as there are cores.
pub fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-threads", "1"]);
    command
}

/// A frame or packet that holds a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    /// Offset of its first byte in the stream.
    pub at: u64,
    /// Whether a decoder may start with it.
    pub key: bool,
}

/// A track as `ffprobe` names it: codec, and the size of pictures.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Track {
    #[serde(rename = "codec_name", default)]
    codec: String,
    width: Option<u32>,
    height: Option<u32>,
}

/// What came of decoding a stream that holds together.
#[derive(Debug)]
pub struct Decoded {
    /// Pictures that came out.
    pub pictures: u64,
    /// Every track.
    pub tracks: BTreeSet<Track>,
}

/// Decodes streams, so many at a time as there are cores.
#[derive(Debug)]
pub struct Judge {
    cores: Semaphore,
}

impl Default for Judge {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { cores: Semaphore::new(cores) }
    }
}

impl Judge {
    /// Decodes a file. An error is why it is not a stream that decodes from its first picture on without a complaint.
    ///
    /// # Errors
    /// What is wrong with the stream.
    ///
    /// # Panics
    /// When `ffmpeg` or `ffprobe` is not there or hangs.
    pub async fn decode(&self, file: &Path) -> Result<Decoded, String> {
        let _turn = self.cores.acquire().await.expect("it is never closed");
        // Whatever the decoder gives counts, at the times the stream says: nothing is doubled, left out or rounded to
        // meet a frame rate that ffmpeg guesses.
        let as_it_is = ["-fps_mode", "passthrough", "-enc_time_base", "-1"];
        let to_nowhere = ["-nostats", "-progress", "pipe:1", "-f", "null", "-"];
        let output = run(ffmpeg().arg("-i").arg(file).args(as_it_is).args(to_nowhere)).await;
        check("ffmpeg", &output)?;
        let progress = String::from_utf8_lossy(&output.stdout);
        let pictures = progress.lines().rev().find_map(|line| line.strip_prefix("frame=")?.parse().ok());
        let pictures = pictures.filter(|pictures| *pictures > 0).ok_or("ffmpeg: not one picture")?;

        let probed = self.probe(file).await?;
        let first = probed.frames.iter().find(|frame| frame.media_type == "video");
        match first.ok_or("ffprobe: no picture near the start")? {
            Frame { key_frame: 1, .. } => {
                Ok(Decoded { pictures, tracks: probed.streams.into_iter().collect() })
            }
            _ => Err("ffprobe: the first picture is not a key frame".to_owned()),
        }
    }

    /// The tracks and the first frames.
    async fn probe(&self, file: &Path) -> Result<Probed, String> {
        // Sound may come before the first picture, though not for long.
        let what = [
            "-read_intervals",
            "%+#60",
            "-show_entries",
            "stream=codec_name,width,height:frame=media_type,key_frame",
        ];
        let output = run(ffprobe().args(what).args(["-of", "json"]).arg(file)).await;
        check("ffprobe", &output)?;
        serde_json::from_slice(&output.stdout).map_err(|error| format!("ffprobe: {error}"))
    }
}

/// The pictures of a stream in the order of decoding. Where the container does not say where a picture lies, the
/// pictures are the stream.
///
/// # Panics
/// When `ffprobe` is not there, hangs, or says something odd.
pub async fn pictures(file: &Path, places: Places) -> Vec<Picture> {
    let what = ["-select_streams", "v:0", "-show_entries", "packet=pos,size,flags", "-of", "json"];
    let output = run(ffprobe().args(what).arg(file)).await;
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "ffprobe {}", file.display());
    let packets: Packets = serde_json::from_slice(&output.stdout).unwrap();
    let mut before = 0;
    let pictures = packets.packets.iter().map(|packet| {
        let at = match places {
            Places::Told => packet.pos.as_deref().expect("the container says where").parse().unwrap(),
            Places::Joined => before,
        };
        before += packet.size.parse::<u64>().unwrap();
        Picture { at, key: packet.flags.starts_with('K') }
    });
    pictures.collect()
}

/// Where the pictures of a stream lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Places {
    /// Where the container says.
    Told,
    /// One behind the other, with nothing in between.
    Joined,
}

#[derive(Debug, Deserialize)]
struct Probed {
    streams: Vec<Track>,
    frames: Vec<Frame>,
}

#[derive(Debug, Deserialize)]
struct Frame {
    media_type: String,
    key_frame: u8,
}

#[derive(Debug, Deserialize)]
struct Packets {
    packets: Vec<Packet>,
}

#[derive(Debug, Deserialize)]
struct Packet {
    pos: Option<String>,
    size: String,
    flags: String,
}

fn ffprobe() -> Command {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-threads", "1"]);
    command
}

/// No complaint, and success.
fn check(program: &str, output: &Output) -> Result<(), String> {
    let complaints = String::from_utf8_lossy(&output.stderr);
    match complaints.is_empty() && output.status.success() {
        true => Ok(()),
        false => Err(format!("{program}: {}: {}", output.status, first_lines(&complaints))),
    }
}

/// What follows tends to repeat it.
fn first_lines(text: &str) -> String {
    text.lines().take(3).collect::<Vec<_>>().join(" | ")
}
