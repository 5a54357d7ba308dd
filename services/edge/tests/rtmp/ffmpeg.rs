//! What `ffmpeg` makes, pushes, and thinks of what was received.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// How long anything here may take beyond the length of its stream.
const LIMIT: Duration = Duration::from_secs(60);

async fn ffmpeg(args: &str, last: &str) -> Output {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-threads", "1", "-y"]).args(args.split_whitespace()).arg(last);
    command.stdin(Stdio::null()).kill_on_drop(true);
    timeout(LIMIT, command.output()).await.expect("ffmpeg ends in time").unwrap()
}

/// A stream as it comes out of a pipe.
pub(crate) async fn encode(args: &str) -> Vec<u8> {
    let output = ffmpeg(args, "-").await;
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "ffmpeg {args}");
    output.stdout
}

/// Pushes to this URL until the stream is over.
pub(crate) async fn push(args: &str, url: &str) -> Result<(), String> {
    let output = ffmpeg(args, url).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() && said.is_empty() { Ok(()) } else { Err(said) }
}

/// Decodes a stream from its first byte to its last: how many pictures there were, if there is no complaint.
pub(crate) async fn decode(folder: &Path, name: &str, stream: &[u8]) -> u64 {
    let file = folder.join(name);
    std::fs::write(&file, stream).unwrap();
    let args = format!(
        "-i {} -fps_mode passthrough -enc_time_base -1 -nostats -progress pipe:1 -f null",
        file.display()
    );
    let output = ffmpeg(&args, "-").await;
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{name}");
    assert!(output.status.success(), "{name}");
    let progress = String::from_utf8_lossy(&output.stdout).into_owned();
    progress.lines().rev().find_map(|line| line.strip_prefix("frame=")?.trim().parse().ok()).unwrap_or(0)
}
