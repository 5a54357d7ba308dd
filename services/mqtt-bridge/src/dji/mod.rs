//! Docks, controllers and aircraft of DJI: follows what is there and what it can do, tells gateways to start and stop videos,
//! and makes sense of what they answer. Contract: `proto/MQTT.md`, section DJI.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Nothing is sent to a gateway that is not there. What is sent gets one answer for all tries:    │
//! │ of the gateway, of what it tells of the video, or of the time.                                 │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

mod asked;
mod calls;
mod fleet;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod news;
mod settings;
mod starts;

use bytes::Bytes;
use relay_proto::dji::{Capacity, Channel, Message, Product, Service, Topic, VideoId, write};
use relay_proto::source::{Command, Part, SourceId, SourceReason};
use serde_json::{Value as Json, json};

use self::asked::What;
use self::calls::{Call, Calls, Purpose, TRIES_MAX, TRY_MS};
use self::fleet::{Fleet, OFFLINE_MS, Waits};
pub use self::settings::{Configured, Onboarding, Settings};
use crate::driver::{CommandError, Driver, Effect, Effects, Ingest, Now, Outgoing, Qos, Retry, Sign, Ticket};

/// Counted by these names.
const MALFORMED_MESSAGE: &str = "dji_message";
const MALFORMED_LONG: &str = "dji_long";
const LATE_REPLY: &str = "late_reply";
const TOO_MANY_DEVICES: &str = "dji_devices";
const TOO_MANY_ASKED: &str = "dji_asked";

/// What is kept of a gateway has this name, and its serial number after it.
const MEMORY_PREFIX: &str = "dji/";

/// All gateways that speak to a broker.
#[derive(Debug)]
pub(crate) struct Dji {
    settings: Settings,
    fleet: Fleet,
    calls: Calls,
    random: fastrand::Rng,
    /// The first half of the names of all transactions of this run: by it a reply is known to be to a call of this bridge.
    own: u64,
    /// Whether the connection to the broker is lost.
    is_cut_off: bool,
}

