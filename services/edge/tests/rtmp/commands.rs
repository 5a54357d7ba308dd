//! What operators say to a node ends a stream by RTMP as it ends any other.

use std::sync::Arc;
use std::time::Duration;

use relay_cluster::backbone::MemoryBackbone;
use relay_cluster::{Backbone, Links};
use relay_edge::Config;
use relay_proto::KeyHash;
use relay_proto::backbone::{Command, Done, Subjects, from_json, to_json};

use crate::pusher::Pusher;
use crate::support::{HANG, Node, Seen};

/// What keys are hashed with.
const SECRET: &[u8] = b"secret";

/// What encoders are told of a stream that is taken from them.
const ENDED: &str = "NetConnection.Connect.Closed";

const BANNED: &str = "An operator banned this key from the channel";

/// A node, and who speaks to it.
async fn start() -> (Node, MemoryBackbone) {
    let operator = MemoryBackbone::new();
    let links = Links { backbone: Arc::new(operator.join()), secret: Arc::from(SECRET), ..Links::alone() };
    let config = Config { rtmp_listen: Some(([127, 0, 0, 1], 0).into()), ..Config::default() };
    (Node::start_among(config, links).await, operator)
}

async fn say(operator: &MemoryBackbone, command: &Command) -> Done {
    let all = Subjects::new("relaycast".parse().unwrap()).all();
    from_json(&operator.request(&all, to_json(command).into(), HANG).await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_channel_is_closed() {
    let (node, operator) = start().await;
    let mut pusher = Pusher::start(&node, "cam:secret").await;
    pusher.picture(0, "a").await;
    let mut receiver = node.open("/cam/secret/receive").await;
    receiver.chunk().await;
    assert_eq!(say(&operator, &Command::CloseChannel { channel: "cam".parse().unwrap() }).await.sessions, 1);
    let told = pusher.refusal().await;
    assert_eq!(told, (ENDED.to_owned(), "An operator closed this channel".to_owned()));
    while let Seen::Chunk(_) = receiver.next().await {}
    node.until_ended("rtmp", "channel_closed", 1).await;
    let mut other = Pusher::start(&node, "cam:other").await;
    other.picture(0, "free for anybody").await;
}

#[tokio::test]
async fn a_session_is_kicked_and_may_come_again() {
    let (node, operator) = start().await;
    let mut pusher = Pusher::start(&node, "cam:secret").await;
    pusher.picture(0, "a").await;
    let session = node.sessions().await.into_iter().next().expect("it is listed");
    assert_eq!(say(&operator, &Command::KickSession { session }).await.sessions, 1);
    let told = pusher.refusal().await;
    assert_eq!(told, (ENDED.to_owned(), "An operator ended this session".to_owned()));
    node.until_ended("rtmp", "kicked", 1).await;
    let _again = Pusher::start(&node, "cam:secret").await;
}

#[tokio::test]
async fn a_banned_key_ends_the_stream_and_is_refused_until_the_ban_is_over() {
    let (node, operator) = start().await;
    let mut pusher = Pusher::start(&node, "cam:secret").await;
    pusher.picture(0, "a").await;
    let channel: relay_proto::ChannelName = "cam".parse().unwrap();
    let key = KeyHash::of(SECRET, &channel, &"secret".parse().unwrap());
    let ttl_ms = Duration::from_secs(600).as_millis() as u64;
    say(&operator, &Command::BanKey { channel, key, ttl_ms }).await;
    let told = pusher.refusal().await;
    assert_eq!(told, (ENDED.to_owned(), BANNED.to_owned()));
    let (_, why) = Pusher::connect(&node, "cam:secret").await.refusal().await;
    assert_eq!(why, BANNED);
    let mut other = Pusher::start(&node, "cam:other").await;
    other.picture(0, "another key").await;
}
