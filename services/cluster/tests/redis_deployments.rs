//! The registry in every form that Redis is run in, and through every way in which it fails.

#![allow(clippy::unwrap_used, reason = "what is unwrapped is what the test asserts")]

mod support;

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use relay_cluster::registry::redis::Config;
use relay_cluster::registry::{
    Acquired, Attendance, Claim, Lease, RedisRegistry, Registry, Release, Renewed, Unavailable,
};
use relay_proto::Epoch;
use relay_proto::registry::{Capacity, Load, NodeRecord, NodeState, Role};
use relay_tests::certificates::{Certificates, Transport};
use relay_tests::redis::{Options, Redis, RedisCluster, RedisSentinel, Reply};
use relay_tests::wire::Wire;
use support::deployments::{LOGIN, TOLERANCE, answered, connections, login, start_for};
use support::registry::{claim, config, key, peer, registry};

fn record(node: &str) -> NodeRecord {
    NodeRecord {
        node: node.parse().unwrap(),
        incarnation: peer(node, 1).incarnation,
        url: "ws://10.0.0.1:8080".to_owned(),
        rtmp: None,
        region: None,
        zone: None,
        state: NodeState::InService,
        roles: vec![Role::Publish, Role::Receive],
        capacity: Capacity { sessions: 100, processors: 2, egress: None },
        load: Load::default(),
        version: "0.1.0".to_owned(),
        started_ms: 5,
    }
}

async fn granted(registry: &RedisRegistry, claim: &Claim) -> Lease {
    let Acquired::Granted(epoch) = registry.acquire(claim).await.unwrap() else { panic!("is not free") };
    let Claim { channel, peer, key, terms, .. } = claim.clone();
    Lease { channel, peer, epoch, key, terms }
}

/// Every call there is, on many channels and as many nodes.
async fn use_everything(registry: &RedisRegistry) {
    let minute = Duration::from_secs(60);
    for index in 0..24 {
        let claim = claim(&format!("cam-{index}"), "n1");
        let lease = granted(registry, &claim).await;
        assert!(matches!(registry.acquire(&claim).await, Ok(Acquired::Taken(_))));
        assert_eq!(registry.renew(&lease).await, Ok(Renewed::Kept));
        registry.ban(&claim.channel, key("bad"), minute).await.unwrap();
        let attendance = Attendance::Wanted(&claim.peer.node, minute);
        let view = registry.attend(&claim.channel, attendance).await.unwrap();
        assert_eq!(view.lease.unwrap().epoch, lease.epoch);
        assert_eq!((view.bans.len(), view.wanted.len()), (1, 1));
        let left = registry.attend(&claim.channel, Attendance::Left(&claim.peer.node)).await.unwrap();
        assert_eq!(left.wanted, []);
        let banned = Claim { key: key("bad"), ..claim.clone() };
        assert!(matches!(registry.acquire(&banned).await, Ok(Acquired::Banned(_))));
        registry.release(&lease, Release::Free).await.unwrap();
        assert_eq!(registry.announce(&record(&format!("n{index:02}")), minute).await, Ok(None));
    }
    let names: Vec<_> =
        registry.nodes().await.unwrap().into_iter().map(|record| record.node.to_string()).collect();
    assert_eq!(names, (0..24).map(|index| format!("n{index:02}")).collect::<Vec<_>>());
    registry.withdraw(&peer("n00", 1)).await.unwrap();
    assert_eq!(registry.nodes().await.unwrap().len(), 23);
}

#[tokio::test]
async fn a_server_serves_every_call() {
    let server = Redis::start().await;
    use_everything(&registry(server.url())).await;
}

#[tokio::test]
async fn another_database_is_another_registry() {
    let server = start_for(vec![login(&["+select"])]).await;
    let [first, second] =
        ["", "/3"].map(|path| registry(format!("redis://{LOGIN}{}{path}", server.address())));
    granted(&first, &claim("cam", "n1")).await;
    granted(&second, &claim("cam", "n2")).await;
}

#[tokio::test]
async fn the_rights_that_are_written_down_suffice_and_no_key_of_others_is_in_reach() {
    let server = start_for(vec![login(&[]), "default off".to_owned()]).await;
    let url = format!("redis://{LOGIN}{}", server.address());
    use_everything(&registry(url.clone())).await;

    let other = RedisRegistry::new(Config { cluster: "other".parse().unwrap(), ..config(url) }).unwrap();
    let error = other.nodes().await.unwrap_err();
    assert!(error.to_string().contains("Redis answers"), "{error}");
    let wrong = registry(server.url_as("relaycast", "hunter3"));
    let error = wrong.nodes().await.unwrap_err().to_string();
    assert!(!error.contains("hunter") && error.contains("refuses"), "{error}");
}

