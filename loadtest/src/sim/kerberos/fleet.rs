//! Thousands of agents behind one connection, for load: with a connection each, each would hear what is asked of all.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use rumqttc::QoS;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::agent::Agent;
use super::{Agents, Plan, REST};
use crate::sim::broker::{Connection, Heard, Session};
use crate::sim::unix_now;

/// Pictures that wait to be sent: more than there are agents.
const REQUESTS_MAX: usize = 4096;

/// The name under which what concerns all is told.
const ALL: &str = "all";

impl Agents {
    /// Is all these agents, for ever. Their pictures are whole.
    pub(crate) async fn fleet(self: Arc<Self>, devices: Vec<String>) {
        let Plan { broker, hub, gop, .. } = &self.plan;
        let gop = *gop;
        let client_id = format!("fleet-{:08x}", fastrand::u32(..));
        let filters = vec![format!("kerberos/agent/{hub}")];
        let session = Session { client_id, clean: true, filters, requests: REQUESTS_MAX };
        let mut connection = Connection::open(broker, session);
        let numbers: HashMap<String, usize> = devices.iter().cloned().zip(0..).collect();
        let mut agents: Vec<_> = devices
            .iter()
            .map(|device| Agent::new(device, self.plan.hidden.clone(), self.plan.symmetric.clone()))
            .collect();
        let now = Instant::now();
        let mut due: BinaryHeap<_> =
            (0..agents.len()).map(|number| Reverse((now + gop.mul_f64(fastrand::f64()), number))).collect();
        let mut sent = vec![0; agents.len()];
        loop {
            let Some(&Reverse((key_frame, number))) = due.peek() else { return };
            tokio::select! {
                heard = connection.next() => match heard {
                    Heard::Connected => self.events.tell(ALL, "connected", json!({"agents": agents.len()})),
                    Heard::Lost(reason) => self.events.tell(ALL, "disconnected", json!({"reason": reason})),
                    Heard::Message { payload, .. } => {
                        let number = Agent::addressee(&payload).and_then(|device| numbers.get(&device).copied());
                        if let Some(agent) = number.and_then(|number| agents.get_mut(number)) {
                            for act in agent.hear(&payload) {
                                self.perform(agent, act, &connection);
                            }
                        }
                    }
                },
                () = sleep_until(key_frame) => {
                    due.pop();
                    let agent = &mut agents[number];
                    let unix = unix_now();
                    let is_sent = agent.live.key_frame(unix.as_secs()) && !self.plan.silent;
                    if is_sent {
                        let picture = self.pictures.at(sent[number], unix.as_nanos());
                        let message = agent.picture(&picture, unix.as_secs());
                        self.publish(agent, &self.topic(), QoS::AtMostOnce, message, &connection);
                        let facts = json!({"number": sent[number], "bytes": picture.len(), "chunks": 0});
                        self.events.tell(&agent.device, "picture", facts);
                        sent[number] += 1;
                    }
                    let pause = if is_sent { gop.max(REST) } else { gop };
                    // One that is late does not hurry afterwards.
                    due.push(Reverse(((key_frame + pause).max(Instant::now()), number)));
                }
            }
        }
    }
}
