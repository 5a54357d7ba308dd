//! The scripts in a real Redis do what [`Table`] does, whatever is asked in whatever order.
//!
//! Nobody waits: time passes by making everything that Redis has older, and for the model by its clock. Lengths of time are
//! such that what a step really takes never decides.

#![allow(clippy::unwrap_used, reason = "what is unwrapped is what the test asserts")]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use relay_cluster::registry::table::Table;
use relay_cluster::registry::{
    Acquired, Answer, Attendance, Claim, Lease, RedisRegistry, Registry, Release, Terms, View,
};
use relay_proto::backbone::Peer;
use relay_proto::registry::{
    BANS_MAX, Capacity, LeaseRecord, Load, MEMORIES_MAX, MEMORY_BYTES_MAX, NodeRecord, NodeState, Role,
    SOURCES_AT_ONCE,
};
use relay_proto::source::SourceId;
use relay_proto::{ChannelName, Epoch, KeyHash, NodeId};
use relay_tests::redis::{Redis, Reply};
use support::registry::{claim, key, peer, registry};

/// What a term, a ban or an attendance lasts, if not no time at all.
const LONG: Duration = Duration::from_secs(60 * 60);

/// Two of these are longer than [`LONG`], four longer than twice that, and never by less than two minutes.
const WHILE: Duration = Duration::from_secs(31 * 60);

/// Longer than a registry remembers anything of these tests.
const AGES: Duration = Duration::from_secs(48 * 60 * 60);

/// What a case takes at most, so that times of Redis and of the model are told apart only by what matters.
const SLACK: Duration = Duration::from_secs(60);

/// Takes all that Redis knows so much closer to its end. Fails where a key would stay for ever.
const PASS: &str = "
    local by = tonumber(ARGV[1])
    for _, key in ipairs(redis.call('KEYS', '*')) do
        local kind = redis.call('TYPE', key).ok
        if kind == 'hash' and key:sub(-6) == ':lease' then
            redis.call('HINCRBY', key, 'live_until', -by)
            redis.call('HINCRBY', key, 'held_until', -by)
        elseif kind == 'zset' then
            for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
                redis.call('ZINCRBY', key, -by, member)
            end
        end
        local left = redis.call('PTTL', key)
        assert(left > 0, key)
        redis.call('PEXPIRE', key, left - by)
    end";

#[derive(Debug, Clone)]
enum Step {
    Acquire { channel: usize, peer: usize, key: usize, replaces: Which, exceeds: Which, terms: Terms },
    Renew { lease: Which, by: Option<usize>, terms: Terms },
    Release { lease: Which, release: bool },
    Attend { channel: usize, node: usize, what: u8, ttl: Duration },
    Ban { channel: usize, key: usize, ttl: Duration },
    Announce { peer: usize, load: u64, ttl: Duration },
    Withdraw { peer: usize },
    Nodes,
    Hold { sources: usize, peer: usize, ttl: Duration },
    GiveBack { sources: usize, peer: usize },
    Remember { name: usize, text: u8, ttl: Duration },
    Recall,
    Pass(Duration),
    Flush,
    ForgetScripts,
    Restart,
}

/// One of the leases that were granted so far, the last but so many.
#[derive(Debug, Clone, Copy)]
struct Which(Option<usize>);

