//! Agents of Kerberos: each hears what is asked of the cameras of its hub, and answers as versions since 3.5.2 do.
//!
//! An agent is simulated with the flaws of real ones: what it does not like it drops without a word, and anybody who may
//! publish on its topic may ask it. WebRTC and HLS are not simulated; requests of these are told and not answered.

mod agent;
mod cipher;
mod fleet;
mod live;
pub(crate) mod pictures;

use std::sync::Arc;
use std::time::Duration;

use rumqttc::QoS;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use self::agent::{Act, Agent};
use self::pictures::Pictures;
use super::broker::{Address, Connection, Heard, REQUESTS_MAX, Session};
use super::events::Events;
use super::unix_now;

/// How long an agent rests after a picture.
const REST: Duration = Duration::from_secs(1);

/// How long between the chunks of a picture.
const BETWEEN_CHUNKS: Duration = Duration::from_millis(33);

/// A chunk of a picture.
const CHUNK_BYTES: usize = 25_600;

/// What all agents of a run have in common.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) broker: Address,
    pub(crate) hub: String,
    /// Seals what is sent, and opens what comes sealed.
    pub(crate) hidden: Option<String>,
    /// Seals what is sent once more, below the other.
    pub(crate) symmetric: Option<String>,
    pub(crate) chunked: bool,
    /// From key frame to key frame.
    pub(crate) gop: Duration,
    pub(crate) image_bytes: usize,
    /// Hears everything and answers nothing.
    pub(crate) silent: bool,
    /// When it breaks down, and for how long.
    pub(crate) reboot: Option<(Duration, Duration)>,
    /// How long agents wait before they come, at random up to this.
    pub(crate) spread: Duration,
}

/// Agents of one plan.
#[derive(Debug)]
pub(crate) struct Agents {
    plan: Plan,
    pictures: Pictures,
    events: Events,
}

impl Agents {
    pub(crate) fn new(plan: Plan, events: Events) -> Self {
        Self { pictures: Pictures::new(plan.image_bytes), plan, events }
    }

    /// Is one agent, for ever.
    pub(crate) async fn be(self: Arc<Self>, device: String) {
        sleep(self.plan.spread.mul_f64(fastrand::f64())).await;
        if let Some((after, pause)) = self.plan.reboot {
            // Its connection is dropped as that of a process that dies is.
            let _ = tokio::time::timeout(after, self.session(&device)).await;
            self.events.tell(&device, "rebooting", json!({"seconds": pause.as_secs()}));
            sleep(pause).await;
        }
        self.session(&device).await;
    }

    async fn session(&self, device: &str) {
        let Plan { broker, hub, gop, .. } = &self.plan;
        let mut agent = Agent::new(device, self.plan.hidden.clone(), self.plan.symmetric.clone());
        // Real ones have no hyphen, so that cam1 and cam11 may throw each other out.
        let client_id = format!("{device}-{}", fastrand::u8(..100));
        let filters = vec![format!("kerberos/agent/{hub}")];
        let session = Session { client_id, clean: false, filters, requests: REQUESTS_MAX };
        let mut connection = Connection::open(broker, session);
        let mut key_frame = Instant::now() + gop.mul_f64(fastrand::f64());
        let mut rested = Instant::now();
        let mut sent = 0;
        loop {
            tokio::select! {
                heard = connection.next() => match heard {
                    Heard::Connected => self.events.tell(device, "connected", json!({})),
                    Heard::Lost(reason) => self.events.tell(device, "disconnected", json!({"reason": reason})),
                    Heard::Message { payload, .. } => {
                        for act in agent.hear(&payload) {
                            self.perform(&agent, act, &connection);
                        }
                    }
                },
                () = sleep_until(key_frame.max(rested)) => {
                    let now = unix_now();
                    if agent.live.key_frame(now.as_secs()) && !self.plan.silent {
                        self.send_picture(&agent, sent, now, &connection).await;
                        sent += 1;
                        rested = Instant::now() + REST;
                    }
                    key_frame += *gop;
                    // Of those in its rest, the last is looked at after it.
                    while key_frame + *gop <= rested.max(Instant::now()) {
                        key_frame += *gop;
                    }
                }
            }
        }
    }

    fn perform(&self, agent: &Agent, act: Act, connection: &Connection) {
        match act {
            Act::Tell { event, facts } => self.events.tell(&agent.device, event, facts),
            Act::Answer { action, value } if !self.plan.silent => {
                let message = agent.message(action, "", value, unix_now().as_secs());
                self.publish(agent, &self.topic(), QoS::ExactlyOnce, message, connection);
                self.events.tell(&agent.device, "answered", json!({"action": action}));
            }
            Act::Answer { .. } => {}
        }
    }

    fn topic(&self) -> String {
        format!("kerberos/hub/{}", self.plan.hub)
    }

    async fn send_picture(&self, agent: &Agent, number: usize, now: Duration, connection: &Connection) {
        let picture = self.pictures.at(number, now.as_nanos());
        let bytes = picture.len();
        let at = now.as_secs();
        let mut chunks = 0;
        if self.plan.chunked {
            let topic = format!("{}/{}", self.topic(), agent.device);
            chunks = picture.len().div_ceil(CHUNK_BYTES);
            for (index, chunk) in picture.chunks(CHUNK_BYTES).enumerate() {
                let message = agent.chunk(chunk, index, CHUNK_BYTES, chunks, at);
                self.publish(agent, &topic, QoS::AtLeastOnce, message, connection);
                sleep(BETWEEN_CHUNKS).await;
            }
        } else {
            let message = agent.picture(&picture, at);
            self.publish(agent, &self.topic(), QoS::AtMostOnce, message, connection);
        }
        self.events.tell(
            &agent.device,
            "picture",
            json!({"number": number, "bytes": bytes, "chunks": chunks}),
        );
    }

    fn publish(&self, agent: &Agent, topic: &str, qos: QoS, message: String, connection: &Connection) {
        if !connection.publish(topic, qos, message) {
            self.events.tell(&agent.device, "unsent", json!({"reason": "too much waits to be sent"}));
        }
    }
}
