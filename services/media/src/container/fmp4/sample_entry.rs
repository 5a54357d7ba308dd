//! Sample entries: the codec of a track (ISO/IEC 14496-12, 12.1.3 and 12.2.3, and the codecs' own bindings).

use super::boxes::{Fields, child};
use crate::container::tracks;
use crate::{Track, TrackKind};

/// Bytes of a visual sample entry before the boxes in it.
const VISUAL_BYTES: usize = 78;

/// Bytes of an audio sample entry before the boxes in it, and what QuickTime's later versions add.
const AUDIO_BYTES: usize = 28;
const AUDIO_BYTES_ADDED: [usize; 3] = [0, 16, 36];

/// The track that a sample entry of this name describes.
pub(super) fn track(kind: TrackKind, name: [u8; 4], entry: &[u8]) -> Track {
    let fallback = || Track::new(kind, String::from_utf8_lossy(&name).trim());
    match kind {
        TrackKind::Video => video(name, entry).unwrap_or_else(fallback),
        TrackKind::Audio => audio(name, entry).unwrap_or_else(fallback),
        TrackKind::Data => fallback(),
    }
}

fn video(name: [u8; 4], entry: &[u8]) -> Option<Track> {
    let mut fields = Fields(entry);
    fields.skip(24)?;
    let (width, height) = (fields.u16()?, fields.u16()?);
    let config = |kind| child(entry.get(VISUAL_BYTES..)?, kind);
    let text = str::from_utf8(&name).ok()?;
    let mut track = match &name {
        b"avc1" | b"avc3" => tracks::h264(config(b"avcC")?, text),
        b"hvc1" | b"hev1" => tracks::h265(config(b"hvcC")?, text),
        b"av01" => tracks::av1(config(b"av1C")?),
        b"vp09" => tracks::vp9(config(b"vpcC")?),
        b"vp08" => Track::new(TrackKind::Video, "vp8"),
        _ => Track::new(TrackKind::Video, text),
    };
    track.resolution = tracks::resolution(width.into(), height.into()).or(track.resolution);
    Some(track)
}

fn audio(name: [u8; 4], entry: &[u8]) -> Option<Track> {
    let mut fields = Fields(entry);
    fields.skip(8)?;
    let version = fields.u16()?;
    fields.skip(6)?;
    let channels = fields.u16()?;
    fields.skip(6)?;
    // Fixed point; the low half is the fraction.
    let sample_rate = fields.u32()? >> 16;
    let added = AUDIO_BYTES_ADDED.get(usize::from(version)).copied().unwrap_or_default();
    let config = |kind| child(entry.get(AUDIO_BYTES + added..)?, kind);
    let text = str::from_utf8(&name).ok()?;
    let mut track = match &name {
        b"mp4a" => mpeg4_audio(config(b"esds").unwrap_or_default()),
        // Lower case is what browsers take (they are registered as `Opus` and `fLaC`).
        b"Opus" | b"fLaC" => Track::new(TrackKind::Audio, text.to_ascii_lowercase()),
        _ => Track::new(TrackKind::Audio, text),
    };
    let stated = tracks::audio("", sample_rate, channels.into());
    track.sample_rate = track.sample_rate.or(stated.sample_rate);
    track.channels = track.channels.or(stated.channels);
    Some(track)
}

/// What the elementary stream descriptor says (ISO/IEC 14496-1, 7.2.6.5), by its object type (table 5).
fn mpeg4_audio(esds: &[u8]) -> Track {
    match decoder_config(esds) {
        Some((0x40, config)) => tracks::aac(config),
        Some((object_type, _)) => Track::new(TrackKind::Audio, format!("mp4a.{object_type:x}")),
        None => Track::new(TrackKind::Audio, "mp4a"),
    }
}

/// Object type, and the content of the decoder specific info.
fn decoder_config(esds: &[u8]) -> Option<(u8, &[u8])> {
    const ES: u8 = 3;
    const DECODER_CONFIG: u8 = 4;
    const DECODER_SPECIFIC_INFO: u8 = 5;
    let mut es = Fields(descriptor(esds.get(4..)?, ES)?);
    es.skip(2)?;
    let flags = es.u8()?;
    if flags & 0x80 != 0 {
        es.skip(2)?;
    }
    if flags & 0x40 != 0 {
        let url = es.u8()?;
        es.skip(url.into())?;
    }
    if flags & 0x20 != 0 {
        es.skip(2)?;
    }
    let mut config = Fields(descriptor(es.0, DECODER_CONFIG)?);
    let object_type = config.u8()?;
    config.skip(12)?;
    Some((object_type, descriptor(config.0, DECODER_SPECIFIC_INFO).unwrap_or_default()))
}

/// The content of the descriptor these bytes start with (ISO/IEC 14496-1, 8.3.3).
fn descriptor(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let mut fields = Fields(bytes);
    if fields.u8()? != tag {
        return None;
    }
    let mut size = 0;
    for _ in 0..4 {
        let byte = fields.u8()?;
        size = size << 7 | usize::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            break;
        }
    }
    // One that claims more than there is: its first fields are as good as those of any other.
    Some(&fields.0[..size.min(fields.0.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aac_is_found_behind_the_descriptors() {
        let esds = [
            &[0, 0, 0, 0][..],
            &[3, 0x80, 0x80, 0x80, 25, 0, 1, 0],
            &[4, 17, 0x40, 0x15, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0],
            &[5, 2, 0x11, 0x90, 6, 1, 2],
        ]
        .concat();
        assert_eq!(decoder_config(&esds), Some((0x40, &[0x11, 0x90][..])));
        assert_eq!(mpeg4_audio(&esds).codec, "mp4a.40.2");
        for cut in 0..esds.len() {
            let _ = mpeg4_audio(&esds[..cut]);
        }
    }

    #[test]
    fn what_is_not_known_keeps_its_name() {
        assert_eq!(track(TrackKind::Audio, *b"ac-3", &[0; 28]).codec, "ac-3");
        assert_eq!(track(TrackKind::Video, *b"mp4v", &[]).codec, "mp4v");
        assert_eq!(track(TrackKind::Data, *b"tx3g", &[]).codec, "tx3g");
    }
}
