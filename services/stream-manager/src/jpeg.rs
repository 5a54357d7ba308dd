//! Finds where a JPEG picture ends (ITU-T T.81, annex B). Pure; walks marker by marker, so that a thumbnail within a segment is
//! not taken for the picture.

const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;

/// Walks a picture that comes piece by piece.
#[derive(Debug, Default)]
pub(crate) struct Walker {
    /// Bytes that were walked.
    at: usize,
    /// Where the picture begins.
    start: usize,
    next: Next,
}

#[derive(Debug, Default, Clone, Copy)]
enum Next {
    /// Before the picture; whatever else lies there is passed over.
    #[default]
    Picture,
    /// A marker segment.
    Segment,
    /// Entropy-coded data, which ends at a marker (B.1.1.5).
    Scan,
}

impl Walker {
    /// Where the picture lies in these bytes, which are those of the last time and more; `None` while it has not ended.
    pub(crate) fn walk(&mut self, bytes: &[u8]) -> Option<std::ops::Range<usize>> {
        loop {
            let rest = bytes.get(self.at..)?;
            if matches!(self.next, Next::Picture | Next::Scan) {
                match rest.iter().position(|byte| *byte == 0xFF) {
                    Some(marker) => self.at += marker,
                    None => {
                        self.at = bytes.len();
                        return None;
                    }
                }
            }
            let &[first, marker] = bytes.get(self.at..)?.first_chunk()?;
            match (self.next, first, marker) {
                // Fill bytes (B.1.1.2).
                (_, 0xFF, 0xFF) => self.at += 1,
                // Also within a picture: one that was cut off gives way to the next.
                (_, 0xFF, SOI) => {
                    self.start = self.at;
                    self.at += 2;
                    self.next = Next::Segment;
                }
                (Next::Picture, ..) => self.at += 2,
                (_, 0xFF, EOI) => {
                    self.at += 2;
                    self.next = Next::Picture;
                    return Some(self.start..self.at);
                }
                // A stuffed byte, restart markers, and TEM: markers that stand alone.
                (_, 0xFF, 0x00 | 0x01 | 0xD0..=0xD7) => self.at += 2,
                (_, 0xFF, marker) => {
                    let &[_, _, high, low] = bytes.get(self.at..)?.first_chunk()?;
                    self.at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
                    self.next = if marker == SOS { Next::Scan } else { Next::Segment };
                }
                // A broken picture.
                (Next::Segment | Next::Scan, ..) => self.next = Next::Picture,
            }
        }
    }
}

/// For the fuzz target only: where bytes are cut makes no difference.
#[cfg(fuzzing)]
pub(crate) fn check(bytes: &[u8], cut: usize) {
    let whole = Walker::default().walk(bytes);
    let mut walker = Walker::default();
    let piecewise = walker.walk(&bytes[..cut.min(bytes.len())]).or_else(|| walker.walk(bytes));
    assert_eq!(piecewise, whole);
    if let Some(picture) = whole {
        assert!(bytes[picture.clone()].starts_with(&[0xFF, SOI]) && bytes[picture].ends_with(&[0xFF, EOI]));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn picture() -> Vec<u8> {
        [
            &[0xFF, 0xD8][..],
            // An application segment with a thumbnail in it.
            &[0xFF, 0xE1, 0, 8, 0xFF, 0xD8, 0xFF, 0xDB, 0xFF, 0xD9],
            &[0xFF, 0xC0, 0, 9, 8, 0, 1, 0, 1, 3, 1],
            // A scan with a stuffed byte and a restart marker, and another scan.
            &[0xFF, 0xDA, 0, 4, 1, 1, 0x12, 0xFF, 0x00, 0x34, 0xFF, 0xD0, 0x56],
            &[0xFF, 0xDA, 0, 4, 1, 1, 0x12, 0xFF, 0xFF, 0xD9],
        ]
        .concat()
    }

    fn find(bytes: &[u8]) -> Option<std::ops::Range<usize>> {
        Walker::default().walk(bytes)
    }

    #[test]
    fn a_picture_ends_at_its_own_end() {
        let picture = picture();
        let len = picture.len();
        assert_eq!(find(&picture), Some(0..len));
        assert_eq!(find(&[&[0, 0xFF, 3], &picture[..], &picture].concat()), Some(3..3 + len));
        assert_eq!(find(&picture[..len - 1]), None);
    }

    #[test]
    fn one_that_was_cut_off_gives_way_to_the_next() {
        let picture = picture();
        let cut = &picture[..picture.len() - 3];
        let end = cut.len() + picture.len();
        assert_eq!(find(&[cut, &picture].concat()), Some(cut.len()..end));
        // Within a segment: garbage where a marker should be.
        let broken = [&[0xFF, 0xD8, 1, 2, 3], &picture[..]].concat();
        assert_eq!(find(&broken), Some(5..5 + picture.len()));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            bytes in prop::collection::vec(prop_oneof![Just(0xFF), Just(SOI), Just(EOI), Just(SOS), Just(0), Just(4), any::<u8>()], 0..200),
            before: bool,
            cuts in prop::collection::vec(0_usize..250, 0..6),
        ) {
            let bytes = if before { [&picture()[..9], &bytes, &picture()].concat() } else { bytes };
            let whole = find(&bytes);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            cuts.push(bytes.len());
            let mut walker = Walker::default();
            let piecewise = cuts.into_iter().find_map(|cut| walker.walk(&bytes[..cut]));
            prop_assert_eq!(&piecewise, &whole);
            if let Some(range) = whole {
                prop_assert!(bytes[range.clone()].starts_with(&[0xFF, SOI]) && bytes[range].ends_with(&[0xFF, EOI]));
            }
        }
    }
}
