//! Opens what agents seal: AES-256 in CBC mode, under a key and an initialization vector that MD5 makes of a password and a
//! salt, as `openssl enc -aes-256-cbc -md md5` and CryptoJS do.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ The seal proves nothing: there is no MAC, and a wrong key gives garbage that may even have a  │
//! │ right padding. What was opened is as untrusted as what came.                                  │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use aes::Aes256;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use md5::{Digest, Md5};

use super::base64;
use super::settings::Secret;

/// What sealed bytes begin with; a salt follows.
const MAGIC: &[u8; 8] = b"Salted__";
const SALT_BYTES: usize = 8;
const HEAD_BYTES: usize = MAGIC.len() + SALT_BYTES;
const BLOCK_BYTES: usize = 16;
const KEY_BYTES: usize = 32;

/// Why a text cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpenError {
    #[error("is no base64")]
    Base64,
    #[error("is not sealed as agents do it")]
    Form,
    #[error("is sealed with another key")]
    Key,
}

/// Opens a text. The plain bytes lie in `space`, whatever was there before.
pub(super) fn open<'a>(text: &str, password: &Secret, space: &'a mut Vec<u8>) -> Result<&'a [u8], OpenError> {
    space.clear();
    base64::decode_to(text.as_bytes(), space).ok_or(OpenError::Base64)?;
    let (head, body) = space.split_at_mut_checked(HEAD_BYTES).ok_or(OpenError::Form)?;
    let salt = head.strip_prefix(MAGIC).ok_or(OpenError::Form)?;
    if body.is_empty() || !body.len().is_multiple_of(BLOCK_BYTES) {
        return Err(OpenError::Form);
    }
    let (key, iv) = derive(password.bytes(), salt);
    cbc::Decryptor::<Aes256>::new(&key.into(), &iv.into())
        .decrypt_padded::<Pkcs7>(body)
        .map_err(|_| OpenError::Key)
}

/// `EVP_BytesToKey` with MD5 and one iteration: each hash is of the one before, the password and the salt.
fn derive(password: &[u8], salt: &[u8]) -> ([u8; KEY_BYTES], [u8; BLOCK_BYTES]) {
    let mut key = [0; KEY_BYTES];
    let mut iv = [0; BLOCK_BYTES];
    let mut hash = Md5::new().chain_update(password).chain_update(salt).finalize();
    let next =
        |hash: &[u8]| Md5::new().chain_update(hash).chain_update(password).chain_update(salt).finalize();
    key[..BLOCK_BYTES].copy_from_slice(&hash);
    hash = next(&hash);
    key[BLOCK_BYTES..].copy_from_slice(&hash);
    hash = next(&hash);
    iv.copy_from_slice(&hash);
    (key, iv)
}

/// Seals as an agent does.
#[cfg(test)]
pub(super) fn seal(plain: &[u8], password: &Secret, salt: [u8; SALT_BYTES]) -> String {
    use cbc::cipher::BlockModeEncrypt;

    let (key, iv) = derive(password.bytes(), &salt);
    let mut body = plain.to_vec();
    body.resize(plain.len() + BLOCK_BYTES, 0);
    let body = cbc::Encryptor::<Aes256>::new(&key.into(), &iv.into())
        .encrypt_padded::<Pkcs7>(&mut body, plain.len())
        .expect("there is a block more than it takes");
    base64::encode([&MAGIC[..], &salt, body].concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Made by openssl with the password `hub-private-key`.
    const SEALED: &str = "U2FsdGVkX18AAQIDBAUGBzqh2r2qaPysOXzM9AGJNRSJ0srIY0rHZo+6Ve5lloOsw8Ts2ruMroH5ZLvaOO4C5ekA5H5qSO5UMCK6\
        Aou+AfMLp+uIOWcKBmvyit8238VnzLSHTtkXM7uTdcX3YJKs2ulLRyQYFmC08XoPbqj3Pr9O7nsAAo2Ow2rA9mlPTd54kqyyVFTN1+HBzXnnIdW87LVd\
        O9GkA0prAFAq3Hw+D4E=";
    const PLAIN: &str = "{\"version\":\"\",\"action\":\"request-sd-stream\",\"device_id\":\"cam1\",\"signature\":\"\",\
        \"encrypted_value\":\"\",\"hidden_value\":\"\",\"value\":{\"timestamp\":1700000000}}";

    fn password(text: &str) -> Secret {
        text.parse().unwrap()
    }

    fn opened(text: &str, key: &str) -> Result<Vec<u8>, OpenError> {
        open(text, &password(key), &mut Vec::new()).map(<[u8]>::to_vec)
    }

    #[test]
    fn what_openssl_sealed_is_opened_and_sealed_the_same() {
        let salt = [0, 1, 2, 3, 4, 5, 6, 7];
        let (key, iv) = derive(b"hub-private-key", &salt);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&key), "370588f612171a88e41f8f67f838475352c7ce01a3621e529bbf9f223539ae97");
        assert_eq!(hex(&iv), "b5501bce981109f4c2e52ea1b8cc27ae");
        assert_eq!(opened(SEALED, "hub-private-key"), Ok(PLAIN.as_bytes().to_vec()));
        assert_eq!(seal(PLAIN.as_bytes(), &password("hub-private-key"), salt), SEALED);
    }

    #[test]
    fn another_key_opens_nothing() {
        assert_eq!(opened(SEALED, "another"), Err(OpenError::Key));
    }

    #[test]
    fn what_is_too_short_or_cut_within_a_block_is_told_from_a_wrong_key() {
        let bytes = |len: usize| base64::encode([&MAGIC[..], &vec![7; len]].concat());
        for text in ["", "U2FsdGVkX18=", &bytes(7), &bytes(8), &bytes(23), &bytes(25)] {
            assert_eq!(opened(text, "k"), Err(OpenError::Form), "{text}");
        }
        assert_ne!(opened(&bytes(24), "k"), Err(OpenError::Form));
        assert_eq!(opened(&base64::encode([7; 48]), "k"), Err(OpenError::Form));
        assert_eq!(opened("U2FsdGVkX18*", "k"), Err(OpenError::Base64));
    }

    #[test]
    fn base64_without_padding_is_read() {
        assert!(opened(SEALED.trim_end_matches('='), "hub-private-key").is_ok());
    }

    proptest! {
        #[test]
        fn what_was_sealed_is_opened(
            plain in prop::collection::vec(any::<u8>(), 0..200), key in "\\PC{1,40}", salt in any::<[u8; 8]>(),
        ) {
            let sealed = seal(&plain, &password(&key), salt);
            prop_assert_eq!(opened(&sealed, &key), Ok(plain));
        }

        #[test]
        fn neither_a_wrong_key_nor_any_text_panics(
            plain in prop::collection::vec(any::<u8>(), 0..99), salt in any::<[u8; 8]>(), cut in any::<usize>(),
        ) {
            let sealed = seal(&plain, &password("right"), salt);
            let _ = opened(&sealed, "wrong");
            let _ = opened(&sealed[..cut % (sealed.len() + 1)], "right");
            let _ = opened(&base64::encode(&plain), "right");
        }
    }
}
