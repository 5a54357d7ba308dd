//! What stands before the bytes of a message: which publication, which chunk, which part of it.

use bytes::{BufMut, Bytes, BytesMut};

use crate::Epoch;

/// Bytes of an envelope.
pub const ENVELOPE_BYTES: usize = 24;

/// The first byte of every envelope. A node passes over envelopes of another version.
const VERSION: u8 = 1;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A chunk: the body is its payload.
    Chunk,
    /// The beginning of a snapshot: the body is a [`Head`](super::Head), init and preamble.
    Head,
    /// A publication has begun: the body is an [`Origin`](super::Origin) in JSON. `seq` is 0.
    Begin,
    /// A publication is over: `seq` is the number after its last chunk. No body.
    End,
    /// Answer to a snapshot request for a publication that the node does not have. No body.
    Unknown,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Chunk, Self::Head, Self::Begin, Self::End, Self::Unknown];

    const fn code(self) -> u8 {
        match self {
            Self::Chunk => 0,
            Self::Head => 1,
            Self::Begin => 2,
            Self::End => 3,
            Self::Unknown => 4,
        }
    }
}

/// What is known of a chunk, or of an end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// A decoder that starts in this chunk needs an init that none before it needed.
    pub init: bool,
    /// A decoder may start in this chunk.
    pub join: bool,
    /// The publisher closed its stream; without it, it vanished.
    pub clean: bool,
}

impl Flags {
    const INIT: u8 = 1;
    const JOIN: u8 = 2;
    const CLEAN: u8 = 4;

    const fn bits(self) -> u8 {
        (if self.init { Self::INIT } else { 0 })
            | (if self.join { Self::JOIN } else { 0 })
            | (if self.clean { Self::CLEAN } else { 0 })
    }

    const fn from_bits(bits: u8) -> Self {
        Self { init: bits & Self::INIT != 0, join: bits & Self::JOIN != 0, clean: bits & Self::CLEAN != 0 }
    }
}

/// The envelope of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// What the message is.
    pub kind: Kind,
    /// What is known of it.
    pub flags: Flags,
    /// Which part of the body this message has, from 0 on.
    pub part: u16,
    /// How many parts the body was cut into; at least 1.
    pub parts: u16,
    /// The publication.
    pub epoch: Epoch,
    /// Number of the chunk in its publication, from 0 on.
    pub seq: u64,
}

/// A message taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// What stands before the body.
    pub envelope: Envelope,
    /// The body, or the part of it that this message has.
    pub bytes: Bytes,
}

/// Why a message has no envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Shorter than [`ENVELOPE_BYTES`].
    #[error("is shorter than an envelope")]
    Short,
    /// From a node that speaks another version.
    #[error("is of version {0}")]
    Version(u8),
    /// A kind that does not exist.
    #[error("is of kind {0}, which there is not")]
    Kind(u8),
    /// A part beyond the last, or no parts at all.
    #[error("is part {part} of {parts}")]
    Part {
        /// Which.
        part: u16,
        /// Of how many.
        parts: u16,
    },
}

impl Envelope {
    /// The envelope of a whole body.
    pub const fn new(kind: Kind, epoch: Epoch, seq: u64) -> Self {
        let flags = Flags { init: false, join: false, clean: false };
        Self { kind, flags, part: 0, parts: 1, epoch, seq }
    }

    /// Its bytes: version, kind, flags, a zero, part, parts, epoch, seq; numbers are big-endian.
    pub fn to_bytes(self) -> [u8; ENVELOPE_BYTES] {
        let mut bytes = [0; ENVELOPE_BYTES];
        bytes[0] = VERSION;
        bytes[1] = self.kind.code();
        bytes[2] = self.flags.bits();
        bytes[4..6].copy_from_slice(&self.part.to_be_bytes());
        bytes[6..8].copy_from_slice(&self.parts.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.epoch.number().to_be_bytes());
        bytes[16..24].copy_from_slice(&self.seq.to_be_bytes());
        bytes
    }

