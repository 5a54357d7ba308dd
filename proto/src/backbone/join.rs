//! Joins the parts of bodies that were cut.

use bytes::{Bytes, BytesMut};

use super::envelope::{Body, Envelope};

/// Joins the parts of one sender's messages, which come in order or not at all.
///
/// A body of which a part is missing is lost as a whole; the numbers of chunks tell that it is.
#[derive(Debug)]
pub struct Joiner {
    bytes_max: usize,
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    envelope: Envelope,
    bytes: BytesMut,
}

/// What came of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joined {
    /// A whole body. Its envelope is that of its first part.
    Whole(Body),
    /// More of it is to come.
    Begun,
    /// A part without those before it, or a body larger than allowed.
    Dropped,
}

impl Joiner {
    /// Joins bodies of up to `bytes_max` bytes.
    pub const fn new(bytes_max: usize) -> Self {
        Self { bytes_max, begun: None }
    }

    /// Takes the next message.
    pub fn push(&mut self, body: Body) -> Joined {
        let Body { envelope, bytes } = body;
        // May stand between the parts of another.
        if envelope.parts == 1 {
            return match bytes.len() <= self.bytes_max {
                true => Joined::Whole(Body { envelope, bytes }),
                false => Joined::Dropped,
            };
        }
        let mut begun = match self.begun.take() {
            None if envelope.part == 0 => Begun { envelope, bytes: BytesMut::new() },
            Some(begun) if begun.next_part() == Some(envelope) => {
                Begun { envelope: Envelope { part: envelope.part, ..begun.envelope }, bytes: begun.bytes }
            }
            // The rest of one that was cut short is followed by the next from its beginning on.
            Some(_) if envelope.part == 0 => Begun { envelope, bytes: BytesMut::new() },
            _ => return Joined::Dropped,
        };
        if begun.bytes.len() + bytes.len() > self.bytes_max {
            return Joined::Dropped;
        }
        if envelope.part == 0 {
            // All parts but the last are of one length.
            let whole = bytes.len().saturating_mul(usize::from(envelope.parts));
            begun.bytes.reserve(whole.min(self.bytes_max));
        }
        begun.bytes.extend_from_slice(&bytes);
        if envelope.part + 1 < envelope.parts {
            self.begun = Some(begun);
            return Joined::Begun;
        }
        let envelope = Envelope { part: 0, ..begun.envelope };
        Joined::Whole(Body { envelope, bytes: Bytes::from(begun.bytes) })
    }
}

impl Begun {
    fn next_part(&self) -> Option<Envelope> {
        let part = self.envelope.part.checked_add(1)?;
        Some(Envelope { part, ..self.envelope })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::envelope::{ENVELOPE_BYTES, Kind, cut};
    use super::*;
    use crate::Epoch;

    const BODY_BYTES_MAX: usize = 100;

    fn envelope(seq: u64) -> Envelope {
        Envelope::new(Kind::Chunk, Epoch::new(1), seq)
    }

    fn messages(seq: u64, body: &[u8], part_bytes: usize) -> Vec<Body> {
        cut(envelope(seq), body, ENVELOPE_BYTES + part_bytes)
            .map(|message| Envelope::open(message).unwrap())
            .collect()
    }

    #[test]
    fn a_body_at_the_bound_is_joined_and_one_beyond_is_not() {
        for part_bytes in [7, 50, 100, 200] {
            for (len, fits) in [(BODY_BYTES_MAX, true), (BODY_BYTES_MAX + 1, false)] {
                let mut joiner = Joiner::new(BODY_BYTES_MAX);
                let last =
                    messages(0, &vec![1; len], part_bytes).into_iter().map(|body| joiner.push(body)).last();
                assert_eq!(matches!(last, Some(Joined::Whole(_))), fits, "{len} in parts of {part_bytes}");
            }
        }
    }

    #[test]
    fn what_is_one_message_may_stand_between_the_parts_of_another() {
        let mut joiner = Joiner::new(BODY_BYTES_MAX);
        let between = |joiner: &mut Joiner, len: usize| {
            let [body] = messages(7, &vec![7; len], 200).try_into().unwrap();
            (joiner.push(body.clone()), body)
        };
        for body in messages(0, &[1; 60], 20) {
            let is_last = body.envelope.part == 2;
            assert_eq!(matches!(joiner.push(body), Joined::Whole(whole) if *whole.bytes == [1; 60]), is_last);
            let (joined, body) = between(&mut joiner, 5);
            assert_eq!(joined, Joined::Whole(body));
            assert_eq!(between(&mut joiner, BODY_BYTES_MAX + 1).0, Joined::Dropped);
        }
    }

    #[test]
    fn memory_is_bounded_whatever_the_number_of_parts() {
        let mut joiner = Joiner::new(BODY_BYTES_MAX);
        let first = Envelope { parts: u16::MAX, ..envelope(0) };
        joiner.push(Body { envelope: first, bytes: Bytes::from_static(&[0; 90]) });
        let begun = joiner.begun.as_ref().unwrap();
        assert!(begun.bytes.capacity() < 2 * BODY_BYTES_MAX, "{}", begun.bytes.capacity());
    }

    proptest! {
        /// Whatever is lost on the way: what comes out is whole, and is everything of which nothing was lost.
        #[test]
        fn only_bodies_that_lost_a_part_are_missing(
            bodies in prop::collection::vec((0..60usize, 1..40usize), 1..10),
            lost in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let mut all = Vec::new();
            for (seq, (len, part_bytes)) in bodies.iter().enumerate() {
                all.extend(messages(seq as u64, &vec![seq as u8; *len], *part_bytes));
            }
            let lost: Vec<usize> = lost.iter().map(|index| index.index(all.len())).collect();
            let complete: Vec<u64> = (0..bodies.len() as u64)
                .filter(|seq| !lost.iter().any(|index| all[*index].envelope.seq == *seq))
                .collect();
            let mut joiner = Joiner::new(BODY_BYTES_MAX);
            let mut seen = Vec::new();
            for (index, body) in all.into_iter().enumerate() {
                if lost.contains(&index) {
                    continue;
                }
                if let Joined::Whole(Body { envelope, bytes }) = joiner.push(body) {
                    let seq = envelope.seq as usize;
                    prop_assert_eq!(&bytes[..], &vec![seq as u8; bodies[seq].0][..]);
                    seen.push(envelope.seq);
                }
            }
            prop_assert_eq!(seen, complete);
        }
    }
}
