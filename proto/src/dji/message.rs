//! What is around every message.

use serde_json::{Value, json};

use super::{MESSAGE_BYTES_MAX, int, text_of};
use crate::source::Part;

/// A message of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Names the transaction.
    pub tid: Option<String>,
    /// Names what the transaction belongs to.
    pub bid: Option<String>,
    /// By the device's clock, in milliseconds since the Unix epoch.
    pub timestamp: Option<i64>,
    /// The gateway through which the device speaks.
    pub gateway: Option<Part>,
    /// What it is about.
    pub method: Option<String>,
    /// Whether the device waits for an answer.
    pub need_reply: bool,
    /// The rest.
    pub data: Value,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Longer than [`MESSAGE_BYTES_MAX`].
    #[error("is longer than {MESSAGE_BYTES_MAX} bytes")]
    TooLong,
    /// No JSON, or no object.
    #[error("is no JSON object")]
    Json,
}

impl Message {
    /// Reads a message. What is missing, or is not of its type, is absent.
    ///
    /// # Errors
    /// Too long, or no JSON object.
    pub fn read(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(MessageError::TooLong);
        }
        let mut value: Value = serde_json::from_slice(bytes).map_err(|_| MessageError::Json)?;
        let data = value.get_mut("data").map_or(Value::Null, Value::take);
        let members = value.as_object().ok_or(MessageError::Json)?;
        let text = |name: &str| members.get(name).and_then(text_of).filter(|text| !text.is_empty());
        Ok(Self {
            tid: text("tid"),
            bid: text("bid"),
            // As printed in examples of the manufacturer, and as some send it.
            timestamp: members.get("timestamp").or_else(|| members.get("timestamp:")).and_then(int),
            gateway: text("gateway").and_then(|sn| sn.parse().ok()),
            method: text("method"),
            need_reply: members.get("need_reply").and_then(int) == Some(1),
            data,
        })
    }

    /// The answer in it. `None` where it has no result.
    pub fn reply(&self) -> Option<Reply> {
        let result = int(self.data.get("result")?)?;
        let output = self.data.get("output").or_else(|| self.data.get("info")).cloned();
        Some(Reply { result, output: output.unwrap_or(Value::Null) })
    }
}

/// What a device answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// 0, or why not.
    pub result: i64,
    /// What else there is: `output`, or `info` as of one method.
    pub output: Value,
}

/// A message to a device. Without `tid` and `bid` where the topic has none.
pub fn write(ids: Option<(&str, &str)>, unix_ms: u64, method: &str, data: &Value) -> Vec<u8> {
    let value = match ids {
        Some((tid, bid)) => {
            json!({"tid": tid, "bid": bid, "timestamp": unix_ms, "method": method, "data": data})
        }
        None => json!({"timestamp": unix_ms, "method": method, "data": data}),
    };
    value.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sloppy_messages_are_read() {
        let message = Message::read(
            br#"{"tid":7,"bid":"b","timestamp:":"1654070968655","need_reply":"1","gateway":"a/b","data":{"result":true,"info":"rtsp://a"}}"#,
        )
        .unwrap();
        assert_eq!((message.tid.as_deref(), message.bid.as_deref()), (Some("7"), Some("b")));
        assert_eq!((message.timestamp, message.gateway.clone()), (Some(1_654_070_968_655), None));
        assert_eq!((message.method.clone(), message.need_reply), (None, true));
        assert_eq!(message.reply(), Some(Reply { result: 1, output: "rtsp://a".into() }));
        assert_eq!(Message::read(b"{}").unwrap().reply(), None);
    }

    #[test]
    fn what_is_too_long_or_no_object_is_refused() {
        let text = |length: usize| format!("{{\"tid\":\"{}\"}}", "a".repeat(length - 10)).into_bytes();
        assert!(Message::read(&text(MESSAGE_BYTES_MAX)).is_ok());
        assert_eq!(Message::read(&text(MESSAGE_BYTES_MAX + 1)), Err(MessageError::TooLong));
        for bytes in [&b""[..], b"[]", b"1", b"{", b"null"] {
            assert_eq!(Message::read(bytes), Err(MessageError::Json));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::read(&bytes).map(|message| message.reply());
        }

        #[test]
        fn what_is_written_is_read(tid in "[a-f0-9-]{1,36}", bid in "[a-f0-9-]{1,36}", at in 0..1_u64 << 53) {
            let read = Message::read(&write(Some((&tid, &bid)), at, "m", &json!({"a": 1}))).unwrap();
            prop_assert_eq!((read.tid, read.bid, read.timestamp), (Some(tid), Some(bid), i64::try_from(at).ok()));
            prop_assert_eq!((read.method.as_deref(), read.data), (Some("m"), json!({"a": 1})));
        }
    }
}
