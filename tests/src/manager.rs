//! A stream-manager as a process of its own, on free ports.

use std::net::SocketAddr;

use relay_proto::api::manager::{ChannelPage, ClusterChannel, Pick, Picks};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::process::{Process, relaycast};
use crate::{http, until};

/// What operators of these tests present.
pub const OPERATOR_TOKEN: &str = "operator-token-of-a-test";

/// A running stream-manager. Dropping it kills the process.
#[derive(Debug)]
pub struct Manager {
    listen: SocketAddr,
    admin: SocketAddr,
    process: Process,
}

/// The line that it logs once it serves.
#[derive(Debug, Deserialize)]
struct Serving {
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Manager {
    /// Starts `relaycast manager` with these flags, and waits until it serves. It may have heard of no node yet.
    pub async fn start(redis: SocketAddr, nats: SocketAddr, flags: &[&str]) -> Self {
        let (redis, nats) = (format!("--redis=redis://{redis}/"), format!("--nats=nats://{nats}"));
        let token = format!("--operator-tokens={OPERATOR_TOKEN}");
        let own = [
            "manager",
            "--listen=127.0.0.1:0",
            "--admin-listen=127.0.0.1:0",
            "--log-format=json",
            "--registry-interval=500ms",
            "--cluster-secret=the-secret-of-the-cluster",
            &redis,
            &nats,
            &token,
        ];
        let process = Process::start("relaycast manager", &mut relaycast(own.iter().chain(flags).copied()));
        let serving = |text: &str| text.lines().find_map(|line| serde_json::from_str::<Serving>(line).ok());
        let Serving { listen, admin } = process.says(serving).await;
        Self { listen, admin, process }
    }

    /// Waits until it knows of so many nodes that take clients.
    pub async fn until_nodes(&self, count: u64) {
        until(&format!("the stream-manager knows {count} nodes"), async || {
            let capacity: serde_json::Value = self.ask("/v1/capacity").await.ok()?;
            (capacity["nodes"] == count).then_some(())
        })
        .await;
    }

    /// Where clients and operators connect.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Status and body of `/readyz`.
    pub async fn readyz(&self) -> (u16, String) {
        http::get(self.admin, "/readyz").await
    }

    /// Status and body of `/metrics`.
    pub async fn metrics(&self) -> (u16, String) {
        http::get(self.admin, "/metrics").await
    }

    /// What it answers, or the status and the body of an error.
    ///
    /// # Errors
    /// Every status but 200.
    ///
    /// # Panics
    /// When a 200 has another form.
    pub async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, (u16, String)> {
        match http::get(self.listen, path).await {
            (200, body) => {
                Ok(serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")))
            }
            refused => Err(refused),
        }
    }

    /// Does what only operators may.
    pub async fn command(&self, path: &str) -> (u16, String) {
        http::post(self.listen, path, &[("Authorization", &format!("Bearer {OPERATOR_TOKEN}"))]).await
    }

    /// The answer of `/v1/pick`.
    ///
    /// # Errors
    /// Every status but 200.
    pub async fn picks(&self, query: &str) -> Result<Picks, (u16, String)> {
        self.ask(&format!("/v1/pick?{query}")).await
    }

    /// The best node for it.
    ///
    /// # Panics
    /// When there is none.
    pub async fn pick(&self, query: &str) -> Pick {
        let picks = self.picks(query).await.unwrap_or_else(|refused| panic!("{query}: {refused:?}"));
        picks.picks.into_iter().next().expect("an answer names a node")
    }

    /// A channel as it tells of it; `None` where there is none.
    pub async fn channel(&self, name: &str) -> Option<ClusterChannel> {
        self.ask(&format!("/v1/channels/{name}")).await.ok()
    }

    /// All channels.
    ///
    /// # Panics
    /// When they cannot be told.
    pub async fn channels(&self) -> Vec<ClusterChannel> {
        let mut channels = Vec::new();
        let mut after = String::new();
        loop {
            let page: ChannelPage = self.ask(&format!("/v1/channels?limit=1000{after}")).await.unwrap();
            channels.extend(page.channels);
            let Some(next) = page.next else { return channels };
            after = format!("&after={next}");
        }
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(self) {
        self.process.kill();
    }

    /// Its log up to now.
    pub fn log(&self) -> String {
        self.process.said()
    }
}
