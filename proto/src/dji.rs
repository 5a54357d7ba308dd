//! What docks, controllers and aircraft of DJI say over MQTT, and what they are told. Written strictly, read leniently: a
//! number may come as a text or a truth value, and what is not known is kept or passed over.

mod capacity;
mod error;
mod message;
mod services;
mod topic;

use serde_json::Value;

pub use capacity::{
    Camera, Capacity, Device, ITEMS_MAX, Limit, LiveStatus, Product, SubDevice, Topology, Video, is_cut,
};
pub use error::{Class, class, text};
pub use message::{Message, MessageError, Reply, write};
pub use services::{Service, UrlType, VideoId};
pub use topic::{Channel, Topic, TopicError};

/// The longest message: what a dock tells of itself takes a few thousand bytes.
pub const MESSAGE_BYTES_MAX: usize = 256 << 10;

/// A whole number, however it is written.
fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(is) => Some(i64::from(*is)),
        _ => None,
    }
}

/// A text, or a number that should be one.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The items of a member that is an array; none where it is something else.
fn items<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
