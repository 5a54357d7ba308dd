//! Values of AMF 0 (Action Message Format specification of December 2007), as commands and metadata are made of.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ What is read is bounded in depth and in number, whatever the bytes say of themselves.        │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use bytes::{Buf, BufMut};

/// Nested values are read to this depth: real ones have three levels, and each costs stack.
pub const DEPTH_MAX: usize = 8;

/// Values in one message, those inside of others included: metadata has some dozens, and a value in memory is larger than
/// its byte on the wire.
pub const VALUES_MAX: usize = 4096;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Every number is a double.
    Number(f64),
    /// True or false.
    Boolean(bool),
    /// A text, of either length; what is not UTF-8 in it is replaced.
    Text(String),
    /// An object or an associative array, in the order of the wire.
    Object(Vec<(String, Value)>),
    /// A list.
    List(Vec<Value>),
    /// Nothing, or what was not set.
    Null,
    /// A value that has no use here: a date, a reference, XML.
    Other,
}

/// Why bytes are no values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// They end in the middle of a value.
    #[error("a value is cut short")]
    Short,
    /// Values inside of values inside of values.
    #[error("values are nested deeper than {DEPTH_MAX} levels")]
    Deep,
    /// More than anyone has a use for.
    #[error("there are more than {VALUES_MAX} values")]
    Many,
    /// A type that AMF 0 does not have, or reserves.
    #[error("a value is of no known type")]
    Type,
}

const NUMBER: u8 = 0;
const BOOLEAN: u8 = 1;
const STRING: u8 = 2;
const OBJECT: u8 = 3;
const NULL: u8 = 5;
const UNDEFINED: u8 = 6;
const REFERENCE: u8 = 7;
const ECMA_ARRAY: u8 = 8;
const OBJECT_END: u8 = 9;
const STRICT_ARRAY: u8 = 10;
const DATE: u8 = 11;
const LONG_STRING: u8 = 12;
const UNSUPPORTED: u8 = 13;
const XML: u8 = 15;
const TYPED_OBJECT: u8 = 16;

