//! Signs requests as the Standard Webhooks specification has it, so that its libraries verify them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What a secret starts with, so that people and scanners of leaked secrets know it.
const PREFIX: &str = "whsec_";
/// Bounds of the specification.
const BYTES_MIN: usize = 24;
const BYTES_MAX: usize = 64;

/// What an endpoint and the deliverer share. Prints as `***`.
#[derive(Clone)]
pub(super) struct Secret(Vec<u8>);

/// Why a text is no [`Secret`]. Has nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SecretError {
    #[error("does not start with {PREFIX}")]
    Prefix,
    #[error("is not {PREFIX} and base64 with its padding")]
    Base64,
    #[error("has less than {BYTES_MIN} or more than {BYTES_MAX} bytes")]
    Length,
}

impl std::str::FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(SecretError::Prefix)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| SecretError::Base64)?;
        if !(BYTES_MIN..=BYTES_MAX).contains(&bytes.len()) {
            return Err(SecretError::Length);
        }
        Ok(Self(bytes))
    }
}

impl Secret {
    /// The value of `webhook-signature`.
    pub(super) fn sign(&self, id: &str, unix_seconds: u64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{unix_seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_of_the_specification_is_signed_as_everybody_signs_it() {
        let secret: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_has_a_prefix_and_24_to_64_bytes() {
        let secret = |bytes: usize| format!("{PREFIX}{}", STANDARD.encode(vec![7; bytes]));
        let problem = |text: &str| text.parse::<Secret>().map(|_| ()).unwrap_err();
        assert_eq!(problem(&secret(23)), SecretError::Length);
        assert!(secret(24).parse::<Secret>().is_ok());
        assert!(secret(64).parse::<Secret>().is_ok());
        assert_eq!(problem(&secret(65)), SecretError::Length);
        assert_eq!(problem(secret(32).trim_end_matches('=')), SecretError::Base64);
        assert_eq!(problem(&secret(32)[1..]), SecretError::Prefix);
        assert_eq!(problem(""), SecretError::Prefix);
    }

    #[test]
    fn a_secret_prints_as_three_stars() {
        let secret: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        assert_eq!(format!("{secret:?}"), "***");
    }
}
