//! Webhooks as services get them: real requests, real certificates, and a journal that several replicas share.

#![allow(clippy::unwrap_used, reason = "a test may do this, its helpers too")]

mod sink;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use relay_cluster::Journal;
use relay_cluster::journal::{Delivered, MemoryJournal, RedisJournal};
use relay_cluster::registry::redis::{Config, DEFAULT_TIMEOUT};
use relay_proto::backbone::Peer;
use relay_proto::event::{EndReason, Event, EventId, EventKind, Fact, NodePhase};
use relay_proto::{Epoch, Incarnation};
use relay_stream_manager::webhooks::{Census, Limits, Sources, Webhooks, parse};
use relay_tests::certificates::Certificates;
use relay_tests::process::run;
use relay_tests::redis::Redis;
use relay_tests::seed::Seed;
use relay_tests::until;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use sink::{Fate, KEY, Received, Sink};

/// Everything happens soon; but a machine that is busy with other things loses no duty.
fn limits() -> Limits {
    Limits {
        answer_timeout: Duration::from_secs(5),
        first_retry: Duration::from_millis(4),
        longest_retry: Duration::from_millis(16),
        duty_ttl: Duration::from_secs(60),
        poll_interval: Duration::from_millis(50),
        ..Limits::default()
    }
}

/// Where a test waits for the end of a duty.
fn short_duty() -> Limits {
    Limits { duty_ttl: Duration::from_millis(1500), ..limits() }
}

/// What a cluster of these tests has.
struct Cluster<J = MemoryJournal> {
    journal: Arc<J>,
    hints: watch::Sender<EventId>,
    census: watch::Sender<Census>,
    limits: Limits,
    epoch: u64,
}

/// A replica; dropped, it is as dead as a process that is killed.
struct Replica {
    metrics: prometheus::Registry,
    webhooks: Arc<Webhooks>,
    tasks: JoinSet<()>,
}

impl Cluster {
    fn new(limits: Limits) -> Self {
        Self::of(MemoryJournal::new(), limits)
    }
}

impl<J: Journal + 'static> Cluster<J> {
    fn of(journal: J, limits: Limits) -> Self {
        let (hints, census) = (watch::Sender::default(), watch::Sender::default());
        Self { journal: Arc::new(journal), hints, census, limits, epoch: 0 }
    }

    fn replica(&self, number: u64, file: &str) -> Replica {
        let metrics = prometheus::Registry::new();
        let sources = Sources {
            journal: Arc::clone(&self.journal) as Arc<dyn Journal>,
            holder: Incarnation::new(number),
            hints: self.hints.subscribe(),
            census: self.census.subscribe(),
            limits: self.limits,
        };
        let webhooks = Arc::new(Webhooks::new(parse(file).unwrap(), sources, &metrics).unwrap());
        let mut tasks = JoinSet::new();
        let runs = Arc::clone(&webhooks);
        tasks.spawn(async move { runs.run().await });
        Replica { metrics, webhooks, tasks }
    }

    /// A replica that has the duty, and knows how far its endpoints are.
    async fn deliverer(&self, file: &str) -> Replica {
        let replica = self.replica(1, file);
        for endpoint in parse(file).unwrap() {
            self.until_known(endpoint.name()).await;
        }
        replica
    }

    async fn until_known(&self, endpoint: &str) {
        let delivered = async || self.journal.delivered(endpoint).await.ok();
        until("the endpoint is known", async || {
            delivered().await.filter(|known| *known != Default::default())
        })
        .await;
    }

    /// A publication starts and ends: two events.
    async fn publication(&mut self, channel: &str) {
        self.epoch += 1;
        let channel = channel.parse::<relay_proto::ChannelName>().unwrap();
        let (epoch, peer) = (Epoch::new(self.epoch), peer("n1", 1));
        let live = Fact::Live { channel: channel.clone(), epoch, peer: peer.clone() };
        let ended = Fact::Ended { channel, epoch, peer, reason: EndReason::Ended };
        let newest = self.journal.record(&[live, ended]).await.unwrap().unwrap();
        self.hints.send_replace(newest);
    }

    async fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let after = events.last().map_or(EventId::FIRST, |last: &Event| last.id);
            let more = self.journal.read(after, 1000).await.unwrap().events;
            if more.is_empty() {
                return events;
            }
            events.extend(more);
        }
    }
}

