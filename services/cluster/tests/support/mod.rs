//! Redis servers for one test: each is a process that the test owns, on a port of its own, with nothing on disk that outlives
//! it.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "what is unwrapped is what the test asserts")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use relay_cluster::registry::redis::{Config, DEFAULT_TIMEOUT};
use relay_cluster::registry::{Claim, RedisRegistry, Terms};
use relay_proto::backbone::Peer;
use relay_proto::{ChannelName, Epoch, Incarnation, KeyHash};
use tempfile::TempDir;

/// Far more than a server takes to start, or a cluster to agree, on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Ports that are tried, since another process may take the one that was free.
const PORTS_TRIED_MAX: usize = 8;

/// A process, killed when dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) dir: TempDir,
    process: Child,
    log: Log,
}

/// What the process has written so far.
#[derive(Clone, Default)]
struct Log(Arc<(Mutex<Written>, Condvar)>);

#[derive(Default)]
struct Written {
    lines: Vec<String>,
    ended: bool,
}

impl Server {
    /// A server with further arguments, ready for connections.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_tls_or_not("--port", args)
    }

    /// The same, with TLS only. The files are those of [`certificates`].
    pub(crate) fn start_tls(files: &Path) -> Self {
        let file = |name: &str| files.join(name).to_str().unwrap().to_owned();
        let (ca, cert, key) = (file("ca.pem"), file("server.pem"), file("server.key"));
        let tls =
            ["--port", "0", "--tls-ca-cert-file", &ca, "--tls-cert-file", &cert, "--tls-key-file", &key];
        Self::start_tls_or_not("--tls-port", &[&tls[..], &["--tls-auth-clients", "no"]].concat())
    }

    /// A Sentinel that follows one master, called `main`, by itself. `asker` with `word` may ask it where that is.
    pub(crate) fn start_sentinel(master: &Self) -> Self {
        let dir = TempDir::new().unwrap();
        let config = dir.path().join("sentinel.conf");
        let text = format!(
            "sentinel monitor main 127.0.0.1 {} 1\nsentinel down-after-milliseconds main 300\n\
             sentinel failover-timeout main 3000\n\
             user asker on >word -@all +sentinel|get-master-addr-by-name\n",
            master.port
        );
        std::fs::write(&config, text).unwrap();
        let args = [config.to_str().unwrap(), "--sentinel", "--bind", "127.0.0.1", "--port"];
        let spawn = |port: u16| spawn(&args, &port.to_string(), &[], dir.path());
        let (process, log, port) = try_ports(spawn, "+monitor master main");
        Self { port, dir, process, log }
    }

    /// Another server on the same port, which has forgotten everything.
    pub(crate) fn restart(&mut self, args: &[&str]) {
        self.kill();
        let port = self.port.to_string();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (process, log) = spawn(&ordinary(self.dir.path(), "--port"), &port, args, self.dir.path());
            (self.process, self.log) = (process, log);
            if self.log.wait("Ready to accept connections") {
                return;
            }
            // The port of a connection that has just ended may still be taken.
            assert!(Instant::now() < deadline, "the port stayed taken");
            self.process.wait().unwrap();
        }
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Waits until it has logged this.
    pub(crate) fn wait_for_line(&self, part: &str) {
        assert!(self.log.wait(part), "ended before it logged {part:?}");
    }

    /// Says something with `redis-cli`, and tells what was answered.
    pub(crate) fn say(&self, args: &[&str]) -> String {
        let output =
            Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(args).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && !text.starts_with("ERR"), "{args:?}: {text}");
        text
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.host())
    }

    fn start_tls_or_not(port_option: &str, args: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let ordinary = ordinary(dir.path(), port_option);
        let spawn = |port: u16| spawn(&ordinary, &port.to_string(), args, dir.path());
        let (process, log, port) = try_ports(spawn, "Ready to accept connections");
        Self { port, dir, process, log }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Log {
    /// Until a line has this, or there are no more.
    fn wait(&self, part: &str) -> bool {
        let (written, changed) = &*self.0;
        let has = |written: &Written| written.lines.iter().any(|line| line.contains(part));
        let (written, waited) = changed
            .wait_timeout_while(written.lock().unwrap(), PATIENCE, |written| !written.ended && !has(written))
            .unwrap();
        assert!(!waited.timed_out(), "{part:?} was not logged in {PATIENCE:?}: {:?}", written.lines);
        has(&written)
    }
}

fn ordinary(dir: &Path, port_option: &str) -> Vec<String> {
    let dir = dir.to_str().unwrap();
    let args = ["--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no", port_option];
    args.map(str::to_owned).to_vec()
}

fn try_ports(spawn: impl Fn(u16) -> (Child, Log), ready: &str) -> (Child, Log, u16) {
    for _ in 0..PORTS_TRIED_MAX {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (mut process, log) = spawn(port);
        if log.wait(ready) {
            return (process, log, port);
        }
        process.wait().unwrap();
    }
    panic!("redis-server did not start on any of {PORTS_TRIED_MAX} ports");
}

fn spawn(first: &[impl AsRef<std::ffi::OsStr>], port: &str, args: &[&str], dir: &Path) -> (Child, Log) {
    let mut process = Command::new("redis-server")
        .args(first)
        .arg(port)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed");
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let log = Log::default();
    let shared = log.clone();
    // Ends with the process.
    thread::spawn(move || {
        let (written, changed) = &*shared.0;
        for line in lines.map_while(Result::ok) {
            written.lock().unwrap().lines.push(line);
            changed.notify_all();
        }
        written.lock().unwrap().ended = true;
        changed.notify_all();
    });
    (process, log)
}

/// `ca.pem`, and `server.pem` with `server.key` for 127.0.0.1 by that CA.
pub(crate) fn certificates() -> TempDir {
    let dir = TempDir::new().unwrap();
    let openssl = |args: &[&str]| {
        let common =
            ["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        let output = Command::new("openssl").args(common).args(args).current_dir(dir.path()).output();
        let output = output.expect("openssl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    openssl(&["-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem"]);
    let name = [
        "-subj",
        "/CN=server",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-addext",
        "basicConstraints=CA:FALSE",
    ];
    openssl(
        &[&["-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "server.key", "-out", "server.pem"], &name[..]]
            .concat(),
    );
    dir
}

pub(crate) fn config(url: String) -> Config {
    Config { url, cluster: "relaycast".parse().unwrap(), ca_file: None, timeout: DEFAULT_TIMEOUT }
}

pub(crate) fn registry(url: String) -> RedisRegistry {
    RedisRegistry::new(config(url)).unwrap()
}

pub(crate) fn peer(node: &str, incarnation: u64) -> Peer {
    Peer { node: node.parse().unwrap(), incarnation: Incarnation::new(incarnation) }
}

/// The hash of the key with this name.
pub(crate) fn key(name: &str) -> KeyHash {
    KeyHash::of(b"secret", &"any".parse().unwrap(), &name.parse().unwrap())
}

/// A claim for the lease of a channel, for a minute.
pub(crate) fn claim(channel: &str, node: &str) -> Claim {
    let channel: ChannelName = channel.parse().unwrap();
    let terms = Terms { ttl: Duration::from_secs(60), grace: Duration::from_secs(60) };
    Claim { channel, peer: peer(node, 1), key: key("k"), replaces: None, exceeds: Epoch::NONE, terms }
}
