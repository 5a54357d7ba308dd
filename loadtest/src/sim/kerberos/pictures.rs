//! What cameras see: eight pictures, each time with another comment, and as large as is wanted.

use memchr::memmem;

/// Eight JPEGs in a row, each a second later. Made by
/// `ffmpeg -f lavfi -i testsrc2=size=320x180:rate=1 -frames:v 8 -q:v 12 -f mjpeg pictures.mjpeg`.
const PICTURES: &[u8] = include_bytes!("pictures.mjpeg");

const START: [u8; 2] = [0xff, 0xd8];

/// What stands before the time at which a picture was published, in nanoseconds since 1970.
const STAMP: &[u8] = b"relaycast-sim ";

/// Of a stamp: enough until the year 2286.
const STAMP_DIGITS: usize = 19;

/// Before the text of a comment: its marker and its length.
const COMMENT_HEAD_BYTES: usize = 4;

/// A comment's length counts itself.
const COMMENT_TEXT_MAX: usize = u16::MAX as usize - 2;

/// Pictures that follow each other.
#[derive(Debug)]
pub(super) struct Pictures {
    each: Vec<&'static [u8]>,
    /// The least that one has.
    bytes: usize,
}

impl Pictures {
    pub(super) fn new(bytes: usize) -> Self {
        let starts: Vec<_> = memmem::find_iter(PICTURES, b"\xff\xd8\xff\xe0").collect();
        let ends = starts.iter().skip(1).copied().chain([PICTURES.len()]);
        Self { each: starts.iter().zip(ends).map(|(&start, end)| &PICTURES[start..end]).collect(), bytes }
    }

    /// The picture of this number, published at this time.
    pub(super) fn at(&self, number: usize, unix_ns: u128) -> Vec<u8> {
        let picture = self.each[number % self.each.len()];
        let mut text = STAMP.to_vec();
        text.extend(format!("{unix_ns:0STAMP_DIGITS$} {number}").into_bytes());
        let mut made = Vec::with_capacity(self.bytes.max(picture.len() + COMMENT_HEAD_BYTES + text.len()));
        made.extend(START);
        comment(&mut made, &text);
        let rest = &picture[START.len()..];
        loop {
            let lacks = self.bytes.saturating_sub(made.len() + rest.len());
            if lacks == 0 {
                break;
            }
            comment(&mut made, &vec![b'.'; lacks.saturating_sub(COMMENT_HEAD_BYTES).min(COMMENT_TEXT_MAX)]);
        }
        made.extend(rest);
        made
    }
}

fn comment(made: &mut Vec<u8>, text: &[u8]) {
    let len = u16::try_from(text.len() + 2).expect("at most COMMENT_TEXT_MAX bytes");
    made.extend([0xff, 0xfe]);
    made.extend(len.to_be_bytes());
    made.extend(text);
}

/// When a picture that begins with these bytes was published, where it says so.
pub(crate) fn published_at(picture: &[u8]) -> Option<u64> {
    let start = memmem::find(picture, STAMP)? + STAMP.len();
    std::str::from_utf8(picture.get(start..start + STAMP_DIGITS)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// What ffmpeg makes of a JPEG, as raw bytes.
    fn decoded(picture: &[u8]) -> Vec<u8> {
        let args = "-v error -xerror -f mjpeg -i - -f rawvideo -pix_fmt gray -";
        let mut command = Command::new("ffmpeg");
        command.args(args.split(' ')).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(picture).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    #[test]
    fn they_can_be_seen_and_differ() {
        let pictures = Pictures::new(0);
        assert_eq!(pictures.each.len(), 8);
        let seen: Vec<_> = (0..8).map(|number| decoded(&pictures.at(number, 1))).collect();
        assert!(seen.iter().all(|picture| picture.len() == 320 * 180));
        for pair in seen.windows(2) {
            let differ = pair[0].iter().zip(&pair[1]).filter(|(a, b)| a.abs_diff(**b) > 32).count();
            assert!(differ > 320 * 180 / 50, "{differ}");
        }
    }

    #[test]
    fn they_are_as_large_as_is_wanted() {
        let smallest = Pictures::new(0).at(0, 1).len();
        for bytes in [smallest, smallest + 10, 30_000, 65_535 + smallest + 4, 1_000_000] {
            let picture = Pictures::new(bytes).at(0, 1);
            // A comment has at least four bytes.
            assert!((bytes..bytes + 4).contains(&picture.len()), "{bytes}: {}", picture.len());
            assert_eq!(decoded(&picture).len(), 320 * 180);
        }
        assert!((smallest + 1..smallest + 5).contains(&Pictures::new(smallest + 1).at(0, 1).len()));
    }

    #[test]
    fn they_say_when_they_were_published() {
        let picture = Pictures::new(30_000).at(77, 1_767_225_600_123_456_789);
        assert_eq!(published_at(&picture), Some(1_767_225_600_123_456_789));
        assert_eq!(published_at(b"\xff\xd8relaycast-sim 12"), None);
    }
}
