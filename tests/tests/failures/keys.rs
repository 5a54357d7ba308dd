//! Keys of streams leave no node, and nothing that a cluster leaves in Redis stays for ever.

use std::sync::{Arc, Mutex};

use relay_proto::KeyHash;
use relay_proto::backbone::{Command, Subjects, to_json};
use relay_tests::cluster::{Cluster, SECRET};
use relay_tests::numbered::{Camera, Viewer, flows};
use relay_tests::redis::{Redis, Reply};
use relay_tests::until;
use tokio::task::JoinSet;

/// In nothing else.
const KEYS: [&str; 3] = ["kEy-of-the-publisher", "kEy-that-is-wrong", "kEy-that-is-banned"];

/// Nothing of what this text shows is a key, or the secret.
fn has_no_key(place: &str, text: &str) {
    for secret in KEYS.iter().chain([&SECRET]) {
        assert!(!text.contains(secret), "{secret} in {place}: {text}");
    }
}

/// Everything that Redis has: each key, how long it lives, and what it holds.
async fn dump(redis: &Redis) -> Vec<(String, i64, String)> {
    let mut client = redis.client().await;
    let mut dumped = Vec::new();
    let keys = client.command(&["KEYS", "*"]).await.unwrap();
    for key in keys.list().iter().map(Reply::text) {
        let kind = client.command(&["TYPE", key]).await.unwrap();
        let words: &[&str] = match kind.text() {
            "hash" => &["HGETALL", key],
            "string" => &["GET", key],
            "zset" => &["ZRANGE", key, "0", "-1", "WITHSCORES"],
            "stream" => &["XRANGE", key, "-", "+"],
            other => panic!("{key} is a {other}"),
        };
        let value = format!("{:?}", client.command(words).await.unwrap());
        let Reply::Number(ttl) = client.command(&["TTL", key]).await.unwrap() else { panic!("{key}") };
        dumped.push((key.to_owned(), ttl, value));
    }
    dumped
}

#[tokio::test]
async fn keys_are_neither_in_redis_nor_on_nats_nor_in_logs_and_all_in_redis_expires() {
    let Cluster { members: [one, two], redis, nats } = Cluster::start(&["--log-level=trace"]).await;
    let heard = Arc::new(Mutex::new(String::new()));
    let mut listener = nats.client().await;
    listener.subscribe(">").await.unwrap();
    let (mut task, noted) = (JoinSet::new(), Arc::clone(&heard));
    task.spawn(async move {
        while let Ok(message) = listener.next().await {
            let text = format!("{} {}\n", message.subject, String::from_utf8_lossy(&message.payload));
            noted.lock().unwrap().push_str(&text);
        }
    });

    let [right, wrong, banned] = KEYS;
    let cam = |key: &str| format!("cam/{key}");
    let early = Viewer::start(&two.node, &cam(wrong)).await;
    let first = Camera::start(&one.node, &cam(right), "first").await;
    early.ends().await.is(4403, "wrong_key");
    let viewer = Viewer::start(&two.node, &cam(right)).await;
    flows(&first, &[&viewer]).await;
    Viewer::start(&two.node, &cam(wrong)).await.ends().await.is(4403, "wrong_key");
    Camera::open(&two.node, &cam(wrong), "more").await.ended().await.is(4409, "busy");
    // A challenge, a take-over, a ban.
    Camera::open(&two.node, &cam(right), "more").await.ended().await.is(4409, "busy");
    drop(first);
    one.node.until_metric("relaycast_publications", 0.0).await;
    let second = Camera::start(&two.node, &cam(right), "second").await;
    flows(&second, &[&viewer]).await;
    let channel = "cam".parse().unwrap();
    let key = KeyHash::of(SECRET.as_bytes(), &channel, &banned.parse().unwrap());
    let ban = Command::BanKey { channel, key, ttl_ms: 60_000 };
    let all = Subjects::new("relaycast".parse().unwrap()).all();
    nats.client().await.publish(&all, &to_json(&ban)).await.unwrap();
    until("the ban is noted", async || {
        let bans = redis.command(&["ZCARD", "relaycast:{cam}:bans"]).await;
        (bans == Reply::Number(1)).then_some(())
    })
    .await;
    Camera::open(&one.node, &cam(banned), "more").await.ended().await.is(4403, "banned");

    let dumped = dump(&redis).await;
    for (key, ttl, value) in &dumped {
        has_no_key("Redis", key);
        has_no_key("Redis", value);
        assert!(*ttl > 0, "{key} stays for ever");
    }
    let has = |part: &str| dumped.iter().any(|(key, ..)| key.contains(part));
    assert!(
        [
            "{cam}:lease",
            "{cam}:demand",
            "{cam}:bans",
            "node:n1",
            ":nodes",
            "{events}:log",
            "{events}:subjects"
        ]
        .into_iter()
        .all(has),
        "{dumped:?}"
    );
    for what in [
        "chunks.cam",
        "\"ask\":\"snapshot\"",
        "\"ask\":\"challenge\"",
        "\"do\":\"ban_key\"",
        "\"report\":\"whole\"",
    ] {
        until(&format!("{what} is heard"), async || heard.lock().unwrap().contains(what).then_some(())).await;
    }
    has_no_key("NATS", &heard.lock().unwrap());
    assert!(two.node.log().contains("snapshot asked for"), "it tells more than it would unasked");
    for node in [&one.node, &two.node] {
        node.logs("session ended").await;
        has_no_key("the log", &node.log());
    }
}
