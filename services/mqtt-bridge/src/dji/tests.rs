//! What the driver does of what a bridge must, case by case.

mod bounds;
mod changes;
mod fleet;
mod starts;

use relay_proto::source::{CameraPosition, StartOptions};

use super::*;
use crate::driver::STARTED_PREFIX;

const DOCK: &str = "4BKBJ4R1010TGD";
const AIRCRAFT: &str = "1581F4BND22180040075";
const RC: &str = "RC1";

/// The camera of the dock, the one under the aircraft's nose, and the one it carries.
const HOUSE: &str = "dji/4BKBJ4R1010TGD/165-0-7/normal-0";
const FPV: &str = "dji/1581F4BND22180040075/39-0-7/normal-0";
const LOAD: &str = "dji/1581F4BND22180040075/52-0-0/normal-0";

const URL: &str = "rtmp://node-1:1935/live/channel/key";

struct Bed {
    driver: Dji,
    ms: u64,
    /// What it had remembered of starts, which goes along with nearly everything.
    starts: Vec<(String, String)>,
}

impl Bed {
    fn with(settings: Settings) -> (Self, Effects) {
        let mut effects = Effects::new();
        let driver = Dji::new(settings, 7, &mut effects);
        (Self { driver, ms: 1_000, starts: Vec::new() }, effects)
    }

    fn empty() -> Self {
        Self::with(Settings::default()).0
    }

    /// A dock with its aircraft, both there.
    fn dock() -> Self {
        Self::dock_with(Settings::default())
    }

    fn dock_with(settings: Settings) -> Self {
        let (mut bed, _) = Self::with(settings);
        bed.topology(&[AIRCRAFT]);
        bed.state(&capacity(2, 1, 2));
        bed
    }

    fn now(&self) -> Now {
        Now { ms: self.ms, unix_ms: 1_767_225_600_000 + self.ms }
    }

    /// What was done but to remember starts.
    fn did(&mut self, effects: Effects) -> Effects {
        let (starts, rest): (Effects, Effects) = effects.into_iter().partition(
            |effect| matches!(effect, Effect::Remember(name, _) if name.starts_with(STARTED_PREFIX)),
        );
        self.starts.extend(changes::remembered(&starts));
        rest
    }

    fn hear(&mut self, topic: &str, message: &Json) -> Effects {
        let (now, mut effects) = (self.now(), Effects::new());
        self.driver.heard(topic, &message.to_string().into_bytes().into(), now, &mut effects);
        self.did(effects)
    }

    /// What belongs to the dock, told as something new.
    fn topology(&mut self, aircraft: &[&str]) -> Effects {
        let tid = uuid(self.driver.random.u128(..));
        self.topology_of(DOCK, 2, &tid, aircraft)
    }

    fn topology_of(&mut self, sn: &str, kind: i64, tid: &str, aircraft: &[&str]) -> Effects {
        let domain = if kind > 9 { "2" } else { "3" };
        let list: Vec<Json> =
            aircraft.iter().map(|sn| json!({"sn": sn, "domain": "0", "type": 67, "sub_type": 0})).collect();
        let data = json!({"domain": domain, "type": kind, "sub_type": 0, "sub_devices": list});
        let message = json!({"tid": tid, "bid": "b", "timestamp": 1, "method": "update_topo", "data": data});
        self.hear(&format!("sys/product/{sn}/status"), &message)
    }

    fn state(&mut self, data: &Json) -> Effects {
        self.hear(
            &format!("thing/product/{DOCK}/state"),
            &json!({"tid": "t", "bid": "b", "timestamp": 1, "gateway": DOCK, "data": data}),
        )
    }

    fn osd(&mut self, sn: &str) -> Effects {
        let message = json!({"tid": "t", "bid": "b", "gateway": DOCK, "data": {"height": 12.5}});
        self.hear(&format!("thing/product/{sn}/osd"), &message)
    }

    fn status(&mut self, name: &str, live: bool, error: i64) -> Effects {
        let item = json!({"video_id": name.strip_prefix("dji/"), "video_type": "wide", "video_quality": 2,
                          "status": u8::from(live), "error_status": error});
        self.state(&json!({ "live_status": [item] }))
    }

    fn start_with(&mut self, name: &str, options: StartOptions) -> Effects {
        let ingest = Ingest { rtmp: Some(URL.to_owned()), options };
        let (now, mut effects) = (self.now(), Effects::new());
        self.driver.start(&source(name), &ingest, now, &mut effects);
        self.did(effects)
    }

