//! What an agent says, read in one pass, without a copy of its long texts.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// An agent's message. What is not read is not kept.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Message<'a> {
    /// The key of the agent.
    #[serde(borrow)]
    pub device_id: Text<'a>,
    /// Whether the agent's own key covers the payload. Absent: not.
    pub encrypted: Scalar<'a>,
    /// Whether the hub's key covers the payload, and all else that does. Agents before 3.1.1 do not have it.
    pub hidden: Scalar<'a>,
    /// What it says.
    pub payload: Payload<'a>,
}

/// What a message says: in clear, or as one of two texts that are to be decrypted to another payload.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Payload<'a> {
    /// What it is about; see [`Reply`].
    #[serde(borrow)]
    pub action: Text<'a>,
    /// The key of the agent.
    pub device_id: Text<'a>,
    /// A payload under the agent's own key.
    pub encrypted_value: Text<'a>,
    /// A payload under the hub's key.
    pub hidden_value: Text<'a>,
    /// What there is to say.
    pub value: Value<'a>,
}

/// The fields of every value that is read. A configuration, which has passwords in it, leaves nothing here of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Value<'a> {
    /// Base64 of a JPEG.
    pub image: Scalar<'a>,
    /// Of a picture in pieces: which.
    pub id: Scalar<'a>,
    /// Base64 of a piece of a JPEG.
    pub chunk: Scalar<'a>,
    /// Which piece, from 0 on.
    pub chunk_index: Scalar<'a>,
    /// Bytes of each piece but the last.
    pub chunk_size: Scalar<'a>,
    /// How many pieces there are.
    pub chunk_count: Scalar<'a>,
    /// Three numbers: where a camera looks.
    pub position: Scalar<'a>,
    /// Which stream was looked at.
    pub stream: Scalar<'a>,
    /// Whether it could be read.
    pub success: Scalar<'a>,
    /// Pixels.
    pub width: Scalar<'a>,
    /// Pixels.
    pub height: Scalar<'a>,
    /// Such as `h264`.
    pub codec: Scalar<'a>,
    /// Pictures a second.
    pub fps: Scalar<'a>,
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reply {
    /// A picture, whole or a piece of it.
    Picture,
    /// Where the camera looks.
    PtzPosition,
    /// What came of a look at a stream.
    VerifyResult,
}

impl Reply {
    /// What an action is, if it is one that is read.
    pub fn of(action: &str) -> Option<Self> {
        match action {
            "receive-sd-stream" => Some(Self::Picture),
            "ptz-position" => Some(Self::PtzPosition),
            "verify-stream-result" => Some(Self::VerifyResult),
            _ => None,
        }
    }
}

/// A text. Anything else is the empty one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Scalar::deserialize(deserializer)? {
            Scalar::Text(text) => Self(text),
            _ => Self::default(),
        })
    }
}

/// Any value but arrays and objects, which are passed over: a field that is not as expected must not cost the others.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Scalar<'a> {
    /// Absent, null, an array or an object.
    #[default]
    Nothing,
    /// `true` or `false`
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(f64),
    /// A text.
    Text(Cow<'a, str>),
}

impl Scalar<'_> {
    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, also where it comes as a text.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Whether it is true. Configurations of the agent write it as a text.
    pub fn is_true(&self) -> bool {
        matches!(self, Self::Bool(true)) || self.text() == Some("true")
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Scalar<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Integer(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Scalar<'de>, E> {
                Ok(i64::try_from(value).map_or(Scalar::Nothing, Scalar::Integer))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Float(value))
            }

            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Text(Cow::Borrowed(value)))
            }

            fn visit_str<E>(self, value: &str) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Text(Cow::Owned(value.to_owned())))
            }

            fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Nothing)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar<'de>, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar::Nothing)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::Nothing)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Value<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or null")
            }

            fn visit_unit<E>(self) -> Result<Value<'de>, E> {
                Ok(Value::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
                let mut value = Value::default();
                while let Some(Text(name)) = map.next_key()? {
                    let field = match name.as_ref() {
                        "image" => &mut value.image,
                        "id" => &mut value.id,
                        "chunk" => &mut value.chunk,
                        "chunkIndex" => &mut value.chunk_index,
                        "chunkSize" => &mut value.chunk_size,
                        "chunkCount" => &mut value.chunk_count,
                        "position" => &mut value.position,
                        "stream" => &mut value.stream,
                        "success" => &mut value.success,
                        "width" => &mut value.width,
                        "height" => &mut value.height,
                        "codec" => &mut value.codec,
                        "fps" => &mut value.fps,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *field = map.next_value()?;
                }
                Ok(value)
            }
        }

        deserializer.deserialize_any(Fields)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_picture_is_read_without_a_copy() {
        let json = br#"{"mid":"m","device_id":"cam1","timestamp":1767225602,"encrypted":false,"hidden":false,
            "public_key":"","fingerprint":"","payload":{"version":"","action":"receive-sd-stream","device_id":"cam1",
            "signature":"","encrypted_value":"","hidden_value":"","value":{"image":"/9j/4AAQ"}}}"#;
        let message: Message<'_> = serde_json::from_slice(json).unwrap();
        assert_eq!(message.device_id.0, "cam1");
        assert!(!message.hidden.is_true() && !message.encrypted.is_true());
        assert_eq!(Reply::of(&message.payload.action.0), Some(Reply::Picture));
        assert!(
            matches!(message.payload.value.image, Scalar::Text(Cow::Borrowed("/9j/4AAQ"))),
            "{:?}",
            message.payload.value.image
        );
    }

    #[test]
    fn what_is_missing_unknown_or_of_another_type_costs_nothing_else() {
        for json in [
            r#"{"device_id":"cam1","payload":{"action":"ptz-position","value":{"position":"1,2,3"}}}"#,
            r#"{"device_id":"cam1","timestamp":"x","new":{"a":[1]},"hidden":null,"encrypted":[{}],
                "payload":{"action":"ptz-position","signature":7,"value":{"position":"1,2,3","id":{}}}}"#,
        ] {
            let message: Message<'_> = serde_json::from_str(json).unwrap();
            assert_eq!(message.device_id.0, "cam1");
            assert!(!message.hidden.is_true());
            assert_eq!(message.payload.value.position.text(), Some("1,2,3"));
        }
        let null: Message<'_> = serde_json::from_str(r#"{"device_id":7,"payload":{"value":null}}"#).unwrap();
        assert_eq!(null, Message::default());
    }

    #[test]
    fn nothing_of_a_configuration_is_kept() {
        let json = r#"{"device_id":"c","payload":{"action":"receive-config","value":
            {"capture":{"ipcamera":{"rtsp":"rtsp://admin:hunter2@10.0.0.1"}},"mqtt_password":"hunter2"}}}"#;
        let message: Message<'_> = serde_json::from_str(json).unwrap();
        assert!(!format!("{message:?}").contains("hunter2"));
        assert_eq!(Reply::of(&message.payload.action.0), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = serde_json::from_slice::<Message<'_>>(&bytes);
        }

        #[test]
        fn no_value_of_a_field_costs_the_device(value in "(null|true|-?[1-9][0-9]{0,17}|\"[a-z]{0,9}\"|\\[1,\\{\\}\\]|\\{\"a\":[0-9]\\})") {
            let json = format!(
                "{{\"hidden\":{value},\"encrypted\":{value},\"payload\":{{\"action\":{value},\"value\":{{\"image\":{value},\
                 \"id\":{value}}}}},\"device_id\":\"d\"}}"
            );
            let message: Message<'_> = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(message.device_id.0, "d");
        }
    }
}
