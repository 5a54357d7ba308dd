//! Runs the real binary, keeps everything it says, and ends it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest time that anything in these tests may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The key of every stream in these tests; no process may ever say it.
pub(crate) const KEY: &str = "Secret-Key_42";

/// A running `relaycast`.
pub(crate) struct Relaycast {
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<()>>,
    lines: Receiver<String>,
    said: Arc<Mutex<String>>,
}

/// How it ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relaycast"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RELAYCAST_"))
    {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null());
    command
}

pub(crate) fn start(args: &[&str]) -> Relaycast {
    Relaycast::spawn(command(args))
}

/// Runs to the end without a key ever being said.
pub(crate) fn run(args: &[&str]) -> Ended {
    start(args).wait()
}

impl Relaycast {
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let stderr = child.stderr.take().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (sender, lines) = channel();
        let keep = Arc::clone(&said);
        Self {
            child,
            stdout: Some(std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = stdout.read_to_end(&mut bytes);
                bytes
            })),
            stderr: Some(std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    let mut said = keep.lock().unwrap();
                    said.push_str(&line);
                    said.push('\n');
                    let _ = sender.send(line);
                }
            })),
            lines,
            said,
        }
    }

    /// Standard input; closed when dropped.
    pub(crate) fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// The next line on standard error that contains `text`.
    pub(crate) fn line(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(_) => {}
                Err(_) => panic!("no line with {text:?} in:\n{}", self.said.lock().unwrap()),
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    pub(crate) fn wait(mut self) -> Ended {
        let status = self.wait_for_exit();
        let stdout = self.stdout.take().unwrap().join().unwrap();
        self.stderr.take().unwrap().join().unwrap();
        let stderr = self.said.lock().unwrap().clone();
        assert!(!stderr.contains(KEY), "the key was said:\n{stderr}");
        Ended { code: status.code(), stdout, stderr }
    }

    fn wait_for_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::yield_now();
            let _ = self.lines.recv_timeout(Duration::from_millis(10));
        }
        panic!("still running:\n{}", self.said.lock().unwrap());
    }
}

impl Drop for Relaycast {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(stderr) = self.stderr.take()
            && !std::thread::panicking()
        {
            stderr.join().unwrap();
            let said = self.said.lock().unwrap();
            assert!(!said.contains(KEY), "the key was said:\n{said}");
        }
    }
}

/// A node on free ports, or on one that is known.
pub(crate) struct Node {
    pub(crate) process: Relaycast,
    pub(crate) address: String,
    pub(crate) admin: String,
}

impl Node {
    pub(crate) fn start() -> Self {
        Self::at("127.0.0.1:0", &[])
    }

    pub(crate) fn at(listen: &str, more: &[&str]) -> Self {
        let mut args =
            vec!["edge", "--listen", listen, "--admin-listen", "127.0.0.1:0", "--log-format", "json"];
        args.extend(more);
        let process = start(&args);
        let line = process.line("\"serving\"");
        let field = |name: &str| {
            let start = line.find(&format!("\"{name}\":\"")).unwrap() + name.len() + 4;
            line[start..].split('"').next().unwrap().to_owned()
        };
        let (address, admin) = (field("listen"), field("admin"));
        Self { process, address, admin }
    }

    pub(crate) fn url(&self, channel: &str) -> String {
        format!("ws://{}/{channel}/{KEY}", self.address)
    }

    /// A page of the admin listener, head and body.
    pub(crate) fn admin_page(&self, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(&self.admin).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
        std::io::read_to_string(stream).unwrap()
    }
}

/// A publisher that reads a pipe, in service.
pub(crate) fn publisher(node: &Node, channel: &str) -> (Relaycast, std::process::ChildStdin) {
    let url = node.url(channel);
    let mut command = command(&["publish", "-v", &url]);
    command.stdin(Stdio::piped());
    let mut process = Relaycast::spawn(command);
    let stdin = process.stdin();
    process.line("connected");
    (process, stdin)
}

/// A receiver that is connected.
pub(crate) fn receiver(node: &Node, channel: &str, more: &[&str]) -> Relaycast {
    let url = node.url(channel);
    let mut args = vec!["receive", "-v", &url];
    args.extend(more);
    let process = start(&args);
    process.line("connected");
    process
}

/// A film in FLV with a key frame every 400 ms.
pub(crate) fn film(seconds: u32) -> Vec<u8> {
    let (video, audio) =
        (format!("testsrc2=size=320x180:rate=25:duration={seconds}"), format!("sine=duration={seconds}"));
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &audio])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-c:a", "aac", "-f", "flv", "-"])
        .output()
        .expect("ffmpeg is on PATH");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// How often an FLV stream begins in these bytes.
pub(crate) fn beginnings(bytes: &[u8]) -> usize {
    bytes
        .windows(9)
        .filter(|window| window.starts_with(b"FLV\x01") && window.ends_with(&[0, 0, 0, 9]))
        .count()
}

/// Waits until the file has at least this many bytes.
pub(crate) fn wait_for_bytes(path: &std::path::Path, bytes: u64) {
    let deadline = Instant::now() + PATIENCE;
    while std::fs::metadata(path).map_or(0, |metadata| metadata.len()) < bytes {
        assert!(Instant::now() < deadline, "{} has fewer than {bytes} bytes", path.display());
        std::thread::yield_now();
    }
}
