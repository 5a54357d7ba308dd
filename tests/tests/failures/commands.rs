//! What operators say, with nothing but a NATS client.

use relay_proto::KeyHash;
use relay_proto::backbone::{Command, Done, Subjects, from_json, to_json};
use relay_tests::cluster::{Cluster, SECRET};
use relay_tests::nats::Client;
use relay_tests::numbered::{Camera, Viewer, flows};

/// Says it, and tells which node it concerned.
async fn say(client: &mut Client, command: &Command) -> Done {
    let all = Subjects::new("relaycast".parse().unwrap()).all();
    from_json(&client.ask(&all, &to_json(command)).await.unwrap().payload).unwrap()
}

#[tokio::test]
async fn an_operator_ends_sessions_channels_and_keys_wherever_they_are() {
    let Cluster { members: [one, two, three], redis: _redis, nats } = Cluster::start(&[]).await;
    let camera = Camera::start(&one.node, "cam/key", "cam").await;
    let bystander = Camera::start(&one.node, "other/key", "other").await;
    let kicked = Viewer::start(&two.node, "cam/key").await;
    let stays = Viewer::start(&three.node, "cam/key").await;
    let watching = Viewer::start(&three.node, "other/key").await;
    flows(&camera, &[&kicked, &stays]).await;
    flows(&bystander, &[&watching]).await;
    let mut client = nats.client().await;

    let sessions = two.node.sessions("cam").await;
    let [session] = sessions.as_slice() else { panic!("{sessions:?}") };
    assert_eq!(session.kind, "receive");
    let done = say(&mut client, &Command::KickSession { session: session.session }).await;
    assert_eq!((done.node.as_str(), done.sessions), ("n2", 1));
    kicked.ends().await.is(1008, "kicked");
    flows(&camera, &[&stays]).await;

    let channel = "cam".parse().unwrap();
    let done = say(&mut client, &Command::CloseChannel { channel }).await;
    assert_eq!((done.node.as_str(), done.sessions), ("n1", 1));
    camera.ended().await.is(1008, "channel_closed");
    stays.ends().await.is(1000, "publisher_ended");

    let camera = Camera::start(&two.node, "cam/key", "again").await;
    let viewer = Viewer::start(&two.node, "cam/key").await;
    flows(&camera, &[&viewer]).await;
    let channel = "cam".parse().unwrap();
    let key = KeyHash::of(SECRET.as_bytes(), &channel, &"key".parse().unwrap());
    let done = say(&mut client, &Command::BanKey { channel, key, ttl_ms: 60_000 }).await;
    assert_eq!((done.node.as_str(), done.sessions), ("n2", 2));
    camera.ended().await.is(4403, "banned");
    viewer.ends().await.is(4403, "banned");
    for member in [&one, &two, &three] {
        Camera::open(&member.node, "cam/key", "more").await.ended().await.is(4403, "banned");
    }
    let allowed = Camera::start(&one.node, "cam/other", "allowed").await;
    flows(&allowed, &[&Viewer::start(&three.node, "cam/other").await]).await;
    flows(&bystander, &[&watching]).await;
    watching.has_seen(&["other"]);
}