impl Replica {
    /// The value of a metric, with these labels.
    fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let families = self.metrics.gather();
        let family = families
            .iter()
            .find(|family| family.name() == name)
            .unwrap_or_else(|| panic!("{name} is missing"));
        let has = |metric: &&prometheus::proto::Metric| {
            labels.iter().all(|label| metric.get_label().iter().any(|pair| pair.value() == *label))
        };
        let metric =
            family.get_metric().iter().find(has).unwrap_or_else(|| panic!("{name} has no {labels:?}"));
        metric.get_counter().get_value() + metric.get_gauge().get_value()
    }

    /// Leaves in order.
    async fn leave(mut self) {
        self.tasks.shutdown().await;
        self.webhooks.release().await;
    }

    fn is_on_duty(&self) -> bool {
        self.metric("relaycast_webhooks_on_duty", &[]) > 0.0
    }
}

fn peer(node: &str, run: u64) -> Peer {
    Peer { node: node.parse().unwrap(), incarnation: Incarnation::new(run) }
}

fn webhook(name: &str, sink: &Sink, more: &str) -> String {
    let secret = STANDARD.encode(KEY);
    format!("[[webhook]]\nname = '{name}'\nurl = '{}'\nsecret = 'whsec_{secret}'\n{more}\n", sink.url)
}

fn ids(received: &[Received]) -> BTreeSet<EventId> {
    received.iter().map(|received| received.event.id).collect()
}

/// Everything came, and each event of a channel came for the first time after the one before. Tells how many came again.
fn assert_complete(expected: &[Event], received: &[Received]) -> usize {
    let mut seen = BTreeSet::new();
    let mut sequences: BTreeMap<String, u64> = BTreeMap::new();
    for Received { event, .. } in received {
        if seen.insert(event.id) {
            let sequence = sequences.entry(event.channel.as_ref().unwrap().to_string()).or_default();
            assert_eq!(
                event.sequence,
                *sequence + 1,
                "{event:?} comes out of order, or something is missing before it"
            );
            *sequence = event.sequence;
        }
    }
    assert_eq!(seen, expected.iter().map(|event| event.id).collect(), "something is missing");
    received.len() - seen.len()
}

#[tokio::test]
async fn a_request_is_the_event_with_its_headers() {
    let sink = Sink::new(|_| Fate::Taken).await;
    let mut cluster = Cluster::new(limits());
    let _replica = cluster.deliverer(&webhook("ops", &sink, "")).await;
    cluster.publication("cam").await;
    let received = sink.until("both events", |noted| noted.len() == 2).await;
    let expected = cluster.events().await;
    for (received, event) in received.iter().zip(&expected) {
        assert_eq!(received.body, serde_json::to_vec(event).unwrap());
        assert_eq!(received.headers["webhook-id"], event.id.to_string().as_str());
    }
}

/// The example of `proto/WEBHOOKS.md`, as it stands there.
#[tokio::test]
async fn the_example_in_python_verifies_what_is_sent_and_nothing_else() {
    let text = include_str!("../../../../proto/WEBHOOKS.md");
    let example = text.split_once("```python\n").unwrap().1.split_once("```").unwrap().0;
    let sink = Sink::new(|_| Fate::Taken).await;
    let mut cluster = Cluster::new(limits());
    let _replica = cluster.deliverer(&webhook("ops", &sink, "")).await;
    cluster.publication("cam").await;
    let received = sink.until("both events", |noted| noted.len() == 2).await;
    let verifies = async |body: &[u8], secret: &[u8], later: u32| {
        let headers: Vec<String> = received[0]
            .headers
            .iter()
            .map(|(name, value)| format!("{:?}: {:?}", name.as_str(), value.to_str().unwrap()))
            .collect();
        let program = format!(
            "{example}\nimport time as t\nnow = t.time()\nt.time = lambda: now + {later}\n\
             print(verify('whsec_{}', {{{}}}, bytes.fromhex('{}')))\n",
            STANDARD.encode(secret),
            headers.join(", "),
            body.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        );
        let ran = run(Command::new("python3").args(["-c", &program])).await;
        (
            ran.status.success(),
            String::from_utf8(ran.stdout).unwrap() + &String::from_utf8(ran.stderr).unwrap(),
        )
    };
    let body = &received[0].body;
    let (well, told) = verifies(body, KEY, 0).await;
    assert!(well && told.contains("'channel.started'"), "{told}");
    let changed = [body, &b" "[..]].concat();
    for (body, key, later) in [(&changed[..], KEY, 0), (body, &KEY[1..], 0), (body, KEY, 301)] {
        let (well, told) = verifies(body, key, later).await;
        assert!(!well && told.contains("ValueError"), "{told}");
    }
}