    fn start(&mut self, name: &str) -> Effects {
        self.start_with(name, StartOptions::default())
    }

    fn stop(&mut self, name: &str) -> Effects {
        let (now, mut effects) = (self.now(), Effects::new());
        self.driver.stop(&source(name), now, &mut effects);
        self.did(effects)
    }

    fn command(&mut self, ticket: u64, name: &str, command: &Command) -> Effects {
        let (now, mut effects) = (self.now(), Effects::new());
        self.driver.command(Ticket(ticket), &source(name), command, now, &mut effects);
        self.did(effects)
    }

    fn reply_to(&mut self, sent: &Sent, result: i64) -> Effects {
        let message =
            json!({"tid": sent.tid, "bid": sent.bid, "timestamp:": "1", "data": {"result": result}});
        self.hear(&format!("thing/product/{}/services_reply", sent.gateway), &message)
    }

    /// Starts it, and has the gateway accept.
    fn live(&mut self, name: &str) {
        let sent = only(&self.start(name));
        assert_eq!(self.reply_to(&sent, 0)[0], sign(name, Sign::Accepted));
    }

    /// Lets the time pass until then, while the dock is there; all that was done, and when.
    fn until(&mut self, ms: u64) -> Vec<(u64, Effect)> {
        let mut done = Vec::new();
        while let Some(next) = self.driver.next().filter(|next| *next <= ms) {
            self.ms = self.ms.max(next);
            let (now, mut effects) = (self.now(), Effects::new());
            self.driver.tick(now, &mut effects);
            done.extend(self.did(effects).into_iter().map(|effect| (now.ms, effect)));
        }
        self.ms = ms;
        done
    }
}

/// A message to a gateway.
#[derive(Debug, Clone, PartialEq)]
struct Sent {
    gateway: String,
    tid: String,
    bid: String,
    method: String,
    data: Json,
}

fn sent(effects: &[Effect]) -> Vec<Sent> {
    let read = |effect: &Effect| {
        let Effect::Publish(outgoing) = effect else { return None };
        let topic: Topic = outgoing.topic.parse().unwrap();
        assert_eq!(outgoing.qos, Qos::AtMostOnce);
        let message = Message::read(&outgoing.payload).unwrap();
        assert!(message.timestamp.is_some_and(|at| at > 1_767_225_600_000));
        Some(Sent {
            gateway: topic.sn.to_string(),
            tid: message.tid.unwrap_or_default(),
            bid: message.bid.unwrap_or_default(),
            method: message.method.unwrap(),
            data: message.data,
        })
    };
    effects.iter().filter_map(read).collect()
}

/// The one message that was sent.
fn only(effects: &[Effect]) -> Sent {
    let sent = sent(effects);
    assert_eq!(sent.len(), 1, "{effects:?}");
    sent[0].clone()
}

fn source(name: &str) -> SourceId {
    name.parse().unwrap()
}

fn sign(name: &str, sign: Sign) -> Effect {
    Effect::Sign(source(name), sign)
}

fn online(name: &str, is_online: bool) -> Effect {
    sign(name, Sign::Online(is_online))
}

fn refused(name: &str, retry: Retry, reason: SourceReason) -> Effect {
    sign(name, Sign::Refused { retry, reason })
}

fn late() -> Effect {
    Effect::Malformed(LATE_REPLY)
}

fn capacity(all: u32, of_dock: u32, of_aircraft: u32) -> Json {
    let camera = |index: &str, lenses: &[&str]| {
        json!({"camera_index": index, "available_video_number": 1, "coexist_video_number_max": 1, "video_list": [
            {"video_index": "normal-0", "video_type": lenses[0], "switchable_video_types": lenses}]})
    };
    json!({"live_capacity": {"available_video_number": 3, "coexist_video_number_max": all, "device_list": [
        {"sn": DOCK, "coexist_video_number_max": of_dock, "camera_list": [camera("165-0-7", &["normal"])]},
        {"sn": AIRCRAFT, "coexist_video_number_max": of_aircraft, "camera_list": [
            camera("39-0-7", &["normal"]), camera("52-0-0", &["wide", "zoom", "ir"])]},
    ]}})
}

fn configured(name: &str, gateway: Option<&str>) -> Settings {
    let gateway = gateway.map(|sn| sn.parse().unwrap());
    Settings { cameras: vec![Configured { source: source(name), gateway }], ..Settings::default() }
}

fn protocol(name: &str) -> StartOptions {
    StartOptions { quality: None, protocol: Some(name.to_owned()) }
}
