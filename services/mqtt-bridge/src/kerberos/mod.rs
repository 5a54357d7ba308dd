//! Kerberos agents: asks them for pictures for as long as somebody wants them, and hands on what comes. Contract:
//! `proto/MQTT.md`, section Kerberos.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ An agent acknowledges nothing and refuses nothing. A picture is the only proof that it        │
//! │ streams, and its silence is never taken for a reason.                                         │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Pictures come small and at most once a second. Video by WebRTC would be asked for in [`Driver::start`], by
//! `request-hd-stream` instead of [`Request::SdStream`], and its answers be matched on device and session in `open_and_take`.

mod action;
mod asks;
mod base64;
mod cipher;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod picture;
mod settings;

use std::collections::HashMap;

use bytes::Bytes;
use relay_proto::kerberos::{Message, Payload, Reply, Request, Timestamp, agents_topic, hub_topic};
use relay_proto::source::{Command, Part, SourceId, SourceReason};
use serde_json::{Value as Json, json};

use self::action::Awaited;
use self::asks::{Asks, SPREAD_MS};
use self::cipher::OpenError;
use self::picture::{Assembler, Bad};
pub use self::settings::{Secret, SecretError, Settings};
use crate::driver::{CommandError, Driver, Effect, Effects, Ingest, Now, Outgoing, Qos, Retry, Sign, Ticket};

/// Agents that appear by themselves. Whoever may publish can invent names; one bridge has thousands at most.
const HEARD_MAX: usize = 10_000;

/// What is kept of an agent is kept for weeks, and is given anew after so long though nothing is news.
const REMEMBER_MS: u64 = 24 * 60 * 60 * 1_000;

/// Commands that wait for an answer. The oldest is given up for a newer one.
const QUESTIONS_MAX: usize = 1_000;

/// Memory for what is read anew or decrypted is kept up to this, which is more than a usual picture takes.
const SPACE_KEPT_BYTES: usize = 256 << 10;

/// Counted by these names, beside those of [`Bad`].
const MALFORMED_MESSAGE: &str = "kerberos_message";
const MALFORMED_DEVICE: &str = "kerberos_device";
const MALFORMED_DECRYPT: &str = "kerberos_decrypt";
const MALFORMED_INCOMPLETE: &str = "kerberos_incomplete";
const TOO_MANY_DEVICES: &str = "kerberos_devices";

/// All agents of a hub.
#[derive(Debug)]
pub(crate) struct Kerberos {
    settings: Settings,
    asked_topic: String,
    heard_topic: String,
    devices: Vec<Device>,
    by_key: HashMap<Box<str>, usize>,
    /// Devices that were not configured.
    heard: usize,
    asks: Asks,
    /// In the order in which they were asked.
    questions: Vec<Question>,
    assembler: Assembler,
    /// Where messages are put that have a picture, without it.
    message_space: Vec<u8>,
    /// Where texts are decrypted, one for each layer.
    spaces: [Vec<u8>; 2],
    random: fastrand::Rng,
}

#[derive(Debug)]
struct Device {
    source: SourceId,
    key: Part,
    /// Whether it was told that the source is there: not where it was started and has never been heard.
    known: bool,
    /// From when on it is to be remembered when it is heard; never, where it is configured.
    remember_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Question {
    ticket: Ticket,
    device: usize,
    awaited: Awaited,
    until_ms: u64,
}

impl Kerberos {
    /// A driver of the agents of a hub, which knows the configured ones at once. The seed makes the names of its messages.
    pub(crate) fn new(settings: Settings, seed: u64, effects: &mut Effects) -> Self {
        let mut driver = Self {
            asked_topic: agents_topic(&settings.hub_key),
            heard_topic: hub_topic(&settings.hub_key),
            settings,
            devices: Vec::new(),
            by_key: HashMap::new(),
            heard: 0,
            asks: Asks::default(),
            questions: Vec::new(),
            assembler: Assembler::default(),
            message_space: Vec::new(),
            spaces: [Vec::new(), Vec::new()],
            random: fastrand::Rng::with_seed(seed),
        };
        for camera in driver.settings.cameras.clone() {
            let device = driver.device(&camera);
            driver.make_known(device, effects);
        }
        driver
    }