impl Dji {
    /// A driver of all gateways, which knows the configured cameras at once. The seed makes the names of its messages.
    pub(crate) fn new(settings: Settings, seed: u64, effects: &mut Effects) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let own = random.u64(..);
        let (fleet, calls) = (Fleet::default(), Calls::default());
        let mut driver = Self { settings, fleet, calls, random, own, is_cut_off: false };
        for Configured { source, gateway } in driver.settings.cameras.clone() {
            let Some(id) = VideoId::of(&source) else { continue };
            let Some(video) = driver.fleet.video(&id) else { continue };
            driver.fleet.videos[video].is_configured = true;
            if let Some(gateway) = gateway.and_then(|sn| driver.fleet.gateway(&sn)) {
                driver.fleet.attach(video, gateway);
            }
            driver.make_known(video, true, effects);
        }
        driver
    }

    fn make_known(&mut self, video: usize, is_known: bool, effects: &mut Effects) {
        let video = &mut self.fleet.videos[video];
        if std::mem::replace(&mut video.is_known, is_known) != is_known {
            // To be told once more.
            video.told_online = None;
            effects.push(Effect::Known(video.source.clone(), is_known));
        }
    }

    fn sign(&self, video: usize, sign: Sign, effects: &mut Effects) {
        effects.push(Effect::Sign(self.fleet.videos[video].source.clone(), sign));
    }

    fn video_of(&self, source: &SourceId) -> Option<usize> {
        self.fleet.find_video(&VideoId::of(source)?)
    }

    /// The gateway of a video, where both are there.
    fn present(&self, video: usize) -> Option<usize> {
        let gateway = self.fleet.videos[video].gateway?;
        self.fleet.gateways[gateway].has(&self.fleet.videos[video].id.sn).then_some(gateway)
    }

    /// Sends a message once.
    fn publish(&mut self, call: &Call, now: Now, effects: &mut Effects) {
        let ids = (!calls::is_drc(&call.service)).then_some((call.tid.as_str(), call.bid.as_str()));
        let channel = if ids.is_some() { Channel::Services } else { Channel::DrcDown };
        let topic = Topic { sn: self.fleet.gateways[call.gateway].sn.clone(), channel }.to_string();
        let payload = write(ids, now.unix_ms, call.service.method(), &call.service.data());
        // Not kept by the broker for who is away: what starts a camera is of no use later.
        effects.push(Effect::Publish(Outgoing { topic, qos: Qos::AtMostOnce, payload: payload.into() }));
    }

    /// Tells a gateway something. `None`, and the purpose back, where too much is under way.
    fn call(
        &mut self,
        (gateway, video): (usize, usize),
        service: Service,
        purpose: Purpose,
        now: Now,
        effects: &mut Effects,
    ) -> Result<(), Purpose> {
        if self.calls.is_full() {
            return Err(purpose);
        }
        let (tid, bid) = (String::new(), String::new());
        let call = Call { gateway, video, service, purpose, tid, bid, tries: 0, until_ms: 0 };
        self.send(call, now, effects);
        Ok(())
    }

    /// Tries a call, once more perhaps: under new names, so that answers to the tries before are known as such.
    fn send(&mut self, mut call: Call, now: Now, effects: &mut Effects) {
        let random = self.random.u64(..);
        call.tid = self.tid(random);
        call.bid = uuid(self.random.u128(..));
        call.tries += 1;
        call.until_ms = now.ms.saturating_add(TRY_MS);
        self.publish(&call, now, effects);
        self.calls.insert(call);
    }

    /// The name of a transaction.
    fn tid(&self, random: u64) -> String {
        uuid(u128::from(self.own) << 64 | u128::from(random))
    }

    fn is_own(&self, tid: &str) -> bool {
        // Up to the dash between both halves.
        const HALF: usize = 19;
        tid.get(..HALF).is_some_and(|half| self.tid(0).starts_with(half))
    }

    /// Calls that nobody is to wait for any more.
    fn give_up(&mut self, is_one: impl Fn(&Call) -> bool, effects: &mut Effects) {
        for call in self.calls.take_if(is_one) {
            if let Purpose::Change(ticket) = call.purpose {
                effects.push(Effect::Answer(ticket, Err(CommandError::Offline)));
            }
        }
    }

    /// A reply of a gateway.
    fn replied(&mut self, gateway: Option<usize>, message: &Message, now: Now, effects: &mut Effects) {
        let (Some(tid), Some(bid)) = (message.tid.as_deref(), message.bid.as_deref()) else {
            effects.push(Effect::Malformed(MALFORMED_MESSAGE));
            return;
        };
        let Some(reply) = message.reply() else {
            effects.push(Effect::Malformed(MALFORMED_MESSAGE));
            return;
        };
        let call = gateway.and_then(|gateway| self.calls.answered(gateway, tid, bid));
        if let Some(call) = call {
            self.answered(call, reply.result, now, effects);
            return;
        }
        let settled = gateway.and_then(|gateway| {
            let is_it = |video: &&usize| {
                let settled = self.fleet.videos[**video].settled.as_ref();
                settled.is_some_and(|(t, b)| t == tid && b == bid)
            };
            self.fleet.gateways[gateway].videos.iter().find(is_it).copied()
        });
        match settled {
            Some(video) => self.fleet.videos[video].settled = None,
            None if self.is_own(tid) => effects.push(Effect::Malformed(LATE_REPLY)),
            // To another bridge, or to another server.
            None => {}
        }
    }

    /// A gateway answered, with this result.
    fn answered(&mut self, call: Call, result: i64, now: Now, effects: &mut Effects) {
        match &call.purpose {
            Purpose::Start(_) => self.start_answered(call, result, now, effects),
            Purpose::Stop => self.stop_answered(&call, result, effects),
            Purpose::Change(ticket) => {
                let answer = match result {
                    0 => {
                        self.keep(call.video, &call.service, effects);
                        Ok(json!({ "applied": true }))
                    }
                    code => Err(CommandError::Refused { code, text: relay_proto::dji::text(code) }),
                };
                effects.push(Effect::Answer(*ticket, answer));
            }
            // It is as it is.
            Purpose::Reapply => {}
        }
    }

    /// A gateway did not answer in time.
    fn unanswered(&mut self, call: Call, now: Now, effects: &mut Effects) {
        if call.tries < TRIES_MAX {
            self.send(call, now, effects);
            return;
        }
        match call.purpose {
            Purpose::Start(_) => {
                self.fleet.videos[call.video].is_ours = false;
                self.sign(call.video, Sign::Unanswered, effects);
                self.place_freed(call.gateway, effects);
            }
            Purpose::Stop => {
                self.fleet.videos[call.video].is_ours = false;
                self.sign(call.video, Sign::StopUnanswered, effects);
                self.place_freed(call.gateway, effects);
            }
            Purpose::Change(ticket) => effects.push(Effect::Answer(ticket, Err(CommandError::NoReply))),
            Purpose::Reapply => {}
        }
    }

    /// A video stopped: others may start that were refused because of it.
    fn place_freed(&mut self, gateway: usize, effects: &mut Effects) {
        for video in self.fleet.gateways[gateway].videos.clone() {
            if self.fleet.videos[video].waits == Some(Waits::Slot) && self.fleet.fits(video) {
                self.waited_for(video, effects);
            }
        }
    }

    /// What was waited for is there.
    fn waited_for(&mut self, video: usize, effects: &mut Effects) {
        if self.fleet.videos[video].waits.take().is_some() && self.present(video).is_some() {
            self.sign(video, Sign::Online(true), effects);
        }
    }
}