fn step() -> impl Strategy<Value = Step> {
    let channel = || 0..2usize;
    let peer = || 0..PEERS.len();
    let key = || 0..2usize;
    let time = || prop_oneof![4 => Just(LONG), 1 => Just(Duration::ZERO)];
    let terms = || (time(), time()).prop_map(|(ttl, grace)| Terms { ttl, grace });
    let which = || prop_oneof![Just(Which(None)), (0..4usize).prop_map(|back| Which(Some(back)))];
    let lease = || (0..6usize).prop_map(|back| Which(Some(back)));
    prop_oneof![
        12 => (channel(), peer(), key(), which(), which(), terms()).prop_map(
            |(channel, peer, key, replaces, exceeds, terms)| Step::Acquire { channel, peer, key, replaces, exceeds, terms }
        ),
        6 => (lease(), prop::option::weighted(0.2, peer()), terms())
            .prop_map(|(lease, by, terms)| Step::Renew { lease, by, terms }),
        4 => (lease(), any::<bool>()).prop_map(|(lease, release)| Step::Release { lease, release }),
        4 => (channel(), peer(), 0..3u8, time())
            .prop_map(|(channel, node, what, ttl)| Step::Attend { channel, node, what, ttl }),
        2 => (channel(), key(), time()).prop_map(|(channel, key, ttl)| Step::Ban { channel, key, ttl }),
        2 => (peer(), any::<u64>(), Just(LONG)).prop_map(|(peer, load, ttl)| Step::Announce { peer, load, ttl }),
        1 => peer().prop_map(|peer| Step::Withdraw { peer }),
        1 => Just(Step::Nodes),
        4 => (0..4usize, peer(), time()).prop_map(|(sources, peer, ttl)| Step::Hold { sources, peer, ttl }),
        2 => (0..4usize, peer()).prop_map(|(sources, peer)| Step::GiveBack { sources, peer }),
        3 => (0..3usize, any::<u8>(), Just(LONG)).prop_map(|(name, text, ttl)| Step::Remember { name, text, ttl }),
        1 => Just(Step::Recall),
        4 => Just(Step::Pass(WHILE)),
        1 => Just(Step::Pass(AGES)),
        1 => Just(Step::Flush),
        1 => Just(Step::ForgetScripts),
    ]
}

/// Few, so that they meet.
const CHANNELS: [&str; 2] = ["cam-1", "cam-2"];
const KEYS: [&str; 2] = ["right", "wrong"];
const PEERS: [(&str, u64); 4] = [("n1", 1), ("n1", 2), ("n2", 3), ("n3", 4)];

fn channel_of(index: usize) -> ChannelName {
    CHANNELS[index].parse().unwrap()
}

fn key_of(index: usize) -> KeyHash {
    key(KEYS[index])
}

fn peer_of(index: usize) -> Peer {
    peer(PEERS[index].0, PEERS[index].1)
}

/// None, one, both.
fn sources_of(which: usize) -> Vec<SourceId> {
    let all = ["kerberos/hub/cam1", "dji/4BK/165-0-7/normal-0"].map(|text| text.parse().unwrap());
    all.into_iter().enumerate().filter(|(index, _)| which & (1 << index) != 0).map(|(_, id)| id).collect()
}

fn record(peer: usize, load: u64) -> NodeRecord {
    let Peer { node, incarnation } = peer_of(peer);
    NodeRecord {
        node,
        incarnation,
        url: "ws://10.0.0.1:8080".to_owned(),
        rtmp: None,
        region: None,
        zone: Some("a \"quoted\" zone".to_owned()),
        state: NodeState::InService,
        roles: vec![Role::Publish, Role::Receive],
        capacity: Capacity { sessions: 100, processors: 2, egress: None },
        load: Load { egress: load, ..Load::default() },
        version: "0.1.0".to_owned(),
        started_ms: 5,
    }
}

/// Redis, the model, and what they were asked so far.
struct Pair<'a> {
    server: &'a mut Redis,
    redis: &'a RedisRegistry,
    model: Table,
    now_ms: u64,
    granted: Vec<Lease>,
    epochs: BTreeSet<(ChannelName, Epoch)>,
}

impl<'a> Pair<'a> {
    fn new(server: &'a mut Redis, redis: &'a RedisRegistry) -> Self {
        // Any time will do.
        Self {
            server,
            redis,
            model: Table::default(),
            now_ms: 1,
            granted: Vec::new(),
            epochs: BTreeSet::new(),
        }
    }

    fn lease(&self, which: Which) -> Option<&Lease> {
        let back = which.0?;
        self.granted.iter().rev().nth(back)
    }