#[tokio::test]
async fn a_sink_that_fails_at_random_gets_everything_in_order() {
    let mut seed = Seed::from_environment();
    let mut dice = fastrand::Rng::with_seed(seed.u64(..));
    let sink = Sink::new(move |_| match dice.u8(0..10) {
        0 => Fate::Lost(500),
        1 => Fate::Lost(503),
        // It has it, and the sender does not know.
        2 => Fate::Answered(502, Vec::new()),
        _ => Fate::Taken,
    })
    .await;
    let mut cluster = Cluster::new(limits());
    let replica = cluster.deliverer(&webhook("ops", &sink, "")).await;
    for _ in 0..100 {
        cluster.publication(&format!("cam-{}", seed.u8(0..8))).await;
    }
    let expected = cluster.events().await;
    let received = sink.until("everything", |noted| ids(noted).len() == expected.len()).await;
    until("all is settled", async || {
        (replica.metric("relaycast_webhooks_held", &["ops"]) == 0.0).then_some(())
    })
    .await;
    let again = assert_complete(&expected, &received);
    let failed = replica.metric("relaycast_webhooks_attempts_total", &["failed"]);
    assert!(again > 0 && again as f64 <= failed, "{again} came again, {failed} failed");
    assert_eq!(replica.metric("relaycast_webhooks_attempts_total", &["delivered"]), expected.len() as f64);
    assert_eq!(replica.metric("relaycast_webhooks_dead_total", &["ops"]), 0.0);
}

#[tokio::test]
async fn when_a_deliverer_is_killed_another_goes_on_and_the_order_is_kept() {
    one_of_two_is_killed(Cluster::new(short_duty())).await;
}

#[tokio::test]
async fn the_same_with_the_journal_in_redis() {
    let redis = Redis::start().await;
    let config = Config {
        url: redis.url(),
        ca_file: None,
        cluster: "relaycast".parse().unwrap(),
        timeout: DEFAULT_TIMEOUT,
    };
    one_of_two_is_killed(Cluster::of(RedisJournal::new(config).unwrap(), short_duty())).await;
}

async fn one_of_two_is_killed<J: Journal + 'static>(mut cluster: Cluster<J>) {
    let mut seed = Seed::from_environment();
    let mut dice = fastrand::Rng::with_seed(seed.u64(..));
    let sink = Sink::new(move |_| if dice.u8(0..10) < 3 { Fate::Lost(500) } else { Fate::Taken }).await;
    let file = webhook("ops", &sink, "");
    let mut first = cluster.deliverer(&file).await;
    let second = cluster.replica(2, &file);
    let mut unnoted = 0;
    for round in 0..200 {
        cluster.publication(&format!("cam-{}", seed.u8(0..8))).await;
        if round == 100 {
            sink.until("the first is at work", |noted| noted.len() > 50).await;
            assert!(first.is_on_duty() && !second.is_on_duty());
            first.tasks.shutdown().await;
            let known = cluster.journal.delivered("ops").await.unwrap();
            unnoted = ids_beyond(&known, &sink.noted());
        }
    }
    let expected = cluster.events().await;
    let received = sink.until("everything", |noted| ids(noted).len() == expected.len()).await;
    let held = || second.metric("relaycast_webhooks_held", &["ops"]);
    until("the second is done", async || (held() == 0.0).then_some(())).await;
    assert!(second.is_on_duty() && !first.is_on_duty());
    let again = assert_complete(&expected, &received);
    // What was taken when the first was killed and not noted yet, and what was on its way: no more.
    let may_come_again = unnoted + cluster.limits.in_flight_max;
    assert!(again <= may_come_again, "{again} came again, not noted were {unnoted}");
}

/// How many of the events that came the journal does not know to be delivered.
fn ids_beyond(known: &Delivered, received: &[Received]) -> usize {
    let is_known = |event: &Event| {
        let subject = format!("channel/{}", event.channel.as_ref().unwrap());
        event.id <= known.through || known.beyond.get(&subject).is_some_and(|through| event.id <= *through)
    };
    received.iter().filter(|received| !is_known(&received.event)).count()
}

