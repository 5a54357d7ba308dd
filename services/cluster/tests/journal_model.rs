//! The journal's scripts in a real Redis do what [`Ledger`] does, whatever is said in whatever order.
//!
//! Nobody waits: time passes by making everything that Redis has older, and for the model by its clock. Lengths of time are
//! such that what a step really takes never decides.

#![allow(clippy::unwrap_used, reason = "what is unwrapped is what the test asserts")]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use relay_cluster::Journal;
use relay_cluster::journal::ledger::Ledger;
use relay_cluster::journal::{ASSERTED_FOR, Delivered, Reading, RedisJournal};
use relay_proto::Incarnation;
use relay_proto::backbone::Peer;
use relay_proto::event::{Event, EventId, Fact, NodePhase};
use relay_proto::journal::{FACTS_MAX, KEPT_MS, REMEMBERED_MS};
use relay_tests::redis::{Client, Redis, Reply};
use support::journal::{CHANNELS, any_fact, any_peer, journal, node, refused, watched, words};
use support::registry::peer;

/// Two of these are longer than a fact counts, and one is not, by far more than a case takes.
const WHILE: Duration = Duration::from_secs(36);
const _: () = assert!(WHILE.as_secs() * 2 > ASSERTED_FOR.as_secs() + 10);
const _: () = assert!(WHILE.as_secs() + 10 < ASSERTED_FOR.as_secs());

/// The same for how long is remembered.
const AGES: Duration = Duration::from_secs(13 * 60 * 60);
const _: () = assert!(AGES.as_secs() * 2000 > REMEMBERED_MS && AGES.as_secs() * 1000 < REMEMBERED_MS);

/// Of a duty: two of [`AGES`] are longer, and any number of [`WHILE`] in a case is not.
const HELD: Duration = Duration::from_secs(20 * 60 * 60);

const DUTIES: [&str; 2] = ["webhooks", "burials"];
const ENDPOINTS: [&str; 2] = ["shop", "shop cam"];

/// Takes all that Redis knows so much closer to its end. Fails where a key would stay for ever.
const PASS: &str = "
    local by = tonumber(ARGV[1])
    for _, key in ipairs(redis.call('KEYS', '*')) do
        if string.find(key, ':asserted$') or string.find(key, ':idle$') then
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
    Record(Vec<Fact>),
    Bury(Peer),
    Expire,
    /// After the event that was told last but so many.
    Read(usize, usize),
    Hold(usize, u64),
    Release(usize, u64),
    Note(usize, usize, usize),
    Advance(usize, usize),
    Pass(Duration),
    Flush,
    ForgetScripts,
}

fn step() -> impl Strategy<Value = Step> {
    let duty = || (0..DUTIES.len(), 1..3u64);
    prop_oneof![
        16 => prop::collection::vec(any_fact(), 1..6).prop_map(Step::Record),
        2 => any_peer().prop_map(Step::Bury),
        2 => Just(Step::Expire),
        3 => (0..12usize, 0..9usize).prop_map(|(back, max)| Step::Read(back, max)),
        2 => duty().prop_map(|(duty, holder)| Step::Hold(duty, holder)),
        1 => duty().prop_map(|(duty, holder)| Step::Release(duty, holder)),
        2 => (0..ENDPOINTS.len(), 0..CHANNELS.len(), 0..9usize)
            .prop_map(|(endpoint, subject, back)| Step::Note(endpoint, subject, back)),
        1 => (0..ENDPOINTS.len(), 0..9usize).prop_map(|(endpoint, back)| Step::Advance(endpoint, back)),
        4 => Just(Step::Pass(WHILE)),
        1 => Just(Step::Pass(AGES)),
        1 => Just(Step::Flush),
        1 => Just(Step::ForgetScripts),
    ]
}

/// Redis, the model, and what was told so far.
struct Pair<'a> {
    server: &'a Redis,
    redis: &'a RedisJournal,
    client: Client,
    model: Ledger,
    now: u64,
    /// The same event, by either.
    told: Vec<(EventId, EventId)>,
    /// Since anything was said.
    silent: Duration,
}