    /// The device of a key; a new one, where there is none.
    fn device(&mut self, key: &Part) -> usize {
        if let Some(device) = self.by_key.get(key.as_str()) {
            return *device;
        }
        let device = self.devices.len();
        let source = SourceId::Kerberos { hub: self.settings.hub_key.clone(), device: key.clone() };
        self.devices.push(Device { source, key: key.clone(), known: false, remember_ms: None });
        self.by_key.insert(key.as_str().into(), device);
        device
    }

    /// The device of a source, where there is one.
    fn device_of(&self, source: &SourceId) -> Option<usize> {
        match source {
            SourceId::Kerberos { hub, device } if *hub == self.settings.hub_key => {
                self.by_key.get(device.as_str()).copied()
            }
            _ => None,
        }
    }

    /// Tells that a source is there. Whether that was not known.
    fn make_known(&mut self, device: usize, effects: &mut Effects) -> bool {
        let Device { source, known, .. } = &mut self.devices[device];
        let is_new = !std::mem::replace(known, true);
        if is_new {
            effects.push(Effect::Known(source.clone(), true));
        }
        is_new
    }

    /// A device was heard, or was once. `None` where there are too many.
    fn hear(&mut self, key: &str, effects: &mut Effects) -> Option<usize> {
        let is_full = self.heard >= HEARD_MAX;
        if let Some(device) = self.by_key.get(key).copied()
            && (self.devices[device].known || is_full)
        {
            return Some(device);
        }
        let Ok(part) = key.parse::<Part>() else {
            effects.push(Effect::Malformed(MALFORMED_DEVICE));
            return None;
        };
        if is_full {
            effects.push(Effect::Malformed(TOO_MANY_DEVICES));
            return None;
        }
        self.heard += 1;
        let device = self.device(&part);
        self.devices[device].remember_ms = Some(0);
        self.make_known(device, effects);
        Some(device)
    }

    fn publish(&mut self, device: usize, request: &Request, now: Now, effects: &mut Effects) {
        let mid = uuid(self.random.u128(..));
        let payload = request.message(&mid, &self.devices[device].key, Timestamp::of_ms(now.unix_ms));
        // Never QoS 1: for an agent that is away the broker would keep what is of no use later, and what would then turn
        // a camera that nobody looks at.
        let (topic, qos) = (self.asked_topic.clone(), Qos::AtMostOnce);
        effects.push(Effect::Publish(Outgoing { topic, qos, payload: payload.into() }));
    }

    fn ask_first(&mut self, device: usize, now: Now, effects: &mut Effects) {
        let earlier_ms = self.random.u64(..=SPREAD_MS);
        self.asks.begin(device, earlier_ms, now.ms);
        self.publish(device, &Request::SdStream, now, effects);
    }

    /// Takes a message that came on the topic of this device, or on that of all.
    fn hear_message(&mut self, of: Option<&str>, message: &Message<'_>, now: Now, effects: &mut Effects) {
        let key = message.device_id.0.as_ref();
        // A broker may let each agent publish on its own topic only.
        if of.is_some_and(|of| of != key) {
            effects.push(Effect::Malformed(MALFORMED_DEVICE));
            return;
        }
        let Some(device) = self.hear(key, effects) else { return };
        if self.devices[device].remember_ms.is_some_and(|from_ms| now.ms >= from_ms) {
            // An agent that nobody asks is silent: after a restart nobody would know of it.
            self.devices[device].remember_ms = Some(now.ms.saturating_add(REMEMBER_MS));
            let name = self.devices[device].source.to_string();
            effects.push(Effect::Remember(name, String::new()));
        }
        let online = effects.len();
        // The action is always in clear, and what nobody waits for is not worth to be decrypted.
        if Reply::of(&message.payload.action.0).is_some_and(|reply| self.is_wanted(device, reply)) {
            self.open_and_take(device, message, now, effects);
        }
        // A picture says that by itself.
        if !effects[online..].iter().any(|effect| matches!(effect, Effect::Picture(..))) {
            let source = self.devices[device].source.clone();
            effects.insert(online, Effect::Sign(source, Sign::Online(true)));
        }
    }

    /// Whether anybody waits for this of the device.
    fn is_wanted(&self, device: usize, reply: Reply) -> bool {
        match reply {
            Reply::Picture => self.asks.has(device),
            Reply::PtzPosition | Reply::VerifyResult => self.questions.iter().any(|q| q.device == device),
        }
    }