#[tokio::test]
async fn without_its_journal_a_deliverer_stops_and_goes_on_when_it_is_back() {
    let sink = Sink::new(|_| Fate::Taken).await;
    let mut cluster = Cluster::new(short_duty());
    let replica = cluster.deliverer(&webhook("ops", &sink, "")).await;
    cluster.publication("cam").await;
    sink.until("it delivers", |noted| noted.len() == 2).await;
    cluster.journal.set_outage(true);
    until("it is not sure any more", async || (!replica.is_on_duty()).then_some(())).await;
    assert!(replica.metric("relaycast_webhooks_journal_errors_total", &[]) > 0.0);
    cluster.journal.set_outage(false);
    cluster.publication("cam").await;
    let received = sink.until("it delivers again", |noted| ids(noted).len() == 4).await;
    assert_complete(&cluster.events().await, &received);
}

#[tokio::test]
async fn an_endpoint_gets_what_happened_while_nobody_delivered_but_not_what_was_before_it() {
    let sink = Sink::new(|_| Fate::Taken).await;
    let mut cluster = Cluster::new(limits());
    cluster.publication("history").await;
    let file = webhook("ops", &sink, "");
    cluster.deliverer(&file).await.leave().await;
    cluster.publication("cam").await;
    let _second = cluster.replica(2, &file);
    let received = sink.until("two events", |noted| noted.len() == 2).await;
    assert_eq!(ids(&received), cluster.events().await[2..].iter().map(|event| event.id).collect());
}

#[tokio::test]
async fn an_endpoint_that_was_there_before_the_first_event_gets_it_from_a_successor() {
    let sink = Sink::new(|_| Fate::Taken).await;
    let mut cluster = Cluster::new(limits());
    let file = webhook("ops", &sink, "");
    cluster.deliverer(&file).await.leave().await;
    cluster.publication("cam").await;
    let _second = cluster.replica(2, &file);
    sink.until("two events", |noted| noted.len() == 2).await;
}

#[tokio::test]
async fn a_hint_has_everything_sent_that_happened_however_many_pages_it_is() {
    let sink = Sink::new(|_| Fate::Taken).await;
    // Nothing is found by looking now and then.
    let mut cluster = Cluster::new(Limits { page: 8, poll_interval: Duration::from_secs(3600), ..limits() });
    let _replica = cluster.deliverer(&webhook("ops", &sink, "")).await;
    for total in [2, 400] {
        for _ in sink.noted().len() / 2..total / 2 {
            cluster.publication("cam").await;
        }
        let received = sink.until("everything", |noted| noted.len() == total).await;
        assert_eq!(assert_complete(&cluster.events().await, &received), 0);
    }
}

#[tokio::test]
async fn what_happened_is_found_without_a_hint() {
    let sink = Sink::new(|_| Fate::Taken).await;
    let mut cluster = Cluster::new(limits());
    let _replica = cluster.deliverer(&webhook("ops", &sink, "")).await;
    cluster.hints = watch::Sender::default();
    cluster.publication("cam").await;
    sink.until("both events", |noted| noted.len() == 2).await;
}

#[tokio::test]
async fn a_journal_that_forgets_everything_costs_no_event_after_it() {
    let sink = Sink::new(|_| Fate::Taken).await;
    let mut cluster = Cluster::new(limits());
    let replica = cluster.deliverer(&webhook("ops", &sink, "")).await;
    cluster.publication("cam").await;
    sink.until("it delivers", |noted| noted.len() == 2).await;
    cluster.journal.forget_everything();
    until("the gap is noticed", async || {
        (replica.metric("relaycast_webhooks_gaps_total", &["ops"]) == 1.0).then_some(())
    })
    .await;
    cluster.publication("mic").await;
    sink.until("it delivers again", |noted| ids(noted).len() == 4).await;
    assert_eq!(replica.metric("relaycast_webhooks_gaps_total", &["ops"]), 1.0);
}

