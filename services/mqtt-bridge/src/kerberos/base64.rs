//! Standard base64 (RFC 4648, section 4), in which pictures come. Not every writer of it pads.

use base64_simd::STANDARD_NO_PAD;

/// Adds what the text says. `None` where it says nothing, and then what was added is of no use.
pub(super) fn decode_to(text: &[u8], bytes: &mut Vec<u8>) -> Option<()> {
    let text = text.strip_suffix(b"=").unwrap_or(text);
    let text = text.strip_suffix(b"=").unwrap_or(text);
    STANDARD_NO_PAD.decode_append(text, bytes).ok()
}

/// As it is written.
#[cfg(any(test, fuzzing))]
pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    base64_simd::STANDARD.encode_to_string(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_base64_is_told_so() {
        for text in ["a", "ab=c", "a b=", "ab-_", "YQ==="] {
            assert_eq!(decode_to(text.as_bytes(), &mut Vec::new()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_padded_or_not(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let text = encode(&bytes);
            for text in [text.as_str(), text.trim_end_matches('=')] {
                let mut read = vec![7];
                prop_assert_eq!(decode_to(text.as_bytes(), &mut read), Some(()));
                prop_assert_eq!(&read[1..], bytes.as_slice());
            }
        }
    }
}
