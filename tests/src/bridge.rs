//! A bridge as a process of its own, on free ports.

use std::net::SocketAddr;

use relay_proto::source::{Source, SourceState};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::process::{Process, relaycast};
use crate::{http, until};

/// The hub that the cameras of these tests belong to.
pub const HUB_KEY: &str = "the-hub";

/// A running bridge. Dropping it kills the process.
#[derive(Debug)]
pub struct Bridge {
    listen: SocketAddr,
    admin: SocketAddr,
    process: Process,
}

/// What a bridge is connected to.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings {
    /// The broker.
    pub mqtt: SocketAddr,
    /// The registry.
    pub redis: SocketAddr,
    /// The backbone.
    pub nats: SocketAddr,
    /// The stream-manager.
    pub manager: SocketAddr,
}

/// The line that it logs once it serves.
#[derive(Debug, Deserialize)]
struct Serving {
    listen: SocketAddr,
    admin: SocketAddr,
}

/// The answer of `/v1/sources`.
#[derive(Debug, Deserialize)]
struct Sources {
    sources: Vec<Source>,
}

impl Bridge {
    /// Starts `relaycast bridge` with these flags, and waits until it serves. It may have no connection to anything yet.
    pub async fn start(around: Surroundings, flags: &[&str]) -> Self {
        let Surroundings { mqtt, redis, nats, manager } = around;
        let own = [
            "bridge".to_owned(),
            "--listen=127.0.0.1:0".to_owned(),
            "--admin-listen=127.0.0.1:0".to_owned(),
            "--log-format=json".to_owned(),
            "--registry-interval=500ms".to_owned(),
            format!("--cluster-secret={}", crate::cluster::SECRET),
            format!("--kerberos-hub-key={HUB_KEY}"),
            format!("--mqtt=mqtt://{mqtt}"),
            format!("--redis=redis://{redis}/"),
            format!("--nats=nats://{nats}"),
            format!("--manager=http://{manager}"),
        ];
        let args = own.iter().map(String::as_str).chain(flags.iter().copied());
        let process = Process::start("relaycast bridge", &mut relaycast(args));
        let serving = |text: &str| text.lines().find_map(|line| serde_json::from_str::<Serving>(line).ok());
        let Serving { listen, admin } = process.says(serving).await;
        Self { listen, admin, process }
    }

    /// Where its REST is.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Status and body of `/readyz`.
    pub async fn readyz(&self) -> (u16, String) {
        http::get(self.admin, "/readyz").await
    }

    /// A figure, summed over its labels.
    pub async fn metric(&self, name: &str) -> f64 {
        http::metric(self.admin, name).await
    }

    /// Status and body of `/metrics`.
    pub async fn metrics(&self) -> (u16, String) {
        http::get(self.admin, "/metrics").await
    }

    /// What it answers.
    ///
    /// # Panics
    /// When it is not a 200 of this form.
    pub async fn ask<T: DeserializeOwned>(&self, path: &str) -> T {
        let (status, body) = http::get(self.listen, path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// All sources that it knows.
    pub async fn sources(&self) -> Vec<Source> {
        self.ask::<Sources>("/v1/sources?limit=1000").await.sources
    }

    /// A source, if it knows of one of that name.
    pub async fn source(&self, id: &str) -> Option<Source> {
        self.sources().await.into_iter().find(|source| source.id.to_string() == id)
    }

    /// Waits until the source is in this state.
    pub async fn until_source(&self, id: &str, state: SourceState) -> Source {
        until(&format!("{id} is {state:?}"), async || {
            self.source(id).await.filter(|source| source.state == state)
        })
        .await
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(self) {
        self.process.kill();
    }

    /// SIGTERM: it leaves in order. Done when it has.
    pub fn drain(self) -> impl Future<Output = ()> {
        self.process.terminate();
        async move {
            self.process.succeeds().await;
        }
    }

    /// Its log up to now.
    pub fn log(&self) -> String {
        self.process.said()
    }
}
