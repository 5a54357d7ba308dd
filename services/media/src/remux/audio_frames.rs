//! Frames of sound in the payload of PES packets, which they may straddle.

use super::muxer::Muxer;
use super::timeline::{TICKS_PER_SECOND, Timeline, TrackTime};
use super::track::{AudioConfig, AudioSample};
use crate::codec::aac::AdtsHeader;
use crate::codec::{mp3, opus};
use crate::container::mpegts::psi::{Stream, StreamKind};

/// Bytes kept of a frame whose end is to come; the length field of ADTS has 13 bits.
const FRAME_BYTES_MAX: usize = 1 << 13;

/// Cuts sound into frames.
#[derive(Debug)]
pub(crate) struct AudioFrames {
    framing: Framing,
    /// The beginning of a frame whose end was not there yet.
    pending: Vec<u8>,
    /// Time stamp of the next frame, where no PES header gives one.
    next_stamp: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Adts,
    Mp3,
    Opus { channels: u8 },
}

/// A frame and what its header says.
struct Frame<'a> {
    config: AudioConfig,
    samples: u32,
    /// Bytes that it takes in the stream.
    bytes: usize,
    data: &'a [u8],
}

impl AudioFrames {
    /// `None` for a stream whose sound is left out.
    pub(crate) fn new(stream: &Stream) -> Option<Self> {
        let framing = match stream.kind {
            StreamKind::Adts => Framing::Adts,
            StreamKind::Mp3 => Framing::Mp3,
            StreamKind::Opus if matches!(stream.channels, 1 | 2) => {
                Framing::Opus { channels: stream.channels }
            }
            _ => return None,
        };
        Some(Self { framing, pending: Vec::new(), next_stamp: None })
    }

    pub(crate) fn retained(&self) -> usize {
        self.pending.capacity()
    }

    /// Takes the payload of a PES packet. `stamp` is that of the first frame that begins in it (2.4.3.7).
    pub(crate) fn push(
        &mut self,
        stamp: Option<u64>,
        payload: &[u8],
        time: &mut TrackTime,
        timeline: &mut Timeline,
        muxer: &mut Muxer,
    ) {
        let mut stamp = stamp.map(u64::cast_signed);
        let mut pending = std::mem::take(&mut self.pending);
        let straddling = pending.len();
        pending.extend_from_slice(payload);
        let mut at = 0;
        while at < pending.len() {
            let Some(frame) = self.framing.frame(&pending[at..]) else {
                if self.framing.may_begin(&pending[at..]) {
                    break;
                }
                at += 1;
                continue;
            };
            if at >= straddling {
                self.next_stamp = stamp.take().or(self.next_stamp);
            }
            if let Some(stamp) = self.next_stamp {
                let rate = i64::from(frame.config.sample_rate);
                self.next_stamp = Some(stamp + i64::from(frame.samples) * TICKS_PER_SECOND / rate);
                muxer.audio_config(frame.config);
                let time = timeline.place(time, stamp);
                muxer.sound(AudioSample { time, samples: frame.samples, data: frame.data.to_vec() });
            }
            at += frame.bytes;
        }
        pending.drain(..at.min(pending.len()));
        if pending.len() > FRAME_BYTES_MAX {
            pending.clear();
        }
        self.pending = pending;
    }
}

impl Framing {
    /// The whole frame at the start of `bytes`.
    fn frame(self, bytes: &[u8]) -> Option<Frame<'_>> {
        match self {
            Self::Adts => {
                let header = AdtsHeader::parse(bytes)?;
                // Channels of 0 would need a program config element, which no encoder for the network writes.
                let config = Some(header.config).filter(|config| config.channels > 0)?;
                Some(Frame {
                    config: AudioConfig::aac(&config, &header.config_bytes),
                    samples: config.frame_samples,
                    bytes: header.frame_bytes,
                    data: bytes.get(header.header_bytes..header.frame_bytes)?,
                })
            }
            Self::Mp3 => {
                let header = mp3::FrameHeader::parse(bytes)?;
                Some(Frame {
                    config: AudioConfig::mp3(&header),
                    samples: header.frame_samples,
                    bytes: header.frame_bytes,
                    data: bytes.get(..header.frame_bytes)?,
                })
            }
            Self::Opus { channels } => {
                let (header_bytes, frame_bytes) = opus_control_header(bytes)?;
                let data = bytes.get(header_bytes..header_bytes + frame_bytes)?;
                Some(Frame {
                    config: AudioConfig::opus(channels),
                    samples: opus::packet_samples(data)?,
                    bytes: header_bytes + frame_bytes,
                    data,
                })
            }
        }
    }

    /// Whether more bytes could make a frame of these.
    fn may_begin(self, bytes: &[u8]) -> bool {
        match (self, bytes) {
            (_, []) => true,
            (Self::Adts, _) if bytes.len() >= AdtsHeader::BYTES_MIN => {
                AdtsHeader::parse(bytes).is_some_and(|header| header.frame_bytes > bytes.len())
            }
            (Self::Mp3, _) if bytes.len() >= mp3::FrameHeader::BYTES => {
                mp3::FrameHeader::parse(bytes).is_some_and(|header| header.frame_bytes > bytes.len())
            }
            (Self::Adts, [0xff]) | (Self::Mp3, [0xff]) => true,
            (Self::Adts, [0xff, layer, ..]) => layer & 0xf6 == 0xf0,
            (Self::Mp3, [0xff, layer, ..]) => layer & 0xe6 == 0xe2,
            (Self::Opus { .. }, [0x7f]) => true,
            (Self::Opus { .. }, [0x7f, prefix, ..]) if prefix & 0xe0 == 0xe0 => {
                opus_control_header(bytes).is_none_or(|(header, frame)| header + frame > bytes.len())
            }
            _ => false,
        }
    }
}

/// `opus_control_header` of the Opus in transport stream mapping: its size, and that of the packet behind it.
fn opus_control_header(bytes: &[u8]) -> Option<(usize, usize)> {
    let &[0x7f, flags, ..] = bytes else {
        return None;
    };
    if flags & 0xe0 != 0xe0 {
        return None;
    }
    let (start_trim, end_trim, extension) = (flags & 0x10 != 0, flags & 0x08 != 0, flags & 0x04 != 0);
    let mut at = 2;
    let mut frame_bytes = 0;
    loop {
        let &byte = bytes.get(at)?;
        at += 1;
        frame_bytes += usize::from(byte);
        if byte != 255 || frame_bytes > FRAME_BYTES_MAX {
            break;
        }
    }
    at += 2 * (usize::from(start_trim) + usize::from(end_trim));
    if extension {
        at += 1 + usize::from(*bytes.get(at)?);
    }
    Some((at, frame_bytes))
}
