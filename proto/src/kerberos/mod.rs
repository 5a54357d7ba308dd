//! What Kerberos agents and those who watch through them say to each other over MQTT. Normative text: `proto/MQTT.md`.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Strict in what is sent, lenient in what is read: an agent drops a request silently whose      │
//! │ timestamps are not whole numbers above zero, and no two versions of the agent fill the same   │
//! │ fields.                                                                                       │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

mod message;
mod ptz;
mod request;

pub use message::{Base64, Message, Payload, Reply, Scalar, Text, Value};
pub use ptz::{OnvifAction, OnvifActionError, Position, Step};
pub use request::{Request, Stream, TOKEN_BYTES_MAX, Timestamp};

use crate::source::Part;

/// The topic on which every agent of a hub listens.
pub fn agents_topic(hub: &Part) -> String {
    format!("kerberos/agent/{hub}")
}

/// The topic on which every agent of a hub speaks. Pictures in pieces come on topics below it, one for each device.
pub fn hub_topic(hub: &Part) -> String {
    format!("kerberos/hub/{hub}")
}
