//! A core without a socket: its registry and backbone are in memory, its broker and stream-manager are closed ports, and its
//! driver does what a test says.

mod memory;

use std::time::Duration;

use futures_util::StreamExt;
use relay_cluster::Registry;
use relay_cluster::registry::MemoryRegistry;
use relay_lifecycle::drain;
use relay_proto::Incarnation;
use relay_proto::backbone::{from_json_within, to_json};
use relay_proto::source::{ANSWER_BYTES_MAX, Command, SourceState, SourcesReport};
use serde_json::{Value as Json, json};
use tokio::time::{advance, timeout};

use super::*;
use crate::broker::{self, Broker, DEFAULT_KEEP_ALIVE};
use crate::driver::{Effect, Ingest, Sign};

/// What the core had the driver do, and what the driver does then.
#[derive(Debug, Default)]
struct Script {
    said: Vec<String>,
    /// When it wants to know the time.
    next: Option<u64>,
    ticks: usize,
    /// Effects of the next message.
    effects: Effects,
    /// How many devices there are.
    devices: usize,
    /// What it was given back.
    recalled: Vec<(String, String)>,
}

#[derive(Debug, Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

impl Scripted {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

    fn say(&self, what: &str, source: &SourceId) {
        self.script().said.push(format!("{what} {source}"));
    }

    fn said(&self) -> Vec<String> {
        std::mem::take(&mut self.script().said)
    }
}

impl Driver for Scripted {
    fn filters(&self) -> Vec<String> {
        Vec::new()
    }

    fn heard(&mut self, _topic: &str, _payload: &Bytes, _now: Now, effects: &mut Effects) {
        effects.append(&mut self.script().effects);
    }

    fn connected(&mut self, _now: Now, _effects: &mut Effects) {}

    fn start(&mut self, source: &SourceId, _ingest: &Ingest, _now: Now, effects: &mut Effects) {
        self.say("start", source);
        effects.push(Effect::Sign(source.clone(), Sign::Accepted));
    }

    fn stop(&mut self, source: &SourceId, _now: Now, effects: &mut Effects) {
        self.say("stop", source);
        effects.push(Effect::Sign(source.clone(), Sign::Stopped));
    }

    fn forget(&mut self, source: &SourceId) {
        self.say("forget", source);
    }

    /// Is never answered.
    fn command(&mut self, _: Ticket, source: &SourceId, _: &Command, _: Now, _: &mut Effects) {
        self.say("command", source);
    }

    fn tick(&mut self, _now: Now, _effects: &mut Effects) {
        self.script().ticks += 1;
    }

    fn next(&self) -> Option<u64> {
        self.script().next
    }

    fn recall(&mut self, name: &str, text: &str, _now: Now, _effects: &mut Effects) {
        self.script().recalled.push((name.to_owned(), text.to_owned()));
    }

    fn asked_names(&self, source: &SourceId) -> Vec<String> {
        vec![asked(source)]
    }

    fn devices(&self, _now: Now) -> Json {
        let devices = self.script().devices;
        (0..devices).map(|number| json!({ "source": format!("kerberos/hub/cam{number}") })).collect()
    }
}

struct Rig {
    core: Core,
    driver: Scripted,
    registry: Arc<MemoryRegistry>,
    desk: Desk,
    requests: mpsc::Receiver<(Ask, oneshot::Sender<Answered>)>,
}

impl Rig {
    fn new() -> Self {
        Self::with(Vec::new())
    }

    fn with(always_on: Vec<SourceId>) -> Self {
        Self::beside(Arc::new(MemoryRegistry::new()), 1, always_on)
    }

    /// The bridge of this number, with a registry that others may have too.
    fn beside(registry: Arc<MemoryRegistry>, number: u64, always_on: Vec<SourceId>) -> Self {
        let links = Links { registry: Arc::clone(&registry) as _, ..Links::alone() };
        let settings = broker::Settings {
            url: "mqtt://127.0.0.1:1".to_owned(),
            version: broker::Version::default(),
            ca_file: None,
            keep_alive: DEFAULT_KEEP_ALIVE,
            name: "b1".parse().unwrap(),
        };
        let (publisher, _) = Broker::connect(settings, Vec::new()).unwrap();
        let driver = Scripted::default();
        let (core, desk, requests) = Core::new(Parts {
            links,
            peer: peer(number),
            publisher,
            picker: Picker::new(&["http://127.0.0.1:1".to_owned()], None).unwrap(),
            drivers: vec![(SourceKind::Kerberos, Box::new(driver.clone()))],
            effects: Effects::new(),
            telemetry: Telemetry::new(Vec::new()),
            always_on,
            timing: Timing::default(),
            registry_interval: Duration::from_secs(2),
            metrics: Arc::new(Metrics::register(&prometheus::Registry::new()).unwrap()),
            broker_latch: None,
            told_latch: None,
        });
        Self { core, driver, registry, desk, requests }
    }

