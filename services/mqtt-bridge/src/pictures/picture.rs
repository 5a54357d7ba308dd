//! One picture, decoded to where it is sent from.

use std::fmt;

use relay_proto::websocket::{FrameHeader, MASKED_FRAME_HEADER_BYTES_MAX, Mask, OpCode};

/// A picture of a camera, with room before it for the header of the frame in which it is sent.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Picture(Vec<u8>);

impl Picture {
    /// An empty one that takes so many bytes without being moved.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        let mut room = Vec::with_capacity(MASKED_FRAME_HEADER_BYTES_MAX + bytes);
        room.resize(MASKED_FRAME_HEADER_BYTES_MAX, 0);
        Self(room)
    }

    /// Has bytes put behind those that it has.
    pub(crate) fn append<T>(&mut self, append: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        append(&mut self.0)
    }

    /// What it is.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0[MASKED_FRAME_HEADER_BYTES_MAX..]
    }

    /// The message that has it, as a client sends it (RFC 6455, section 5.3). Nothing is copied but the header.
    pub(super) fn into_frame(self, key: [u8; 4]) -> Frame {
        let Self(mut bytes) = self;
        let (room, payload) = bytes.split_at_mut(MASKED_FRAME_HEADER_BYTES_MAX);
        Mask::new(key).apply(payload);
        let header = FrameHeader::masked(OpCode::Binary, payload.len(), key);
        let from = room.len() - header.as_bytes().len();
        room[from..].copy_from_slice(header.as_bytes());
        Frame { bytes, from }
    }
}

impl From<&[u8]> for Picture {
    fn from(bytes: &[u8]) -> Self {
        let mut picture = Self::with_capacity(bytes.len());
        picture.append(|to| to.extend_from_slice(bytes));
        picture
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({} bytes)", self.bytes().len())
    }
}

/// Bytes that go to a socket.
#[derive(Debug)]
pub(super) struct Frame {
    bytes: Vec<u8>,
    from: usize,
}

impl Frame {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.from..]
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};

    use super::*;

    #[test]
    fn a_node_reads_the_picture_whatever_its_length() {
        for len in [0, 1, 125, 126, 0xFFFF, 0x1_0000, 300_000] {
            let bytes: Vec<u8> = (0..=255).cycle().take(len).collect();
            let frame = Picture::from(bytes.as_slice()).into_frame([0x11, 0x22, 0x44, 0x88]);
            let socket = Cursor::new(frame.as_bytes().to_vec());
            let message = WebSocket::from_raw_socket(socket, Role::Server, None).read().unwrap();
            assert!(message.is_binary());
            assert_eq!(message.into_data(), bytes, "{len}");
        }
    }
}