    /// Opens what covers a payload, and takes what lies in it.
    fn open_and_take(&mut self, device: usize, message: &Message<'_>, now: Now, effects: &mut Effects) {
        let [hidden_space, encrypted_space] = &mut self.spaces;
        let (mut hidden_space, mut encrypted_space) =
            (std::mem::take(hidden_space), std::mem::take(encrypted_space));
        let opened = self.open(message, &mut hidden_space, &mut encrypted_space);
        match opened {
            Ok(Some(payload)) => self.take(device, &payload, now, effects),
            Ok(None) => self.take(device, &message.payload, now, effects),
            Err(OpenError::Base64) => effects.push(Effect::Malformed(Bad::Base64.name())),
            Err(OpenError::Form | OpenError::Key) => {
                effects.push(Effect::Malformed(MALFORMED_DECRYPT));
                effects.push(Effect::Sign(self.devices[device].source.clone(), Sign::Unreadable));
            }
        }
        for space in [&mut hidden_space, &mut encrypted_space] {
            space.clear();
            space.shrink_to(SPACE_KEPT_BYTES);
        }
        self.spaces = [hidden_space, encrypted_space];
    }

    /// What lies under the layers, the outer of which is the hub's. `None` where there is no layer.
    fn open<'a>(
        &self,
        message: &Message<'_>,
        hidden_space: &'a mut Vec<u8>,
        encrypted_space: &'a mut Vec<u8>,
    ) -> Result<Option<Payload<'a>>, OpenError> {
        let device_id = &message.device_id.0;
        let mut inner = None;
        if message.hidden.is_true() {
            let text = &message.payload.hidden_value.0;
            inner = Some(layer(text, self.settings.hub_private_key.as_ref(), device_id, hidden_space)?);
        }
        if message.encrypted.is_true() {
            let text = &inner.as_ref().unwrap_or(&message.payload).encrypted_value.0;
            inner = Some(layer(text, self.settings.symmetric_key.as_ref(), device_id, encrypted_space)?);
        }
        Ok(inner)
    }

    fn take(&mut self, device: usize, payload: &Payload<'_>, now: Now, effects: &mut Effects) {
        match Reply::of(&payload.action.0) {
            Some(Reply::Picture) if self.asks.has(device) => {
                self.take_picture(device, payload, now, effects);
            }
            Some(Reply::PtzPosition | Reply::VerifyResult) => {
                self.questions.retain(|question| {
                    let answer = question.awaited.answer(payload).filter(|_| question.device == device);
                    let Some(answer) = answer else { return true };
                    effects.push(Effect::Answer(question.ticket, Ok(answer)));
                    false
                });
            }
            _ => {}
        }
    }

    fn take_picture(&mut self, device: usize, payload: &Payload<'_>, now: Now, effects: &mut Effects) {
        self.expire(now, effects);
        let value = &payload.value;
        let picture = match value.image.0.as_deref() {
            Some(image) => picture::whole(image).map(Some),
            None => self.assembler.piece(device, value, now.ms),
        };
        match picture {
            Ok(Some(picture)) => {
                self.asks.pictured(device, now.ms);
                effects.push(Effect::Picture(self.devices[device].source.clone(), picture));
            }
            Ok(None) => {}
            Err(bad) => effects.push(Effect::Malformed(bad.name())),
        }
    }

    fn expire(&mut self, now: Now, effects: &mut Effects) {
        for _ in 0..self.assembler.expire(now.ms) {
            effects.push(Effect::Malformed(MALFORMED_INCOMPLETE));
        }
    }

    /// The key of a device that a topic of this hub names; `Some(None)` for the topic of all.
    fn topic_of<'t>(&self, topic: &'t str) -> Option<Option<&'t str>> {
        let rest = topic.strip_prefix(self.heard_topic.as_str())?;
        if rest.is_empty() { Some(None) } else { rest.strip_prefix('/').map(Some) }
    }
}

/// Opens one layer.
fn layer<'a>(
    text: &str,
    key: Option<&Secret>,
    device_id: &str,
    space: &'a mut Vec<u8>,
) -> Result<Payload<'a>, OpenError> {
    let plain = cipher::open(text, key.ok_or(OpenError::Key)?, space)?;
    let payload: Payload<'a> = serde_json::from_slice(plain).map_err(|_| OpenError::Key)?;
    if payload.device_id.0 == device_id { Ok(payload) } else { Err(OpenError::Key) }
}