#[tokio::test]
async fn what_is_not_answered_in_time_is_sent_again_and_holds_up_nothing_else() {
    let (open, opened) = watch::channel(false);
    let sink = Sink::new(move |event| {
        let stuck = event.channel.as_ref().is_some_and(|channel| channel.as_str() == "stuck");
        if stuck && !*opened.borrow() { Fate::Hangs } else { Fate::Taken }
    })
    .await;
    let mut cluster = Cluster::new(Limits { answer_timeout: Duration::from_millis(100), ..limits() });
    let replica = cluster.deliverer(&webhook("ops", &sink, "")).await;
    cluster.publication("stuck").await;
    cluster.publication("cam").await;
    let received = sink.until("the other channel", |noted| noted.len() == 2).await;
    assert!(received.iter().all(|received| received.event.channel.as_ref().unwrap().as_str() == "cam"));
    until("it is tried again", async || {
        (replica.metric("relaycast_webhooks_attempts_total", &["failed"]) >= 2.0).then_some(())
    })
    .await;
    // The journal knows of the other one already, whatever becomes of this.
    let newest = cluster.events().await[3].id;
    let noted = async || cluster.journal.delivered("ops").await.unwrap().beyond.get("channel/cam").copied();
    until("what is done is noted", async || noted().await.filter(|id| *id == newest)).await;
    open.send_replace(true);
    let received = sink.until("everything", |noted| noted.len() == 4).await;
    assert_eq!(assert_complete(&cluster.events().await, &received), 0);
    let through = async || cluster.journal.delivered("ops").await.unwrap().through;
    until("all of it is noted", async || (through().await == newest).then_some(())).await;
}

#[tokio::test]
async fn an_endpoint_that_is_gone_gets_nothing_more_and_others_do() {
    let gone = Sink::new(|_| Fate::Answered(410, Vec::new())).await;
    let well = Sink::new(|_| Fate::Taken).await;
    let mut cluster = Cluster::new(short_duty());
    let file = webhook("gone", &gone, "") + &webhook("well", &well, "");
    let replica = cluster.deliverer(&file).await;
    cluster.publication("cam").await;
    until("it is muted", async || {
        (replica.metric("relaycast_webhooks_muted", &["gone"]) == 1.0).then_some(())
    })
    .await;
    cluster.publication("cam").await;
    well.until("the other goes on", |noted| noted.len() == 4).await;
    // It stays muted when the duty comes back.
    cluster.journal.set_outage(true);
    until("the duty is lost", async || (!replica.is_on_duty()).then_some(())).await;
    cluster.journal.set_outage(false);
    until("the duty is back", async || replica.is_on_duty().then_some(())).await;
    cluster.publication("cam").await;
    well.until("the other goes on", |noted| ids(noted).len() == 6).await;
    assert_eq!(gone.requests(), 1);
    assert_eq!(replica.metric("relaycast_webhooks_muted", &["well"]), 0.0);
}

#[tokio::test]
async fn an_endpoint_that_asks_for_a_pause_gets_one() {
    let mut first = true;
    let sink = Sink::new(move |_| match std::mem::take(&mut first) {
        true => Fate::Answered(429, vec![("retry-after", "1".to_owned())]),
        false => Fate::Taken,
    })
    .await;
    let mut cluster = Cluster::new(limits());
    let replica = cluster.deliverer(&webhook("ops", &sink, "")).await;
    cluster.publication("cam").await;
    until("it is told", async || {
        (replica.metric("relaycast_webhooks_attempts_total", &["later"]) == 1.0).then_some(())
    })
    .await;
    cluster.publication("another").await;
    let received = sink.until("everything", |noted| noted.len() == 5).await;
    let (asked, next) = (received[0].at, received[1].at);
    assert!(next - asked >= Duration::from_secs(1), "{:?}", next - asked);
    assert_eq!(assert_complete(&cluster.events().await, &received), 1);
}

#[tokio::test]
async fn what_is_refused_again_and_again_is_given_up_and_counted() {
    let sink = Sink::new(|event| match event.kind {
        EventKind::ChannelStarted => Fate::Lost(404),
        _ => Fate::Taken,
    })
    .await;
    let mut cluster = Cluster::new(Limits { refusals_max: 3, ..limits() });
    let replica = cluster.deliverer(&webhook("ops", &sink, "")).await;
    cluster.publication("cam").await;
    let received = sink.until("the next one", |noted| noted.len() == 1).await;
    assert_eq!((received[0].event.kind, sink.requests()), (EventKind::ChannelEnded, 4));
    assert_eq!(replica.metric("relaycast_webhooks_dead_total", &["ops"]), 1.0);
    assert_eq!(replica.metric("relaycast_webhooks_attempts_total", &["refused"]), 3.0);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Sink::new(|_| Fate::Taken).await;
    let location = other.url.clone();
    let sink = Sink::new(move |_| Fate::Answered(307, vec![("location", location.clone())])).await;
    let mut cluster = Cluster::new(Limits { refusals_max: 2, ..limits() });
    let replica = cluster.deliverer(&webhook("ops", &sink, "")).await;
    cluster.publication("cam").await;
    until("both are given up", async || {
        (replica.metric("relaycast_webhooks_dead_total", &["ops"]) == 2.0).then_some(())
    })
    .await;
    assert_eq!((sink.requests(), other.requests()), (4, 0));
}

