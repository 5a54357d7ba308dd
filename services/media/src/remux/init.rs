//! The initialisation segment: `ftyp` and `moov` of a fragmented MP4 (ISO/IEC 14496-12, 8.2 to 8.8).

use super::boxes::Boxes;
use super::sample_entry;
use super::timeline::TICKS_PER_SECOND;
use super::track::{AudioConfig, VideoConfig};

/// Track ids. Each track keeps its own, whichever there are.
pub(crate) const VIDEO_ID: u32 = 1;
pub(crate) const AUDIO_ID: u32 = 2;

/// Identity transformation (8.2.2).
const MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// `None` if the parameter sets cannot be read.
pub(crate) fn write(video: Option<&VideoConfig>, audio: Option<&AudioConfig>) -> Option<Vec<u8>> {
    let picture = match video {
        Some(video) => Some(sample_entry::Picture::new(video)?),
        None => None,
    };
    let mut b = Boxes::with_capacity(1536);
    b.boxed(b"ftyp", |b| {
        b.bytes(b"iso6").u32(0).bytes(b"iso6mp41");
    });
    b.boxed(b"moov", |b| {
        movie_header(b);
        if let Some(picture) = &picture {
            let track = TrackHeader {
                id: VIDEO_ID,
                timescale: TICKS_PER_SECOND as u32,
                handler: b"vide",
                size: picture.size,
            };
            track.write(b, |b| picture.write(b));
        }
        if let Some(audio) = audio {
            let track =
                TrackHeader { id: AUDIO_ID, timescale: audio.sample_rate, handler: b"soun", size: (0, 0) };
            track.write(b, |b| sample_entry::sound(b, audio));
        }
        b.boxed(b"mvex", |b| {
            for id in picture.iter().map(|_| VIDEO_ID).chain(audio.iter().map(|_| AUDIO_ID)) {
                b.full(b"trex", 0, 0, |b| {
                    // Sample description 1; every fragment tells the rest itself.
                    b.u32(id).u32(1).zeros(12);
                });
            }
        });
    });
    Some(b.into_bytes())
}

fn movie_header(b: &mut Boxes) {
    b.full(b"mvhd", 0, 0, |b| {
        // Times, timescale, duration (unknown), rate 1.0, volume 1.0.
        b.zeros(8).u32(1000).u32(0).u32(0x1_0000).u16(0x100).zeros(10);
        for number in MATRIX {
            b.u32(number);
        }
        b.zeros(24).u32(AUDIO_ID + 1);
    });
}

struct TrackHeader {
    id: u32,
    timescale: u32,
    handler: &'static [u8; 4],
    size: (u16, u16),
}

impl TrackHeader {
    fn write(&self, b: &mut Boxes, sample_entry: impl FnOnce(&mut Boxes)) {
        const ENABLED_AND_IN_MOVIE: u32 = 3;
        const UNDETERMINED_LANGUAGE: u16 = 0x55c4;
        let is_sound = self.handler == b"soun";
        b.boxed(b"trak", |b| {
            b.full(b"tkhd", 0, ENABLED_AND_IN_MOVIE, |b| {
                b.zeros(8).u32(self.id).zeros(4).u32(0).zeros(12);
                b.u16(if is_sound { 0x100 } else { 0 }).zeros(2);
                for number in MATRIX {
                    b.u32(number);
                }
                b.u16(self.size.0).u16(0).u16(self.size.1).u16(0);
            });
            b.boxed(b"mdia", |b| {
                b.full(b"mdhd", 0, 0, |b| {
                    b.zeros(8).u32(self.timescale).u32(0).u16(UNDETERMINED_LANGUAGE).u16(0);
                });
                b.full(b"hdlr", 0, 0, |b| {
                    b.u32(0).bytes(self.handler).zeros(12).u8(0);
                });
                b.boxed(b"minf", |b| {
                    if is_sound {
                        b.full(b"smhd", 0, 0, |b| {
                            b.zeros(4);
                        });
                    } else {
                        b.full(b"vmhd", 0, 1, |b| {
                            b.zeros(8);
                        });
                    }
                    data_in_same_file(b);
                    b.boxed(b"stbl", |b| {
                        b.full(b"stsd", 0, 0, |b| {
                            b.u32(1);
                            sample_entry(b);
                        });
                        no_samples(b);
                    });
                });
            });
        });
    }
}

fn data_in_same_file(b: &mut Boxes) {
    b.boxed(b"dinf", |b| {
        b.full(b"dref", 0, 0, |b| {
            b.u32(1);
            b.full(b"url ", 0, 1, |_| {});
        });
    });
}

/// The tables of samples, which are all in fragments.
fn no_samples(b: &mut Boxes) {
    for kind in [b"stts", b"stsc", b"stco"] {
        b.full(kind, 0, 0, |b| {
            b.u32(0);
        });
    }
    b.full(b"stsz", 0, 0, |b| {
        b.zeros(8);
    });
}
