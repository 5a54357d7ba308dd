//! The handshake (RTMP 1.0, section 5.2), in its simple form, which those who offer the digest of Flash Player take too.

/// The only version.
const VERSION: u8 = 3;

/// C1, C2, S1 and S2 have this length.
pub(crate) const PACKET_BYTES: usize = 1536;

/// What a server waits for first, and what it waits for last.
pub(crate) const FIRST_BYTES: usize = 1 + PACKET_BYTES;

/// Why it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the handshake is not of version 3")]
pub struct WrongVersion;

/// Whether this may be the first byte of a handshake.
pub(crate) fn check_version(first: u8) -> Result<(), WrongVersion> {
    if first == VERSION { Ok(()) } else { Err(WrongVersion) }
}

/// C0 and C1. Of a version of zeros, so that nobody takes it for a digest.
pub(crate) fn first(seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FIRST_BYTES);
    bytes.push(VERSION);
    put_packet(&mut bytes, seed);
    bytes
}

/// S0, S1 and S2, which answer C0 and C1.
pub(crate) fn answer(first: &[u8], seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FIRST_BYTES + PACKET_BYTES);
    bytes.push(VERSION);
    put_packet(&mut bytes, seed);
    bytes.extend_from_slice(&first[1..FIRST_BYTES]);
    bytes
}

fn put_packet(bytes: &mut Vec<u8>, seed: u64) {
    let end = bytes.len() + PACKET_BYTES;
    bytes.extend_from_slice(&[0; 8]);
    // What the numbers are for is to tell two connections apart, nothing else.
    let mut number = seed | 1;
    while bytes.len() < end {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_echoes_what_it_answers() {
        let first = first(7);
        assert_eq!(first.len(), FIRST_BYTES);
        let answer = answer(&first, 8);
        assert_eq!(answer.len(), FIRST_BYTES + PACKET_BYTES);
        assert_eq!(answer[0], VERSION);
        assert_eq!(answer[1..9], [0; 8], "no version of Flash, so nobody looks for a digest");
        assert_eq!(answer[FIRST_BYTES..], first[1..]);
        assert_ne!(answer[1..FIRST_BYTES], first[1..]);
        assert_eq!(check_version(6), Err(WrongVersion));
    }
}
