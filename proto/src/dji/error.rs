//! What devices say when they refuse: six digits, of which the first is who says it and the rest what.

/// What to make of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It is done.
    Done,
    /// The video is live already: perhaps as it was asked to be.
    AlreadyLive,
    /// The video is not live, so there is nothing to stop.
    NotLive,
    /// The aircraft is not there.
    NoAircraft,
    /// The camera is not there.
    NoCamera,
    /// Another camera is live, and has to stop first.
    Conflict,
    /// Not with this quality.
    Quality,
    /// Not by this protocol.
    Protocol,
    /// Paused for a while.
    Paused,
    /// Later it may go.
    Retry,
    /// It will never go.
    Never,
}

/// What is 13xxx of the code of a live stream; `None` where it is no such code.
const fn live(code: i64) -> Option<i64> {
    match (code / 100_000, code % 100_000) {
        (3 | 5 | 6, rest @ 13_000..=13_999) => Some(rest),
        _ => None,
    }
}

/// What to make of it. Codes that are not known may be tried again.
pub const fn class(code: i64) -> Class {
    if code == 0 {
        return Class::Done;
    }
    match live(code) {
        Some(13_001) => Class::NoAircraft,
        Some(13_002) => Class::NoCamera,
        Some(13_003) => Class::AlreadyLive,
        Some(13_004 | 13_014) => Class::Never,
        Some(13_005) => Class::Quality,
        Some(13_011) => Class::NotLive,
        Some(13_012) => Class::Conflict,
        Some(13_013) => Class::Protocol,
        Some(13_017) => Class::Paused,
        _ => Class::Retry,
    }
}

/// What it means, for people.
pub const fn text(code: i64) -> &'static str {
    if code == 0 {
        return "done";
    }
    if code == 327_015 {
        return "could not start the stream";
    }
    match live(code) {
        Some(13_001) => "there is no aircraft",
        Some(13_002) => "there is no such camera",
        Some(13_003) => "the video is live already",
        Some(13_004) => "the device cannot do this",
        Some(13_005) => "not with this quality",
        Some(13_006) => "the camera is not ready, or its view is not open on the controller",
        Some(13_007) => "nobody has control of the flight",
        Some(13_008) => "no picture comes from the aircraft",
        Some(13_009) => "asked too often",
        Some(13_010) => "the device does not reach the media server",
        Some(13_011) => "the video is not live",
        Some(13_012) => "another video is live and has to stop first",
        Some(13_013) => "not by this protocol",
        Some(13_014) => "the request is not complete",
        Some(13_015) => "the network of the device is poor",
        Some(13_016) => "the device cannot decode the picture",
        Some(13_017) => "paused until files of the aircraft are loaded",
        Some(13_098) => "no reply within the device",
        Some(13_099) => "unknown to the device itself",
        _ => "not known",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_same_class_whoever_says_them() {
        for source in [300_000, 500_000, 600_000] {
            for (code, expected) in [
                (13_001, Class::NoAircraft),
                (13_002, Class::NoCamera),
                (13_003, Class::AlreadyLive),
                (13_004, Class::Never),
                (13_005, Class::Quality),
                (13_006, Class::Retry),
                (13_007, Class::Retry),
                (13_008, Class::Retry),
                (13_009, Class::Retry),
                (13_010, Class::Retry),
                (13_011, Class::NotLive),
                (13_012, Class::Conflict),
                (13_013, Class::Protocol),
                (13_014, Class::Never),
                (13_015, Class::Retry),
                (13_016, Class::Retry),
                (13_017, Class::Paused),
                (13_098, Class::Retry),
                (13_099, Class::Retry),
            ] {
                assert_eq!(class(source + code), expected, "{code}");
                assert_ne!(text(source + code), "not known", "{code}");
            }
        }
        assert_eq!((class(0), class(327_015)), (Class::Done, Class::Retry));
        for code in [i64::MIN, -1, 1, 13_003, 413_003, 514_000, i64::MAX] {
            assert_eq!((class(code), text(code)), (Class::Retry, "not known"), "{code}");
        }
    }
}
