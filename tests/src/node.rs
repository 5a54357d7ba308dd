//! A node as a process of its own, on free ports.

use std::net::SocketAddr;

use relay_proto::api;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use crate::process::{Process, relaycast};
use crate::{HANG, until};

/// A running node. Dropping it kills the process.
#[derive(Debug)]
pub struct Node {
    listen: SocketAddr,
    admin: SocketAddr,
    process: Process,
}

/// The line that a node logs once it serves.
#[derive(Debug, Deserialize)]
struct Serving {
    listen: SocketAddr,
    admin: SocketAddr,
}

const OWN_FLAGS: [&str; 4] =
    ["edge", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--log-format=json"];

impl Node {
    /// Starts `relaycast edge` with these flags and waits until it serves.
    pub async fn start(flags: &[&str]) -> Self {
        Self::serve(relaycast(OWN_FLAGS.iter().chain(flags).copied())).await
    }

    /// The same, with no more than `open_files_max` file descriptors.
    pub async fn start_short_of_files(open_files_max: u32, flags: &[&str]) -> Self {
        let plain = relaycast(OWN_FLAGS.iter().chain(flags).copied());
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("ulimit -n {open_files_max} && exec \"$0\" \"$@\"")])
            .arg(plain.as_std().get_program())
            .args(plain.as_std().get_args());
        Self::serve(command).await
    }

    async fn serve(mut command: Command) -> Self {
        let process = Process::start("relaycast edge", &mut command);
        let serving = |text: &str| text.lines().find_map(|line| serde_json::from_str::<Serving>(line).ok());
        let Serving { listen, admin } = process.says(serving).await;
        Self { listen, admin, process }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// The process.
    ///
    /// # Panics
    /// When it has ended.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits until its log has this text.
    pub async fn logs(&self, text: &str) {
        self.process.says(|log| log.contains(text).then_some(())).await;
    }

    /// `ws://HOST:PORT/` and `path`.
    pub fn url(&self, path: &str) -> String {
        format!("ws://{}/{path}", self.listen)
    }

    /// What the node tells of a channel; `None` when it has none of this name.
    ///
    /// # Panics
    /// When the answer is not what the contract says.
    pub async fn channel(&self, name: &str) -> Option<api::Channel> {
        let body = get(self.listen, "/v1/channels").await;
        let api::Channels { channels } = serde_json::from_str(&body).unwrap();
        channels.into_iter().find(|channel| channel.name.as_str() == name)
    }

    /// The sum of a metric over its labels.
    ///
    /// # Panics
    /// When there is no such metric.
    pub async fn metric(&self, name: &str) -> f64 {
        let body = get(self.admin, "/metrics").await;
        let values: Vec<f64> = body
            .lines()
            .filter_map(|line| line.strip_prefix(name))
            .filter(|rest| rest.starts_with([' ', '{']))
            .map(|rest| rest.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        assert!(!values.is_empty(), "no metric {name}");
        values.iter().sum()
    }

    /// Waits until a channel has this many receivers.
    pub async fn until_receivers(&self, channel: &str, count: u64) {
        until(&format!("{count} receivers on {channel}"), async || {
            self.channel(channel).await.filter(|channel| channel.receivers == count)
        })
        .await;
    }

    /// Waits until somebody publishes on a channel.
    pub async fn until_live(&self, channel: &str) {
        until(&format!("a publisher on {channel}"), async || {
            self.channel(channel).await.filter(|channel| channel.state == api::ChannelState::Live)
        })
        .await;
    }

    /// Waits until the node has taken this many bytes from publishers.
    pub async fn until_taken(&self, bytes: u64) {
        until(&format!("{bytes} bytes taken"), async || {
            (self.metric("relaycast_received_bytes_total").await == bytes as f64).then_some(())
        })
        .await;
    }
}

/// The body of an answer.
async fn get(address: SocketAddr, path: &str) -> String {
    let answer = timeout(HANG, async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    });
    let answer = answer.await.unwrap_or_else(|_| panic!("http://{address}{path} hangs"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    assert!(head.starts_with("HTTP/1.1 200 "), "http://{address}{path}: {head}");
    body.to_owned()
}
