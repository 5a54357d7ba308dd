//! The seal of agents: CryptoJS's AES, that of `openssl enc -aes-256-cbc -md md5`, in base64.

use aes::Aes256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use md5::{Digest, Md5};

const MAGIC: &[u8] = b"Salted__";
const SALT_BYTES: usize = 8;
const BLOCK_BYTES: usize = 16;

/// Seals with a salt of its own.
pub(super) fn seal(plain: &[u8], password: &str) -> String {
    seal_with(plain, password, fastrand::u64(..).to_be_bytes())
}

fn seal_with(plain: &[u8], password: &str, salt: [u8; SALT_BYTES]) -> String {
    let (key, iv) = derive(password.as_bytes(), &salt);
    let mut space = [plain, &[0; BLOCK_BYTES]].concat();
    let body = cbc::Encryptor::<Aes256>::new(&key.into(), &iv.into())
        .encrypt_padded::<Pkcs7>(&mut space, plain.len())
        .expect("there is a block of room");
    STANDARD.encode([MAGIC, &salt, body].concat())
}

/// Opens; nothing where the key is another one, as far as that can be seen.
pub(super) fn open(sealed: &str, password: &str) -> Option<Vec<u8>> {
    let mut bytes = STANDARD.decode(sealed).ok()?;
    let (head, body) = bytes.split_at_mut_checked(MAGIC.len() + SALT_BYTES)?;
    let salt = head.strip_prefix(MAGIC)?;
    if body.is_empty() || !body.len().is_multiple_of(BLOCK_BYTES) {
        return None;
    }
    let (key, iv) = derive(password.as_bytes(), salt);
    let plain = cbc::Decryptor::<Aes256>::new(&key.into(), &iv.into()).decrypt_padded::<Pkcs7>(body);
    plain.ok().map(<[u8]>::to_vec)
}

/// Each hash is of the one before, the password and the salt; key and initialization vector are what they come to.
fn derive(password: &[u8], salt: &[u8]) -> ([u8; 2 * BLOCK_BYTES], [u8; BLOCK_BYTES]) {
    let (mut key, mut iv) = ([0; 2 * BLOCK_BYTES], [0; BLOCK_BYTES]);
    let mut before: &[u8] = &[];
    let mut hash;
    for part in key.chunks_exact_mut(BLOCK_BYTES).chain([&mut iv[..]]) {
        hash = Md5::new().chain_update(before).chain_update(password).chain_update(salt).finalize();
        part.copy_from_slice(&hash);
        before = &hash;
    }
    (key, iv)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with openssl.
    const PLAIN: &str = r#"{"version":"","action":"request-sd-stream","device_id":"cam1","signature":"","encrypted_value":"","hidden_value":"","value":{"timestamp":1700000000}}"#;
    const SEALED: &str = "U2FsdGVkX18AAQIDBAUGBzqh2r2qaPysOXzM9AGJNRSJ0srIY0rHZo+6Ve5lloOsw8Ts2ruMroH5ZLvaOO4C5ekA5H5qSO5UMCK6Aou+AfMLp+uIOWcKBmvyit8238VnzLSHTtkXM7uTdcX3YJKs2ulLRyQYFmC08XoPbqj3Pr9O7nsAAo2Ow2rA9mlPTd54kqyyVFTN1+HBzXnnIdW87LVdO9GkA0prAFAq3Hw+D4E=";

    #[test]
    fn it_is_the_seal_of_openssl() {
        let sealed = seal_with(PLAIN.as_bytes(), "hub-private-key", [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(sealed, SEALED);
        assert_eq!(open(SEALED, "hub-private-key").unwrap(), PLAIN.as_bytes());
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_alone() {
        let sealed = seal(b"picture", "ours");
        assert_eq!(open(&sealed, "ours").unwrap(), b"picture");
        assert_ne!(open(&sealed, "theirs").as_deref(), Some(&b"picture"[..]));
        for broken in ["", "?", "U2FsdGVkX18=", &sealed[..24]] {
            assert_eq!(open(broken, "ours"), None, "{broken}");
        }
    }
}
