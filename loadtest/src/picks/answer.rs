//! An answer of HTTP/1.1, as far as a load generator needs it: whether it is whole, and which node it names. Nothing is kept.

use memchr::memmem;

/// Longest answer to a question: one node takes half a kilobyte.
pub(crate) const ANSWER_BYTES_MAX: usize = 16 << 10;

/// An answer that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    /// The status line and the fields, up to their empty line.
    pub(crate) head: &'a [u8],
    pub(crate) body: &'a [u8],
}

/// What is no answer that a stream-manager gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an answer without a length, or longer than {ANSWER_BYTES_MAX} bytes")]
pub(crate) struct Shapeless;

impl<'a> Answer<'a> {
    /// Looks at what came; `None` while more bytes are needed.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Option<Self>, Shapeless> {
        let Some(head_len) = memmem::find(bytes, b"\r\n\r\n") else {
            return if bytes.len() < ANSWER_BYTES_MAX { Ok(None) } else { Err(Shapeless) };
        };
        let (head, rest) = (&bytes[..head_len], &bytes[head_len + 4..]);
        let length = field(head, b"content-length").ok_or(Shapeless)?;
        let length = std::str::from_utf8(length).ok().and_then(|length| length.parse::<usize>().ok());
        let length = length.filter(|length| *length <= ANSWER_BYTES_MAX).ok_or(Shapeless)?;
        Ok(rest.get(..length).map(|body| Self { head, body }))
    }

    /// All its bytes.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + 4 + self.body.len()
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.head.starts_with(b"HTTP/1.1 200 ")
    }

    /// Names and values of the fields.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        fields(self.head)
    }

    /// The name of the first node that the body names.
    pub(crate) fn node(&self) -> Option<&'a [u8]> {
        const BEFORE: &[u8] = b"\"node\":\"";
        let rest = &self.body[memmem::find(self.body, BEFORE)? + BEFORE.len()..];
        Some(&rest[..memchr::memchr(b'"', rest)?])
    }

    /// What it says, for who is told that it is wrong.
    pub(crate) fn words(&self) -> String {
        let status = self.head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        format!("{}: {}", String::from_utf8_lossy(status), String::from_utf8_lossy(self.body))
    }
}

fn field<'a>(head: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    fields(head).find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
}

fn fields(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    head.split(|byte| *byte == b'\n').skip(1).filter_map(|line| {
        let (name, value) = line.split_at(memchr::memchr(b':', line)?);
        Some((name, value[1..].trim_ascii()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-length: 34\r\n\r\n\
        {\"picks\":[{\"node\":\"n1\",\"carries\":1";

    #[test]
    fn an_answer_is_whole_with_its_last_byte() {
        for cut in 0..WHOLE.len() {
            assert_eq!(Answer::read(&WHOLE[..cut]), Ok(None), "{cut}");
        }
        let more = [WHOLE, b"HTTP/1.1 "].concat();
        let answer = Answer::read(&more).unwrap().unwrap();
        assert_eq!(answer.len(), WHOLE.len());
        assert_eq!(answer.node(), Some(&b"n1"[..]));
        assert!(answer.is_ok());
        let fields: Vec<_> = answer.fields().collect();
        assert_eq!(fields, [(&b"Content-Type"[..], &b"application/json"[..]), (b"content-length", b"34")]);
    }

    #[test]
    fn what_is_no_pick_is_told_apart() {
        let refused = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}";
        let answer = Answer::read(refused).unwrap().unwrap();
        assert!(!answer.is_ok());
        assert_eq!(answer.node(), None);
        assert_eq!(answer.words(), "HTTP/1.1 503 Service Unavailable: {}");
    }

    #[test]
    fn an_answer_has_a_length_and_an_end() {
        for head in ["", "content-length: x\r\n", "content-length: 16385\r\n", "content-length: -1\r\n"] {
            let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n");
            assert_eq!(Answer::read(answer.as_bytes()), Err(Shapeless), "{head}");
        }
        let longest = format!("HTTP/1.1 200 OK\r\ncontent-length: {ANSWER_BYTES_MAX}\r\n\r\n");
        assert_eq!(Answer::read(longest.as_bytes()), Ok(None));
        assert_eq!(Answer::read(&[b'x'; ANSWER_BYTES_MAX - 1]), Ok(None));
        assert_eq!(Answer::read(&[b'x'; ANSWER_BYTES_MAX]), Err(Shapeless));
    }
}