    /// These happen, and all that follows at once.
    fn happens(&mut self, effects: impl IntoIterator<Item = Effect>) {
        self.core.effects(effects.into_iter().collect());
        self.core.settle();
    }

    /// Time passes, in steps in which all jobs end that can.
    async fn pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            self.core.tick();
            self.core.settle();
            while let Ok(Some(done)) = timeout(Duration::from_millis(1), self.core.jobs.join_next()).await {
                self.core.done(done);
                self.core.settle();
            }
            if Instant::now() >= until {
                return;
            }
            advance(Duration::from_millis(50)).await;
        }
    }

    /// Another bridge tells that it is there.
    fn hears_of_bridge(&mut self, number: u64) {
        let by = peer(number);
        let whole = SourcesReport::Whole { by, round: 1, part: 0, parts: 1, sources: Vec::new() };
        let now = self.core.now().ms;
        self.core.heard_of_others(&to_json(&whole), now);
    }

    /// Another bridge tells that it has the camera.
    fn hears_who_has_it(&mut self, number: u64) {
        let by = peer(number);
        let source = Source {
            id: cam(),
            channel: cam().channel(),
            kind: SourceKind::Kerberos,
            state: SourceState::Live,
            reason: None,
            node: None,
            bridge: Some(by.node.clone()),
            online: Some(true),
        };
        let now = self.core.now().ms;
        self.core.heard_of_others(&to_json(&SourcesReport::One { by, source }), now);
    }

    fn command(&mut self, command: Command) -> oneshot::Receiver<Answered> {
        let (answer, answered) = oneshot::channel();
        self.core.ask(Ask::Command { source: cam(), command }, Reply::Here(answer));
        self.core.settle();
        answered
    }
}

fn peer(number: u64) -> Peer {
    Peer { node: format!("b{number}").parse().unwrap(), incarnation: Incarnation::new(number) }
}

/// What the driver remembers of a source has this name.
fn asked(source: &SourceId) -> String {
    format!("asked/lens/{source}")
}

fn cam() -> SourceId {
    "kerberos/hub/cam1".parse().unwrap()
}

fn action() -> Command {
    Command::Action { name: "ptz".to_owned(), value: Json::Null }
}

fn message() -> Heard {
    Heard::Message { topic: "kerberos/hub/x".to_owned(), payload: Bytes::new() }
}

#[tokio::test(start_paused = true)]
async fn a_command_that_no_driver_answers_is_answered_and_its_place_is_free() {
    let mut rig = Rig::new();
    rig.happens([Effect::Known(cam(), true)]);
    let mut answered = rig.command(action());
    rig.pass(Duration::from_secs(62)).await;
    assert!(answered.try_recv().is_err());
    rig.pass(Duration::from_secs(2)).await;
    let Answered::Problem { status, code, .. } = answered.try_recv().unwrap() else { panic!("no problem") };
    assert_eq!((status, code.as_str()), (504, "no-reply"));
    assert!(rig.core.tickets.is_empty());
}

