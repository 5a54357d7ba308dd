//! What publishers send: messages that look like media and carry a stamp, so that a receiver can tell what became of
//! each.

use relay_proto::websocket::{FrameHeader, Mask, OpCode};

/// What tells one message from all others of its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Number of the message within its publication.
    pub(crate) seq: u64,
    /// When it was sent, by the run's clock.
    pub(crate) sent_ns: u64,
}

const MAGIC: [u8; 8] = *b"\x01rlystmp";
const STAMP_BYTES: usize = 24;

impl Stamp {
    fn to_bytes(self) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.seq.to_be_bytes());
        bytes[16..].copy_from_slice(&self.sent_ns.to_be_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        let (sent_ns, _) = rest.split_first_chunk::<8>()?;
        (*magic == MAGIC)
            .then(|| Self { seq: u64::from_be_bytes(*seq), sent_ns: u64::from_be_bytes(*sent_ns) })
    }
}

/// What the messages look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Form {
    /// Bytes without structure
    Opaque,
    /// Each message a JPEG picture
    Mjpeg,
    /// Each message an FLV tag with one H.264 picture, every fiftieth a key frame
    Flv,
}

/// Bytes of a message within which its stamp lies, whatever its form.
pub(crate) const HEAD_BYTES: usize = 64;

/// The bytes that stand around a picture in FLV (Adobe FLV 10.1, annexes E.4.1 and E.4.3): tag header, AVC packet header,
/// NAL unit length and header; after it the size of the tag.
const FLV_LEAD_BYTES: usize = 11 + 5 + 4 + 1;
const FLV_TRAIL_BYTES: usize = 4;

/// Pictures from one key frame to the next.
pub(crate) const GOP_MESSAGES: u64 = 50;

impl Form {
    /// Where the stamp lies in a message.
    const fn stamp_at(self) -> usize {
        match self {
            Self::Opaque => 0,
            // SOI, COM marker, its length.
            Self::Mjpeg => 6,
            Self::Flv => FLV_LEAD_BYTES,
        }
    }

    /// The smallest message that holds a stamp.
    pub(crate) const fn bytes_min(self) -> usize {
        let trail = match self {
            Self::Opaque => 0,
            Self::Mjpeg => 2,
            Self::Flv => FLV_TRAIL_BYTES,
        };
        self.stamp_at() + STAMP_BYTES + trail
    }

    /// The stamp of a message that begins with `head`; `None` for what has none, such as an init.
    pub(crate) fn stamp(self, head: &[u8]) -> Option<Stamp> {
        Stamp::parse(head.get(self.stamp_at()..)?)
    }

    fn payload(self, bytes: usize, key_frame: bool) -> Vec<u8> {
        // Never 0xFF, which would be a marker in a JPEG, and never the same byte twice in a row.
        let mut payload: Vec<u8> = (0..bytes).map(|index| (index % 251) as u8).collect();
        match self {
            Self::Opaque => {}
            Self::Mjpeg => {
                payload[..4].copy_from_slice(&[0xFF, 0xD8, 0xFF, 0xFE]);
                payload[4..6].copy_from_slice(&(2 + STAMP_BYTES as u16).to_be_bytes());
                payload[bytes - 2..].copy_from_slice(&[0xFF, 0xD9]);
            }
            Self::Flv => {
                let data = (bytes - 11 - FLV_TRAIL_BYTES) as u32;
                let unit = data - 5 - 4;
                payload[..11].fill(0);
                payload[0] = 9;
                payload[1..4].copy_from_slice(&data.to_be_bytes()[1..]);
                payload[11..16].copy_from_slice(&[if key_frame { 0x17 } else { 0x27 }, 1, 0, 0, 0]);
                payload[16..20].copy_from_slice(&unit.to_be_bytes());
                payload[20] = if key_frame { 0x65 } else { 0x41 };
                payload[bytes - 4..].copy_from_slice(&(data + 11).to_be_bytes());
            }
        }
        payload
    }

    /// What is published before the first message.
    fn init(self) -> &'static [u8] {
        /// FLV header, and an AVC sequence header of a baseline stream of 640 × 480.
        const FLV_INIT: &[u8] = b"FLV\x01\x01\0\0\0\x09\0\0\0\0\
            \x09\0\0\x1c\0\0\0\0\0\0\0\x17\0\0\0\0\
            \x01\x42\xc0\x1e\xff\xe1\0\x09\x67\x42\xc0\x1e\xd9\0\xa0\x3d\xa0\x01\0\x03\x68\xce\x3c\
            \0\0\0\x27";
        match self {
            Self::Flv => FLV_INIT,
            Self::Opaque | Self::Mjpeg => &[],
        }
    }
}

