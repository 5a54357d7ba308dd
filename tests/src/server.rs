//! Servers that are not ours, as processes: their ports, and when they are ready.
//!
//! They have to be told their ports in advance, and say on standard error when they serve. That line is what is waited
//! for, since whoever answers on a port need not be the process that was started to do so.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use crate::process::Process;

/// Where Linux looks for a port only when it is asked for that one. From the range that it chooses from itself, the port
/// of a server that is dead for a moment could become that of somebody's connection, even of one from the port to itself.
const PORTS: Range<u16> = 16_384..32_768;

/// Many more than can be taken by others at the very moment.
const ATTEMPTS_MAX: usize = 20;

/// A port of 127.0.0.1 that nobody has.
///
/// Somebody can take it before the server does: another test that draws the same of thousands. A server that finds its
/// port taken says so and ends, and [`on_free_ports`] starts it again with another.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let mut draws = std::iter::repeat_with(|| fastrand::u16(PORTS)).take(PORTS.len());
    draws.find(is_free).expect("not every port is taken")
}

/// Starts what needs `N` ports, with other ports when it finds one of them taken, which it tells by `None`.
///
/// # Panics
/// When that happens again and again.
pub async fn on_free_ports<const N: usize, T>(mut start: impl AsyncFnMut([u16; N]) -> Option<T>) -> T {
    for _ in 0..ATTEMPTS_MAX {
        let ports = std::array::from_fn(|_| free_port());
        // Two that are the same would be a port that is taken.
        if let Some(started) = start(ports).await {
            return started;
        }
    }
    panic!("a port was taken {ATTEMPTS_MAX} times");
}

/// A port of 127.0.0.1.
pub fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// How a server is started, the first time and again.
#[derive(Debug)]
pub struct Launch {
    /// For failure reports.
    pub name: &'static str,
    /// A path, or a name to be looked for in `PATH`.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables that are added to its environment.
    pub environment: Vec<(&'static str, String)>,
    /// What it says once it serves.
    pub ready: &'static str,
}

/// A server that can be killed and started again. Dropping it kills the process.
#[derive(Debug)]
pub struct Server {
    launch: Launch,
    process: Option<Process>,
}

impl Server {
    /// Starts a server and waits until it is ready; `None` when somebody has its port.
    ///
    /// # Panics
    /// When it does not start for another reason.
    pub async fn start(launch: Launch) -> Option<Self> {
        let process = run(&launch).await?;
        Some(Self { launch, process: Some(process) })
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on its port, after killing it where it still runs.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&mut self) {
        self.kill();
        let process = run(&self.launch).await;
        self.process = Some(process.expect("nobody takes a port of that range unasked"));
    }

    /// The process.
    ///
    /// # Panics
    /// When it was killed.
    pub fn process(&self) -> &Process {
        self.process.as_ref().unwrap_or_else(|| panic!("{} was killed", self.launch.name))
    }

    /// Whether it was not killed.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Waits until its log has this text.
    pub async fn logs(&self, text: &str) {
        self.process().says(|log| log.contains(text).then_some(())).await;
    }
}

async fn run(launch: &Launch) -> Option<Process> {
    let mut command = Command::new(&launch.program);
    command.args(&launch.args).stdin(Stdio::null()).stdout(Stdio::null());
    command.envs(launch.environment.iter().map(|(name, value)| (name, value)));
    let process = Process::start(launch.name, &mut command);
    let ready = process.says_unless_ended(|said| said.contains(launch.ready).then_some(())).await;
    if ready.is_some() {
        return Some(process);
    }
    let ended = process.ended().await;
    let is_taken = ended.said.to_ascii_lowercase().contains("address already in use");
    assert!(is_taken, "{}: {}: {}", launch.name, ended.status, ended.said);
    None
}