#[tokio::test]
async fn an_endpoint_gets_what_its_filters_let_through() {
    let sink = Sink::new(|_| Fate::Taken).await;
    let mut cluster = Cluster::new(limits());
    let more = "events = ['channel.*', 'node.lost']\nchannels = ['cam-*']";
    let _replica = cluster.deliverer(&webhook("ops", &sink, more)).await;
    cluster.publication("cam-1").await;
    for state in [NodePhase::InService, NodePhase::Lost] {
        cluster.journal.record(&[Fact::Node { peer: peer("n2", 1), state }]).await.unwrap();
    }
    cluster.publication("mic-1").await;
    let received = sink.until("three events", |noted| noted.len() == 3).await;
    let kinds: BTreeSet<&str> = received.iter().map(|received| received.event.kind.name()).collect();
    assert_eq!(kinds, BTreeSet::from(["channel.started", "channel.ended", "node.lost"]));
    let newest = cluster.events().await.last().unwrap().id;
    let through = async || cluster.journal.delivered("ops").await.unwrap().through;
    until("the rest counts as settled", async || (through().await == newest).then_some(())).await;
    assert_eq!(sink.requests(), 3);
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_it_is_named_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path()).await;
    let sink = Sink::tls(&certificates, |_| Fate::Taken).await;
    let mut cluster = Cluster::new(limits());
    let named = format!("ca_file = '{}'", certificates.authority().display());
    let file = webhook("named", &sink, &named) + &webhook("not", &sink, "");
    let replica = cluster.deliverer(&file).await;
    cluster.publication("cam").await;
    let received = sink.until("both events", |noted| noted.len() == 2).await;
    assert_eq!(assert_complete(&cluster.events().await, &received), 0);
    let failed = |name: &str| replica.metric("relaycast_webhooks_attempts_total", &[name, "failed"]);
    until("the other fails", async || (failed("not") >= 2.0).then_some(())).await;
    assert_eq!((failed("named"), sink.requests()), (0.0, 2));
}

#[tokio::test]
async fn a_file_without_a_certificate_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    let cluster = Cluster::new(limits());
    for path in [empty.clone(), folder.path().join("missing.pem")] {
        let file = format!(
            "[[webhook]]\nname = 'ops'\nurl = 'https://sink/T0KEN'\nsecret = 'whsec_{}'\nca_file = '{}'",
            STANDARD.encode(KEY),
            path.display()
        );
        let sources = Sources {
            journal: Arc::clone(&cluster.journal) as Arc<dyn Journal>,
            holder: Incarnation::new(1),
            hints: cluster.hints.subscribe(),
            census: cluster.census.subscribe(),
            limits: cluster.limits,
        };
        let error = Webhooks::new(parse(&file).unwrap(), sources, &prometheus::Registry::new()).unwrap_err();
        assert_eq!(error.to_string(), format!("webhook 'ops': no certificate in {}", path.display()));
    }
}

#[tokio::test]
async fn an_endpoint_that_is_away_for_a_while_gets_everything_and_no_more_is_held_than_may_be() {
    let (open, opened) = watch::channel(false);
    let sink = Sink::new(move |_| if *opened.borrow() { Fate::Taken } else { Fate::Lost(500) }).await;
    let mut cluster = Cluster::new(Limits { held_max: 16, page: 8, ..limits() });
    let replica = cluster.deliverer(&webhook("ops", &sink, "")).await;
    for number in 0..50 {
        cluster.publication(&format!("cam-{}", number % 5)).await;
    }
    let held = || replica.metric("relaycast_webhooks_held", &["ops"]);
    until("it holds what it may", async || (held() == 16.0).then_some(())).await;
    let requests = sink.requests();
    until("it goes on to try", async || (sink.requests() > requests + 50).then_some(())).await;
    assert_eq!(held(), 16.0);
    open.send_replace(true);
    let expected = cluster.events().await;
    let received = sink.until("everything", |noted| noted.len() >= expected.len()).await;
    assert_eq!(assert_complete(&expected, &received), 0);
}