/// A UUID of version 4, of random bits.
fn uuid(bits: u128) -> String {
    let bits = bits & !(0xF << 76) & !(0b11 << 62) | (0x4 << 76) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

impl Driver for Kerberos {
    fn filters(&self) -> Vec<String> {
        vec![self.heard_topic.clone(), format!("{}/+", self.heard_topic)]
    }

    fn heard(&mut self, topic: &str, payload: &Bytes, now: Now, effects: &mut Effects) {
        let Some(of) = self.topic_of(topic) else { return };
        let mut space = std::mem::take(&mut self.message_space);
        match Message::read(payload, &mut space) {
            Ok(message) => self.hear_message(of, &message, now, effects),
            Err(_) => effects.push(Effect::Malformed(MALFORMED_MESSAGE)),
        }
        space.clear();
        space.shrink_to(SPACE_KEPT_BYTES);
        self.message_space = space;
    }

    fn connected(&mut self, now: Now, effects: &mut Effects) {
        for device in self.asks.all() {
            self.ask_first(device, now, effects);
        }
    }

    fn start(&mut self, source: &SourceId, _ingest: &Ingest, now: Now, effects: &mut Effects) {
        let device = match source {
            SourceId::Kerberos { hub, device } if *hub == self.settings.hub_key => self.device(device),
            // Of a hub that was configured once.
            _ => {
                let (retry, reason) = (Retry::Never, SourceReason::Gone);
                effects.push(Effect::Sign(source.clone(), Sign::Refused { retry, reason }));
                return;
            }
        };
        if !self.asks.has(device) {
            self.ask_first(device, now, effects);
        }
        effects.push(Effect::Sign(source.clone(), Sign::Accepted));
    }

    fn forget(&mut self, source: &SourceId) {
        if let Some(device) = self.device_of(source)
            && self.asks.end(device)
        {
            self.assembler.forget(device);
        }
    }

    fn stop(&mut self, source: &SourceId, _now: Now, effects: &mut Effects) {
        // Who is not asked stops by himself.
        self.forget(source);
        effects.push(Effect::Sign(source.clone(), Sign::Stopped));
    }

    fn command(
        &mut self,
        ticket: Ticket,
        source: &SourceId,
        command: &Command,
        now: Now,
        effects: &mut Effects,
    ) {
        let read = match command {
            Command::Action { name, value } => action::read(name, value),
            _ => Err(action::no_action()),
        };
        let device = self.device_of(source).ok_or(CommandError::Offline);
        let (device, (request, awaited)) = match device.and_then(|device| Ok((device, read?))) {
            Ok(both) => both,
            Err(error) => {
                effects.push(Effect::Answer(ticket, Err(error)));
                return;
            }
        };
        self.publish(device, &request, now, effects);
        let Some(awaited) = awaited else {
            effects.push(Effect::Answer(ticket, Ok(json!({ "sent": true }))));
            return;
        };
        if self.questions.len() >= QUESTIONS_MAX {
            let oldest = self.questions.remove(0);
            effects.push(Effect::Answer(oldest.ticket, Err(CommandError::NoReply)));
        }
        let until_ms = now.ms.saturating_add(awaited.ms_max());
        self.questions.push(Question { ticket, device, awaited, until_ms });
    }

    fn tick(&mut self, now: Now, effects: &mut Effects) {
        self.expire(now, effects);
        while let Some(device) = self.asks.next_due(now.ms) {
            self.publish(device, &Request::SdStream, now, effects);
        }
        self.questions.retain(|question| {
            let waits = now.ms < question.until_ms;
            if !waits {
                effects.push(Effect::Answer(question.ticket, Err(CommandError::NoReply)));
            }
            waits
        });
    }

    fn next(&self) -> Option<u64> {
        let question = self.questions.iter().map(|question| question.until_ms).min();
        [self.asks.next(), question, self.assembler.next()].into_iter().flatten().min()
    }

    fn recall(&mut self, name: &str, _text: &str, _now: Now, effects: &mut Effects) {
        if let Ok(SourceId::Kerberos { hub, device }) = name.parse()
            && hub == self.settings.hub_key
        {
            self.hear(device.as_str(), effects);
        }
    }

    fn devices(&self, _now: Now) -> Json {
        let list = self.devices.iter().enumerate().map(|(number, device)| {
            json!({
                "source": device.source.to_string(), "configured": self.settings.cameras.contains(&device.key),
                "asked": self.asks.has(number),
                "actions": ["ptz", "preset", "zoom", "absolute-move", "get-ptz-position", "record", "trigger-relay",
                            "verify-stream"],
            })
        });
        Json::Array(list.collect())
    }
}

#[cfg(test)]
mod tests;
