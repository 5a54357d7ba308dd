//! What holds of every stream, whatever its bytes.

use relay_media::codec::{aac, av1, h264, h265, mp3, opus, vp9};
use relay_media::{Container, Event, Fragment, Remuxer, Scanner};

/// The last bytes of an input choose where the rest is cut, so that a real stream is a good seed as it is.
const CUT_BYTES: usize = 4;

/// Scans a stream whole and in pieces: both find the same, and neither keeps more than it may.
pub fn scan(forced: Option<Container>, data: &[u8]) {
    let (stream, sizes) = data.split_at(data.len().saturating_sub(CUT_BYTES));
    let whole = events(forced, std::iter::once(stream));
    assert_eq!(whole, events(forced, pieces(stream, sizes)));
    let joins = whole.iter().filter_map(|event| match event {
        Event::Join(join) => Some(join.at),
        _ => None,
    });
    assert!(joins.is_sorted());
}

/// Remuxes a stream whole and in pieces: both give the same, made of whole boxes, and neither keeps more than it may.
pub fn remux(container: Container, data: &[u8]) {
    let (stream, sizes) = data.split_at(data.len().saturating_sub(CUT_BYTES));
    let whole = fragments(container, std::iter::once(stream));
    assert_eq!(whole, fragments(container, pieces(stream, sizes)));
    for fragment in whole {
        let mut rest = &fragment.bytes[..];
        while !rest.is_empty() {
            let size = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            assert!(size >= 8, "a box of {size} bytes");
            rest = &rest[size..];
        }
    }
}

fn fragments<'a>(container: Container, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Fragment> {
    let mut remuxer = Remuxer::new(container).unwrap();
    let mut fragments = Vec::new();
    for piece in pieces {
        remuxer.push(piece, 0, &mut fragments);
        assert!(remuxer.retained() <= Remuxer::RETAINED_BYTES_MAX);
    }
    remuxer.finish(&mut fragments);
    fragments
}

/// Gives the same bytes to every parser, and has every answer printed.
pub fn codecs(data: &[u8]) {
    if let Some(sps) = h264::Sps::parse(data) {
        assert!(sps.codec().starts_with("avc1."));
        let _ = h264::Slice::parse(data, &sps);
    }
    if let Some(sps) = h265::Sps::parse(data) {
        assert!(sps.codec().starts_with("hvc1."));
    }
    let _ =
        (h264::from_avcc(data), h264::recovery_point(data), h265::from_hvcc(data), h265::Pps::parse(data));
    let config = aac::AudioSpecificConfig::parse(data);
    let _ =
        (config.map(|config| config.codec()), aac::AdtsHeader::parse(data), mp3::FrameHeader::parse(data));
    let _ = (opus::packet_samples(data), av1::from_av1c(data), vp9::from_vpcc(data));
}

fn events<'a>(forced: Option<Container>, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut scanner = forced.map_or_else(Scanner::new, Scanner::for_container).with_units();
    let mut events = Vec::new();
    for piece in pieces {
        scanner.push(piece, &mut events);
        assert!(scanner.retained() <= Scanner::RETAINED_BYTES_MAX);
    }
    events
}

fn pieces<'a>(mut stream: &'a [u8], sizes: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut sizes = sizes.iter().cycle();
    std::iter::from_fn(move || {
        // Small ones cut headers, large ones let whole structures lie in one piece.
        let size = sizes.next().map_or(1, |size| usize::from(*size).pow(2) / 64 + 1);
        let (piece, rest) = stream.split_at(size.min(stream.len()));
        stream = rest;
        (!piece.is_empty()).then_some(piece)
    })
}
