//! The movie box (ISO/IEC 14496-12, 8.2): what the fragments refer to.

use super::boxes::{Fields, child, children};
use super::sample_entry;
use crate::{Track, TrackKind};

/// Most tracks read.
const TRACKS_MAX: usize = 32;

/// What matters of a `moov`.
#[derive(Debug, Default)]
pub(super) struct Movie {
    pub(super) tracks: Vec<MovieTrack>,
    /// Id of the first video track.
    pub(super) video: Option<u32>,
    /// Whether there are samples outside of the fragments: whoever joins later would look for them in vain, at places
    /// where something else is by then.
    pub(super) has_samples: bool,
    /// For those who ask what the stream is.
    pub(super) infos: Vec<Track>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct MovieTrack {
    pub(super) id: u32,
    /// Ticks per second.
    pub(super) timescale: u32,
    pub(super) default_sample_flags: u32,
}

impl Movie {
    /// `content` is that of the `moov` box.
    pub(super) fn parse(content: &[u8]) -> Self {
        let mut movie = Self::default();
        for (_, trak) in children(content).filter(|(kind, _)| kind == b"trak").take(TRACKS_MAX) {
            let Some((track, info)) = parse_track(trak) else { continue };
            movie.has_samples |= has_samples(trak);
            if info.kind == TrackKind::Video {
                movie.video.get_or_insert(track.id);
            }
            movie.tracks.push(track);
            movie.infos.push(info);
        }
        let defaults = child(content, b"mvex").unwrap_or_default();
        for (_, trex) in children(defaults).filter(|(kind, _)| kind == b"trex") {
            if let Some((id, flags)) = parse_defaults(trex)
                && let Some(track) = movie.tracks.iter_mut().find(|track| track.id == id)
            {
                track.default_sample_flags = flags;
            }
        }
        movie
    }

    pub(super) fn track(&self, id: u32) -> Option<&MovieTrack> {
        self.tracks.iter().find(|track| track.id == id)
    }
}

impl MovieTrack {
    /// Ticks of this track in milliseconds.
    pub(super) fn milliseconds(&self, time: u64) -> Option<u64> {
        let ms = (u128::from(time) * 1000).checked_div(self.timescale.into())?;
        u64::try_from(ms).ok()
    }
}

fn parse_track(trak: &[u8]) -> Option<(MovieTrack, Track)> {
    let mut tkhd = Fields(child(trak, b"tkhd")?);
    let id = skip_times(&mut tkhd)?.u32()?;
    let mdia = child(trak, b"mdia")?;
    let mut mdhd = Fields(child(mdia, b"mdhd")?);
    let timescale = skip_times(&mut mdhd)?.u32()?;
    let mut hdlr = Fields(child(mdia, b"hdlr")?);
    hdlr.skip(8)?;
    let kind = match &hdlr.u32()?.to_be_bytes() {
        b"vide" => TrackKind::Video,
        b"soun" => TrackKind::Audio,
        _ => TrackKind::Data,
    };
    let stsd = child(child(child(mdia, b"minf")?, b"stbl")?, b"stsd")?;
    // Version, flags and the count of entries. One track has one codec, whatever the number of its entries.
    let (name, entry) = children(stsd.get(8..)?).next()?;
    let info = sample_entry::track(kind, name, entry);
    Some((MovieTrack { id, timescale, default_sample_flags: 0 }, info))
}

/// Whether the sample table has samples (8.7.3).
fn has_samples(trak: &[u8]) -> bool {
    let count = || {
        let stbl = child(child(child(trak, b"mdia")?, b"minf")?, b"stbl")?;
        let mut sizes = Fields(child(stbl, b"stsz").or_else(|| child(stbl, b"stz2"))?);
        sizes.skip(8)?;
        sizes.u32()
    };
    count().unwrap_or_default() > 0
}

/// Passes over version, flags, creation and modification time (8.3.2.2, 8.4.2.2).
fn skip_times<'a, 'b>(fields: &'a mut Fields<'b>) -> Option<&'a mut Fields<'b>> {
    let (version, _) = fields.version_flags()?;
    fields.wide(version)?;
    fields.wide(version)?;
    Some(fields)
}

/// Track id and default sample flags (8.8.3.2).
fn parse_defaults(trex: &[u8]) -> Option<(u32, u32)> {
    let mut trex = Fields(trex);
    trex.version_flags()?;
    let id = trex.u32()?;
    trex.skip(12)?;
    Some((id, trex.u32()?))
}
