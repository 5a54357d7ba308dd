//! Child processes with an owner: none outlives the test that started it.

use std::path::PathBuf;
use std::process::{ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::{HANG, until};

const BINARY_VARIABLE: &str = "RELAYCAST_BIN";

/// The binary under test: `RELAYCAST_BIN`, else that of the target folder which this test lies in.
///
/// # Panics
/// When there is none.
pub fn relaycast_binary() -> PathBuf {
    match std::env::var_os(BINARY_VARIABLE).map(PathBuf::from) {
        Some(path) => {
            assert!(path.is_file(), "{BINARY_VARIABLE} names no file: {}", path.display());
            path
        }
        None => built_beside_this("relaycast"),
    }
}

fn built_beside_this(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    let found = test.ancestors().skip(1).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("no binary {name} above {}: build it first", test.display()))
}

/// `relaycast` with these arguments.
pub fn relaycast<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    command(relaycast_binary(), args)
}

/// `relaycast-loadtest` with these arguments.
pub fn loadtest<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    command(built_beside_this("relaycast-loadtest"), args)
}

/// A command without any of the settings that this process may have in its environment.
fn command<'a>(binary: PathBuf, args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(binary);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RELAYCAST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end, which is success or not.
///
/// # Panics
/// When it cannot be started or hangs.
pub async fn run(command: &mut Command) -> Output {
    // Killed when the wait for it is given up.
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let ended = timeout(HANG, running).await.unwrap_or_else(|_| panic!("{command:?} hangs"));
    ended.unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// A running process. Dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    said: watch::Receiver<String>,
    /// Reads its standard error until that is closed.
    listener: JoinSet<()>,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code, or the signal.
    pub status: ExitStatus,
    /// All of its standard error.
    pub said: String,
}

impl Process {
    /// Starts a process; `name` is for failure reports.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &'static str, command: &mut Command) -> Self {
        let mut child = command
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let mut stderr = child.stderr.take().expect("it is piped");
        let (sender, said) = watch::channel(String::new());
        let mut listener = JoinSet::new();
        listener.spawn(async move {
            let mut buffer = vec![0; 8 << 10];
            while let Ok(len @ 1..) = stderr.read(&mut buffer).await {
                sender.send_modify(|said| said.push_str(&String::from_utf8_lossy(&buffer[..len])));
            }
        });
        Self { name, child, said, listener }
    }

    /// Its number.
    ///
    /// # Panics
    /// When it has ended and was waited for.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it was not waited for")
    }

    /// Its standard output, for another process to read.
    ///
    /// # Panics
    /// When it was not piped, or taken before.
    pub fn stdout(&mut self) -> Stdio {
        self.take_stdout().try_into().expect("a pipe can be handed over")
    }

    /// Its standard output, to be read here.
    ///
    /// # Panics
    /// When it was not piped, or taken before.
    pub fn take_stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("standard output is piped and not taken yet")
    }

    /// Waits until its standard error has what `find` looks for.
    ///
    /// # Panics
    /// When it ends or hangs before that.
    pub async fn says<T>(&self, find: impl Fn(&str) -> Option<T>) -> T {
        let found = self.says_unless_ended(find).await;
        found.unwrap_or_else(|| panic!("{} ended without saying what is expected", self.name))
    }

    /// Waits until its standard error has what `find` looks for, or is closed without it.
    ///
    /// # Panics
    /// When it hangs before that.
    pub async fn says_unless_ended<T>(&self, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let mut said = self.said.clone();
        let mut found = None;
        let wait = said.wait_for(|text| {
            found = find(text);
            found.is_some()
        });
        let heard = timeout(HANG, wait).await.map(|heard| heard.is_ok());
        assert!(heard.is_ok(), "{} hangs without saying what is expected", self.name);
        found
    }

    /// `kill -STOP`: it keeps its connections and its port, and does nothing. Returns once the kernel has stopped it.
    ///
    /// # Panics
    /// When it has ended, or does not stop.
    pub async fn stop(&self) {
        self.signal(Signal::STOP);
        // Neither takes anything away from whoever waits for the end of the child.
        let look = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let stopped = async || waitid(WaitId::Pid(self.as_pid()), look).unwrap().map(|_| ());
        until(&format!("{} stops", self.name), stopped).await;
    }

    /// SIGTERM: it is asked to leave.
    ///
    /// # Panics
    /// When it has ended.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// `kill -CONT`: it goes on where it was stopped.
    ///
    /// # Panics
    /// When it has ended.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// What its standard error has up to now.
    pub fn said(&self) -> String {
        self.said.borrow().clone()
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.as_pid(), signal).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    fn as_pid(&self) -> Pid {
        let pid = i32::try_from(self.pid()).expect("the kernel's are that small");
        Pid::from_raw(pid).expect("no child is number 0")
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it hangs.
    pub async fn ended(mut self) -> Ended {
        let status = match timeout(HANG, self.child.wait()).await {
            Ok(status) => status.expect("the child is ours to wait for"),
            Err(_) => panic!("{} hangs", self.name),
        };
        // What it had written before its end may not be read yet.
        while self.listener.join_next().await.is_some() {}
        Ended { status, said: self.said.borrow().clone() }
    }

    /// Waits for its end, which has to be a success.
    ///
    /// # Panics
    /// When it hangs or ends otherwise.
    pub async fn succeeds(self) -> String {
        let name = self.name;
        let ended = self.ended().await;
        assert!(ended.status.success(), "{name}: {}: {}", ended.status, ended.said);
        ended.said
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(self) {}
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Whoever is gone already need not be killed; either way the end is near.
            let _ = self.child.start_kill();
            while matches!(self.child.try_wait(), Ok(None)) {
                std::thread::yield_now();
            }
        }
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}", self.name, *self.said.borrow());
        }
    }
}