#[tokio::test]
async fn a_server_is_trusted_for_the_ca_that_is_given_and_for_no_other() {
    let server = Redis::start_with(Options { transport: Transport::Tls, ..Options::default() }).await;
    let folder = tempfile::tempdir().unwrap();
    let other = Certificates::make(folder.path()).await.authority();
    let with_ca = |ca_file, url| RedisRegistry::new(Config { ca_file, ..config(url) }).unwrap();
    use_everything(&with_ca(Some(server.authority()), server.url())).await;
    for ca in [Some(other), None] {
        let error = with_ca(ca, server.url()).nodes().await.unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    // At another address than the one in its certificate.
    let wire = Wire::between(Ipv4Addr::new(127, 0, 0, 2), server.address()).await;
    let url = format!("rediss://{}", wire.address());
    let error = with_ca(Some(server.authority()), url).nodes().await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_cluster_of_three_serves_every_call() {
    let cluster = RedisCluster::start_for(vec![login(&["+cluster|slots", "+ping"])]).await;
    let [first, second, ..] = cluster.members() else { panic!("there are three") };
    // One of them is enough to find the others, even next to one that is not there.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    use_everything(&registry(format!("redis+cluster://{LOGIN}{silent},{}", second.address()))).await;
    let wrong = registry(format!("redis+cluster://relaycast:hunter3@{}", first.address()));
    let error = wrong.nodes().await.unwrap_err().to_string();
    assert_eq!(error, "the registry is not available: no server lets us in");
}

#[tokio::test]
async fn a_master_that_is_killed_is_replaced_by_the_one_that_sentinels_name() {
    let asker = "asker on >word -@all +sentinel|get-master-addr-by-name";
    let mut set = RedisSentinel::start_for(vec![login(&["+role"])], &[asker]).await;
    // The first Sentinel of the URL is one that says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    let registry = registry(format!(
        "redis+sentinel://{LOGIN}{silent},{}/{}?sentinel-user=asker&sentinel-password=word",
        set.address(),
        RedisSentinel::MASTER
    ));
    let lease = granted(&registry, &claim("cam", "n1")).await;
    // What a replica has not got when its master dies is lost; that is another test.
    assert_eq!(set.master().command(&["WAIT", "1", "10000"]).await, Reply::Number(1));
    let begun = Instant::now();
    set.kill_master();
    assert_eq!(answered(async || registry.renew(&lease).await).await, Renewed::Kept);
    assert!(begun.elapsed() < Duration::from_secs(15), "took {:?}", begun.elapsed());
    let newer = Claim { replaces: Some(lease.epoch), ..claim("cam", "n2") };
    assert!(granted(&registry, &newer).await.epoch > lease.epoch);
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_left() {
    let server = Redis::start().await;
    let registry = registry(server.url());
    let lease = granted(&registry, &claim("cam", "n1")).await;
    server.ok(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let error = registry.renew(&lease).await.unwrap_err();
    assert!(error.to_string().contains("READONLY"), "{error}");
    server.ok(&["REPLICAOF", "NO", "ONE"]).await;
    assert_eq!(answered(async || registry.renew(&lease).await).await, Renewed::Kept);
}

#[tokio::test]
async fn a_server_that_starts_again_empty_is_told_of_the_leases() {
    let mut server = Redis::start().await;
    let registry = registry(server.url());
    let lease = granted(&registry, &claim("cam", "n1")).await;
    server.kill();
    let error = registry.renew(&lease).await.unwrap_err();
    assert!(error.to_string().starts_with("the registry is not available"), "{error}");
    server.restart().await;
    assert_eq!(answered(async || registry.renew(&lease).await).await, Renewed::Kept);
    let Acquired::Taken(record) = registry.acquire(&claim("cam", "n2")).await.unwrap() else {
        panic!("the lease was forgotten")
    };
    assert_eq!((record.node, record.epoch), (lease.peer.node, lease.epoch));
}

/// The lease is granted, lost with the memory, and granted again to another before the first holder says a word.
#[tokio::test]
async fn a_lease_that_was_forgotten_and_granted_anew_is_lost_to_its_first_holder() {
    let server = Redis::start().await;
    let registry = registry(server.url());
    let first = granted(&registry, &claim("cam", "n1")).await;
    server.flush_all().await;
    let second = granted(&registry, &claim("cam", "n2")).await;
    assert!(second.epoch > first.epoch);
    assert_eq!(registry.renew(&first).await, Ok(Renewed::Lost(second.epoch)));
    assert_eq!(registry.renew(&second).await, Ok(Renewed::Kept));
}

/// What a fail-over to a replica that lags does.
#[tokio::test]
async fn a_newer_lease_wins_over_an_older_one_that_came_back() {
    let server = Redis::start().await;
    let registry = registry(server.url());
    let first = granted(&registry, &claim("cam", "n1")).await;
    let second = granted(&registry, &Claim { replaces: Some(first.epoch), ..claim("cam", "n2") }).await;
    server.flush_all().await;
    assert_eq!(registry.renew(&first).await, Ok(Renewed::Kept));
    assert_eq!(registry.renew(&second).await, Ok(Renewed::Kept));
    assert_eq!(registry.renew(&first).await, Ok(Renewed::Lost(second.epoch)));
}

#[tokio::test]
async fn a_server_that_takes_connections_and_says_nothing_is_given_up_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let timeout = Duration::from_millis(200);
    for url in ["redis://", "redis://:p@", "redis+cluster://", "redis+sentinel://"] {
        let path = if url.contains("sentinel") { "/main" } else { "" };
        let url = format!("{url}{}{path}", silent.local_addr().unwrap());
        let registry = RedisRegistry::new(Config { timeout, ..config(url) }).unwrap();
        let begun = Instant::now();
        let calls = (0..20).map(|_| registry.nodes());
        let answers = futures_util::future::join_all(calls).await;
        assert!(answers.iter().all(Result::is_err));
        assert!(begun.elapsed() < timeout + TOLERANCE, "took {:?}", begun.elapsed());
        let connections = std::iter::from_fn(|| silent.accept().ok()).count();
        assert_eq!(connections, 1, "of all who call one connects");
    }
}

/// It was good, then the server answers nothing any more.
#[tokio::test]
async fn a_connection_that_fell_silent_is_replaced() {
    let server = Redis::start().await;
    let registry = registry(server.url());
    let lease = granted(&registry, &claim("cam", "n1")).await;
    // Takes what comes, and answers nothing to whom it would have to change something for.
    let mut client = server.client().await;
    assert_eq!(client.command(&["CLIENT", "PAUSE", "100000", "WRITE"]).await.unwrap(), Reply::ok());
    assert_eq!(registry.renew(&lease).await, Err(Unavailable("no answer came in time".to_owned())));
    let before = connections(&mut client).await;
    assert_eq!(client.command(&["CLIENT", "UNPAUSE"]).await.unwrap(), Reply::ok());
    assert_eq!(answered(async || registry.renew(&lease).await).await, Renewed::Kept);
    assert!(connections(&mut client).await > before, "the silent connection was kept");
}

#[tokio::test]
async fn many_calls_at_once_share_one_connection() {
    let server = Redis::start().await;
    let registry = registry(server.url());
    let mut client = server.client().await;
    let before = connections(&mut client).await;
    let claims: Vec<_> = (0..500).map(|index| claim(&format!("cam-{index}"), "n1")).collect();
    let granted = futures_util::future::join_all(claims.iter().map(|claim| registry.acquire(claim))).await;
    assert!(granted.iter().all(|answer| matches!(answer, Ok(Acquired::Granted(_)))));
    assert_eq!(connections(&mut client).await - before, 1);
}

#[tokio::test]
async fn nobody_is_asked_before_the_first_call() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let registry = registry(format!("redis://{}", listener.local_addr().unwrap()));
    tokio::select! {
        biased;
        _ = listener.accept() => panic!("connected without being asked"),
        () = tokio::task::yield_now() => {}
    }
    let (_, accepted) = tokio::join!(registry.nodes(), listener.accept());
    accepted.unwrap();
}

#[tokio::test]
async fn while_a_server_refuses_calls_fail_at_once_and_it_is_tried_now_and_then() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    drop(listener);
    let registry = registry(url);
    let begun = Instant::now();
    for _ in 0..1_000 {
        assert!(registry.renew(&lease_of_nobody()).await.unwrap_err().to_string().contains("refused"));
    }
    assert!(begun.elapsed() < TOLERANCE * 5, "took {:?}", begun.elapsed());
}

fn lease_of_nobody() -> Lease {
    let Claim { channel, peer, key, terms, .. } = claim("cam", "n1");
    Lease { channel, peer, epoch: Epoch::new(1), key, terms }
}
