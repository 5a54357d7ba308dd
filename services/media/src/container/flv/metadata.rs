//! The few values of `onMetaData` that no sequence header tells (AMF 0 specification; FLV specification, E.5).

/// Nested values are read to this depth: real ones have three levels, and each costs stack.
const DEPTH_MAX: u8 = 8;

/// What an encoder says of its stream, as far as it said it.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Metadata {
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Metadata {
    /// `None` when the body is that of another script tag.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let mut amf = Amf(body);
        // Some servers pass on the command with which the publisher set the metadata.
        let mut name = amf.typed_string()?;
        if name == b"@setDataFrame" {
            name = amf.typed_string()?;
        }
        if name != b"onMetaData" {
            return None;
        }
        let mut metadata = Self::default();
        match amf.u8()? {
            OBJECT => {}
            ECMA_ARRAY => amf.skip(4)?,
            _ => return Some(metadata),
        }
        while let Some((key, value)) = amf.property(0) {
            match (key, value) {
                // A float to integer cast saturates, and makes zero of what is not a number.
                (b"width", Some(value)) => metadata.width = value as u32,
                (b"height", Some(value)) => metadata.height = value as u32,
                _ => {}
            }
        }
        Some(metadata)
    }
}

const NUMBER: u8 = 0;
const BOOLEAN: u8 = 1;
const STRING: u8 = 2;
const OBJECT: u8 = 3;
const NULL: u8 = 5;
const UNDEFINED: u8 = 6;
const ECMA_ARRAY: u8 = 8;
const OBJECT_END: u8 = 9;
const STRICT_ARRAY: u8 = 10;
const DATE: u8 = 11;
const LONG_STRING: u8 = 12;

struct Amf<'a>(&'a [u8]);

impl<'a> Amf<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.first_chunk().copied()
    }

    fn skip(&mut self, n: usize) -> Option<()> {
        self.take(n).map(drop)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let size = u16::from_be_bytes(self.array()?);
        self.take(usize::from(size))
    }

    fn typed_string(&mut self) -> Option<&'a [u8]> {
        (self.u8()? == STRING).then(|| self.string())?
    }

    /// A name and, if it is a number, its value; `None` at the end of the object.
    fn property(&mut self, depth: u8) -> Option<(&'a [u8], Option<f64>)> {
        let key = self.string()?;
        if key.is_empty() && self.0.first() == Some(&OBJECT_END) {
            self.skip(1)?;
            return None;
        }
        Some((key, self.value(depth)?))
    }

    /// The outer option: whether it could be read. The inner one: its value, if it is a number.
    fn value(&mut self, depth: u8) -> Option<Option<f64>> {
        if depth > DEPTH_MAX {
            return None;
        }
        match self.u8()? {
            NUMBER => return Some(Some(f64::from_be_bytes(self.array()?))),
            BOOLEAN => self.skip(1)?,
            STRING => self.string().map(drop)?,
            kind @ (OBJECT | ECMA_ARRAY) => {
                if kind == ECMA_ARRAY {
                    self.skip(4)?;
                }
                while self.property(depth + 1).is_some() {}
            }
            NULL | UNDEFINED => {}
            STRICT_ARRAY => {
                for _ in 0..u32::from_be_bytes(self.array()?) {
                    self.value(depth + 1)?;
                }
            }
            DATE => self.skip(10)?,
            LONG_STRING => {
                let size = u32::from_be_bytes(self.array()?);
                self.skip(usize::try_from(size).ok()?)?;
            }
            _ => return None,
        }
        Some(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(name: &str, value: f64) -> Vec<u8> {
        [&[0, name.len() as u8], name.as_bytes(), &[NUMBER], &value.to_be_bytes()].concat()
    }

    #[test]
    fn the_picture_size_is_found_behind_other_values() {
        let body = [
            b"\x02\x00\x0aonMetaData\x08\0\0\0\x05".to_vec(),
            b"\0\x01s\x02\0\x02hi\0\x01b\x01\x01\0\x01o\x03".to_vec(),
            number("width", 7.0),
            b"\0\0\x09\0\x01a\x0a\0\0\0\x02\x05\x06".to_vec(),
            number("width", 160.0),
            number("height", 120.0),
            b"\0\0\x09".to_vec(),
        ]
        .concat();
        assert_eq!(Metadata::parse(&body), Some(Metadata { width: 160, height: 120 }));
        for cut in 0..body.len() {
            let _ = Metadata::parse(&body[..cut]);
        }
    }

    #[test]
    fn another_script_tag_is_not_metadata() {
        assert_eq!(Metadata::parse(b"\x02\x00\x0aonCuePoint\x05"), None);
        assert_eq!(Metadata::parse(b"\x05"), None);
    }

    #[test]
    fn deep_nesting_ends() {
        let body = [b"\x02\x00\x0aonMetaData\x03".to_vec(), b"\0\x01o\x03".repeat(10_000)].concat();
        assert_eq!(Metadata::parse(&body), Some(Metadata::default()));
    }
}