    /// Takes a message apart. The body is shared, not copied.
    ///
    /// # Errors
    /// See [`EnvelopeError`].
    pub fn open(mut message: Bytes) -> Result<Body, EnvelopeError> {
        let Some(bytes) = message.first_chunk::<ENVELOPE_BYTES>().copied() else {
            return Err(EnvelopeError::Short);
        };
        if bytes[0] != VERSION {
            return Err(EnvelopeError::Version(bytes[0]));
        }
        let kind = Kind::ALL.into_iter().find(|kind| kind.code() == bytes[1]);
        let kind = kind.ok_or(EnvelopeError::Kind(bytes[1]))?;
        let short = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let long = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at..at + 8]);
            u64::from_be_bytes(number)
        };
        let (part, parts) = (short(4), short(6));
        if part >= parts {
            return Err(EnvelopeError::Part { part, parts });
        }
        let flags = Flags::from_bits(bytes[2]);
        let envelope = Self { kind, flags, part, parts, epoch: Epoch::new(long(8)), seq: long(16) };
        Ok(Body { envelope, bytes: message.split_off(ENVELOPE_BYTES) })
    }
}

/// A body as messages of at most `message_bytes_max` bytes: one where it fits.
///
/// # Panics
/// When a message could not even hold an envelope and a byte, or the body needs more than 65,535 of them; no server that
/// NATS starts takes so little.
pub fn cut(envelope: Envelope, body: &[u8], message_bytes_max: usize) -> impl Iterator<Item = Bytes> {
    let part_bytes = message_bytes_max.checked_sub(ENVELOPE_BYTES).filter(|bytes| *bytes > 0);
    let part_bytes = part_bytes.expect("a message holds an envelope and more");
    let parts = u16::try_from(body.len().div_ceil(part_bytes).max(1)).expect("a body has few parts");
    (0..parts).map(move |part| {
        let from = usize::from(part) * part_bytes;
        let piece = &body[from..body.len().min(from + part_bytes)];
        let mut message = BytesMut::with_capacity(ENVELOPE_BYTES + piece.len());
        message.put_slice(&Envelope { part, parts, ..envelope }.to_bytes());
        message.put_slice(piece);
        message.freeze()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_are_pinned() {
        let envelope = Envelope {
            kind: Kind::Head,
            flags: Flags { init: true, join: false, clean: true },
            part: 1,
            parts: 0x0203,
            epoch: Epoch::new(0x0102_0304_0506_0708),
            seq: 9,
        };
        let bytes = [1, 1, 5, 0, 0, 1, 2, 3, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 9];
        assert_eq!(envelope.to_bytes(), bytes);
        let message = Bytes::from([&bytes[..], b"body"].concat());
        assert_eq!(Envelope::open(message), Ok(Body { envelope, bytes: Bytes::from_static(b"body") }));
        let codes = Kind::ALL.map(Kind::code);
        assert_eq!(codes, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = Envelope::new(Kind::Chunk, Epoch::new(1), 0).to_bytes();
        let changed = |at: usize, byte: u8| {
            let mut bytes = good.to_vec();
            bytes[at] = byte;
            Envelope::open(bytes.into()).unwrap_err()
        };
        assert_eq!(Envelope::open(Bytes::copy_from_slice(&good[..23])), Err(EnvelopeError::Short));
        assert_eq!(changed(0, 2), EnvelopeError::Version(2));
        assert_eq!(changed(1, 5), EnvelopeError::Kind(5));
        assert_eq!(changed(5, 1), EnvelopeError::Part { part: 1, parts: 1 });
        assert_eq!(changed(7, 0), EnvelopeError::Part { part: 0, parts: 0 });
    }

    #[test]
    fn a_body_is_cut_only_where_it_does_not_fit() {
        let envelope = Envelope::new(Kind::Chunk, Epoch::new(1), 0);
        let count = |len: usize| cut(envelope, &vec![0; len], ENVELOPE_BYTES + 10).count();
        assert_eq!([0, 1, 10, 11, 20, 21].map(count), [1, 1, 1, 2, 2, 3]);
    }

    proptest! {
        #[test]
        fn opening_never_panics_and_what_opens_is_what_was_written(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Body { envelope, bytes: body }) = Envelope::open(bytes.clone().into()) {
                let mut again = envelope.to_bytes().to_vec();
                // What a newer node may put there is passed over.
                again[2] = bytes[2];
                again[3] = bytes[3];
                again.extend_from_slice(&body);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
