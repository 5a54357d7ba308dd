//! Docks and remote controllers of DJI, as they speak of their Cloud API: they come online, tell what they can show, and push
//! video by RTMP where they are told to.
//!
//! What is told of their capacity is told once, since nobody knows whether real ones tell it again when their connection was
//! lost. Whoever does not answer their topology is served all the same. A push that is refused or cut is not tried again.

mod device;
mod push;
mod replies;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::QoS;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

pub(crate) use self::device::{Camera, Kind};
use self::device::{Device, Outcome, Push};
use self::push::Picture;
use self::replies::{Faults, Replies};
use super::broker::{Address, Connection, Heard, REQUESTS_MAX, Session};
use super::events::Events;
use super::{unix_now, uuid};

/// How often a gateway tells how it is.
const OSD_INTERVAL: Duration = Duration::from_secs(2);

/// Changes of a push that wait: each replaces those before.
const CHANGES_MAX: usize = 16;

/// What all gateways of a run have in common.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    pub(crate) broker: Address,
    pub(crate) cameras: Vec<Camera>,
    /// How many may be live at a time; all, where nothing is said.
    pub(crate) coexist: Option<usize>,
    /// Whether anything is pushed.
    pub(crate) pushes: bool,
    /// How long gateways wait before they come, at random up to this.
    pub(crate) spread: Duration,
    pub(crate) lost_replies: u32,
    /// How many starts are refused, and with what.
    pub(crate) refusals: (u32, u32),
    pub(crate) already_live: bool,
    pub(crate) no_media: bool,
    pub(crate) stays_live: bool,
    pub(crate) duplicate_replies: bool,
    pub(crate) sloppy: bool,
    pub(crate) late_replies: Duration,
    pub(crate) offline_after: Option<Duration>,
    /// When it breaks down, and for how long.
    pub(crate) reboot: Option<(Duration, Duration)>,
}

/// Gateways of one plan.
#[derive(Debug)]
pub(crate) struct Docks {
    pub(crate) plan: Plan,
    pub(crate) events: Events,
}

impl Docks {
    /// Is one gateway, for ever.
    pub(crate) async fn be(self: Arc<Self>, sn: String, aircraft: Option<String>) {
        let plan = &self.plan;
        sleep(plan.spread.mul_f64(fastrand::f64())).await;
        let mut device = Device::new(plan.kind, sn.clone(), aircraft, &plan.cameras, plan.coexist);
        device.refusals = plan.refusals;
        device.no_media = plan.no_media;
        device.stays_live = plan.stays_live;
        if plan.already_live {
            device.already_live();
        }
        let mut replies = Replies::new(Faults {
            lost: plan.lost_replies,
            twice: plan.duplicate_replies,
            late: plan.late_replies,
        });
        if let Some(after) = plan.offline_after {
            let _ = timeout(after, Gateway::new(&self, &mut device, &mut replies).run()).await;
            self.events.tell(&sn, "offline", json!({}));
            return std::future::pending().await;
        }
        if let Some((after, pause)) = plan.reboot {
            // What it had open is dropped as that of a device without power is.
            let _ = timeout(after, Gateway::new(&self, &mut device, &mut replies).run()).await;
            self.events.tell(&sn, "rebooting", json!({"seconds": pause.as_secs()}));
            sleep(pause).await;
            device.reset();
            replies.reset();
        }
        Gateway::new(&self, &mut device, &mut replies).run().await;
    }
}

/// A gateway from its start to its end.
#[derive(Debug)]
struct Gateway<'a> {
    docks: &'a Docks,
    device: &'a mut Device,
    replies: &'a mut Replies,
    connection: Connection,
    /// Those that run, and those that end.
    pushing: JoinSet<Ended>,
    /// Those that run, by video.
    pushes: HashMap<String, Running>,
    /// Pushes so far.
    started: u64,
    greeted: bool,
}

#[derive(Debug)]
struct Running {
    number: u64,
    changes: mpsc::Sender<Picture>,
    /// Dropped, it ends.
    _stop: oneshot::Sender<()>,
}

/// A push that ended.
#[derive(Debug)]
struct Ended {
    number: u64,
    video: String,
    complaint: String,
}

