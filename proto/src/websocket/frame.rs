//! Frame headers (RFC 6455, section 5.2) of whole messages: from server to client without a mask, from client to server with one.

/// Longest header of an unmasked frame.
pub const FRAME_HEADER_BYTES_MAX: usize = 10;

/// Longest header of a masked frame.
pub const MASKED_FRAME_HEADER_BYTES_MAX: usize = FRAME_HEADER_BYTES_MAX + 4;

/// The opcodes of whole messages (RFC 6455, section 11.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpCode {
    /// UTF-8 text.
    Text = 0x1,
    /// Bytes.
    Binary = 0x2,
    /// The end.
    Close = 0x8,
    /// Asks for a pong.
    Ping = 0x9,
    /// Answers a ping.
    Pong = 0xA,
}

/// The bytes that stand before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    bytes: [u8; MASKED_FRAME_HEADER_BYTES_MAX],
    len: u8,
}

impl FrameHeader {
    /// The header of a whole message of `payload_len` bytes.
    pub const fn new(opcode: OpCode, payload_len: usize) -> Self {
        const FINAL: u8 = 0x80;
        let mut bytes = [0; MASKED_FRAME_HEADER_BYTES_MAX];
        bytes[0] = FINAL | opcode as u8;
        let length = (payload_len as u64).to_be_bytes();
        let len = match payload_len {
            0..=125 => {
                bytes[1] = length[7];
                2
            }
            126..=0xFFFF => {
                bytes[1] = 126;
                bytes[2] = length[6];
                bytes[3] = length[7];
                4
            }
            _ => {
                bytes[1] = 127;
                let mut index = 0;
                while index < 8 {
                    bytes[2 + index] = length[index];
                    index += 1;
                }
                10
            }
        };
        Self { bytes, len }
    }

    /// The header of a whole message of `payload_len` bytes that this key masks. A client draws one for each message, so that
    /// nobody can foretell it (RFC 6455, section 10.3).
    pub fn masked(opcode: OpCode, payload_len: usize, key: [u8; 4]) -> Self {
        const MASKED: u8 = 0x80;
        let mut header = Self::new(opcode, payload_len);
        let len = usize::from(header.len);
        header.bytes[1] |= MASKED;
        header.bytes[len..len + key.len()].copy_from_slice(&key);
        header.len += 4;
        header
    }

    /// The header as it goes on the wire: 2, 4 or 10 bytes, and 4 more with a mask.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_takes_0_2_or_8_more_bytes() {
        let header = |len| FrameHeader::new(OpCode::Binary, len).as_bytes().to_vec();
        assert_eq!(header(0), [0x82, 0]);
        assert_eq!(header(125), [0x82, 125]);
        assert_eq!(header(126), [0x82, 126, 0, 126]);
        assert_eq!(header(0xFFFF), [0x82, 126, 0xFF, 0xFF]);
        assert_eq!(header(0x1_0000), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(FrameHeader::new(OpCode::Text, 1).as_bytes(), [0x81, 1]);
        assert_eq!(FrameHeader::new(OpCode::Close, 2).as_bytes(), [0x88, 2]);
        assert_eq!(FrameHeader::new(OpCode::Ping, 0).as_bytes(), [0x89, 0]);
        assert_eq!(FrameHeader::new(OpCode::Pong, 125).as_bytes(), [0x8A, 125]);
    }

    #[test]
    fn a_mask_follows_the_length() {
        let header = |len| FrameHeader::masked(OpCode::Binary, len, [1, 2, 3, 4]).as_bytes().to_vec();
        assert_eq!(header(125), [0x82, 0x80 | 125, 1, 2, 3, 4]);
        assert_eq!(header(126), [0x82, 0x80 | 126, 0, 126, 1, 2, 3, 4]);
        assert_eq!(header(0x1_0000), [0x82, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4]);
    }
}