impl<'a> Pair<'a> {
    async fn new(server: &'a Redis, redis: &'a RedisJournal) -> Self {
        Self {
            server,
            redis,
            client: server.client().await,
            model: Ledger::default(),
            // Any time will do.
            now: 1,
            told: Vec::new(),
            silent: Duration::ZERO,
        }
    }

    async fn take(&mut self, step: Step) {
        // What was said in one step ends before what was said in the next, and no event is of a time before a loss of memory.
        if matches!(step, Step::Record(_) | Step::Flush) {
            let before = self.clock().await;
            while self.clock().await == before {}
            self.now += 1;
        }
        let now = self.now;
        match step {
            Step::Record(facts) => {
                let newest = self.redis.newest().await.unwrap();
                let last = self.redis.record(&facts).await.unwrap();
                let events = self.model.record(&facts, now);
                self.compare(newest, &events).await;
                assert_eq!(last, events.last().and(self.told.last()).map(|told| told.0), "{facts:?}");
                self.silent = Duration::ZERO;
            }
            Step::Bury(peer) => {
                let newest = self.redis.newest().await.unwrap();
                self.redis.bury(&peer).await.unwrap();
                let events = self.model.bury(&peer, now);
                self.compare(newest, &events).await;
                self.silent = Duration::ZERO;
            }
            Step::Expire => {
                let newest = self.redis.newest().await.unwrap();
                self.redis.expire().await.unwrap();
                let events = self.model.expire(now);
                self.compare(newest, &events).await;
                self.silent = Duration::ZERO;
            }
            Step::Read(back, max) => {
                let (by_redis, by_model) = self.event(back);
                let real = self.redis.read(by_redis, max).await.unwrap();
                assert_readings(&real, &self.model.read(by_model, max));
            }
            Step::Hold(duty, holder) => {
                let holder = Incarnation::new(holder);
                let real = self.redis.hold(DUTIES[duty], holder, HELD).await.unwrap();
                assert_eq!(real, self.model.hold(DUTIES[duty], holder, HELD, now));
            }
            Step::Release(duty, holder) => {
                let holder = Incarnation::new(holder);
                self.redis.release(DUTIES[duty], holder).await.unwrap();
                self.model.release(DUTIES[duty], holder);
            }
            Step::Note(endpoint, subject, back) => {
                let (by_redis, by_model) = self.event(back);
                let (endpoint, subject) = (ENDPOINTS[endpoint], CHANNELS[subject]);
                self.redis.note_delivered(endpoint, subject, by_redis).await.unwrap();
                self.model.note_delivered(endpoint, subject, by_model);
                self.compare_marks(endpoint).await;
            }
            Step::Advance(endpoint, back) => {
                let (by_redis, by_model) = self.event(back);
                self.redis.advance_delivered(ENDPOINTS[endpoint], by_redis).await.unwrap();
                self.model.advance_delivered(ENDPOINTS[endpoint], by_model);
                self.compare_marks(ENDPOINTS[endpoint]).await;
            }
            Step::Pass(time) => {
                let kept = Duration::from_millis(KEPT_MS);
                if self.silent + time + time >= kept {
                    return;
                }
                self.silent += time;
                // Whoever delivers says now and then how far it is, by which the marks live.
                for endpoint in ENDPOINTS {
                    self.compare_marks(endpoint).await;
                }
                let ms = u64::try_from(time.as_millis()).unwrap();
                let passed = self.server.command(&["EVAL", PASS, "0", &ms.to_string()]).await;
                assert_eq!(passed, Reply::Nil);
                self.now += ms;
            }
            Step::Flush => {
                self.server.flush_all().await;
                self.model.forget_everything();
            }
            Step::ForgetScripts => self.server.ok(&["SCRIPT", "FLUSH"]).await,
        }
    }

    /// In milliseconds.
    async fn clock(&mut self) -> u64 {
        let reply = self.client.command(&["TIME"]).await.unwrap();
        let [seconds, micros] = reply.list() else { panic!("{reply:?} is no time") };
        let number = |reply: &Reply| reply.text().parse::<u64>().unwrap();
        number(seconds) * 1000 + number(micros) / 1000
    }