impl<'a> Gateway<'a> {
    fn new(docks: &'a Docks, device: &'a mut Device, replies: &'a mut Replies) -> Self {
        let sn = &device.sn;
        let filters = vec![format!("thing/product/{sn}/services"), format!("sys/product/{sn}/status_reply")];
        let client_id = format!("{sn}-{:08x}", fastrand::u32(..));
        let session = Session { client_id, clean: true, filters, requests: REQUESTS_MAX };
        let connection = Connection::open(&docks.plan.broker, session);
        let (pushing, pushes) = (JoinSet::new(), HashMap::new());
        Self { docks, device, replies, connection, pushing, pushes, started: 0, greeted: false }
    }

    async fn run(mut self) {
        let mut osd = interval(OSD_INTERVAL);
        osd.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                heard = self.connection.next() => match heard {
                    Heard::Connected => self.greet(),
                    Heard::Lost(reason) => self.tell("disconnected", json!({"reason": reason})),
                    Heard::Message { topic, payload } => self.hear(&topic, &payload),
                },
                _ = osd.tick() => self.osd(),
                reply = self.replies.due() => self.send(&format!("thing/product/{}/services_reply", self.device.sn), &reply),
                Some(ended) = self.pushing.join_next() => {
                    if let Ok(ended) = ended {
                        self.ended(ended);
                    }
                }
            }
        }
    }

    fn tell(&self, event: &str, facts: Value) {
        self.docks.events.tell(&self.device.sn, event, facts);
    }

    fn send(&self, topic: &str, message: &Value) {
        if !self.connection.publish(topic, QoS::AtLeastOnce, message.to_string()) {
            self.tell("error", json!({"reason": "too much waits to be sent"}));
        }
    }

    /// What a device says, in its envelope.
    fn envelope(&self, method: Option<&str>, data: Value) -> Value {
        let mut message = json!({"tid": uuid(), "bid": uuid(), "gateway": self.device.sn, "data": data});
        stamp(&mut message, method, self.docks.plan.sloppy);
        message
    }

    fn greet(&mut self) {
        self.tell("connected", json!({}));
        // Whoever answers topologies looks for its method, and there is no example without it.
        let mut topology = self.envelope(None, self.device.topology());
        topology["method"] = "update_topo".into();
        self.send(&format!("sys/product/{}/status", self.device.sn), &topology);
        self.tell("topology", json!({"aircraft": self.device.aircraft}));
        if !self.greeted {
            self.greeted = true;
            self.state("live_capacity", self.device.live_capacity());
            self.state("live_status", self.device.live_status());
        }
    }

    fn state(&self, name: &str, value: Value) {
        let message = self.envelope(None, json!({name: value}));
        self.send(&format!("thing/product/{}/state", self.device.sn), &message);
    }

    fn osd(&self) {
        if !self.greeted {
            return;
        }
        let mut own = match self.device.kind {
            Kind::Dock => {
                json!({"mode_code": 0, "cover_state": 0, "latitude": 22.9, "longitude": 113.6, "temperature": 21.5})
            }
            Kind::Rc => json!({"capacity_percent": 80, "latitude": 22.9, "longitude": 113.6}),
        };
        if self.device.kind == Kind::Rc {
            // Some of them tell it here.
            own["live_status"] = self.device.live_status();
        }
        let aircraft = json!({"mode_code": 0, "height": 0.0, "latitude": 22.9, "longitude": 113.6});
        let all = [(Some(&self.device.sn), own), (self.device.aircraft.as_ref(), aircraft)];
        for (sn, data) in all {
            let Some(sn) = sn else { continue };
            let message = self.envelope(None, data).to_string();
            // One that is lost is followed by another.
            self.connection.publish(&format!("thing/product/{sn}/osd"), QoS::AtMostOnce, message);
        }
    }

    fn hear(&mut self, topic: &str, payload: &[u8]) {
        let Ok(message) = serde_json::from_slice::<Value>(payload) else {
            return self.tell("error", json!({"reason": "no JSON", "topic": topic}));
        };
        if topic.starts_with("sys/") {
            return self.tell("topology_reply", json!({"result": message["data"]["result"]}));
        }
        let (tid, bid) = (message["tid"].as_str(), message["bid"].as_str());
        let (Some(tid), Some(bid), Some(method)) = (tid, bid, message["method"].as_str()) else {
            return self.tell("error", json!({"reason": "no tid, bid or method"}));
        };
        let data = &message["data"];
        self.tell_request(method, data);
        let Some(Outcome { result, push, changed }) = self.device.hear(method, data) else { return };
        let mut reply = json!({"tid": tid, "bid": bid, "data": {"result": result}});
        stamp(&mut reply, Some(method), self.docks.plan.sloppy);
        let fate = self.replies.take(reply);
        self.tell("reply", json!({"method": method, "result": result, "tid": tid, "fate": fate}));
        if let Some(push) = push {
            self.push(push);
        }
        if changed {
            self.state("live_status", self.device.live_status());
        }
    }

    fn tell_request(&self, method: &str, data: &Value) {
        let event = match method {
            "live_start_push" => "start",
            "live_stop_push" => "stop",
            "live_lens_change" => "lens",
            "live_set_quality" => "quality",
            "live_camera_change" => "camera",
            _ => "requested",
        };
        let mut facts = json!({"method": method});
        for name in ["video_id", "video_quality", "video_type", "camera_position", "url_type"] {
            if let Some(value) = data.get(name) {
                facts[name] = value.clone();
            }
        }
        if let Some(url) = data["url"].as_str() {
            facts["channel"] = push::channel(url).into();
        }
        self.tell(event, facts);
    }

    fn push(&mut self, push: Push) {
        match push {
            Push::Start { video, url, quality, lens } => self.start(video, url, Picture { quality, lens }),
            Push::Change { video, quality, lens } => {
                if let Some(running) = self.pushes.get(&video) {
                    // Where many wait, the picture is changing all the time.
                    let _ = running.changes.try_send(Picture { quality, lens });
                }
            }
            Push::Stop { video } => {
                self.pushes.remove(&video);
                if !self.docks.plan.pushes {
                    self.tell("push_ended", json!({"video_id": video, "complaint": ""}));
                }
            }
        }
    }

    fn start(&mut self, video: String, url: String, picture: Picture) {
        let channel = push::channel(&url).to_owned();
        self.started += 1;
        let number = self.started;
        if self.docks.plan.pushes {
            // ffmpeg would write a file as well.
            let is_rtmp = ["rtmp://", "rtmps://"].iter().any(|scheme| url.starts_with(scheme));
            let push = if is_rtmp {
                push::Push::start(&url, picture)
            } else {
                Err(std::io::Error::other("the URL is none of RTMP"))
            };
            let push = match push {
                Ok(push) => push,
                Err(error) => {
                    return self.ended(Ended { number, video, complaint: format!("cannot push: {error}") });
                }
            };
            let (changes, changed) = mpsc::channel(CHANGES_MAX);
            let (stop, stopped) = oneshot::channel();
            self.pushes.insert(video.clone(), Running { number, changes, _stop: stop });
            let ends = video.clone();
            self.pushing.spawn(async move {
                let complaint = push.run(&url, changed, stopped).await;
                Ended { number, video: ends, complaint }
            });
        }
        self.tell("push_started", json!({"video_id": video, "channel": channel}));
    }

    fn ended(&mut self, ended: Ended) {
        let Ended { number, video, complaint } = ended;
        self.tell("push_ended", json!({"video_id": video, "complaint": complaint}));
        // Else it was told to, and another may run by now.
        let is_current = self.pushes.get(&video).is_none_or(|running| running.number == number);
        let by_itself = self.pushes.contains_key(&video) || !complaint.is_empty();
        if is_current && by_itself {
            self.pushes.remove(&video);
            self.device.lost(&video);
            self.state("live_status", self.device.live_status());
        }
    }
}

/// Puts the time and the method into a message; as examples of the maker do, if it is to be sloppy.
fn stamp(message: &mut Value, method: Option<&str>, sloppy: bool) {
    let now = u64::try_from(unix_now().as_millis()).unwrap_or(u64::MAX);
    message[if sloppy { "timestamp:" } else { "timestamp" }] = now.into();
    if let (Some(method), false) = (method, sloppy) {
        message["method"] = method.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sloppy_message_has_a_colon_and_no_method() {
        let (mut clean, mut sloppy) = (json!({}), json!({}));
        stamp(&mut clean, Some("live_start_push"), false);
        stamp(&mut sloppy, Some("live_start_push"), true);
        assert!(clean["timestamp"].as_u64().is_some() && clean["method"] == "live_start_push");
        assert!(sloppy["timestamp:"].as_u64().is_some() && sloppy["method"].is_null());
    }
}
