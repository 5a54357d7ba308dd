//! The processes of a cluster: a Redis, a NATS server, nodes, and a stream-manager. Each ends with its value.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{sched_getaffinity, sched_setaffinity};
use serde::Deserialize;

use crate::command::run::pin;
use crate::compare::server::free_port;

/// How long a process may take until it serves. Nodes first connect to Redis and NATS.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How often it is looked whether it does.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// The secret that nodes of one cluster share. These live for minutes, on this machine alone.
pub(crate) const SECRET: &str = "load-test";

/// What is started, and how.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) redis: PathBuf,
    pub(crate) nats: PathBuf,
    pub(crate) relaycast: PathBuf,
    /// Further flags of what is started of `relaycast`.
    pub(crate) relaycast_flags: Vec<String>,
    /// The processors that it runs on; those of this process, if there are none here.
    pub(crate) relaycast_cpus: Vec<usize>,
    /// Where its logs go, if anywhere.
    pub(crate) logs: Option<PathBuf>,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("{} does not start: {source}", program.display())]
    Spawn { program: PathBuf, source: io::Error },
    #[error("{} ended before it served", .0.display())]
    Ended(PathBuf),
    #[error("{} does not serve within {} s", .0.display(), START_TIMEOUT.as_secs())]
    Silent(PathBuf),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A process that is killed when this is dropped: none of them keeps anything.
#[derive(Debug)]
pub(crate) struct Owned {
    program: PathBuf,
    child: Child,
}

