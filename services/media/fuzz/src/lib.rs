//! What holds of every stream, whatever its bytes.

use relay_media::{Container, Event, Scanner};

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
