//! Whether a text that comes in pieces is UTF-8, without keeping it.

use std::str::from_utf8;

/// Keeps the beginning of a character that was cut, and nothing else.
#[derive(Debug, Default)]
pub(crate) struct Utf8 {
    begun: [u8; 4],
    len: u8,
}

/// No text begins like this.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotUtf8;

impl Utf8 {
    /// The next piece. Fails with the first byte after which nothing can make it a text.
    pub(crate) fn push(&mut self, mut piece: &[u8]) -> Result<(), NotUtf8> {
        while self.len > 0
            && let Some((&byte, rest)) = piece.split_first()
        {
            self.begun[usize::from(self.len)] = byte;
            self.len += 1;
            piece = rest;
            match from_utf8(&self.begun[..usize::from(self.len)]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(NotUtf8),
            }
        }
        let Err(error) = from_utf8(piece) else { return Ok(()) };
        if error.error_len().is_some() {
            return Err(NotUtf8);
        }
        for &byte in &piece[error.valid_up_to()..] {
            self.begun[usize::from(self.len)] = byte;
            self.len += 1;
        }
        Ok(())
    }

    /// Whether no character is cut.
    pub(crate) fn is_whole(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_text<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let mut utf8 = Utf8::default();
        pieces.into_iter().all(|piece| utf8.push(piece).is_ok()) && utf8.is_whole()
    }

    #[test]
    fn borders_of_utf_8() {
        let valid: [&[u8]; 6] = [
            b"",
            b"\x7F",
            &[0xC2, 0x80],
            &[0xED, 0x9F, 0xBF],
            &[0xEF, 0xBF, 0xBF],
            &[0xF4, 0x8F, 0xBF, 0xBF],
        ];
        let invalid: [&[u8]; 6] =
            [&[0x80], &[0xC0, 0xAF], &[0xE0, 0x80, 0x80], &[0xED, 0xA0, 0x80], &[0xF4, 0x90], &[0xC2]];
        for text in valid {
            assert!(is_text(text.chunks(1)), "{text:x?}");
        }
        for text in invalid {
            assert!(!is_text(text.chunks(1)), "{text:x?}");
        }
    }

    #[test]
    fn what_cannot_become_a_text_is_refused_at_once() {
        let mut utf8 = Utf8::default();
        assert_eq!(utf8.push(&[b'a', 0xE0]), Ok(()));
        assert_eq!(utf8.push(&[0x80]), Err(NotUtf8), "0xE0 takes 0xA0 or more");
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(
            text in prop::collection::vec(any::<char>(), 0..20),
            broken in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            piece in 1usize..10,
        ) {
            let mut bytes = text.into_iter().collect::<String>().into_bytes();
            if let Some((at, byte)) = broken && !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            prop_assert_eq!(is_text(bytes.chunks(piece)), from_utf8(&bytes).is_ok());
        }
    }
}