impl Value {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// An object of these properties.
    pub fn object<const N: usize>(properties: [(&str, Self); N]) -> Self {
        Self::Object(properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// The property of this name, of an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(properties) = self else { return None };
        properties.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// The text, where it is one.
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The number, where it is one.
    pub fn as_number(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    /// Appends it as it goes over the wire. What has no use here goes as nothing.
    pub fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::Number(number) => {
                to.put_u8(NUMBER);
                to.put_f64(*number);
            }
            Self::Boolean(boolean) => to.put_slice(&[BOOLEAN, (*boolean).into()]),
            Self::Text(text) => match u16::try_from(text.len()) {
                Ok(_) => {
                    to.put_u8(STRING);
                    put_name(to, text);
                }
                Err(_) => {
                    to.put_u8(LONG_STRING);
                    to.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
                    to.put_slice(text.as_bytes());
                }
            },
            Self::Object(properties) => {
                to.put_u8(OBJECT);
                for (name, value) in properties {
                    put_name(to, name);
                    value.write(to);
                }
                to.put_slice(&[0, 0, OBJECT_END]);
            }
            Self::List(values) => {
                to.put_u8(STRICT_ARRAY);
                to.put_u32(u32::try_from(values.len()).unwrap_or(u32::MAX));
                values.iter().for_each(|value| value.write(to));
            }
            Self::Null | Self::Other => to.put_u8(NULL),
        }
    }
}

/// A name is no longer than its length can tell.
fn put_name(to: &mut Vec<u8>, name: &str) {
    let len = name.len().min(usize::from(u16::MAX));
    to.put_u16(u16::try_from(len).unwrap_or(u16::MAX));
    to.put_slice(&name.as_bytes()[..len]);
}

/// The values of a message, one after another.
///
/// # Errors
/// Where the bytes are not values from end to end.
pub fn read_all(bytes: &[u8]) -> Result<Vec<Value>, ReadError> {
    let mut reader = Reader { bytes, left: VALUES_MAX };
    let mut values = Vec::new();
    while !reader.bytes.is_empty() {
        values.push(reader.value(0)?);
    }
    Ok(values)
}

/// The first values of a message as far as they are values: what follows the last is not looked at.
pub fn read_some(bytes: &[u8]) -> Vec<Value> {
    let mut reader = Reader { bytes, left: VALUES_MAX };
    let mut values = Vec::new();
    while !reader.bytes.is_empty() {
        match reader.value(0) {
            Ok(value) => values.push(value),
            Err(_) => break,
        }
    }
    values
}

struct Reader<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], ReadError> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(ReadError::Short)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, ReadError> {
        self.bytes.try_get_u8().map_err(|_| ReadError::Short)
    }

    fn u32(&mut self) -> Result<u32, ReadError> {
        self.bytes.try_get_u32().map_err(|_| ReadError::Short)
    }

    fn name(&mut self) -> Result<String, ReadError> {
        let len = self.bytes.try_get_u16().map_err(|_| ReadError::Short)?;
        self.text(len.into())
    }

    fn text(&mut self, len: usize) -> Result<String, ReadError> {
        Ok(String::from_utf8_lossy(self.take(len)?).into_owned())
    }

    fn long_text(&mut self) -> Result<String, ReadError> {
        let len = self.u32()?;
        self.text(usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn value(&mut self, depth: usize) -> Result<Value, ReadError> {
        if depth == DEPTH_MAX {
            return Err(ReadError::Deep);
        }
        self.left = self.left.checked_sub(1).ok_or(ReadError::Many)?;
        Ok(match self.u8()? {
            NUMBER => Value::Number(self.bytes.try_get_f64().map_err(|_| ReadError::Short)?),
            BOOLEAN => Value::Boolean(self.u8()? != 0),
            STRING => Value::Text(self.name()?),
            LONG_STRING => Value::Text(self.long_text()?),
            OBJECT => self.object(depth)?,
            ECMA_ARRAY => {
                // How many there are is a hint; the end is marked.
                self.u32()?;
                self.object(depth)?
            }
            TYPED_OBJECT => {
                self.name()?;
                self.object(depth)?
            }
            STRICT_ARRAY => {
                let count = self.u32()?;
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(self.value(depth + 1)?);
                }
                Value::List(values)
            }
            NULL | UNDEFINED => Value::Null,
            REFERENCE => self.take(2).map(|_| Value::Other)?,
            DATE => self.take(10).map(|_| Value::Other)?,
            XML => self.long_text().map(|_| Value::Other)?,
            UNSUPPORTED => Value::Other,
            _ => return Err(ReadError::Type),
        })
    }

    fn object(&mut self, depth: usize) -> Result<Value, ReadError> {
        let mut properties = Vec::new();
        loop {
            let name = self.name()?;
            if name.is_empty() && self.bytes.first() == Some(&OBJECT_END) {
                self.u8()?;
                return Ok(Value::Object(properties));
            }
            properties.push((name, self.value(depth + 1)?));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<f64>().prop_filter("equal to itself", |number| !number.is_nan()).prop_map(Value::Number),
            any::<bool>().prop_map(Value::Boolean),
            "\\PC{0,12}".prop_map(Value::Text),
            Just(Value::Null),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(("[a-z]{1,8}", inner.clone()), 0..6).prop_map(Value::Object),
                prop::collection::vec(inner, 0..6).prop_map(Value::List),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(values in prop::collection::vec(any_value(), 0..5)) {
            let mut bytes = Vec::new();
            values.iter().for_each(|value| value.write(&mut bytes));
            prop_assert_eq!(read_all(&bytes), Ok(values.clone()));
            prop_assert_eq!(read_some(&bytes), values);
            for cut in 0..bytes.len() {
                let _ = read_all(&bytes[..cut]);
            }
        }

        #[test]
        fn any_bytes_are_values_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let some = read_some(&bytes);
            if let Ok(all) = read_all(&bytes) {
                prop_assert_eq!(format!("{all:?}"), format!("{some:?}"));
            }
        }
    }

    #[test]
    fn long_texts_and_arrays_of_either_kind_are_read() {
        let long = Value::text("x".repeat(70_000));
        let mut bytes = Vec::new();
        long.write(&mut bytes);
        assert_eq!(read_all(&bytes), Ok(vec![long]));
        let ecma = b"\x08\0\0\0\x63\0\x01a\x01\x01\0\0\x09";
        assert_eq!(read_all(ecma), Ok(vec![Value::object([("a", Value::Boolean(true))])]));
        let typed = b"\x10\0\x01C\0\x01a\x0B\0\0\0\0\0\0\0\0\0\0\0\0\x09\x06";
        assert_eq!(read_all(typed), Ok(vec![Value::object([("a", Value::Other)]), Value::Null]));
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let nested = |depth: usize| [&b"\x0A\0\0\0\x01".repeat(depth)[..], b"\x05"].concat();
        assert!(read_all(&nested(DEPTH_MAX - 1)).is_ok());
        assert_eq!(read_all(&nested(DEPTH_MAX)), Err(ReadError::Deep));
        assert_eq!(read_all(&nested(1_000_000)), Err(ReadError::Deep));
        assert_eq!(read_all(&[NULL; VALUES_MAX]).map(|values| values.len()), Ok(VALUES_MAX));
        assert_eq!(read_all(&[NULL; VALUES_MAX + 1]), Err(ReadError::Many));
        assert_eq!(
            read_all(b"\x0A\xFF\xFF\xFF\xFF\x05"),
            Err(ReadError::Short),
            "what it says of itself takes no memory"
        );
        assert_eq!(read_all(b"\x11"), Err(ReadError::Type));
    }
}
