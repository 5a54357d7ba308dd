//! A cluster of two nodes with its stream-manager, and a broker.

use relay_proto::ChannelName;
use relay_proto::source::SourceId;
use relay_tests::bridge::{Bridge, Surroundings};
use relay_tests::client::Receiver;
use relay_tests::cluster::{Cluster, SECRET};
use relay_tests::http;
use relay_tests::manager::{Manager, OPERATOR_TOKEN};
use relay_tests::mosquitto::Mosquitto;
use relay_tests::until;
use serde_json::Value;

/// Short times, so that what ends does so within a test.
const FLAGS: [&str; 2] = ["--stop-grace=1s", "--media-within=3s"];

/// A bridge with these flags beside those of all tests.
pub(crate) async fn bridge(around: Surroundings, flags: &[&str]) -> Bridge {
    let bridge = Bridge::start(around, &[&FLAGS, flags].concat()).await;
    until("the bridge is ready", async || (bridge.readyz().await.0 == 200).then_some(())).await;
    bridge
}

pub(crate) struct Stage {
    pub(crate) cluster: Cluster<2>,
    pub(crate) manager: Manager,
    pub(crate) broker: Mosquitto,
}

impl Stage {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// One whose nodes have these flags, too.
    pub(crate) async fn with(flags: &[&str]) -> Self {
        assert_eq!(SECRET, "the-secret-of-the-cluster", "stream-managers of these tests have it too");
        let flags = [&["--rtmp-listen=127.0.0.1:0"], flags].concat();
        let (cluster, broker) = tokio::join!(Cluster::start(&flags), Mosquitto::start());
        let manager = Manager::start(cluster.redis.address(), cluster.nats.address(), &[]).await;
        manager.until_nodes(2).await;
        Self { cluster, manager, broker }
    }

    /// What bridges are connected to.
    pub(crate) fn around(&self) -> Surroundings {
        Surroundings {
            mqtt: self.broker.address(),
            redis: self.cluster.redis.address(),
            nats: self.cluster.nats.address(),
            manager: self.manager.address(),
        }
    }

    /// A bridge with these flags beside those of all tests.
    pub(crate) async fn bridge(&self, flags: &[&str]) -> Bridge {
        bridge(self.around(), flags).await
    }

    /// Where to watch a source, once some bridge has told of it.
    pub(crate) async fn url(&self, source: &str) -> String {
        let (status, picks) = until("the stream-manager knows the source", async || {
            let token = format!("Bearer {OPERATOR_TOKEN}");
            let path = format!("/v1/pick?source={source}&role=receive");
            let (status, body) =
                http::get_with(self.manager.address(), &path, &[("Authorization", &token)]).await;
            (status != 404 && status != 503).then(|| (status, serde_json::from_str::<Value>(&body).unwrap()))
        })
        .await;
        assert_eq!(status, 200, "{picks}");
        picks["picks"][0]["urls"]["websocket"].as_str().unwrap().to_owned()
    }

    /// Somebody who watches a source, on the node that the stream-manager chose.
    pub(crate) async fn viewer(&self, source: &str) -> Receiver {
        Receiver::connect(&self.url(source).await).await
    }

    /// Where to watch a source on this node.
    pub(crate) async fn url_at(&self, node: usize, source: &str) -> String {
        let url = self.url(source).await;
        let path = url.split('/').skip(3).collect::<Vec<_>>().join("/");
        self.cluster.members[node].node.url(&path)
    }

    /// Somebody who watches a source, on this node.
    pub(crate) async fn viewer_at(&self, node: usize, source: &str) -> Receiver {
        Receiver::connect(&self.url_at(node, source).await).await
    }

    /// Does something with a source through the stream-manager.
    pub(crate) async fn command(&self, source: &str, verb: &str, body: &str) -> (u16, Value) {
        let token = format!("Bearer {OPERATOR_TOKEN}");
        let path = format!("/v1/sources/{source}:{verb}");
        let headers = [("Authorization", token.as_str())];
        let (status, body) = http::post_json(self.manager.address(), &path, &headers, body).await;
        (status, serde_json::from_str(&body).unwrap_or_default())
    }
}

pub(crate) fn channel(source: &str) -> ChannelName {
    source.parse::<SourceId>().unwrap().channel()
}
