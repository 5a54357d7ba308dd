//! The mask of a client's frames (RFC 6455, section 5.3), which comes off as it was put on.

/// Bytes that are worked on at once: a few vector registers.
const BLOCK_BYTES: usize = 64;

/// A mask, and how far it was used: the first of its bytes is always the next one due.
#[derive(Debug, Clone, Copy)]
pub struct Mask([u8; 4]);

impl Mask {
    /// The mask of a frame with this key.
    pub const fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    /// Masks the next bytes of the payload in place, or unmasks them.
    pub fn apply(&mut self, payload: &mut [u8]) {
        apply(self.word(), payload);
        self.advance(payload.len());
    }

    /// Appends the next bytes of the payload unmasked: in one pass, and without filling with zeros first.
    pub fn unmask_onto(&mut self, masked: &[u8], payload: &mut Vec<u8>) {
        payload.reserve(masked.len());
        let word = self.word();
        let (blocks, rest) = masked.as_chunks::<BLOCK_BYTES>();
        for block in blocks {
            let mut block = *block;
            apply(word, &mut block);
            payload.extend_from_slice(&block);
        }
        let from = payload.len();
        payload.extend_from_slice(rest);
        // A block is a multiple of the mask, which therefore is where it was.
        apply(word, &mut payload[from..]);
        self.advance(masked.len());
    }

    /// The mask twice.
    fn word(self) -> u64 {
        let [a, b, c, d] = self.0;
        u64::from_ne_bytes([a, b, c, d, a, b, c, d])
    }

    fn advance(&mut self, count: usize) {
        self.0.rotate_left(count % 4);
    }
}

/// Word by word, which becomes vectors. Inlined, so that a block stays in registers.
#[inline(always)]
fn apply(word: u64, payload: &mut [u8]) {
    let (words, rest) = payload.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(word.to_ne_bytes()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [0x11, 0x22, 0x44, 0x88];

    fn byte_by_byte(masked: &[u8]) -> Vec<u8> {
        masked.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
    }

    #[test]
    fn every_alignment_and_length_is_unmasked_as_byte_by_byte() {
        let bytes: Vec<u8> = (0..=255).cycle().take(400).collect();
        for at in 0..BLOCK_BYTES {
            for len in 0..200 {
                let masked = &bytes[at..at + len];
                let mut in_place = bytes.clone();
                Mask::new(KEY).apply(&mut in_place[at..at + len]);
                assert_eq!(in_place[at..at + len], byte_by_byte(masked), "{len} at {at}");
                assert_eq!((&in_place[..at], &in_place[at + len..]), (&bytes[..at], &bytes[at + len..]));
                let mut copied = bytes[..at].to_vec();
                Mask::new(KEY).unmask_onto(masked, &mut copied);
                assert_eq!(copied[at..], byte_by_byte(masked), "{len} behind {at}");
                assert_eq!(copied[..at], bytes[..at]);
            }
        }
    }

    #[test]
    fn a_mask_goes_on_where_the_last_piece_ended() {
        let bytes: Vec<u8> = (0..150).collect();
        for first in 0..80 {
            for second in 0..70 {
                let mut mask = Mask::new(KEY);
                let mut payload = vec![];
                mask.unmask_onto(&bytes[..first], &mut payload);
                payload.extend_from_slice(&bytes[first..first + second]);
                mask.apply(&mut payload[first..]);
                mask.unmask_onto(&bytes[first + second..], &mut payload);
                assert_eq!(payload, byte_by_byte(&bytes), "{first}, then {second}");
            }
        }
    }
}
