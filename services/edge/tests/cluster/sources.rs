//! Who publishes and receives on the channels of sources: one key for the device, one for viewers, the same on every node.

use relay_edge::{Config, ReceivePolicy};
use relay_proto::KeyHash;
use relay_proto::backbone::{Command, Subjects, to_json};
use relay_proto::source::SourceKeys;

use relay_cluster::Backbone;

use crate::nodes::{Nodes, SECRET, config};
use crate::support::{HANG, Node};

const CHANNEL: &str = "source-cam";
const WRONG: &str = "ERROR: Invalid streaming key";
const BANNED: &str = "ERROR: An operator banned this key";

fn keys() -> SourceKeys {
    SourceKeys::of(SECRET, &CHANNEL.parse().unwrap()).unwrap()
}

/// The paths to publish with the device's key, to receive with the viewers', and to probe with them.
fn paths() -> [String; 3] {
    let SourceKeys { publish, watch } = keys();
    [(&publish, "publish"), (&watch, "receive"), (&watch, "probe")]
        .map(|(key, kind)| format!("/{CHANNEL}/{}/{kind}", key.expose()))
}

#[tokio::test]
async fn the_key_to_watch_receives_on_every_node_whoever_came_first() {
    let Nodes { nodes: [one, two], .. } = Nodes::start(config()).await;
    let [publish, receive, probe] = paths();
    let mut early_here = one.wait_for(&receive).await;
    let mut early_there = two.wait_for(&receive).await;
    let mut publisher = one.publish(&publish, b"first").await;
    assert_eq!(early_here.chunk().await, b"first");
    assert_eq!(early_there.chunk().await, b"first");
    let mut late = two.open(&receive).await;
    assert_eq!(late.chunk().await, b"first");
    let by_device = publish.replace("/publish", "/receive");
    let mut device = two.open(&by_device).await;
    assert_eq!(device.chunk().await, b"first");
    assert_eq!(one.open(&probe).await.chunk().await, two.open(&probe).await.chunk().await);
    publisher.send(b"second").await;
    assert_eq!(late.chunk().await, b"second");
}

#[tokio::test]
async fn nothing_but_the_devices_key_publishes_or_takes_a_vacant_channel() {
    let Nodes { nodes: [one, two], .. } = Nodes::start(config()).await;
    let [publish, receive, _] = paths();
    let by_viewer = receive.replace("/receive", "/publish");
    let by_anybody = format!("/{CHANNEL}/secret/publish");
    let refused = async |node: &Node| {
        for path in [&by_viewer, &by_anybody] {
            node.open(path).await.is_refused(WRONG, 4403).await;
        }
    };
    refused(&one).await;
    let mut publisher = one.publish(&publish, b"first").await;
    let mut receiver = two.open(&receive).await;
    assert_eq!(receiver.chunk().await, b"first");
    refused(&one).await;
    refused(&two).await;
    publisher.send(b"second").await;
    assert_eq!(receiver.chunk().await, b"second", "nobody was in its way");
}

#[tokio::test]
async fn a_wrong_key_is_refused_before_anybody_publishes_unless_everyone_may_receive() {
    let Nodes { nodes: [one], .. } = Nodes::start(config()).await;
    for kind in ["receive", "receive-clear-cache", "probe"] {
        one.open(&format!("/{CHANNEL}/secret/{kind}")).await.is_refused(WRONG, 4403).await;
    }
    let open = Config { receive_policy: ReceivePolicy::Open, ..config() };
    let Nodes { nodes: [one, two], .. } = Nodes::start(open).await;
    let mut receiver = two.wait_for(&format!("/{CHANNEL}/any/receive")).await;
    let _publisher = one.publish(&paths()[0], b"first").await;
    assert_eq!(receiver.chunk().await, b"first");
    one.open(&format!("/{CHANNEL}/any/publish")).await.is_refused(WRONG, 4403).await;
}

#[tokio::test]
async fn viewers_who_are_banned_do_not_ban_the_camera() {
    let Nodes { nodes: [one, two], ends, .. } = Nodes::start(config()).await;
    let [publish, receive, _] = paths();
    let mut publisher = one.publish(&publish, b"first").await;
    let mut viewer = two.open(&receive).await;
    assert_eq!(viewer.chunk().await, b"first");
    let channel = CHANNEL.parse().unwrap();
    let key = KeyHash::of(SECRET, &channel, &keys().watch);
    let ban = Command::BanKey { channel, key, ttl_ms: 60_000 };
    let all = Subjects::new("relaycast".parse().unwrap()).all();
    ends[0].request(&all, to_json(&ban).into(), HANG).await.unwrap();
    viewer.is_refused(BANNED, 4403).await;
    one.open(&receive).await.is_refused(BANNED, 4403).await;
    let mut device = two.open(&publish.replace("/publish", "/receive")).await;
    assert_eq!(device.chunk().await, b"first");
    publisher.send(b"second").await;
    assert_eq!(device.chunk().await, b"second");
}