/// A UUID of version 4, of random bits.
fn uuid(bits: u128) -> String {
    let bits = bits & !(0xF << 76) & !(0b11 << 62) | (0x4 << 76) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

impl Driver for Dji {
    fn filters(&self) -> Vec<String> {
        let mut channels = vec![
            Channel::Status,
            Channel::State,
            Channel::Osd,
            Channel::ServicesReply,
            Channel::Requests,
            Channel::DrcUp,
        ];
        if self.settings.own_onboarding.is_some() {
            channels.push(Channel::Events);
        }
        channels.into_iter().map(Channel::filter).collect()
    }

    fn heard(&mut self, topic: &str, payload: &Bytes, now: Now, effects: &mut Effects) {
        let Ok(topic) = topic.parse::<Topic>() else { return };
        let Ok(message) = Message::read(payload) else {
            effects.push(Effect::Malformed(MALFORMED_MESSAGE));
            return;
        };
        match topic.channel {
            Channel::Status => self.hear_status(&topic.sn, &message, now, effects),
            Channel::Osd | Channel::State => self.hear_device(&topic, &message, now, effects),
            Channel::ServicesReply => {
                let gateway = self.fleet.find(&topic.sn);
                if let Some(gateway) = gateway {
                    self.hear(gateway, now, effects);
                }
                self.replied(gateway, &message, now, effects);
            }
            Channel::DrcUp => {
                let Some(gateway) = self.fleet.find(&topic.sn) else { return };
                self.hear(gateway, now, effects);
                let (Some(method), Some(reply)) = (&message.method, message.reply()) else { return };
                if let Some(call) = self.calls.answered_drc(gateway, method) {
                    self.answered(call, reply.result, now, effects);
                }
            }
            Channel::Requests => self.hear_request(&topic.sn, &message, now, effects),
            Channel::Events => self.hear_event(&topic.sn, &message, now, effects),
            Channel::StatusReply
            | Channel::Services
            | Channel::EventsReply
            | Channel::RequestsReply
            | Channel::DrcDown => {}
        }
    }

    fn connected(&mut self, now: Now, effects: &mut Effects) {
        self.is_cut_off = false;
        self.reconnected(now);
        for call in self.calls.take_if(|_| true) {
            // What was sent was lost perhaps, or its answer was.
            self.unanswered(call, now, effects);
        }
    }

    fn disconnected(&mut self) {
        self.is_cut_off = true;
    }

    fn runs(&mut self, source: &SourceId, now: Now, effects: &mut Effects) {
        if let Some(video) = self.video_of(source) {
            self.fleet.videos[video].is_ours = true;
            self.set_started(video, Some(now.unix_ms), effects);
        }
    }

    fn start(&mut self, source: &SourceId, ingest: &Ingest, now: Now, effects: &mut Effects) {
        let video = VideoId::of(source).and_then(|id| self.fleet.video(&id));
        match video {
            Some(video) => self.begin(video, ingest, now, effects),
            None => {
                let (retry, reason) = (Retry::Never, SourceReason::Gone);
                effects.push(Effect::Sign(source.clone(), Sign::Refused { retry, reason }));
            }
        }
    }

    fn stop(&mut self, source: &SourceId, now: Now, effects: &mut Effects) {
        match self.video_of(source) {
            Some(video) => self.end(video, now, effects),
            None => effects.push(Effect::Sign(source.clone(), Sign::Stopped)),
        }
    }

    fn forget(&mut self, source: &SourceId) {
        let Some(video) = self.video_of(source) else { return };
        let _ = self.calls.take_if(|call| call.video == video && calls::is_main(call));
        let video = &mut self.fleet.videos[video];
        video.is_ours = false;
        video.waits = None;
    }

    fn command(
        &mut self,
        ticket: Ticket,
        source: &SourceId,
        command: &Command,
        now: Now,
        effects: &mut Effects,
    ) {
        let result = match self.video_of(source) {
            Some(video) => self.change(ticket, video, command, now, effects),
            None => Err(CommandError::Offline),
        };
        match result {
            Ok(None) => {}
            Ok(Some(answer)) => effects.push(Effect::Answer(ticket, Ok(answer))),
            Err(error) => effects.push(Effect::Answer(ticket, Err(error))),
        }
    }

    fn tick(&mut self, now: Now, effects: &mut Effects) {
        while let Some(call) = self.calls.overdue(now.ms) {
            self.unanswered(call, now, effects);
        }
        self.look(now, effects);
    }

    fn next(&self) -> Option<u64> {
        let look = self.fleet.looks.first().map(|(due_ms, _)| *due_ms).filter(|_| !self.is_cut_off);
        [self.calls.next(), look].into_iter().flatten().min()
    }

    fn recall(&mut self, name: &str, text: &str, _now: Now, effects: &mut Effects) {
        if let Some(sn) = name.strip_prefix(MEMORY_PREFIX).and_then(|sn| sn.parse::<Part>().ok()) {
            self.recall_gateway(&sn, text, effects);
        }
        if let Some((what, source)) = What::of(name)
            && let Some(video) = VideoId::of(&source).and_then(|id| self.fleet.video(&id))
        {
            self.fleet.videos[video].asked.take(what, text);
        }
    }

    fn asked_names(&self, source: &SourceId) -> Vec<String> {
        What::ALL.map(|what| what.name(source)).into()
    }

    fn devices(&self, now: Now) -> Json {
        let list = self.fleet.gateways.iter().map(|gateway| {
            let aircraft = gateway.aircraft.as_ref().map(|list| {
                let list = list
                    .iter()
                    .map(|one| json!({"sn": one.sn, "model": one.product.and_then(Product::model)}));
                list.collect::<Json>()
            });
            let videos = gateway.videos.iter().map(|video| {
                let video = &self.fleet.videos[*video];
                json!({
                    "source": video.source, "configured": video.is_configured, "live": video.live,
                    "lens": video.lens, "quality": video.quality,
                })
            });
            json!({
                "gateway": gateway.sn, "model": gateway.model(), "online": gateway.is_online,
                "heard_ms_ago": gateway.is_online.then(|| now.ms.saturating_sub(gateway.heard_ms)),
                "aircraft": aircraft, "videos": videos.collect::<Json>(),
                "live_capacity": gateway.capacity.as_ref().map(fleet::capacity_json),
            })
        });
        Json::Array(list.collect())
    }
}

#[cfg(test)]
mod tests;
