//! H.264 and H.265 byte streams to samples. Such a stream has no time: its pictures get that of their arrival,
//! made even, and their order on the screen from their picture order counts.

use super::frame_clock::FrameClock;
use super::muxer::{Expected, Muxer};
use super::picture_order::PictureOrder;
use super::pictures::Pictures;
use super::track::{ACCESS_UNIT_BYTES_MAX, VideoSample};
use crate::codec::nal::{self, NAL_BYTES_MAX, NalCodec};
use crate::container::annexb::{AccessUnits, Found};

/// How far behind a border the stream may be when the border is found: the first NAL unit has to be known.
const BORDER_DELAY_MAX: usize = 2 * NAL_BYTES_MAX;

/// Takes a byte stream apart.
#[derive(Debug)]
pub(crate) struct AnnexB {
    units: AccessUnits,
    pictures: Pictures,
    order: PictureOrder,
    clock: FrameClock,
    /// The bytes from `start` on.
    pending: Vec<u8>,
    start: u64,
    /// When the access unit at `start` came; `None` before the first, and after one that was too large.
    arrival_ms: Option<u64>,
    /// Starts of access units that the last push brought.
    borders: Vec<u64>,
}

impl AnnexB {
    pub(crate) fn new(codec: NalCodec) -> Self {
        Self {
            units: AccessUnits::new(codec),
            pictures: Pictures::new(codec),
            order: PictureOrder::new(codec),
            clock: FrameClock::new(),
            pending: Vec::new(),
            start: 0,
            arrival_ms: None,
            borders: Vec::new(),
        }
    }

    /// The pictures are all there is to come.
    pub(crate) const EXPECTED: Expected = Expected { video: true, audio: false };

    pub(crate) fn push(&mut self, bytes: &[u8], now_ms: u64, muxer: &mut Muxer) {
        let Self { units, borders, .. } = self;
        self.pending.extend_from_slice(bytes);
        units.push(bytes, |found| {
            if let Found::Unit { at } = found {
                borders.push(at);
            }
        });
        for index in 0..self.borders.len() {
            let length = self.borders[index].saturating_sub(self.start) as usize;
            let length = length.min(self.pending.len());
            if let Some(arrival_ms) = self.arrival_ms.filter(|_| length <= ACCESS_UNIT_BYTES_MAX) {
                self.access_unit(length, arrival_ms, muxer);
            }
            self.pending.drain(..length);
            self.start += length as u64;
            self.arrival_ms = Some(now_ms);
        }
        self.borders.clear();
        if self.pending.len() > ACCESS_UNIT_BYTES_MAX {
            self.arrival_ms = None;
            let given_up = self.pending.len() - BORDER_DELAY_MAX;
            self.start += given_up as u64;
            self.pending.drain(..given_up);
        }
    }

    /// The end of the stream is the end of its last access unit.
    pub(crate) fn finish(&mut self, muxer: &mut Muxer) {
        if let Some(arrival_ms) = self.arrival_ms.take() {
            self.access_unit(self.pending.len(), arrival_ms, muxer);
        }
    }

    fn access_unit(&mut self, length: usize, arrival_ms: u64, muxer: &mut Muxer) {
        let bytes = &self.pending[..length];
        let Some(picture) = self.pictures.read(nal::units(bytes)) else {
            return;
        };
        if let Some(config) = self.pictures.take_config() {
            self.clock.set_nominal(config.frame_duration());
            self.order.set_parameter_sets(&config.sets);
            muxer.video_config(config);
        }
        let time = self.clock.tick(arrival_ms);
        let pictures = self.order.pictures_until_shown(nal::units(bytes), picture.is_key);
        muxer.picture(VideoSample {
            time,
            composition_offset: self.clock.promise(pictures) - time,
            is_key: picture.is_key,
            data: picture.data,
        });
    }

    pub(crate) fn retained(&self) -> usize {
        self.pending.capacity() + self.units.retained() + self.pictures.sets().retained()
    }
}