impl Owned {
    fn start(program: &Path, args: &[&str], cpus: &[usize], stderr: Stdio) -> Result<Self, StartError> {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        for (name, _) in std::env::vars_os() {
            // Settings of nodes, which are here what they are by default.
            if name.to_string_lossy().starts_with("RELAYCAST_") {
                command.env_remove(name);
            }
        }
        let child = spawn_on(&mut command, cpus)
            .map_err(|source| StartError::Spawn { program: program.to_owned(), source })?;
        Ok(Self { program: program.to_owned(), child })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `look` says that it serves.
    fn until(&mut self, mut look: impl FnMut() -> bool) -> Result<(), StartError> {
        let deadline = Instant::now() + START_TIMEOUT;
        while !look() {
            if self.child.try_wait()?.is_some() {
                return Err(StartError::Ended(self.program.clone()));
            }
            if Instant::now() > deadline {
                return Err(StartError::Silent(self.program.clone()));
            }
            thread::park_timeout(LOOK_INTERVAL);
        }
        Ok(())
    }

    fn kill(&self) {
        // One that is gone already is what was wanted.
        let _ = kill_process(Pid::from_child(&self.child), Signal::KILL);
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}

/// Starts a process on these processors; on those of this thread, if there are none. It inherits them, and so finds out how
/// many it has before its first thread starts.
fn spawn_on(command: &mut Command, cpus: &[usize]) -> io::Result<Child> {
    if cpus.is_empty() {
        return command.spawn();
    }
    let own = sched_getaffinity(None)?;
    pin(cpus)?;
    let child = command.spawn();
    sched_setaffinity(None, &own)?;
    child
}

/// Starts a server that has to be told its port, and waits until it listens.
pub(crate) fn listening(
    program: &Path,
    port: u16,
    args: &[&str],
    cpus: &[usize],
) -> Result<Owned, StartError> {
    let mut server = Owned::start(program, args, cpus, Stdio::null())?;
    server.until(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())?;
    Ok(server)
}

/// A node of the cluster, or its stream-manager.
#[derive(Debug)]
pub(crate) struct Node {
    process: Owned,
    address: SocketAddr,
    /// Reads its log to the end, which comes with the end of the process.
    listener: Option<JoinHandle<()>>,
}

/// The line that is logged once it serves.
#[derive(Debug, Deserialize)]
struct Serving {
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Node {
    /// `role` is the command of `relaycast`.
    fn start(
        programs: &Programs,
        role: &str,
        redis: u16,
        nats: u16,
        name: &str,
        more: &[&str],
    ) -> Result<Self, StartError> {
        let (redis, nats) = (format!("redis://127.0.0.1:{redis}"), format!("nats://127.0.0.1:{nats}"));
        let mut args = vec![role, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        args.extend(["--log-format", "json", "--redis", &redis, "--nats", &nats, "--cluster-secret", SECRET]);
        args.extend(more);
        let log = programs.logs.as_ref().map(|folder| File::create(folder.join(format!("{name}.log"))));
        let log = log.transpose()?;
        let mut process = Owned::start(&programs.relaycast, &args, &programs.relaycast_cpus, Stdio::piped())?;
        let (sender, serving) = sync_channel(1);
        let stderr = process.child.stderr.take().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        let listener =
            thread::Builder::new().name(format!("log-{name}")).spawn(|| listen(stderr, log, sender))?;
        let mut node = Self { process, address: (Ipv4Addr::LOCALHOST, 0).into(), listener: Some(listener) };
        match serving.recv_timeout(START_TIMEOUT) {
            Ok(Serving { listen, admin }) => {
                node.address = listen;
                // It listens before it has reached Redis and NATS.
                node.process.until(|| is_ready(admin).unwrap_or(false))?;
                Ok(node)
            }
            Err(RecvTimeoutError::Timeout) => Err(StartError::Silent(programs.relaycast.clone())),
            Err(RecvTimeoutError::Disconnected) => Err(StartError::Ended(programs.relaycast.clone())),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// `kill -9`, without waiting for the end.
    pub(crate) fn kill(&self) {
        self.process.kill();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if let Some(listener) = self.listener.take() {
            // It has nothing to say, not even a panic that anybody waits for.
            let _ = listener.join();
        }
    }
}

/// Tells where a node serves, and keeps its log where one is wanted. Reads on in any case: a full pipe would stop the node.
fn listen(stderr: ChildStderr, mut log: Option<File>, serving: SyncSender<Serving>) {
    let mut serving = Some(serving);
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if serving.is_some()
            && let Ok(found) = serde_json::from_str(&line)
            && let Some(sender) = serving.take()
        {
            // Whoever gave up waiting needs it no more.
            let _ = sender.send(found);
        }
        if let Some(log) = &mut log {
            // A log that cannot be written shows by what it lacks.
            let _ = writeln!(log, "{line}");
        }
    }
}

/// Whether a node takes sessions.
fn is_ready(admin: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(START_TIMEOUT))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

/// A cluster that runs until it is dropped: nodes first.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    nats: Owned,
    _redis: Owned,
    programs: Programs,
    redis_port: u16,
    nats_port: u16,
    /// Nodes started so far.
    started: usize,
}

impl Cluster {
    pub(crate) fn start(programs: Programs, nodes: usize) -> Result<Self, StartError> {
        let (redis_port, nats_port) = (free_port()?, free_port()?);
        let port = redis_port.to_string();
        let args = ["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"];
        let redis = listening(&programs.redis, redis_port, &args, &[])?;
        let port = nats_port.to_string();
        let args = ["--addr", "127.0.0.1", "--port", &port];
        let nats = listening(&programs.nats, nats_port, &args, &[])?;
        let mut cluster =
            Self { nodes: Vec::new(), nats, _redis: redis, programs, redis_port, nats_port, started: 0 };
        for _ in 0..nodes {
            let node = cluster.start_node()?;
            cluster.nodes.push(node);
        }
        Ok(cluster)
    }

    fn start_node(&mut self) -> Result<Node, StartError> {
        self.started += 1;
        let name = format!("node-{}", self.started);
        let flags: Vec<_> = self.programs.relaycast_flags.iter().map(String::as_str).collect();
        Node::start(&self.programs, "edge", self.redis_port, self.nats_port, &name, &flags)
    }

    /// Starts a stream-manager.
    pub(crate) fn start_manager(&self) -> Result<Node, StartError> {
        let flags: Vec<_> = self.programs.relaycast_flags.iter().map(String::as_str).collect();
        Node::start(&self.programs, "manager", self.redis_port, self.nats_port, "manager", &flags)
    }

    /// Starts a bridge to a broker, with these flags.
    pub(crate) fn start_bridge(
        &self,
        mqtt: &str,
        manager: SocketAddr,
        flags: &[String],
    ) -> Result<Node, StartError> {
        let (mqtt, manager) = (format!("--mqtt={mqtt}"), format!("--manager=http://{manager}"));
        let flags: Vec<_> = [&mqtt, &manager].into_iter().chain(flags).map(String::as_str).collect();
        Node::start(&self.programs, "bridge", self.redis_port, self.nats_port, "bridge", &flags)
    }

    pub(crate) fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// Starts a node that was killed again, on another port and under another name.
    pub(crate) fn restart(&mut self, index: usize) -> Result<(), StartError> {
        self.nodes[index] = self.start_node()?;
        Ok(())
    }

    pub(crate) fn nats_url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.nats_port)
    }

    pub(crate) fn nats_pid(&self) -> u32 {
        self.nats.pid()
    }
}
