//! A node as a process of its own, on free ports.

use std::net::{Ipv4Addr, SocketAddr};

use relay_proto::api;
use serde::Deserialize;
use tokio::process::Command;

use crate::process::{Process, relaycast};
use crate::{http, until};

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

/// The program that is in `iproute2`.
const IP: &str = "ip";

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

    /// The same, in a network namespace of this name, on an address that it has there.
    pub async fn start_in(namespace: &str, host: Ipv4Addr, flags: &[&str]) -> Self {
        let (listen, admin) = (format!("--listen={host}:0"), format!("--admin-listen={host}:0"));
        let own = ["edge", &listen, &admin, "--log-format=json"];
        let plain = relaycast(own.iter().chain(flags).copied());
        let mut command = Command::new(IP);
        command.args(["netns", "exec", namespace]);
        command.arg(plain.as_std().get_program()).args(plain.as_std().get_args());
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

    /// Where operators and probes connect.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Status and body of `/readyz`: whether the node takes sessions, and what is missing.
    pub async fn readyz(&self) -> (u16, String) {
        http::get(self.admin, "/readyz").await
    }

    /// Status and body of `/healthz`.
    pub async fn healthz(&self) -> (u16, String) {
        http::get(self.admin, "/healthz").await
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(self) {
        self.process.kill();
    }

    /// SIGTERM: the node leaves in order. Done when it has.
    pub fn drain(self) -> impl Future<Output = ()> {
        self.process.terminate();
        async move {
            self.process.succeeds().await;
        }
    }

    /// `kill -STOP`: a node that is there and does nothing.
    pub async fn stop(&self) {
        self.process.stop().await;
    }

    /// `kill -CONT`: goes on after [`Node::stop`].
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Its log up to now.
    pub fn log(&self) -> String {
        self.process.said()
    }

    /// Its number.
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

    /// The sessions of a channel on this node.
    ///
    /// # Panics
    /// When the answer is not what the contract says.
    pub async fn sessions(&self, channel: &str) -> Vec<api::Session> {
        let body = get(self.listen, &format!("/v1/sessions?channel={channel}")).await;
        let api::Sessions { sessions, .. } = serde_json::from_str(&body).unwrap();
        sessions
    }

    /// The sum of a metric over its labels.
    ///
    /// # Panics
    /// When there is no such metric.
    pub async fn metric(&self, name: &str) -> f64 {
        http::metric(self.admin, name).await
    }

    /// Waits until a metric, summed over its labels, has this value.
    ///
    /// # Panics
    /// When it does not get there.
    pub async fn until_metric(&self, name: &str, value: f64) {
        until(&format!("{name} {value}"), async || (self.metric(name).await == value).then_some(())).await;
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

/// The body of an answer that is a success.
async fn get(address: SocketAddr, path: &str) -> String {
    let (status, body) = http::get(address, path).await;
    assert_eq!(status, 200, "http://{address}{path}: {body}");
    body
}
