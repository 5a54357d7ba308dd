//! What an agent says, read in one pass, without a copy of its long texts.

use std::borrow::Cow;
use std::fmt;

use memchr::{memchr2, memmem};
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Below this a message is not worth to be looked at twice.
const LONG_BYTES: usize = 1 << 10;

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

impl<'a> Message<'a> {
    /// Reads a message: what `serde_json` makes of it, sooner. Nearly all of one with a picture is the picture's text, of which
    /// only the ends are looked for; the rest goes to `space` and is read as JSON. So what JSON forbids in that text, control
    /// characters and what is no UTF-8, is left to whoever reads the base64.
    ///
    /// # Errors
    /// Those of JSON.
    pub fn read(json: &'a [u8], space: &'a mut Vec<u8>) -> serde_json::Result<Self> {
        let Some((before, image, after)) = around_image(json) else { return serde_json::from_slice(json) };
        space.clear();
        space.extend_from_slice(before);
        space.extend_from_slice(after);
        let space: &'a [u8] = space;
        let mut message: Self = serde_json::from_slice(space)?;
        match &mut message.payload.value.image {
            Base64(Some(text)) if std::ptr::eq(text.as_ptr(), space[before.len()..].as_ptr()) => {
                *text = Cow::Borrowed(image);
                Ok(message)
            }
            // It was the text of something else.
            _ => serde_json::from_slice(json),
        }
    }
}

/// What stands before, in and after the text of the first field that is called `image`, if it can be told without reading all.
fn around_image(json: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    const NAME: &[u8] = br#""image""#;
    if json.len() < LONG_BYTES {
        return None;
    }
    let name = memmem::find(json, NAME)?;
    // In valid JSON a quote that stands here begins a text: one that ends it is not followed by a letter.
    if !matches!(json[..name].trim_ascii_end().last(), Some(b'{' | b',')) {
        return None;
    }
    let value = json[name + NAME.len()..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    let text = value.strip_prefix(b"\"")?;
    let end = memchr2(b'"', b'\\', text).filter(|end| text[*end] == b'"')?;
    let (image, after) = text.split_at(end);
    let before = json.len() - text.len();
    Some((&json[..before], image, after))
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
    pub image: Base64<'a>,
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

/// A text that is not looked at before it is decoded. Anything else is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Base64<'a>(pub Option<Cow<'a, [u8]>>);

impl<'de: 'a, 'a> Deserialize<'de> for Base64<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match Scalar::deserialize(deserializer)? {
            Scalar::Text(Cow::Borrowed(text)) => Some(Cow::Borrowed(text.as_bytes())),
            Scalar::Text(Cow::Owned(text)) => Some(Cow::Owned(text.into_bytes())),
            _ => None,
        }))
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
                        "image" => {
                            value.image = map.next_value()?;
                            continue;
                        }
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
        let mut space = Vec::new();
        let message = Message::read(json, &mut space).unwrap();
        assert_eq!(message.device_id.0, "cam1");
        assert!(!message.hidden.is_true() && !message.encrypted.is_true());
        assert_eq!(Reply::of(&message.payload.action.0), Some(Reply::Picture));
        assert!(
            matches!(message.payload.value.image, Base64(Some(Cow::Borrowed(b"/9j/4AAQ")))),
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

    /// What a message reads as, both ways.
    fn both_ways(json: &[u8]) -> (Option<String>, Option<String>) {
        let mut space = Vec::new();
        let sooner = Message::read(json, &mut space).ok().map(|message| format!("{message:?}"));
        (sooner, serde_json::from_slice::<Message<'_>>(json).ok().map(|message| format!("{message:?}")))
    }

    #[test]
    fn a_long_picture_is_found_by_its_ends_and_only_where_it_is_one() {
        let long = "A".repeat(LONG_BYTES);
        let image = format!(r#""image" : "{long}""#);
        for json in [
            format!(r#"{{"payload":{{"value":{{{image}}}}}}}"#),
            format!(r#"{{"payload":{{"value":{{"id":1, {image},"id":2}}}},"device_id":"d"}}"#),
            // Of something else, of nothing, escaped, twice, and as a part of other texts.
            format!(r#"{{{image},"payload":{{"value":{{"image":""}}}}}}"#),
            format!(r#"{{"payload":{{"value":{{"a":{{{image}}},"image":"{long}B"}}}}}}"#),
            format!(r#"{{"payload":{{"value":{{"image":"\/{long}"}}}}}}"#),
            format!(r#"{{"payload":{{"value":{{"image":7,{image}}}}}}}"#),
            format!(r#"{{"payload":{{"value":{{{image},"image":"B"}}}}}}"#),
            format!(r#"{{"payload":{{"value":{{"a\"image":"{long}",{image}}}}}}}"#),
            format!(r#"{{"payload":{{"value":{{"a":",\"image\":\"{long}"}}}}}}"#),
            format!(r#"{{"payload":{{"value":{{"\\"image":"{long}"}}}}}}"#),
        ] {
            let (sooner, later) = both_ways(json.as_bytes());
            assert_eq!(sooner, later, "{}", json.replace(&long, "…"));
        }
        let control = format!("{{\"payload\":{{\"value\":{{\"image\":\"{long}\n\"}}}}}}");
        assert!(matches!(both_ways(control.as_bytes()), (Some(_), None)));
    }

    proptest! {
        #[test]
        fn whatever_stands_where_it_is_read_as_json_is(
            parts in prop::collection::vec(prop::sample::select(vec![
                "{", "}", "\"", "\\", ":", ",", " ", "\"image\"", "\"image\":\"", "\"value\":{", "\"payload\":{", "AAAA",
                "\"a\":1", "\"}}}", "é",
            ]), 0..24),
            pad in any::<bool>(),
        ) {
            let pad = if pad { "A".repeat(LONG_BYTES) } else { String::new() };
            for json in [
                format!("{{\"payload\":{{\"value\":{{\"image\":\"{pad}{}", parts.concat()),
                format!("{{\"payload\":{{{}\"value\":{{\"image\":\"{pad}\"}}}}}}", parts.concat()),
                format!("{}{}", parts.concat(), " ".repeat(LONG_BYTES)),
            ] {
                let (sooner, later) = both_ways(json.as_bytes());
                prop_assert_eq!(sooner, later);
            }
        }

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
