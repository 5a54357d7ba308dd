//! Simulated devices, as a process of their own: `relaycast-loadtest sim`.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::HANG;
use crate::process::{Process, loadtest};

/// Devices that run. Dropping them kills the process.
#[derive(Debug)]
pub struct Sim {
    process: Process,
    happened: watch::Receiver<Vec<Value>>,
    _listener: JoinSet<()>,
}

impl Sim {
    /// Starts `relaycast-loadtest sim DEVICE --json` with these flags.
    pub fn start(device: &str, mqtt: &str, flags: &[&str]) -> Self {
        let own = ["sim", device, "--json", "--mqtt", mqtt];
        let mut command = loadtest(own.iter().chain(flags).copied());
        let mut process = Process::start("relaycast-loadtest sim", command.stdout(Stdio::piped()));
        let mut lines = BufReader::new(process.take_stdout()).lines();
        let (sender, happened) = watch::channel(Vec::new());
        let mut listener = JoinSet::new();
        listener.spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Ok(event) = serde_json::from_str(&line) {
                    sender.send_modify(|all: &mut Vec<Value>| all.push(event));
                }
            }
        });
        Self { process, happened, _listener: listener }
    }

    /// How often this has happened.
    pub fn count(&self, event: &str) -> usize {
        self.happened.borrow().iter().filter(|happened| happened["event"] == event).count()
    }

    /// Everything of this kind that has happened.
    pub fn events(&self, event: &str) -> Vec<Value> {
        self.happened.borrow().iter().filter(|happened| happened["event"] == event).cloned().collect()
    }

    /// Waits until this has happened so often, and tells the last of them.
    ///
    /// # Panics
    /// When it does not.
    pub async fn until(&self, event: &str, count: usize) -> Value {
        let mut happened = self.happened.clone();
        let wait = happened
            .wait_for(|all| all.iter().filter(|happened| happened["event"] == event).count() >= count);
        let is_there = timeout(HANG, wait).await.is_ok_and(|waited| waited.is_ok());
        assert!(is_there, "{event} did not happen {count} times: {:#?}", self.happened.borrow());
        self.events(event).swap_remove(count.max(1) - 1)
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(self) {
        self.process.kill();
    }
}
