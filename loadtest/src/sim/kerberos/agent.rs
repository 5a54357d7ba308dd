//! What an agent makes of what it hears, and the form of what it says.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::cipher;
use super::live::Live;
use crate::sim::{unix_now, uuid};

/// One agent. No socket.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) device: String,
    pub(super) live: Live,
    hidden: Option<String>,
    symmetric: Option<String>,
    /// Where the camera looks: x, y and zoom.
    position: [f64; 3],
}

/// What an agent does.
#[derive(Debug, PartialEq)]
pub(super) enum Act {
    /// Tells the operator something.
    Tell { event: &'static str, facts: Value },
    /// Publishes an answer.
    Answer { action: &'static str, value: Value },
}

impl Act {
    fn dropped(reason: &str) -> Vec<Self> {
        vec![Self::Tell { event: "dropped", facts: json!({"reason": reason}) }]
    }
}

/// As Go reads an `int64`: what is none is 0.
fn integer(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

impl Agent {
    pub(super) fn new(device: &str, hidden: Option<String>, symmetric: Option<String>) -> Self {
        let position = [0.0; 3];
        Self { device: device.to_owned(), live: Live::default(), hidden, symmetric, position }
    }

    /// Whom a message on the topic of a hub is for.
    pub(super) fn addressee(message: &[u8]) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct To {
            device_id: String,
        }
        serde_json::from_slice::<To>(message).ok().map(|to| to.device_id)
    }

    /// What it does about a message on the topic of its hub.
    pub(super) fn hear(&mut self, message: &[u8]) -> Vec<Act> {
        // Errors of decoding are ignored: what could not be read is empty.
        let message: Value = serde_json::from_slice(message).unwrap_or_default();
        let device = text(&message["device_id"]);
        if device != self.device && !device.is_empty() {
            // Every agent of the hub hears what is asked of the others.
            return Vec::new();
        }
        if device.is_empty() || text(&message["mid"]).is_empty() || integer(&message["timestamp"]) == 0 {
            return Act::dropped("no mid, no device_id, or a timestamp that is no integer");
        }
        let hidden = message["hidden"] == true;
        let mut payload = message["payload"].clone();
        if let (true, Some(key)) = (hidden, &self.hidden) {
            let opened = cipher::open(text(&payload["hidden_value"]), key);
            let opened = opened.and_then(|plain| serde_json::from_slice::<Value>(&plain).ok());
            let Some(opened) = opened else {
                // Real ones do not look before they decrypt, and may panic.
                let reason = "hidden with a key that is not ours: a real agent may crash";
                return vec![Act::Tell { event: "error", facts: json!({"reason": reason}) }];
            };
            payload = opened;
        }
        if message["encrypted"] == true && !text(&payload["encrypted_value"]).is_empty() {
            return Act::dropped("encrypted end to end with a key pair, which is not simulated");
        }
        self.act(&payload, hidden)
    }

    fn act(&mut self, payload: &Value, hidden: bool) -> Vec<Act> {
        let action = text(&payload["action"]);
        let value = &payload["value"];
        // The only one that has none.
        if action != "update-ptz-position" && integer(&value["timestamp"]) == 0 {
            return Act::dropped("value.timestamp is no integer, or 0");
        }
        let mut acts = vec![Act::Tell {
            event: "requested",
            facts: json!({"action": action, "hidden": hidden, "timestamp": integer(&value["timestamp"])}),
        }];
        match action {
            "request-sd-stream" => {
                self.live.request();
            }
            "request-config" => {
                // What nobody may ever see outside of the bridge.
                let config = json!({"key": self.device, "mqtt_password": "sim-secret-mqtt",
                    "capture": {"ipcamera": {"rtsp": "rtsp://admin:sim-secret-rtsp@camera/stream"}}});
                acts.push(Act::Answer { action: "receive-config", value: config });
            }
            "get-ptz-position" => {
                let [x, y, zoom] = self.position;
                let value = json!({"timestamp": unix_now().as_secs(), "position": format!("{x:.6},{y:.6},{zoom:.6}")});
                acts.push(Act::Answer { action: "ptz-position", value });
            }
            "navigate-ptz" => {
                // JSON in a string.
                let onvif = serde_json::from_str(text(&value["action"])).unwrap_or_default();
                acts.push(self.turn(onvif));
            }
            "update-ptz-position" => acts.push(self.turn(value.clone())),
            _ => {}
        }
        acts
    }

    fn turn(&mut self, onvif: Value) -> Act {
        let to = &onvif["payload"];
        match text(&onvif["action"]) {
            "absolute-move" => {
                self.position = ["x", "y", "z"].map(|axis| to[axis].as_f64().unwrap_or_default());
            }
            "ptz" => {
                let step = |more, less| 0.1 * (integer(&to[more]) - integer(&to[less])) as f64;
                self.position[0] += step("right", "left");
                self.position[1] += step("up", "down");
            }
            "zoom" => self.position[2] = to["zoom"].as_f64().unwrap_or_default(),
            "preset" => {}
            _ => {
                return Act::Tell {
                    event: "error",
                    facts: json!({"reason": "no action of ONVIF", "onvif": onvif}),
                };
            }
        }
        Act::Tell { event: "ptz", facts: json!({"onvif": onvif, "position": self.position}) }
    }

    /// A whole picture.
    pub(super) fn picture(&self, jpeg: &[u8], at: u64) -> String {
        self.message("receive-sd-stream", "", json!({"image": STANDARD.encode(jpeg)}), at)
    }

    /// A part of a picture.
    pub(super) fn chunk(&self, bytes: &[u8], index: usize, size: usize, count: usize, at: u64) -> String {
        let value = json!({"id": at, "chunk": STANDARD.encode(bytes), "chunkIndex": index, "chunkSize": size,
            "chunkCount": count});
        self.message("receive-sd-stream", "v1.0.0", value, at)
    }

    /// What is published.
    pub(super) fn message(&self, action: &str, version: &str, value: Value, at: u64) -> String {
        let device = &self.device;
        let payload = |value: Value, encrypted: String, hidden: String| {
            json!({"version": version, "action": action, "device_id": device, "signature": "",
                "encrypted_value": encrypted, "hidden_value": hidden, "value": value})
        };
        let mut said = payload(value, String::new(), String::new());
        if let Some(key) = &self.symmetric {
            said = payload(json!({}), cipher::seal(said.to_string().as_bytes(), key), String::new());
        }
        if let Some(key) = &self.hidden {
            said = payload(json!({}), String::new(), cipher::seal(said.to_string().as_bytes(), key));
        }
        json!({"mid": uuid(), "device_id": device, "timestamp": at, "encrypted": self.symmetric.is_some(),
            "hidden": self.hidden.is_some(), "public_key": "", "fingerprint": "", "payload": said})
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_767_225_600;

    fn agent() -> Agent {
        Agent::new("cam1", Some("hub-private-key".into()), None)
    }

    fn request(action: &str, value: Value) -> Value {
        json!({"mid": "m", "timestamp": NOW, "device_id": "cam1", "encrypted": false, "hidden": false,
            "payload": {"version": "", "action": action, "device_id": "cam1", "value": value}})
    }

    fn names(acts: &[Act]) -> Vec<&'static str> {
        let name = |act: &Act| match act {
            Act::Tell { event, .. } => *event,
            Act::Answer { action, .. } => *action,
        };
        acts.iter().map(name).collect()
    }

    fn hear(agent: &mut Agent, message: &Value) -> Vec<Act> {
        agent.hear(message.to_string().as_bytes())
    }

    #[test]
    fn a_request_in_clear_counts_though_answers_are_hidden() {
        let mut agent = agent();
        let acts = hear(&mut agent, &request("request-sd-stream", json!({"timestamp": NOW})));
        assert_eq!(names(&acts), ["requested"]);
        assert!(agent.live.key_frame(5));
    }

    #[test]
    fn a_timestamp_that_is_no_integer_is_dropped_without_a_word() {
        for wrong in [json!("1767225600"), json!(0), json!(1.5), json!(null)] {
            let mut agent = agent();
            let inner = request("request-sd-stream", json!({"timestamp": wrong}));
            assert_eq!(names(&hear(&mut agent, &inner)), ["dropped"], "{inner}");
            let mut outer = request("request-sd-stream", json!({"timestamp": NOW}));
            outer["timestamp"] = wrong;
            assert_eq!(names(&hear(&mut agent, &outer)), ["dropped"], "{outer}");
            assert!(!agent.live.key_frame(5));
        }
        let mut nameless = request("request-sd-stream", json!({"timestamp": NOW}));
        nameless["mid"] = json!("");
        assert_eq!(names(&hear(&mut agent(), &nameless)), ["dropped"]);
        assert_eq!(names(&agent().hear(b"{")), ["dropped"]);
    }

    #[test]
    fn what_is_asked_of_another_is_no_concern() {
        let mut other = request("request-sd-stream", json!({"timestamp": NOW}));
        other["device_id"] = json!("cam2");
        assert_eq!(hear(&mut agent(), &other), []);
    }

    #[test]
    fn a_hidden_request_needs_the_key_of_the_hub() {
        let sealed = |key| {
            let payload = json!({"action": "request-sd-stream", "value": {"timestamp": NOW}});
            let mut message = request("request-sd-stream", json!({}));
            message["hidden"] = json!(true);
            message["payload"]["hidden_value"] = json!(cipher::seal(payload.to_string().as_bytes(), key));
            message
        };
        assert_eq!(names(&hear(&mut agent(), &sealed("hub-private-key"))), ["requested"]);
        assert_eq!(names(&hear(&mut agent(), &sealed("another"))), ["error"]);
        // Where nothing is hidden, the payload outside counts, which is empty.
        let mut open = Agent::new("cam1", None, None);
        assert_eq!(names(&hear(&mut open, &sealed("hub-private-key"))), ["dropped"]);
    }

    #[test]
    fn the_camera_turns_and_says_where_it_looks() {
        let mut agent = agent();
        let onvif = json!({"action": "absolute-move", "payload": {"x": 0.5, "y": -0.25, "z": 1.0}});
        let value = json!({"timestamp": NOW, "device_id": "cam1", "action": onvif.to_string()});
        assert_eq!(names(&hear(&mut agent, &request("navigate-ptz", value))), ["requested", "ptz"]);
        let onvif = json!({"action": "ptz", "payload": {"left": 1, "right": 0, "up": 2}});
        assert_eq!(names(&hear(&mut agent, &request("update-ptz-position", onvif))), ["requested", "ptz"]);
        let acts = hear(&mut agent, &request("get-ptz-position", json!({"timestamp": NOW})));
        let Some(Act::Answer { action: "ptz-position", value }) = acts.last() else { panic!("{acts:?}") };
        assert_eq!(value["position"], "0.400000,-0.050000,1.000000");
        let wrong = request("navigate-ptz", json!({"timestamp": NOW, "action": "left"}));
        assert_eq!(names(&hear(&mut agent, &wrong)), ["requested", "error"]);
    }

    #[test]
    fn a_message_is_hidden_over_what_is_encrypted() {
        let agent = Agent::new("cam1", Some("hub".into()), Some("ours".into()));
        let message: Value = serde_json::from_str(&agent.picture(b"jpeg", 7)).unwrap();
        assert_eq!((&message["hidden"], &message["encrypted"]), (&json!(true), &json!(true)));
        assert_eq!(message["timestamp"], 7);
        assert_eq!(message["payload"]["action"], "receive-sd-stream");
        assert_eq!(message["payload"]["value"], json!({}));
        let open = |payload: &Value, name: &str, key: &str| -> Value {
            let plain = cipher::open(payload[name].as_str().unwrap(), key).unwrap();
            serde_json::from_slice(&plain).unwrap()
        };
        let hidden = open(&message["payload"], "hidden_value", "hub");
        let payload = open(&hidden, "encrypted_value", "ours");
        assert_eq!(payload["value"]["image"], STANDARD.encode(b"jpeg"));
    }

    #[test]
    fn a_chunk_says_which_it_is() {
        let message: Value =
            serde_json::from_str(&Agent::new("c", None, None).chunk(b"abc", 1, 25_600, 2, 9)).unwrap();
        assert_eq!(message["payload"]["version"], "v1.0.0");
        let value = json!({"id": 9, "chunk": "YWJj", "chunkIndex": 1, "chunkSize": 25_600, "chunkCount": 2});
        assert_eq!(message["payload"]["value"], value);
    }
}
