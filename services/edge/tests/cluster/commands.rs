//! What operators say to all nodes, and who it concerns.

use std::time::Duration;

use relay_cluster::backbone::RequestError;
use relay_cluster::registry::Attendance;
use relay_cluster::{Backbone, Registry};
use relay_proto::KeyHash;
use relay_proto::backbone::{Command, Done, Subjects, from_json, to_json};

use crate::nodes::{Nodes, SECRET, config};
use crate::support::{HANG, Seen};

/// Says it, and tells who answered that it concerned them.
async fn say(backbone: &impl Backbone, command: &Command, within: Duration) -> Option<Done> {
    let all = Subjects::new("relaycast".parse().unwrap()).all();
    match backbone.request(&all, to_json(command).into(), within).await {
        Ok(answer) => Some(from_json(&answer).unwrap()),
        Err(RequestError::Timeout) => None,
        Err(error) => panic!("{error}"),
    }
}

fn key(channel: &str, key: &str) -> KeyHash {
    KeyHash::of(SECRET, &channel.parse().unwrap(), &key.parse().unwrap())
}

#[tokio::test]
async fn a_channel_is_closed_by_the_node_that_has_its_publisher() {
    let Nodes { nodes: [one, two], ends, .. } = Nodes::start(config()).await;
    let publisher = one.publish("/cam/secret/publish", b"first").await.stay();
    let mut receiver = two.open("/cam/secret/receive").await;
    assert_eq!(receiver.chunk().await, b"first");
    let close = Command::CloseChannel { channel: "cam".parse().unwrap() };
    let done = say(&*ends[1], &close, HANG).await.unwrap();
    assert_eq!((done.node.as_str(), done.sessions), ("n1", 1));
    publisher.was_refused("ERROR: An operator closed this channel", 1008).await;
    assert_eq!(receiver.next().await, Seen::Close(1000, "publisher_ended".into()));
    assert_eq!(say(&*ends[1], &close, Duration::from_millis(100)).await, None, "nobody publishes");
    let _other = two.publish("/cam/other/publish", b"free for anybody").await;
}

#[tokio::test]
async fn a_session_is_kicked_wherever_it_is() {
    let Nodes { nodes: [one, two], ends, .. } = Nodes::start(config()).await;
    let mut publisher = one.publish("/cam/secret/publish", b"first").await;
    let mut kicked = two.open("/cam/secret/receive").await;
    let mut other = two.open("/cam/secret/receive").await;
    assert_eq!((kicked.chunk().await, other.chunk().await), (b"first".to_vec(), b"first".to_vec()));
    let session = two.sessions().await.into_iter().min().expect("two are listed");
    let done = say(&*ends[0], &Command::KickSession { session }, HANG).await.unwrap();
    assert_eq!((done.node.as_str(), done.sessions), ("n2", 1));
    let (one_ended, still_there) = tokio::select! {
        seen = kicked.next() => (seen, &mut other),
        seen = other.next() => (seen, &mut kicked),
    };
    assert_eq!(one_ended, Seen::Text("ERROR: An operator ended this session".into()));
    publisher.send(b"second").await;
    assert_eq!(still_there.chunk().await, b"second");
}

#[tokio::test]
async fn a_banned_key_is_refused_on_every_node_until_the_ban_is_over() {
    let Nodes { nodes: [one, two], ends, registry, .. } = Nodes::start(config()).await;
    let publisher = one.publish("/cam/secret/publish", b"first").await.stay();
    let bystander = one.publish("/other/secret/publish", b"first").await;
    let mut receiver = two.open("/cam/secret/receive").await;
    assert_eq!(receiver.chunk().await, b"first");
    // It must not take the end of the publication for the reason.
    let mut beside = one.open("/cam/secret/receive").await;
    assert_eq!(beside.chunk().await, b"first");
    let channel = "cam".parse().unwrap();
    let ban = Command::BanKey { channel, key: key("cam", "secret"), ttl_ms: 1500 };
    say(&*ends[0], &ban, HANG).await.unwrap();
    publisher.was_refused("ERROR: An operator banned this key", 4403).await;
    beside.is_refused("ERROR: An operator banned this key", 4403).await;
    receiver.is_refused("ERROR: An operator banned this key", 4403).await;
    for (node, kind) in [(&one, "publish"), (&two, "publish"), (&two, "receive"), (&two, "probe")] {
        let path = format!("/cam/secret/{kind}");
        node.open(&path).await.is_refused("ERROR: An operator banned this key", 4403).await;
    }
    // A node that was not there yet learns it from the registry.
    let late = Nodes::join(config(), "n3", &registry, &ends[0]).await;
    late.open("/cam/secret/publish").await.is_refused("ERROR: An operator banned this key", 4403).await;
    late.open("/cam/secret/receive").await.is_refused("ERROR: An operator banned this key", 4403).await;
    let other = two.publish("/cam/another/publish", b"another key").await;
    other.close().await;
    drop(bystander);
    let cam = "cam".parse().unwrap();
    let over = async {
        while !registry.attend(&cam, Attendance::Look).await.unwrap().bans.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(HANG, over).await.unwrap();
    let _again = two.publish("/cam/secret/publish", b"second").await;
}