#[tokio::test(start_paused = true)]
async fn a_duty_that_is_given_back_is_taken_soon_and_one_that_is_not_after_its_time() {
    let cluster = Cluster::new(Limits::default());
    let ttl = Limits::default().duty_ttl;
    let mut first = cluster.replica(1, "");
    until("the first has it", async || first.is_on_duty().then_some(())).await;
    let mut second = cluster.replica(2, "");
    sleep(10 * ttl).await;
    assert!(first.is_on_duty() && !second.is_on_duty());

    first.tasks.shutdown().await;
    first.webhooks.release().await;
    let began = Instant::now();
    until("the second has it", async || second.is_on_duty().then_some(())).await;
    assert!(began.elapsed() <= ttl / 3 + Duration::from_millis(10), "{:?}", began.elapsed());

    let third = cluster.replica(3, "");
    sleep(ttl).await;
    second.tasks.shutdown().await;
    let began = Instant::now();
    until("the third has it", async || third.is_on_duty().then_some(())).await;
    let waited = began.elapsed();
    assert!(waited > ttl / 3 && waited <= ttl * 4 / 3 + Duration::from_millis(10), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn the_duty_goes_on_through_a_short_outage_and_ends_with_its_time() {
    let cluster = Cluster::new(Limits::default());
    let ttl = Limits::default().duty_ttl;
    let replica = cluster.replica(1, "");
    until("it has it", async || replica.is_on_duty().then_some(())).await;
    cluster.journal.set_outage(true);
    sleep(ttl / 2).await;
    assert!(replica.is_on_duty());
    cluster.journal.set_outage(false);
    sleep(ttl / 2).await;
    assert!(replica.is_on_duty(), "it was kept in time");
    cluster.journal.set_outage(true);
    sleep(ttl + Duration::from_millis(10)).await;
    assert!(!replica.is_on_duty());
}

#[tokio::test(start_paused = true)]
async fn how_far_an_endpoint_is_is_said_again_though_nothing_happens() {
    let cluster = Cluster::new(Limits::default());
    let secret = STANDARD.encode(KEY);
    let file = format!("[[webhook]]\nname = 'ops'\nurl = 'http://localhost:9/'\nsecret = 'whsec_{secret}'");
    let _replica = cluster.deliverer(&file).await;
    cluster.journal.forget_everything();
    sleep(Duration::from_secs(3610)).await;
    assert_ne!(cluster.journal.delivered("ops").await.unwrap(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_vanished_is_buried_once_with_what_it_published() {
    let cluster = Cluster::new(Limits::default());
    let (lost, well) = (peer("n1", 7), peer("n2", 8));
    let live = Fact::Live { channel: "cam".parse().unwrap(), epoch: Epoch::new(1), peer: lost.clone() };
    cluster.journal.record(&[live]).await.unwrap();
    let phases = |first: NodePhase| vec![(lost.clone(), first), (well.clone(), NodePhase::InService)];
    cluster.census.send_replace(phases(NodePhase::InService));
    let _first = cluster.replica(1, "");
    let _second = cluster.replica(2, "");
    sleep(Duration::from_secs(10)).await;
    cluster.census.send_replace(phases(NodePhase::Lost));
    sleep(Duration::from_secs(10)).await;
    // Longer than any repetition, and than the journal believes what nobody says again.
    for _ in 0..12 {
        cluster.census.send_replace(phases(NodePhase::Lost));
        sleep(Duration::from_secs(10)).await;
    }
    let events: Vec<_> =
        cluster.events().await.into_iter().map(|event| (event.kind, event.node, event.reason)).collect();
    let node = |peer: &Peer| Some(peer.node.clone());
    assert_eq!(
        events,
        [
            (EventKind::ChannelStarted, node(&lost), None),
            (EventKind::NodeJoined, node(&lost), None),
            (EventKind::NodeJoined, node(&well), None),
            (EventKind::NodeLost, node(&lost), None),
            (EventKind::ChannelEnded, node(&lost), Some("lost".to_owned())),
        ]
    );
}
