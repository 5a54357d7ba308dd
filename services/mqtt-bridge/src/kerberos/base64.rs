//! Standard base64 (RFC 4648, section 4), in which pictures come. Not every writer of it pads.

use base64_turbo::STANDARD_NO_PAD;

/// Adds what the text says. `None` where it says nothing, and then nothing is added.
pub(super) fn decode_to(text: &[u8], bytes: &mut Vec<u8>) -> Option<()> {
    let text = text.strip_suffix(b"=").unwrap_or(text);
    let text = text.strip_suffix(b"=").unwrap_or(text);
    STANDARD_NO_PAD.decode_vec(text, bytes).ok()
}

/// As it is written.
#[cfg(test)]
pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    base64_turbo::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::alphabet::STANDARD;
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
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

        /// Other lengths and places take other instructions.
        #[test]
        fn one_wrong_byte_is_found_wherever_it_is(
            bytes in prop::collection::vec(any::<u8>(), 1..3000), place in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let mut text = encode(&bytes).trim_end_matches('=').as_bytes().to_vec();
            let place = place.index(text.len());
            text[place] = byte;
            let mut read = vec![7];
            let said = decode_to(&text, &mut read).map(|()| read.split_off(1));
            // Another library, which looks at one after the other.
            let reads = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
            let reads = GeneralPurpose::new(&STANDARD, reads);
            prop_assert_eq!(said, reads.decode(&text).ok());
        }
    }
}
