//! Structures that straddle pushes.
//!
//! Owns the few bytes of a structure of which the rest has not come yet, and the count of payload bytes still
//! to be passed over. Never holds payload. Whole structures are read where they lie, without a copy.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────┐
//! │ What `peek` shows depends on the bytes alone, never on how they were cut into pushes. │
//! └──────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A scanner that only acts on `peek` and counts in `at` therefore inherits the invariant of the crate.

use memchr::memchr;

/// A buffer that once held a large structure is given back rather than kept for the life of the stream.
const KEPT_CAPACITY_BYTES: usize = 4096;

/// Bytes not yet consumed, and where they are. Each push passes its bytes as `input`, to the end of the push.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    /// Offset of the next byte that nobody has consumed.
    at: u64,
    /// Bytes of the stream from `at` on that came in earlier pushes.
    held: Vec<u8>,
    /// Bytes before `at` that are still to come, and that nobody wants.
    skip: u64,
}

impl Assembler {
    /// Offset of the byte that the next [`Self::peek`] shows first.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Bytes kept until the next push.
    pub(crate) fn retained(&self) -> usize {
        self.held.capacity()
    }

    /// The next `n` bytes, which stay where they are; `None` until all of them are there.
    /// The caller bounds `n`: up to so many bytes are kept.
    pub(crate) fn peek<'a, 'b: 'a>(&'a mut self, input: &mut &'b [u8], n: usize) -> Option<&'a [u8]> {
        self.pass(input);
        if self.skip > 0 {
            return None;
        }
        if self.held.is_empty() && input.len() >= n {
            return input.get(..n);
        }
        let missing = n.saturating_sub(self.held.len()).min(input.len());
        let (now, later) = input.split_at(missing);
        self.held.extend_from_slice(now);
        *input = later;
        self.held.get(..n)
    }

    /// Consumes the next `n` bytes, whether they are there yet or not.
    pub(crate) fn consume(&mut self, input: &mut &[u8], n: u64) {
        self.at = self.at.saturating_add(n);
        self.skip = self.skip.saturating_add(n);
        self.pass(input);
    }

    /// Consumes what is there up to the next byte of this value, or all of it.
    pub(crate) fn consume_until(&mut self, input: &mut &[u8], byte: u8) {
        self.pass(input);
        let found = memchr(byte, &self.held).or_else(|| {
            let here = memchr(byte, input).unwrap_or(input.len());
            Some(self.held.len() + here)
        });
        self.consume(input, found.unwrap_or_default() as u64);
    }

    /// Drops what is to be skipped, as far as it is there.
    fn pass(&mut self, input: &mut &[u8]) {
        if self.skip == 0 {
            return;
        }
        let held = usize::try_from(self.skip).unwrap_or(usize::MAX).min(self.held.len());
        self.held.drain(..held);
        self.skip -= held as u64;
        if self.held.is_empty() && self.held.capacity() > KEPT_CAPACITY_BYTES {
            self.held = Vec::new();
        }
        let now = usize::try_from(self.skip).unwrap_or(usize::MAX).min(input.len());
        *input = &input[now..];
        self.skip -= now as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_structure_in_one_push_is_not_copied() {
        let stream = [1, 2, 3, 4];
        let mut input = &stream[..];
        let mut bytes = Assembler::default();
        assert_eq!(bytes.peek(&mut input, 3), Some(&stream[..3]));
        assert_eq!(bytes.retained(), 0);
    }

    #[test]
    fn a_structure_cut_in_two_is_put_together() {
        let mut bytes = Assembler::default();
        let mut first = &[1, 2][..];
        assert_eq!(bytes.peek(&mut first, 3), None);
        let mut second = &[3, 4][..];
        assert_eq!(bytes.peek(&mut second, 3), Some(&[1, 2, 3][..]));
        bytes.consume(&mut second, 3);
        assert_eq!(bytes.peek(&mut second, 1), Some(&[4][..]));
        assert_eq!(bytes.at(), 3);
    }

    #[test]
    fn what_is_skipped_may_come_later() {
        let mut bytes = Assembler::default();
        bytes.consume(&mut &[0, 0][..], 5);
        assert_eq!(bytes.at(), 5);
        assert_eq!(bytes.peek(&mut &[0, 0][..], 0), None);
        assert_eq!(bytes.peek(&mut &[0, 9][..], 1), Some(&[9][..]));
        assert_eq!(bytes.retained(), 0);
    }

    #[test]
    fn a_byte_is_found_in_what_is_held_and_in_what_is_new() {
        let mut bytes = Assembler::default();
        assert_eq!(bytes.peek(&mut &[1, 7][..], 3), None);
        let mut input = &[2, 7, 3][..];
        bytes.consume_until(&mut input, 7);
        assert_eq!(bytes.at(), 1);
        bytes.consume(&mut input, 1);
        bytes.consume_until(&mut input, 7);
        assert_eq!(bytes.at(), 3);
        bytes.consume_until(&mut input, 8);
        assert_eq!((bytes.at(), input.len()), (5, 0));
    }

    #[test]
    fn the_room_of_a_large_structure_is_given_back() {
        let mut bytes = Assembler::default();
        assert_eq!(bytes.peek(&mut &[0; 90_000][..], 100_000), None);
        bytes.consume(&mut &[][..], 90_000);
        assert_eq!(bytes.retained(), 0);
    }
}
