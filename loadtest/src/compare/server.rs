//! The servers that are compared, and how each is started.

use std::env;
use std::fmt;
use std::io;
use std::iter;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::plan::{Endpoint, Server as Target};

/// A server that can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Server {
    /// One thread that does nothing but its system calls (`relaycast-loadtest ceiling`)
    Ceiling,
    /// Relaycast, with everything on
    Relaycast,
    /// nchan, a module of nginx, as it comes: it waits for acknowledgements to send small messages together
    Nchan,
    /// nchan, with every message sent at once as by all others
    NchanNodelay,
    /// The package ws of Node.js
    Ws,
    /// µWebSockets, by the package socketify of Python
    Uwebsockets,
    /// A tokio broadcast channel, and a task per receiver (`examples/naive.rs`)
    Naive,
}

/// How long a server may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a server does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("{program} does not start: {source}")]
    Spawn { program: String, source: io::Error },
    #[error("{0} ended before it listened")]
    Ended(Server),
    #[error("{0} does not listen")]
    Silent(Server),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A server that runs, until it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    pub(crate) target: Target,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A server that is gone already is what was wanted.
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        );
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::park_timeout(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ceiling => "ceiling",
            Self::Relaycast => "Relaycast",
            Self::Nchan => "nchan (as it comes)",
            Self::NchanNodelay => "nchan (no delay)",
            Self::Ws => "ws (Node.js)",
            Self::Uwebsockets => "µWebSockets (socketify)",
            Self::Naive => "naive tokio",
        })
    }
}

impl Server {
    pub(crate) const ALL: [Self; 7] = [
        Self::Ceiling,
        Self::Relaycast,
        Self::Nchan,
        Self::NchanNodelay,
        Self::Ws,
        Self::Uwebsockets,
        Self::Naive,
    ];

    /// Starts the server on a free port and on these processors, and waits until it listens. `peers` is the folder with
    /// what the others need.
    pub(crate) fn start(self, cpus: &str, peers: &Path) -> Result<Running, StartError> {
        let port = free_port()?;
        let program = self.command(port, peers)?;
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", cpus]).arg(program.get_program()).args(program.get_args());
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| StartError::Spawn { program: format!("taskset for {self}"), source })?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (publish_path, receive_path) = self.paths();
        let endpoint = |path: &str| Endpoint { address, host: address.to_string(), path: path.to_owned() };
        let target = Target { publish: endpoint(publish_path), receive: endpoint(receive_path) };
        let mut running = Running { child, target };
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(address).is_err() {
            if running.child.try_wait()?.is_some() {
                return Err(StartError::Ended(self));
            }
            if Instant::now() > deadline {
                return Err(StartError::Silent(self));
            }
            thread::park_timeout(Duration::from_millis(20));
        }
        Ok(running)
    }

    fn command(self, port: u16, peers: &Path) -> io::Result<Command> {
        let listen = format!("127.0.0.1:{port}");
        let (program, args) = match self {
            Self::Ceiling => (env::current_exe()?, vec!["ceiling".to_owned(), "--listen".to_owned(), listen]),
            Self::Relaycast => (
                beside_this("relaycast")?,
                ["edge", "--listen", &listen, "--admin-listen", "127.0.0.1:0"].map(str::to_owned).to_vec(),
            ),
            Self::Naive => (beside_this("examples/naive")?, vec![port.to_string()]),
            Self::Nchan => (peers.join("nchan.sh"), vec![port.to_string()]),
            Self::NchanNodelay => (peers.join("nchan.sh"), vec![port.to_string(), "nodelay".to_owned()]),
            Self::Ws => ("node".into(), vec![peers.join("ws.mjs").display().to_string(), port.to_string()]),
            Self::Uwebsockets => (
                peers.join(".venv/bin/python"),
                vec![peers.join("uwebsockets.py").display().to_string(), port.to_string()],
            ),
        };
        let mut command = Command::new(program);
        command.args(args);
        Ok(command)
    }

    fn paths(self) -> (&'static str, &'static str) {
        match self {
            Self::Nchan | Self::NchanNodelay => ("/pub/{channel}", "/sub/{channel}"),
            _ => ("/{channel}/load-test/publish", "/{channel}/load-test/receive"),
        }
    }
}

/// A program that was built together with this one.
pub(crate) fn beside_this(name: &str) -> io::Result<PathBuf> {
    Ok(env::current_exe()?.with_file_name(name))
}

/// A port that nobody has. None of those that Linux gives to connections: whoever tries one of them before its server is
/// there may be connected to itself.
pub(crate) fn free_port() -> io::Result<u16> {
    const PORTS: Range<u16> = 16_384..32_768;
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let mut draws = iter::repeat_with(|| fastrand::u16(PORTS)).take(PORTS.len());
    draws.find(is_free).ok_or_else(|| io::ErrorKind::AddrInUse.into())
}