#[tokio::test]
async fn a_broker_that_never_stops_talking_keeps_nobody_waiting() {
    const MESSAGES: usize = 20_000;
    let Rig { core, desk, requests, .. } = Rig::new();
    let (sender, heard) = mpsc::channel(MESSAGES);
    for _ in 0..MESSAGES {
        sender.try_send(message()).unwrap();
    }
    let (trigger, drain) = drain::channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(core.run(Inbox::of(heard), requests, drain));
    let (answer, answered) = oneshot::channel();
    desk.requests.try_send((Ask::Devices, answer)).unwrap();
    assert!(matches!(answered.await.unwrap(), Answered::Done { .. }));
    assert!(sender.capacity() < MESSAGES, "all that the broker said came first");
    trigger.advance();
    tasks.join_next().await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_driver_whose_time_is_always_over_does_not_take_all_the_time() {
    let Rig { core, driver, requests, .. } = Rig::new();
    driver.script().next = Some(0);
    let (_sender, heard) = mpsc::channel(1);
    let (trigger, drain) = drain::channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(core.run(Inbox::of(heard), requests, drain));
    // Without a pace the core is never idle, and so this clock never goes on.
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
    let before = driver.script().ticks;
    assert!(before < 5_000, "{before} ticks in no time");
    trigger.advance();
    tasks.join_next().await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn where_a_node_takes_a_source_is_not_printed() {
    let mut rig = Rig::new();
    rig.happens([Effect::Known(cam(), true)]);
    rig.core.entries.get_mut(&cam()).unwrap().url = Some(Url("ws://n1/c/hunter2/publish".to_owned()));
    assert!(!format!("{:?}", rig.core).contains("hunter2"));
}

#[tokio::test(start_paused = true)]
async fn what_is_always_on_and_unknown_is_told_of_and_not_started() {
    let mut rig = Rig::with(vec![cam()]);
    rig.pass(Duration::from_secs(20)).await;
    assert_eq!(rig.driver.said(), [""; 0]);
    assert_eq!(rig.desk.roster().find(&cam()).unwrap().1.state, SourceState::Idle);
    rig.happens([Effect::Known(cam(), true)]);
    rig.pass(Duration::from_secs(5)).await;
    assert_eq!(rig.desk.roster().find(&cam()).unwrap().1.state, SourceState::Starting);
    // Its lease is kept for as long, and given back when it is over.
    rig.happens([Effect::Known(cam(), false)]);
    rig.pass(Duration::from_secs(20)).await;
    assert!(!rig.core.entries[&cam()].is_held);
}

#[tokio::test(start_paused = true)]
async fn a_source_is_given_back_before_it_is_taken_again() {
    let mut rig = Rig::with(vec![cam()]);
    rig.happens([Effect::Known(cam(), true)]);
    rig.pass(Duration::from_secs(1)).await;
    assert!(rig.core.entries[&cam()].is_held);
    rig.happens([Effect::Known(cam(), false)]);
    rig.pass(Duration::from_secs(9)).await;
    while rig.core.entries[&cam()].is_held {
        advance(Duration::from_millis(50)).await;
        rig.core.tick();
        rig.core.settle();
    }
    // It is wanted again while the registry is about to be told, and nothing is asked of it at the same time.
    rig.happens([Effect::Known(cam(), true)]);
    rig.core.tick();
    assert_eq!((rig.core.leases.next(), rig.core.entries[&cam()].is_held), (None, false));
    rig.pass(Duration::from_secs(1)).await;
    assert!(rig.core.entries[&cam()].is_held);
    let other = rig.registry.hold_sources(&[cam()], Incarnation::new(2), Duration::from_secs(1)).await;
    assert_eq!(other.unwrap(), [false]);
}

#[tokio::test(start_paused = true)]
async fn what_is_to_be_remembered_waits_for_the_registry_one_by_one() {
    let mut rig = Rig::new();
    rig.registry.set_outage(true);
    rig.happens((0..1000).map(|number| Effect::Remember(number.to_string(), "old".to_owned())));
    assert_eq!(rig.core.jobs.len(), 1, "no more than one at a time");
    rig.pass(Duration::from_secs(10)).await;
    rig.happens([Effect::Remember("7".to_owned(), "new".to_owned())]);
    assert_eq!(rig.core.jobs.len(), 1);
    rig.registry.set_outage(false);
    rig.pass(Duration::from_secs(10)).await;
    let kept = rig.registry.remembered().await.unwrap();
    assert_eq!(kept.len(), 1000);
    assert!(kept.iter().all(|(name, text)| text == if name == "7" { "new" } else { "old" }));
    assert_eq!((rig.core.memory.unkept.len(), rig.core.jobs.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_was_never_known_is_not_taken_back() {
    let mut rig = Rig::new();
    rig.pass(Duration::from_millis(100)).await;
    rig.happens([Effect::Known(cam(), false)]);
    assert!(rig.core.entries.is_empty() && rig.desk.roster().find(&cam()).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_comes_and_goes_is_not_told_of_over_and_over() {
    let mut rig = Rig::new();
    for _ in 0..100 {
        rig.happens([Effect::Known(cam(), true), Effect::Known(cam(), false)]);
        rig.core.tick();
    }
    assert!(rig.core.entries.is_empty());
    assert_eq!(rig.core.tellings.number, 1);
    rig.pass(Duration::from_secs(1)).await;
    assert_eq!(rig.core.tellings.number, 2);
    assert!(rig.desk.roster().find(&cam()).is_none(), "the round lacks it");
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_wants_is_wanted_still_when_the_device_comes_back() {
    let mut rig = Rig::new();
    rig.happens([Effect::Known(cam(), true)]);
    let answered = rig.command(Command::Start(StartOptions::default()));
    assert!(matches!(answered.await.unwrap(), Answered::Done { .. }));
    rig.happens([Effect::Known(cam(), false)]);
    rig.pass(Duration::from_secs(30)).await;
    assert!(!rig.core.entries[&cam()].is_held);
    rig.happens([Effect::Known(cam(), true)]);
    rig.pass(Duration::from_secs(1)).await;
    assert!(rig.core.entries[&cam()].is_held);
    rig.happens([Effect::Known(cam(), false)]);
    let answered = rig.command(Command::Stop);
    assert!(matches!(answered.await.unwrap(), Answered::Done { .. }), "it can be taken back all the same");
    rig.pass(Duration::from_secs(30)).await;
    assert!(rig.core.entries.is_empty());
}

/// What the driver was told of a source that is on, when the bridge ends; beside another bridge perhaps.
async fn left(shared: bool, has_other: bool) -> Vec<String> {
    let mut rig = Rig::with(vec![cam()]);
    rig.core.links.shared = shared;
    rig.happens([Effect::Known(cam(), true)]);
    rig.pass(Duration::from_secs(1)).await;
    assert!(rig.core.entries[&cam()].is_held);
    if has_other {
        rig.hears_of_bridge(2);
    }
    rig.driver.said();
    let (_sender, heard) = mpsc::channel(1);
    let (trigger, drain) = drain::channel();
    trigger.advance();
    let Rig { core, driver, registry, requests, .. } = rig;
    core.run(Inbox::of(heard), requests, drain).await;
    let free = registry.hold_sources(&[cam()], Incarnation::new(2), Duration::from_secs(1)).await;
    assert_eq!(free.unwrap(), [true]);
    driver.said()
}

#[tokio::test(start_paused = true)]
async fn a_bridge_that_ends_stops_all_unless_another_goes_on() {
    let stopped = [format!("stop {}", cam())];
    assert_eq!(left(false, false).await, stopped);
    assert_eq!(left(true, false).await, stopped, "a cluster with no other bridge");
    assert_eq!(left(true, true).await, [""; 0]);
}

/// What is answered over the backbone when so many devices are asked for.
async fn devices_over_the_backbone(devices: usize) -> Answered {
    let mut rig = Rig::new();
    rig.driver.script().devices = devices;
    let mut answers = rig.core.links.backbone.subscribe("answers").await.unwrap();
    rig.core.ask_from_outside(&to_json(&Ask::Devices), Some("answers".to_owned()));
    rig.pass(Duration::from_secs(1)).await;
    let answer = timeout(Duration::from_secs(1), answers.next()).await.expect("an answer").unwrap();
    from_json_within(&answer.payload, ANSWER_BYTES_MAX).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_devices_of_a_large_fleet_are_told_over_the_backbone_or_why_they_are_not() {
    let Answered::Done { result } = devices_over_the_backbone(5_000).await else { panic!("no answer") };
    assert_eq!(result["devices"].as_array().unwrap().len(), 5_000);
    let answered = devices_over_the_backbone(50_000).await;
    let Answered::Problem { status: 503, code, .. } = answered else { panic!("no problem") };
    assert_eq!(code, "answer-too-long");
}

#[tokio::test(start_paused = true)]
async fn so_many_commands_wait_for_another_bridge_and_no_more() {
    let mut rig = Rig::new();
    let (node, incarnation) = (peer(2).node, peer(2).incarnation);
    // It has the source, listens, and says nothing.
    let subject = rig.core.subjects.node(&node, incarnation);
    let _silent = rig.core.links.backbone.subscribe(&subject).await.unwrap();
    rig.hears_who_has_it(2);
    let mut waiting: Vec<_> = (0..asks::OTHERS_MAX).map(|_| rig.command(action())).collect();
    let code = |answered| match answered {
        Answered::Problem { code, .. } => code,
        Answered::Done { .. } => panic!("nobody does it"),
    };
    assert_eq!(code(rig.command(action()).await.unwrap()), "busy");
    assert!(waiting.iter_mut().all(|answered| answered.try_recv().is_err()));
    rig.pass(Duration::from_secs(70)).await;
    for answered in waiting {
        assert_eq!(code(answered.await.unwrap()), "bridge-silent");
    }
    rig.hears_who_has_it(2);
    assert!(rig.command(action()).try_recv().is_err(), "there is room again");
}
