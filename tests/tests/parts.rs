//! The parts that tests of a cluster are made of work for real: Redis, NATS, and the wires between.

#![allow(clippy::unwrap_used, reason = "a test may end this way, its helpers too")]

use std::io::ErrorKind;
use std::time::Duration;

use relay_tests::certificates::Transport;
use relay_tests::nats::{self, Login, Nats, NatsCluster, NatsRegions};
use relay_tests::node::Node;
use relay_tests::process::run;
use relay_tests::redis::{Client, Redis, RedisCluster, RedisSentinel, Reply};
use relay_tests::server::{Launch, Server, local, on_free_ports};
use relay_tests::wire::{Mode, Wire};
use relay_tests::{redis, until};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::{Instant, timeout};

/// That nothing comes can only be seen for a while.
const QUIET: Duration = Duration::from_millis(50);

fn text(text: &str) -> Reply {
    Reply::Text(text.to_owned())
}

/// How often a server is started when the first port that it gets is taken.
async fn starts(launch: impl Fn(u16) -> Launch) -> u32 {
    let listener = TcpListener::bind(local(0)).await.unwrap();
    let taken = listener.local_addr().unwrap().port();
    let mut starts = 0;
    let server = on_free_ports(async |[free]| {
        starts += 1;
        Server::start(launch(if starts == 1 { taken } else { free })).await
    });
    assert!(server.await.is_running());
    starts
}

#[tokio::test]
async fn a_server_that_finds_its_port_taken_is_started_on_another() {
    let launch = |name, program, args: String, ready| {
        let args = args.split(' ').map(Into::into).collect();
        Launch { name, program, args, environment: Vec::new(), ready }
    };
    let redis = |port| {
        let args = format!("--bind 127.0.0.1 --port {port} --logfile /dev/stderr");
        launch("redis-server", "redis-server".into(), args, "Ready to accept")
    };
    let nats = |port| {
        let args = format!("--addr 127.0.0.1 --port {port}");
        launch("nats-server", nats::binary(), args, "Server is ready")
    };
    assert_eq!((starts(redis).await, starts(nats).await), (2, 2));
}

#[tokio::test]
async fn a_redis_that_was_killed_comes_back_empty_at_its_place() {
    let mut redis = Redis::start().await;
    let url = redis.url();
    assert_eq!(redis.command(&["SET", "key", "value"]).await, text("OK"));
    assert_eq!(redis.command(&["GET", "key"]).await, text("value"));
    redis.flush_all().await;
    assert_eq!(redis.command(&["GET", "key"]).await, Reply::Nil);

    redis.command(&["SET", "key", "value"]).await;
    let mut client = redis.client().await;
    redis.kill();
    assert!(client.command(&["PING"]).await.is_err());
    assert!(Client::connect(redis.address()).await.is_err());
    redis.restart().await;
    assert_eq!(redis.url(), url);
    assert_eq!(redis.command(&["GET", "key"]).await, Reply::Nil);
}

#[tokio::test]
async fn a_redis_that_is_stopped_answers_when_it_goes_on() {
    let redis = Redis::start().await;
    let mut client = redis.client().await;
    redis.stop().await;
    client.send(&["PING"]).await.unwrap();
    assert!(timeout(QUIET, client.reply()).await.is_err());
    redis.resume();
    assert_eq!(client.reply().await.unwrap(), text("PONG"));
    // One that is stopped can be killed.
    redis.stop().await;
}

#[tokio::test]
async fn a_redis_lets_in_whom_it_knows() {
    let redis = Redis::start_with(redis::Options {
        password: Some("main".to_owned()),
        users: vec!["relay on >secret ~relay:* &* +@all -@dangerous".to_owned()],
        ..redis::Options::default()
    })
    .await;
    assert!(redis.url().starts_with("redis://:main@127.0.0.1:"), "{}", redis.url());
    assert_eq!(redis.command(&["PING"]).await, text("PONG"));

    let mut stranger = Client::connect(redis.address()).await.unwrap();
    let refused = |reply: Reply, code: &str| matches!(reply, Reply::Refusal(text) if text.starts_with(code));
    assert!(refused(stranger.command(&["PING"]).await.unwrap(), "NOAUTH"));
    assert!(refused(stranger.command(&["AUTH", "relay", "wrong"]).await.unwrap(), "WRONGPASS"));
    assert_eq!(stranger.command(&["AUTH", "relay", "secret"]).await.unwrap(), text("OK"));
    assert_eq!(stranger.command(&["SET", "relay:key", "1"]).await.unwrap(), text("OK"));
    assert!(refused(stranger.command(&["SET", "key", "1"]).await.unwrap(), "NOPERM"));
    assert!(refused(stranger.command(&["FLUSHALL"]).await.unwrap(), "NOPERM"));
}