    async fn take(&mut self, step: Step) {
        let now = self.now_ms;
        match step {
            Step::Acquire { channel, peer, key, replaces, exceeds, terms } => {
                let epoch = |which| self.lease(which).map(|lease| lease.epoch);
                let claim = Claim {
                    channel: channel_of(channel),
                    peer: peer_of(peer),
                    key: key_of(key),
                    replaces: epoch(replaces),
                    exceeds: epoch(exceeds).unwrap_or_default(),
                    terms,
                };
                self.acquire(claim).await;
            }
            Step::Renew { lease, by, terms } => {
                let Some(mut lease) = self.lease(lease).cloned() else { return };
                lease.terms = terms;
                lease.peer = by.map_or(lease.peer, peer_of);
                assert_eq!(self.redis.renew(&lease).await.unwrap(), self.model.renew(&lease, now));
            }
            Step::Release { lease, release } => {
                let Some(lease) = self.lease(lease).cloned() else { return };
                let release = if release { Release::Free } else { Release::Held };
                self.redis.release(&lease, release).await.unwrap();
                self.model.release(&lease, release, now);
            }
            Step::Attend { channel, node, what, ttl } => {
                let node: NodeId = PEERS[node].0.parse().unwrap();
                let attendance = match what {
                    0 => Attendance::Wanted(&node, ttl),
                    1 => Attendance::Left(&node),
                    _ => Attendance::Look,
                };
                self.compare(&channel_of(channel), attendance).await;
            }
            Step::Ban { channel, key, ttl } => {
                let (channel, key) = (channel_of(channel), key_of(key));
                self.redis.ban(&channel, key, ttl).await.unwrap();
                self.model.ban(&channel, key, ttl, now);
            }
            Step::Announce { peer, load, ttl } => {
                let record = record(peer, load);
                let displaced = self.redis.announce(&record, ttl).await.unwrap();
                assert_eq!(displaced, self.model.announce(&record, ttl, now));
            }
            Step::Withdraw { peer } => {
                self.redis.withdraw(&peer_of(peer)).await.unwrap();
                self.model.withdraw(&peer_of(peer));
            }
            Step::Nodes => assert_eq!(self.redis.nodes().await.unwrap(), self.model.nodes(now)),
            Step::Hold { sources, peer, ttl } => {
                let (sources, holder) = (sources_of(sources), peer_of(peer).incarnation);
                let held = self.redis.hold_sources(&sources, holder, ttl).await.unwrap();
                assert_eq!(held, self.model.hold_sources(&sources, holder, ttl, now));
                if ttl.is_zero() {
                    // Redis takes no time that is none: it may be over, or not.
                    self.redis.release_sources(&sources, holder).await.unwrap();
                    self.model.release_sources(&sources, holder);
                }
            }
            Step::GiveBack { sources, peer } => {
                let (sources, holder) = (sources_of(sources), peer_of(peer).incarnation);
                self.redis.release_sources(&sources, holder).await.unwrap();
                self.model.release_sources(&sources, holder);
            }
            Step::Remember { name, text, ttl } => {
                let (name, text) = (format!("device {name}"), format!("{{\"text\": {text}}}"));
                self.redis.remember(&name, &text, ttl).await.unwrap();
                self.model.remember(&name, &text, ttl, now);
            }
            Step::Recall => {
                // One of them is never kept. Asked first: the other call lets go of what is over.
                let names = [3, 0, 2].map(|name| format!("device {name}"));
                assert_eq!(self.redis.recall(&names).await.unwrap(), self.model.recall(&names, now));
                assert_eq!(self.redis.remembered().await.unwrap(), self.model.remembered(now));
            }
            Step::Pass(time) => {
                let ms = u64::try_from(time.as_millis()).unwrap();
                let passed = self.server.command(&["EVAL", PASS, "0", &ms.to_string()]).await;
                assert_eq!(passed, Reply::Nil);
                self.now_ms += ms;
                self.model.expire(self.now_ms);
            }
            Step::Flush => {
                self.server.flush_all().await;
                self.model.forget_everything();
            }
            Step::ForgetScripts => self.server.ok(&["SCRIPT", "FLUSH"]).await,
            Step::Restart => {
                self.server.restart().await;
                self.model.forget_everything();
                // The connection is found broken by whoever calls first.
                while self.redis.nodes().await.is_err() {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    async fn acquire(&mut self, claim: Claim) {
        let real = self.redis.acquire(&claim).await.unwrap();
        // The model has the clock of Redis from what Redis grants: equal then means greater than anything the model knows.
        let floor = match real {
            Acquired::Granted(epoch) => Epoch::new(epoch.number() - 1),
            _ => Epoch::NONE,
        };
        let expected = self.model.acquire(&claim, self.now_ms, floor);
        match (real, expected) {
            (Acquired::Granted(epoch), Acquired::Granted(expected)) => {
                assert_eq!(epoch, expected);
                let Claim { channel, peer, key, terms, .. } = claim;
                assert!(self.epochs.insert((channel.clone(), epoch)), "{epoch} was granted twice");
                self.granted.push(Lease { channel, peer, epoch, key, terms });
            }
            (Acquired::Taken(real), Acquired::Taken(expected)) => assert_leases(&real, &expected),
            (Acquired::Banned(real), Acquired::Banned(expected)) => assert_times(real, expected),
            (real, expected) => panic!("{claim:?}: {real:?}, not {expected:?}"),
        }
    }

    async fn compare(&mut self, channel: &ChannelName, attendance: Attendance<'_>) {
        let real = self.redis.attend(channel, attendance).await.unwrap();
        let expected = self.model.attend(channel, attendance, self.now_ms);
        assert_views(&real, &expected);
    }
}

fn assert_views(real: &View, expected: &View) {
    assert_eq!(real.wanted, expected.wanted);
    match (&real.lease, &expected.lease) {
        (Some(real), Some(expected)) => assert_leases(real, expected),
        (real, expected) => assert_eq!(real, expected),
    }
    let bans = |view: &View| {
        let mut bans: Vec<_> = view.bans.iter().map(|(key, left)| (key.to_string(), *left)).collect();
        bans.sort_unstable();
        bans
    };
    let (real, expected) = (bans(real), bans(expected));
    assert_eq!(real.len(), expected.len());
    for ((real_key, real), (expected_key, expected)) in real.into_iter().zip(expected) {
        assert_eq!(real_key, expected_key);
        assert_times(real, expected);
    }
}

fn assert_leases(real: &LeaseRecord, expected: &LeaseRecord) {
    let times = |record: &LeaseRecord| [record.live_ms, record.held_ms].map(Duration::from_millis);
    for (real, expected) in times(real).into_iter().zip(times(expected)) {
        assert_times(real, expected);
    }
    assert_eq!(
        LeaseRecord { live_ms: 0, held_ms: 0, ..real.clone() },
        LeaseRecord { live_ms: 0, held_ms: 0, ..expected.clone() }
    );
}

/// What is left in Redis is less by what the test took so far, but nothing exactly when it should be.
fn assert_times(real: Duration, expected: Duration) {
    assert_eq!(real.is_zero(), expected.is_zero(), "{real:?}, not {expected:?}");
    assert!(real <= expected && expected - real < SLACK, "{real:?}, not {expected:?}");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn redis_and_the_table_agree_whatever_is_asked() {
    let runtime = runtime();
    let server = std::cell::RefCell::new(runtime.block_on(Redis::start()));
    let redis = registry(server.borrow().url());
    let config = ProptestConfig {
        cases: 96,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20),
        max_shrink_iters: 256,
        ..ProptestConfig::default()
    };
    let taken = AtomicU64::new(0);
    let mut runner = TestRunner::new(config);
    runner
        .run(&prop::collection::vec(step(), 1..60), |steps| {
            let mut server = server.borrow_mut();
            let mut pair = Pair::new(&mut server, &redis);
            runtime.block_on(async {
                pair.take(Step::Flush).await;
                for step in steps {
                    pair.take(step).await;
                    taken.fetch_add(1, Ordering::Relaxed);
                }
                for channel in 0..CHANNELS.len() {
                    pair.compare(&channel_of(channel), Attendance::Look).await;
                }
                pair.take(Step::Nodes).await;
                pair.take(Step::Recall).await;
            });
            Ok(())
        })
        .unwrap();
    println!("{} steps", taken.load(Ordering::Relaxed));
}

/// Flushed and restarted more often than at random, and no epoch comes twice or goes back.
#[test]
fn epochs_grow_over_every_loss_of_memory() {
    runtime().block_on(async {
        let mut server = Redis::start().await;
        let redis = registry(server.url());
        let mut pair = Pair::new(&mut server, &redis);
        let terms = Terms { ttl: LONG, grace: LONG };
        for round in 0..100 {
            for channel in 0..CHANNELS.len() {
                let none = Which(None);
                pair.take(Step::Acquire {
                    channel,
                    peer: round % 4,
                    key: 0,
                    replaces: none,
                    exceeds: none,
                    terms,
                })
                .await;
            }
            // The one of the channel that was asked for last.
            pair.take(Step::Renew { lease: Which(Some(round % 6)), by: None, terms }).await;
            pair.take(if round % 25 == 24 { Step::Restart } else { Step::Flush }).await;
        }
        assert_eq!(pair.granted.len(), 200);
    });
}

/// Takeover after takeover, faster than the clock of milliseconds, and then the memory is lost.
#[test]
fn epochs_do_not_run_ahead_of_the_clock() {
    runtime().block_on(async {
        let mut server = Redis::start().await;
        let redis = registry(server.url());
        let mut pair = Pair::new(&mut server, &redis);
        let terms = Terms { ttl: LONG, grace: LONG };
        let mut claims = Vec::new();
        for _ in 0..500 {
            let replaces = pair.granted.last().map(|lease| lease.epoch);
            let claim = Claim {
                channel: channel_of(0),
                peer: peer_of(0),
                key: key_of(0),
                replaces,
                exceeds: Epoch::NONE,
                terms,
            };
            pair.acquire(claim.clone()).await;
            claims.push(claim);
        }
        pair.take(Step::Flush).await;
        pair.acquire(Claim { replaces: None, ..claims.swap_remove(0) }).await;
    });
}

/// Of a clock that was set back and a memory that was lost, this is what is left.
#[tokio::test]
async fn a_claim_is_granted_more_than_its_node_knows() {
    let server = Redis::start().await;
    let redis = registry(server.url());
    let claim = claim("cam-1", "n1");
    let Acquired::Granted(by_the_clock) = redis.acquire(&claim).await.unwrap() else { panic!("is not free") };
    let ahead = Epoch::new(by_the_clock.number() + 60_000_000);
    let next = Claim { replaces: Some(by_the_clock), exceeds: ahead, ..claim.clone() };
    assert_eq!(redis.acquire(&next).await, Ok(Acquired::Granted(ahead.next())));
    // And one more than the last, while the clock is behind.
    let next = Claim { replaces: Some(ahead.next()), ..claim };
    assert_eq!(redis.acquire(&next).await, Ok(Acquired::Granted(ahead.next().next())));
}

#[tokio::test]
async fn a_channel_has_so_many_bans_and_no_more() {
    let server = Redis::start().await;
    let redis = registry(server.url());
    let channel = channel_of(0);
    let mut model = Table::default();
    for index in 0..BANS_MAX + 3 {
        let ttl = LONG + Duration::from_secs(60 * (index as u64 * 7 % BANS_MAX as u64));
        let key = key(&format!("k{index}"));
        redis.ban(&channel, key, ttl).await.unwrap();
        model.ban(&channel, key, ttl, 1);
    }
    let view = redis.attend(&channel, Attendance::Look).await.unwrap();
    assert_eq!(view.bans.len(), BANS_MAX);
    assert_views(&view, &model.attend(&channel, Attendance::Look, 1));
}

#[tokio::test]
async fn so_much_is_remembered_and_no_more() {
    let server = Redis::start().await;
    let redis = registry(server.url());
    let mut model = Table::default();
    for (name, bytes) in [("at the bound", MEMORY_BYTES_MAX), ("beyond", MEMORY_BYTES_MAX + 1)] {
        redis.remember(name, &"x".repeat(bytes), LONG).await.unwrap();
        model.remember(name, &"x".repeat(bytes), LONG, 1);
    }
    assert_eq!(redis.remembered().await.unwrap(), model.remembered(1));
    assert_eq!(model.remembered(1).len(), 1);
    for index in 0..MEMORIES_MAX + 2 {
        let ttl = LONG + Duration::from_secs(60 * (1 + index as u64 * 7 % MEMORIES_MAX as u64));
        redis.remember(&format!("{index}"), "text", ttl).await.unwrap();
        model.remember(&format!("{index}"), "text", ttl, 1);
    }
    let kept = redis.remembered().await.unwrap();
    assert_eq!(kept.len(), MEMORIES_MAX);
    assert_eq!(kept, model.remembered(1));
    // More names than one call of a script takes.
    let names: Vec<String> = (0..2 * SOURCES_AT_ONCE + 1).map(|index| format!("{index}")).collect();
    let some = redis.recall(&names).await.unwrap();
    assert_eq!(some, model.recall(&names, 1));
    assert!(some.len() > SOURCES_AT_ONCE);
    assert_eq!(redis.recall(&[]).await.unwrap(), []);
}

#[tokio::test]
async fn a_fleet_of_sources_is_held_at_once_and_each_by_one() {
    let server = Redis::start().await;
    let redis = registry(server.url());
    let sources: Vec<SourceId> = (0..2 * SOURCES_AT_ONCE + 1)
        .map(|index| format!("kerberos/hub/cam{index}").parse().unwrap())
        .collect();
    let [one, other] = [0, 2].map(|index| peer_of(index).incarnation);
    let mine = &sources[..SOURCES_AT_ONCE + 1];
    assert_eq!(redis.hold_sources(mine, one, LONG).await.unwrap(), vec![true; mine.len()]);
    let held = redis.hold_sources(&sources, other, LONG).await.unwrap();
    assert_eq!(held.iter().position(|held| *held), Some(mine.len()));
    redis.release_sources(&sources, one).await.unwrap();
    assert!(redis.hold_sources(&sources, other, LONG).await.unwrap().into_iter().all(|held| held));
}

/// Times that no clock can be added to are told as long ones.
#[tokio::test]
async fn no_length_of_time_is_refused() {
    let server = Redis::start().await;
    let redis = registry(server.url());
    for time in [Duration::ZERO, Duration::MAX] {
        let claim = Claim { terms: Terms { ttl: time, grace: time }, ..claim("cam-1", "n1") };
        let Acquired::Granted(epoch) = redis.acquire(&claim).await.unwrap() else { panic!("is not free") };
        let Claim { channel, peer, key, terms, .. } = claim;
        let lease = Lease { channel: channel.clone(), peer: peer.clone(), epoch, key, terms };
        redis.renew(&lease).await.unwrap();
        redis.release(&lease, Release::Held).await.unwrap();
        redis.release(&lease, Release::Free).await.unwrap();
        redis.attend(&channel, Attendance::Wanted(&peer.node, time)).await.unwrap();
        redis.announce(&record(0, 1), time).await.unwrap();
        redis.ban(&channel, support::registry::key("bad"), time).await.unwrap();
    }
}

#[tokio::test]
async fn a_record_that_is_no_record_is_passed_over_and_makes_room() {
    let server = Redis::start().await;
    let redis = registry(server.url());
    redis.announce(&record(0, 1), LONG).await.unwrap();
    redis.announce(&record(2, 1), LONG).await.unwrap();
    for garbage in ["", "{", "[]", "3", "{\"incarnation\":\"0000000000000001\"}"] {
        server.ok(&["SET", "relaycast:node:n1", garbage, "EX", "60"]).await;
        assert_eq!(redis.nodes().await.unwrap(), [record(2, 1)]);
        redis.withdraw(&peer_of(0)).await.unwrap();
        assert_eq!(server.command(&["EXISTS", "relaycast:node:n1"]).await, Reply::Number(0), "{garbage}");
        server.ok(&["SET", "relaycast:node:n1", garbage, "EX", "60"]).await;
        assert_eq!(redis.announce(&record(0, 2), LONG).await.unwrap(), None);
    }
    assert_eq!(redis.nodes().await.unwrap(), [record(0, 2), record(2, 1)]);
}

/// An answer of other types than a script's is an error that tells nothing of it.
#[tokio::test]
async fn what_is_not_understood_is_not_told() {
    let server = Redis::start().await;
    let redis = registry(server.url());
    let claim = claim("cam-1", "n1");
    let set = async |fields: &str| {
        let command = format!("HSET relaycast:{{cam-1}}:lease {fields}");
        let answer = server.command(&command.split(' ').collect::<Vec<_>>()).await;
        assert!(matches!(answer, Reply::Number(_)), "{answer:?}");
    };
    set("node hunter2! incarnation x epoch 1 key k").await;
    let look: Answer<'_, View> = redis.attend(&claim.channel, Attendance::Look);
    assert!(!look.await.unwrap_err().to_string().contains("hunter2"));
    set("live_until 1 held_until 1").await;
    let error = redis.attend(&claim.channel, Attendance::Look).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "the registry is not available: an answer that is not understood: a lease's node was wanted"
    );
}
