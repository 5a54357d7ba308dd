//! A core without a socket: its registry and backbone are in memory, its broker and stream-manager are closed ports, and its
//! driver does what a test says.

use std::time::Duration;

use relay_cluster::registry::MemoryRegistry;
use relay_lifecycle::drain;
use relay_proto::Incarnation;
use relay_proto::source::{Command, SourceState};
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

    fn recall(&mut self, _name: &str, _text: &str, _now: Now, _effects: &mut Effects) {}

    fn devices(&self, _now: Now) -> Json {
        json!([])
    }
}

struct Rig {
    core: Core,
    driver: Scripted,
    desk: Desk,
    requests: mpsc::Receiver<(Ask, oneshot::Sender<Answered>)>,
}

impl Rig {
    fn new() -> Self {
        Self::with(Vec::new())
    }

    fn with(always_on: Vec<SourceId>) -> Self {
        let registry = Arc::new(MemoryRegistry::new());
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
            peer: Peer { node: "b1".parse().unwrap(), incarnation: Incarnation::new(1) },
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
        });
        Self { core, driver, desk, requests }
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

    fn command(&mut self, command: Command) -> oneshot::Receiver<Answered> {
        let (answer, answered) = oneshot::channel();
        self.core.ask(Ask::Command { source: cam(), command }, Reply::Here(answer));
        self.core.settle();
        answered
    }
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
