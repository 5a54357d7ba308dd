//! Devices that are not there: agents of Kerberos, docks and remote controllers of DJI, as a broker sees them.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ They know what makers of devices publish of their protocols, and nothing of who speaks to    │
//! │ them.                                                                                        │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::time::{Duration, SystemTime};

pub(crate) mod broker;
pub(crate) mod dock;
pub(crate) mod events;
pub(crate) mod kerberos;

/// Time since 1970, which is what devices write into their messages.
pub(crate) fn unix_now() -> Duration {
    // A clock before 1970 is one that nobody set.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// An UUID of version 4, as devices name what they send.
pub(crate) fn uuid() -> String {
    let random = fastrand::u128(..);
    let version_and_variant = random & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{version_and_variant:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uuid_says_that_it_is_random() {
        let uuid = uuid();
        assert_eq!(uuid.len(), 36);
        assert_eq!(&uuid[14..15], "4", "{uuid}");
        assert!(matches!(&uuid[19..20], "8" | "9" | "a" | "b"), "{uuid}");
    }
}
