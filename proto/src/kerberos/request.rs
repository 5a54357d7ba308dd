//! What an agent is asked. Always in clear: every agent takes that, and one that is given a text under a wrong key may die of it.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::OnvifAction;
use crate::source::Part;

/// The longest token of a relay. ONVIF's tokens have at most 64 characters.
pub const TOKEN_BYTES_MAX: usize = 64;

/// Seconds since the Unix epoch. Never zero, never a fraction, never a text: an agent would drop the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp(NonZeroU32);

impl Timestamp {
    /// The second of a millisecond since the Unix epoch.
    pub fn of_ms(unix_ms: u64) -> Self {
        let seconds = u32::try_from(unix_ms / 1000).unwrap_or(u32::MAX);
        Self(NonZeroU32::new(seconds).unwrap_or(NonZeroU32::MIN))
    }
}

/// What an agent can be asked. Its configuration is not among it: that has the passwords of camera, hub and broker in it.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Pictures, for about three seconds.
    SdStream,
    /// Turn the camera.
    NavigatePtz(OnvifAction),
    /// Where does it look?
    GetPtzPosition,
    /// Record, or stop to.
    Record {
        /// Whether to.
        recording: bool,
        /// Whether this only says that it still is to.
        heartbeat: bool,
    },
    /// Switch a relay of the camera.
    TriggerRelay {
        /// Which.
        token: String,
    },
    /// Can this stream of the camera be read?
    VerifyStream {
        /// Which.
        stream: Stream,
        /// Another address than the configured one.
        rtsp: Option<String>,
    },
}

/// A stream of a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// The one that is recorded.
    Main,
    /// The smaller one.
    Sub,
}

impl Stream {
    /// As messages have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Sub => "sub",
        }
    }
}

impl Request {
    /// The message that asks it of an agent. `mid` is any text but the empty one, and another each time.
    pub fn message(&self, mid: &str, device: &Part, at: Timestamp) -> Vec<u8> {
        let (device, at) = (device.as_str(), at.0.get());
        let (action, value) = match self {
            Self::SdStream => ("request-sd-stream", json!({ "timestamp": at })),
            Self::NavigatePtz(action) => {
                let action = serde_json::to_string(action).expect("numbers and texts are JSON");
                ("navigate-ptz", json!({ "timestamp": at, "device_id": device, "action": action }))
            }
            Self::GetPtzPosition => ("get-ptz-position", json!({ "timestamp": at })),
            Self::Record { recording, heartbeat } => {
                ("record", json!({ "timestamp": at, "recording": recording, "heartbeat": heartbeat }))
            }
            Self::TriggerRelay { token } => {
                ("trigger-relay", json!({ "timestamp": at, "device_id": device, "token": token }))
            }
            Self::VerifyStream { stream, rtsp } => {
                let mut value = json!({ "timestamp": at, "stream": stream });
                if let Some(rtsp) = rtsp {
                    value["rtsp"] = rtsp.as_str().into();
                }
                ("verify-stream", value)
            }
        };
        let payload = Asked { action, device_id: device, value, ..Asked::default() };
        let message = Envelope { mid, timestamp: at, device_id: device, payload, ..Envelope::default() };
        serde_json::to_vec(&message).expect("numbers and texts are JSON")
    }
}

/// A message to an agent. What is empty here is so in every message.
#[derive(Default, Serialize)]
struct Envelope<'a> {
    mid: &'a str,
    timestamp: u32,
    device_id: &'a str,
    encrypted: bool,
    hidden: bool,
    public_key: &'a str,
    fingerprint: &'a str,
    payload: Asked<'a>,
}

#[derive(Default, Serialize)]
struct Asked<'a> {
    version: &'a str,
    action: &'a str,
    device_id: &'a str,
    signature: &'a str,
    encrypted_value: &'a str,
    hidden_value: &'a str,
    value: Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(request: &Request, unix_ms: u64) -> serde_json::Value {
        let bytes = request.message("m1", &"cam1".parse().unwrap(), Timestamp::of_ms(unix_ms));
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn a_request_for_pictures_is_as_agents_take_it() {
        assert_eq!(
            sent(&Request::SdStream, 1_767_225_600_999),
            json!({
                "mid": "m1", "timestamp": 1_767_225_600, "device_id": "cam1", "encrypted": false, "hidden": false,
                "public_key": "", "fingerprint": "",
                "payload": {
                    "version": "", "action": "request-sd-stream", "device_id": "cam1", "signature": "",
                    "encrypted_value": "", "hidden_value": "", "value": { "timestamp": 1_767_225_600 },
                },
            })
        );
    }

    #[test]
    fn every_request_has_two_whole_timestamps_that_are_not_zero() {
        let all = [
            Request::SdStream,
            Request::NavigatePtz(OnvifAction::Zoom { zoom: 1.0 }),
            Request::GetPtzPosition,
            Request::Record { recording: true, heartbeat: false },
            Request::TriggerRelay { token: "r".into() },
            Request::VerifyStream { stream: Stream::Sub, rtsp: None },
        ];
        for request in all {
            for unix_ms in [0, 999, 1_767_225_600_999, u64::MAX] {
                let message = sent(&request, unix_ms);
                assert!(message["timestamp"].as_u64().unwrap() > 0, "{message}");
                assert!(message["payload"]["value"]["timestamp"].as_u64().unwrap() > 0, "{message}");
                assert_eq!((&message["hidden"], &message["encrypted"]), (&json!(false), &json!(false)));
            }
        }
    }

    #[test]
    fn values_are_as_agents_take_them() {
        let value = |request: &Request| sent(request, 5_000)["payload"]["value"].clone();
        assert_eq!(
            value(&Request::NavigatePtz(OnvifAction::Preset { preset: "a\"b".into() })),
            json!({"timestamp": 5, "device_id": "cam1",
                   "action": "{\"action\":\"preset\",\"payload\":{\"preset\":\"a\\\"b\"}}"})
        );
        assert_eq!(
            value(&Request::Record { recording: true, heartbeat: false }),
            json!({"timestamp": 5, "recording": true, "heartbeat": false})
        );
        assert_eq!(
            value(&Request::TriggerRelay { token: "r1".into() }),
            json!({"timestamp": 5, "device_id": "cam1", "token": "r1"})
        );
        let verify =
            |rtsp: Option<&str>| Request::VerifyStream { stream: Stream::Main, rtsp: rtsp.map(Into::into) };
        assert_eq!(value(&verify(None)), json!({"timestamp": 5, "stream": "main"}));
        assert_eq!(
            value(&verify(Some("rtsp://h/1"))),
            json!({"timestamp": 5, "stream": "main", "rtsp": "rtsp://h/1"})
        );
    }
}