#[tokio::test]
async fn a_redis_speaks_tls_to_who_trusts_its_authority() {
    let options = redis::Options { transport: Transport::Tls, ..redis::Options::default() };
    let redis = Redis::start_with(options).await;
    redis.command(&["SET", "key", "value"]).await;
    assert!(redis.url().starts_with("rediss://127.0.0.1:"), "{}", redis.url());
    let get = |host: &str, options: &[&str]| {
        let mut command = Command::new("redis-cli");
        command.args(["-h", host, "-p", &redis.address().port().to_string(), "--tls"]).args(options);
        command.args(["GET", "key"]);
        command
    };
    let authority = redis.authority();
    let trusting = ["--cacert", authority.to_str().unwrap()];
    for host in ["127.0.0.1", "localhost"] {
        let answer = run(&mut get(host, &trusting)).await;
        assert_eq!(String::from_utf8_lossy(&answer.stdout), "value\n", "{answer:?}");
    }
    assert!(!run(&mut get("127.0.0.1", &[])).await.status.success(), "nobody else vouches for it");
}

#[tokio::test]
async fn a_redis_cluster_is_whole_and_its_masters_know_who_has_what() {
    let mut cluster = RedisCluster::start().await;
    assert_eq!(cluster.urls().len(), 3);
    let mut moved = 0;
    for member in cluster.members() {
        match member.command(&["SET", "key", "value"]).await {
            Reply::Refusal(text) => {
                assert!(text.starts_with("MOVED 12539 127.0.0.1:"), "{text}");
                moved += 1;
            }
            reply => assert_eq!(reply, text("OK")),
        }
    }
    assert_eq!(moved, 2, "one of three has the slot");
    cluster.member_mut(2).restart().await;
    cluster.until_whole().await;
    assert_eq!(cluster.members()[2].command(&["GET", "key"]).await, Reply::Nil);
}

#[tokio::test]
async fn a_sentinel_makes_the_replica_master() {
    let mut set = RedisSentinel::start().await;
    assert_eq!(set.master_address().await, set.master().address());
    assert_eq!(set.master().command(&["SET", "key", "value"]).await, text("OK"));
    until("the replica has it", async || {
        (set.replica().command(&["GET", "key"]).await == text("value")).then_some(())
    })
    .await;
    set.kill_master();
    set.until_promoted().await;
    assert_eq!(set.master_address().await, set.replica().address());
    assert_eq!(
        set.replica().command(&["SET", "key", "other"]).await,
        text("OK"),
        "it is no replica any more"
    );
}

#[tokio::test]
async fn a_nats_that_was_killed_comes_back_at_its_place() {
    let mut nats = Nats::start().await;
    let mut client = nats.client().await;
    client.subscribe("relay.>").await.unwrap();
    client.publish("relay.a", b"one").await.unwrap();
    let message = client.next().await.unwrap();
    assert_eq!((message.subject.as_str(), message.payload.as_slice()), ("relay.a", b"one".as_slice()));

    let url = nats.url();
    nats.kill();
    assert!(client.next().await.is_err());
    assert!(nats::Client::connect(nats.address(), None).await.is_err());
    nats.restart().await;
    assert_eq!(nats.url(), url);
    nats.client().await.publish("relay.a", b"two").await.unwrap();
}

#[tokio::test]
async fn a_nats_that_is_stopped_answers_when_it_goes_on() {
    let nats = Nats::start().await;
    let mut client = nats.client().await;
    nats.stop().await;
    assert!(timeout(QUIET, client.publish("relay", b"")).await.is_err());
    nats.resume();
    assert_eq!(nats.monitor("/varz").await["connections"], 1);
}

#[tokio::test]
async fn a_nats_does_as_it_is_told() {
    let login = Login { user: "relay".to_owned(), password: "0123".to_owned() };
    let options = nats::Options {
        max_payload: Some(1000),
        login: Some(login.clone()),
        config: "max_connections: 10".to_owned(),
        ..nats::Options::default()
    };
    let nats = Nats::start_with(options).await;
    assert!(nats.url().starts_with("nats://relay:0123@127.0.0.1:"), "{}", nats.url());
    assert_eq!(nats.monitor("/varz").await["max_connections"], 10);

    let wrong = Login { password: "wrong".to_owned(), ..login };
    for stranger in [None, Some(&wrong)] {
        let refused = nats::Client::connect(nats.address(), stranger).await.unwrap_err();
        assert!(refused.to_string().contains("Authorization Violation"), "{refused}");
    }
    let mut client = nats.client().await;
    assert_eq!(client.info()["max_payload"], 1000);
    client.publish("relay", &[0; 1000]).await.unwrap();
    let refused = client.publish("relay", &[0; 1001]).await.unwrap_err();
    assert!(refused.to_string().contains("Maximum Payload Violation"), "{refused}");
}