/// Makes the frames of one publisher. Masked once: of each frame only the bytes that differ are made anew, so that the
/// load generator is no bottleneck. The mask is the same for all frames, which no real client may do.
#[derive(Debug)]
pub(crate) struct Composer {
    form: Form,
    key_frame: Vec<u8>,
    other: Vec<u8>,
    header_len: usize,
    mask: [u8; 4],
    ms_per_message: u64,
}

impl Composer {
    pub(crate) fn new(form: Form, bytes: usize, ms_per_message: u64) -> Self {
        let mask = fastrand::u32(1..).to_be_bytes();
        let key_frame = masked_frame(OpCode::Binary, &form.payload(bytes, true), mask);
        let other = masked_frame(OpCode::Binary, &form.payload(bytes, false), mask);
        Self { form, header_len: key_frame.len() - bytes, key_frame, other, mask, ms_per_message }
    }

    /// The frame that precedes all others, if the form wants one.
    pub(crate) fn init(&self) -> Vec<u8> {
        match self.form.init() {
            [] => Vec::new(),
            init => masked_frame(OpCode::Binary, init, self.mask),
        }
    }

    /// Appends the frame of a message to `out`.
    pub(crate) fn append(&self, stamp: Stamp, out: &mut Vec<u8>) {
        let start = out.len() + self.header_len;
        let is_key_frame = self.form != Form::Flv || stamp.seq.is_multiple_of(GOP_MESSAGES);
        out.extend_from_slice(if is_key_frame { &self.key_frame } else { &self.other });
        let mut patch = |at: usize, bytes: &[u8]| {
            for (index, byte) in bytes.iter().enumerate() {
                out[start + at + index] = byte ^ self.mask[(at + index) % 4];
            }
        };
        patch(self.form.stamp_at(), &stamp.to_bytes());
        if self.form == Form::Flv {
            let [high, time @ ..] = ((stamp.seq * self.ms_per_message) as u32).to_be_bytes();
            patch(4, &time);
            patch(7, &[high]);
        }
    }
}

/// A whole message as a client sends it (RFC 6455, section 5.3).
pub(crate) fn masked_frame(opcode: OpCode, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = FrameHeader::masked(opcode, payload.len(), mask).as_bytes().to_vec();
    let from = frame.len();
    frame.extend_from_slice(payload);
    Mask::new(mask).apply(&mut frame[from..]);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unmasked(frame: &[u8], header_len: usize) -> Vec<u8> {
        let (header, payload) = frame.split_at(header_len);
        let mask = &header[header_len - 4..];
        payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
    }

    #[test]
    fn a_stamp_comes_back_from_every_form() {
        let stamp = Stamp { seq: 0x0102_0304_0506_0708, sent_ns: u64::MAX };
        for form in [Form::Opaque, Form::Mjpeg, Form::Flv] {
            for bytes in [form.bytes_min(), 1024, 70_000] {
                let composer = Composer::new(form, bytes, 40);
                let mut out = vec![7];
                composer.append(stamp, &mut out);
                let payload = unmasked(&out[1..], composer.header_len);
                assert_eq!(payload.len(), bytes);
                assert_eq!(form.stamp(&payload[..bytes.min(HEAD_BYTES)]), Some(stamp), "{form:?} {bytes}");
            }
        }
    }

    #[test]
    fn what_has_no_stamp_has_none() {
        assert_eq!(Form::Opaque.stamp(b""), None);
        assert_eq!(Form::Opaque.stamp(&[0; HEAD_BYTES]), None);
        assert_eq!(Form::Flv.stamp(Form::Flv.init()), None);
    }

    #[test]
    fn a_tag_tells_its_own_size() {
        let payload = Form::Flv.payload(1000, true);
        let data = u32::from_be_bytes([0, payload[1], payload[2], payload[3]]) as usize;
        assert_eq!(data + 11 + 4, 1000);
        assert_eq!(payload[996..], ((data + 11) as u32).to_be_bytes());
        let init = Form::Flv.init();
        let tag = &init[13..];
        let data = u32::from_be_bytes([0, tag[1], tag[2], tag[3]]) as usize;
        assert_eq!(tag.len(), data + 11 + 4);
    }
}