    fn event(&self, back: usize) -> (EventId, EventId) {
        self.told.iter().rev().nth(back).copied().unwrap_or((EventId::FIRST, EventId::FIRST))
    }

    /// What both told since this event of Redis.
    async fn compare(&mut self, newest: EventId, events: &[Event]) {
        let real = self.redis.read(newest, usize::MAX).await.unwrap();
        assert_eq!(words(&real.events), words(events));
        assert!(!real.gap);
        for (real, expected) in real.events.iter().zip(events) {
            assert_eq!(real.role, expected.role);
            assert!(self.told.last().is_none_or(|last| last.0 < real.id && last.1 < expected.id));
            self.told.push((real.id, expected.id));
        }
    }

    async fn compare_marks(&self, endpoint: &str) {
        let real = self.redis.delivered(endpoint).await.unwrap();
        let expected = self.model.delivered(endpoint);
        let to_redis =
            |id: EventId| self.told.iter().find(|told| told.1 == id).map_or(EventId::FIRST, |told| told.0);
        let beyond = expected.beyond.into_iter().map(|(subject, id)| (subject, to_redis(id))).collect();
        assert_eq!(real, Delivered { through: to_redis(expected.through), beyond });
    }
}

fn assert_readings(real: &Reading, expected: &Reading) {
    assert_eq!(words(&real.events), words(&expected.events));
    assert_eq!(real.gap, expected.gap);
}

#[tokio::test]
async fn what_is_forgotten_takes_no_room() {
    let server = Redis::start().await;
    let redis = journal(server.url());
    let n1 = peer("n1", 1);
    let facts: Vec<_> = (0..2 * FACTS_MAX)
        .flat_map(|index| {
            let name = format!("cam-{index}");
            [refused("n1", Some(&name), "full"), refused(&name, None, "full")]
        })
        .chain([watched("open", &n1), node(&n1, NodePhase::InService)])
        .collect();
    redis.record(&facts).await.unwrap();
    let sizes = async || {
        let mut sizes = Vec::new();
        for (command, key) in
            [("HLEN", "subjects"), ("ZCARD", "idle"), ("ZCARD", "asserted"), ("ZCARD", "runs")]
        {
            let Reply::Number(size) =
                server.command(&[command, &format!("relaycast:{{events}}:{key}")]).await
            else {
                panic!("{key} has no size")
            };
            sizes.push(size);
        }
        sizes
    };
    let some = i64::try_from(4 * FACTS_MAX).unwrap();
    assert_eq!(sizes().await, [some + 2, some + 1, 1, 1]);
    let pass = ["EVAL", PASS, "0", &(REMEMBERED_MS + 1).to_string()];
    assert_eq!(server.command(&pass).await, Reply::Nil);
    // The one that somebody watched until now is not forgotten yet.
    redis.expire().await.unwrap();
    assert_eq!(sizes().await, [1, 1, 0, 0]);
    assert_eq!(server.command(&pass).await, Reply::Nil);
    redis.expire().await.unwrap();
    assert_eq!(sizes().await, [0, 0, 0, 0]);
}

#[test]
fn redis_and_the_ledger_agree_whatever_is_said() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(Redis::start());
    let redis = journal(server.url());
    let config = ProptestConfig {
        cases: 128,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20),
        max_shrink_iters: 256,
        ..ProptestConfig::default()
    };
    let (taken, told) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut runner = TestRunner::new(config);
    runner
        .run(&prop::collection::vec(step(), 1..80), |steps| {
            runtime.block_on(async {
                let mut pair = Pair::new(&server, &redis).await;
                pair.take(Step::Flush).await;
                for step in steps {
                    pair.take(step).await;
                    taken.fetch_add(1, Ordering::Relaxed);
                }
                for back in 0..9 {
                    pair.take(Step::Read(back, 9)).await;
                }
                told.fetch_add(pair.told.len() as u64, Ordering::Relaxed);
            });
            Ok(())
        })
        .unwrap();
    println!("{} steps, {} events", taken.load(Ordering::Relaxed), told.load(Ordering::Relaxed));
}
