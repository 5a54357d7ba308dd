//! The registry in every form that Redis is run in, and through every way in which it fails.

#![allow(clippy::unwrap_used, reason = "what is unwrapped is what the test asserts")]

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use relay_cluster::registry::redis::{Config, DEFAULT_TIMEOUT};
use relay_cluster::registry::{
    Acquired, Attendance, Claim, Lease, RedisRegistry, Registry, Release, Renewed, Unavailable,
};
use relay_proto::Epoch;
use relay_proto::registry::{Capacity, Load, NodeRecord, NodeState};
use support::{PATIENCE, Server, claim, config, key, peer, registry};

/// Between two looks at something that another process does in its own time.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What a call takes longer than its deadline on a machine that is busy.
const TOLERANCE: Duration = Duration::from_secs(1);

const REGISTRY_MD: &str = include_str!("../../../proto/REGISTRY.md");

/// What makes a server take `relaycast` with the password `hunter%2`, and as few rights as `proto/REGISTRY.md` tells, word for
/// word, and those that it tells for a special case.
fn login(more: &[&'static str]) -> Vec<&'static str> {
    let rights =
        REGISTRY_MD.lines().find_map(|line| line.strip_prefix("user relaycast on >PASSWORD ")).unwrap();
    assert!(more.iter().all(|right| REGISTRY_MD.contains(right)));
    let user = ["--user", "relaycast", "on", ">hunter%2"];
    user.into_iter().chain(rights.split(' ')).chain(more.iter().copied()).collect()
}

/// The same in an address.
const LOGIN: &str = "relaycast:hunter%252@";

fn record(node: &str) -> NodeRecord {
    NodeRecord {
        node: node.parse().unwrap(),
        incarnation: peer(node, 1).incarnation,
        url: "ws://10.0.0.1:8080".to_owned(),
        region: None,
        zone: None,
        state: NodeState::InService,
        capacity: Capacity { sessions: 100, processors: 2 },
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

/// Calls until it is answered.
async fn answered<T>(mut call: impl AsyncFnMut() -> Result<T, Unavailable>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let begun = Instant::now();
        let answer = call().await;
        assert!(begun.elapsed() < DEFAULT_TIMEOUT + TOLERANCE, "a call took {:?}", begun.elapsed());
        match answer {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

#[tokio::test]
async fn a_server_serves_every_call() {
    let server = Server::start(&[]);
    use_everything(&registry(server.url())).await;
}

#[tokio::test]
async fn another_database_is_another_registry() {
    let server = Server::start(&login(&["+select"]));
    let [first, second] = ["", "/3"].map(|path| registry(format!("redis://{LOGIN}{}{path}", server.host())));
    granted(&first, &claim("cam", "n1")).await;
    granted(&second, &claim("cam", "n2")).await;
}

#[tokio::test]
async fn the_rights_that_are_written_down_suffice_and_no_key_of_others_is_in_reach() {
    let server = Server::start(&[&login(&[])[..], &["--user", "default", "off"]].concat());
    let url = format!("redis://{LOGIN}{}", server.host());
    use_everything(&registry(url.clone())).await;

    let other = RedisRegistry::new(Config { cluster: "other".parse().unwrap(), ..config(url) }).unwrap();
    let error = other.nodes().await.unwrap_err();
    assert!(error.to_string().contains("Redis answers"), "{error}");
    let wrong = registry(format!("redis://relaycast:hunter3@{}", server.host()));
    let error = wrong.nodes().await.unwrap_err().to_string();
    assert!(!error.contains("hunter") && error.contains("refuses"), "{error}");
}

#[tokio::test]
async fn a_server_is_trusted_for_the_ca_that_is_given_and_for_no_other() {
    let (files, others) = (support::certificates(), support::certificates());
    let server = Server::start_tls(files.path());
    let url = format!("rediss://{}", server.host());
    let with_ca = |ca: Option<&tempfile::TempDir>, url: &str| {
        let ca_file = ca.map(|files| files.path().join("ca.pem"));
        RedisRegistry::new(Config { ca_file, ..config(url.to_owned()) }).unwrap()
    };
    use_everything(&with_ca(Some(&files), &url)).await;
    for ca in [Some(&others), None] {
        let error = with_ca(ca, &url).nodes().await.unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    // By another name than the one in its certificate.
    let error = with_ca(Some(&files), &url.replace("127.0.0.1", "localhost")).nodes().await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_cluster_of_three_serves_every_call() {
    let args = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port"];
    let servers: Vec<_> = [0, 5462, 10923]
        .into_iter()
        .enumerate()
        .map(|(index, first)| {
            let bus = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
            let server = Server::start(&[&args[..], &[&bus], &login(&["+cluster|slots", "+ping"])].concat());
            let last = [5461, 10922, 16383][index];
            server.say(&["-e", "CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
            server.say(&["-e", "CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]);
            (server, bus)
        })
        .collect();
    for (server, bus) in &servers[1..] {
        servers[0].0.say(&["-e", "CLUSTER", "MEET", "127.0.0.1", &server.port.to_string(), bus]);
    }
    for (server, _) in &servers {
        server.wait_for_line("Cluster state changed: ok");
    }
    // One of them is enough to find the others, even next to one that is not there.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    use_everything(&registry(format!("redis+cluster://{LOGIN}{silent},{}", servers[1].0.host()))).await;
    let wrong = registry(format!("redis+cluster://relaycast:hunter3@{}", servers[0].0.host()));
    let error = wrong.nodes().await.unwrap_err().to_string();
    assert_eq!(error, "the registry is not available: no server lets us in");
}

#[tokio::test]
async fn a_master_that_is_killed_is_replaced_by_the_one_that_sentinels_name() {
    let user = login(&["+role"]);
    let mut master = Server::start(&[&user[..], &["--repl-diskless-sync-delay", "0"]].concat());
    let replica =
        Server::start(&[&user[..], &["--replicaof", "127.0.0.1", &master.port.to_string()]].concat());
    replica.wait_for_line("Finished with success");
    let sentinel = Server::start_sentinel(&master);
    sentinel.wait_for_line("+slave");
    // The first Sentinel of the URL is one that says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    let registry = registry(format!(
        "redis+sentinel://{LOGIN}{silent},{}/main?sentinel-user=asker&sentinel-password=word",
        sentinel.host()
    ));
    let lease = granted(&registry, &claim("cam", "n1")).await;
    // What a replica has not got when its master dies is lost; that is another test.
    master.say(&["-e", "WAIT", "1", "10000"]);
    let begun = Instant::now();
    master.kill();
    assert_eq!(answered(async || registry.renew(&lease).await).await, Renewed::Kept);
    assert!(begun.elapsed() < Duration::from_secs(15), "took {:?}", begun.elapsed());
    let newer = Claim { replaces: Some(lease.epoch), ..claim("cam", "n2") };
    assert!(granted(&registry, &newer).await.epoch > lease.epoch);
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_left() {
    let server = Server::start(&[]);
    let registry = registry(server.url());
    let lease = granted(&registry, &claim("cam", "n1")).await;
    server.say(&["-e", "REPLICAOF", "127.0.0.1", "1"]);
    let error = registry.renew(&lease).await.unwrap_err();
    assert!(error.to_string().contains("READONLY"), "{error}");
    server.say(&["-e", "REPLICAOF", "NO", "ONE"]);
    assert_eq!(answered(async || registry.renew(&lease).await).await, Renewed::Kept);
}

#[tokio::test]
async fn a_server_that_starts_again_empty_is_told_of_the_leases() {
    let mut server = Server::start(&[]);
    let registry = registry(server.url());
    let lease = granted(&registry, &claim("cam", "n1")).await;
    server.kill();
    let error = registry.renew(&lease).await.unwrap_err();
    assert!(error.to_string().starts_with("the registry is not available"), "{error}");
    server.restart(&[]);
    assert_eq!(answered(async || registry.renew(&lease).await).await, Renewed::Kept);
    let Acquired::Taken(record) = registry.acquire(&claim("cam", "n2")).await.unwrap() else {
        panic!("the lease was forgotten")
    };
    assert_eq!((record.node, record.epoch), (lease.peer.node, lease.epoch));
}

/// The lease is granted, lost with the memory, and granted again to another before the first holder says a word.
#[tokio::test]
async fn a_lease_that_was_forgotten_and_granted_anew_is_lost_to_its_first_holder() {
    let server = Server::start(&[]);
    let registry = registry(server.url());
    let first = granted(&registry, &claim("cam", "n1")).await;
    server.say(&["-e", "FLUSHALL"]);
    let second = granted(&registry, &claim("cam", "n2")).await;
    assert!(second.epoch > first.epoch);
    assert_eq!(registry.renew(&first).await, Ok(Renewed::Lost(second.epoch)));
    assert_eq!(registry.renew(&second).await, Ok(Renewed::Kept));
}

/// What a fail-over to a replica that lags does.
#[tokio::test]
async fn a_newer_lease_wins_over_an_older_one_that_came_back() {
    let server = Server::start(&[]);
    let registry = registry(server.url());
    let first = granted(&registry, &claim("cam", "n1")).await;
    let second = granted(&registry, &Claim { replaces: Some(first.epoch), ..claim("cam", "n2") }).await;
    server.say(&["-e", "FLUSHALL"]);
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
    let server = Server::start(&[]);
    let registry = registry(server.url());
    let lease = granted(&registry, &claim("cam", "n1")).await;
    // Takes what comes, and answers nothing to whom it would have to change something for.
    server.say(&["-e", "CLIENT", "PAUSE", "100000", "WRITE"]);
    assert_eq!(registry.renew(&lease).await, Err(Unavailable("no answer came in time".to_owned())));
    let before = connections(&server);
    server.say(&["-e", "CLIENT", "UNPAUSE"]);
    assert_eq!(answered(async || registry.renew(&lease).await).await, Renewed::Kept);
    assert!(connections(&server) > before, "the silent connection was kept");
}

/// Those of the tool that asks are in the number, one each time.
fn connections(server: &Server) -> u64 {
    let info = server.say(&["-e", "INFO", "stats"]);
    let line = info.lines().find_map(|line| line.trim().strip_prefix("total_connections_received:"));
    let tool = 1;
    line.unwrap().parse::<u64>().unwrap() - tool
}

#[tokio::test]
async fn many_calls_at_once_share_one_connection() {
    let server = Server::start(&[]);
    let registry = registry(server.url());
    let before = connections(&server);
    let claims: Vec<_> = (0..500).map(|index| claim(&format!("cam-{index}"), "n1")).collect();
    let granted = futures_util::future::join_all(claims.iter().map(|claim| registry.acquire(claim))).await;
    assert!(granted.iter().all(|answer| matches!(answer, Ok(Acquired::Granted(_)))));
    // The tool's own, and the registry's.
    assert_eq!(connections(&server) - before, 2);
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