/// Publishes until it has come: when others know of a subscription, nobody is told.
async fn until_heard(from: &mut nats::Client, to: &mut nats::Client, subject: &str) {
    until(&format!("{subject} is heard"), async || {
        from.publish(subject, b"!").await.unwrap();
        let heard = timeout(QUIET, to.next()).await.ok()?;
        assert_eq!(heard.unwrap().subject, subject);
        Some(())
    })
    .await;
}

#[tokio::test]
async fn a_nats_cluster_goes_on_without_one_of_three() {
    let mut cluster = NatsCluster::start().await;
    assert_eq!(cluster.urls().len(), 3);
    let mut first = cluster.servers()[0].client().await;
    let mut last = cluster.servers()[2].client().await;
    last.subscribe("relay").await.unwrap();
    until_heard(&mut first, &mut last, "relay").await;

    cluster.server_mut(1).kill();
    cluster.until_routed().await;
    until_heard(&mut first, &mut last, "relay").await;
    cluster.server_mut(1).restart().await;
    cluster.until_routed().await;
    let mut back = cluster.servers()[1].client().await;
    until_heard(&mut back, &mut last, "relay").await;
}

#[tokio::test]
async fn a_gateway_carries_what_the_other_region_asks_for_and_nothing_else() {
    let regions = NatsRegions::start().await;
    let (mut a, mut b) = (regions.a.client().await, regions.b.client().await);
    assert_eq!(a.info()["max_payload"], 8 << 20);
    a.subscribe("relay.asked").await.unwrap();
    until_heard(&mut b, &mut a, "relay.asked").await;

    let sent = async || {
        let told = regions.b.monitor("/gatewayz").await;
        told["outbound_gateways"]["a"]["connection"]["out_bytes"].as_u64().unwrap()
    };
    let before = sent().await;
    b.publish("relay.unasked", &vec![0; 1 << 20]).await.unwrap();
    // What is published later comes later: had the other been sent, it would be by now.
    b.publish("relay.asked", b"!").await.unwrap();
    a.next().await.unwrap();
    let after = sent().await;
    assert!((before + 1..before + (1 << 20)).contains(&after), "{before} {after}");
}

#[tokio::test]
async fn a_wire_can_come_between_a_client_and_its_redis() {
    const DELAY: Duration = Duration::from_millis(20);
    let redis = Redis::start().await;
    let wire = Wire::to(redis.address()).await;
    let mut client = Client::connect(wire.address()).await.unwrap();
    assert_eq!(client.command(&["PING"]).await.unwrap(), text("PONG"));

    wire.set(Mode::Delay(DELAY));
    let begin = Instant::now();
    assert_eq!(client.command(&["PING"]).await.unwrap(), text("PONG"));
    assert!(begin.elapsed() >= 2 * DELAY);

    wire.set(Mode::Stall);
    client.send(&["PING"]).await.unwrap();
    assert!(timeout(QUIET, client.reply()).await.is_err());
    assert_eq!(redis.command(&["PING"]).await, text("PONG"), "past the wire");
    wire.set(Mode::Pass);
    assert_eq!(client.reply().await.unwrap(), text("PONG"));

    wire.set(Mode::Cut);
    assert!(client.command(&["PING"]).await.is_err());
    wire.set(Mode::Resets { seed: 1, bytes_max: 1000 });
    let mut client = Client::connect(wire.address()).await.unwrap();
    let lost = loop {
        if let Err(lost) = client.command(&["PING"]).await {
            break lost;
        }
    };
    assert!(matches!(lost.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{lost}");
}

#[tokio::test]
async fn a_node_that_is_stopped_is_ready_when_it_goes_on() {
    let node = Node::start(&[]).await;
    assert_eq!(node.readyz().await, (200, "ready\n".to_owned()));
    assert_eq!(node.healthz().await.0, 200);
    node.stop().await;
    assert!(timeout(QUIET, node.healthz()).await.is_err());
    node.resume();
    assert_eq!(node.healthz().await.0, 200);
    let admin = node.admin();
    node.kill();
    assert!(TcpStream::connect(admin).await.is_err());
}
