//! Why a session ends, and how the other side learns it: an `ERROR: ` text for old clients, then a close code.

use std::borrow::Cow;
use std::fmt::Write;

/// Every error text starts with this, and a session ends after one.
pub const ERROR_PREFIX: &str = "ERROR: ";

/// Why the server ends a session. The wire forms are pinned by a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Close {
    /// The publisher closed its stream and everything was delivered.
    PublisherEnded,
    /// The publisher vanished and did not come back within the grace period.
    PublisherLost,
    /// The probe has its answer.
    ProbeAnswered,
    /// The client closed first.
    ClientClosed,
    /// The node leaves service; come back after the hint.
    Draining {
        /// Milliseconds, jittered by the server.
        retry_after_ms: u32,
    },
    /// A frame that RFC 6455 forbids.
    ProtocolViolation,
    /// A text that is not UTF-8.
    BadText,
    /// A publisher sent a text other than the heartbeat.
    UnexpectedText,
    /// The page that opened the websocket is not of an allowed origin.
    OriginNotAllowed,
    /// The stream cannot be had in the form asked for.
    FormUnavailable,
    /// A message is larger than the node takes.
    ChunkTooBig,
    /// The node or the channel has no room.
    Full {
        /// Milliseconds.
        retry_after_ms: u32,
    },
    /// The key is not the channel's.
    WrongKey,
    /// Channel or key do not follow the grammar, or there is no such kind.
    InvalidTarget,
    /// Nothing was heard from the client.
    Idle,
    /// The publisher is connected and sends no media.
    Stalled,
    /// Somebody else is publishing.
    Busy {
        /// Milliseconds.
        retry_after_ms: u32,
    },
    /// A newer publisher took over.
    Replaced,
    /// The receiver cannot keep up.
    TooSlow,
    /// The cluster cannot say who may publish.
    Unavailable {
        /// Milliseconds.
        retry_after_ms: u32,
    },
    /// An operator ended the session.
    Kicked,
    /// An operator ended the channel's publication.
    ChannelClosed,
    /// An operator banned the key.
    Banned,
}

impl Close {
    /// Every reason, hints at zero.
    pub const ALL: [Self; 23] = [
        Self::PublisherEnded,
        Self::PublisherLost,
        Self::ProbeAnswered,
        Self::ClientClosed,
        Self::Draining { retry_after_ms: 0 },
        Self::ProtocolViolation,
        Self::BadText,
        Self::UnexpectedText,
        Self::OriginNotAllowed,
        Self::FormUnavailable,
        Self::ChunkTooBig,
        Self::Full { retry_after_ms: 0 },
        Self::WrongKey,
        Self::InvalidTarget,
        Self::Idle,
        Self::Stalled,
        Self::Busy { retry_after_ms: 0 },
        Self::Replaced,
        Self::TooSlow,
        Self::Unavailable { retry_after_ms: 0 },
        Self::Kicked,
        Self::ChannelClosed,
        Self::Banned,
    ];

    /// The close code (RFC 6455, section 7.4).
    pub const fn code(self) -> u16 {
        match self {
            Self::PublisherEnded | Self::PublisherLost | Self::ProbeAnswered | Self::ClientClosed => 1000,
            Self::ProtocolViolation => 1002,
            Self::BadText => 1007,
            Self::UnexpectedText
            | Self::OriginNotAllowed
            | Self::FormUnavailable
            | Self::Kicked
            | Self::ChannelClosed => 1008,
            Self::ChunkTooBig => 1009,
            Self::Draining { .. } => 1012,
            Self::Full { .. } | Self::Unavailable { .. } => 1013,
            Self::WrongKey | Self::Banned => 4403,
            Self::InvalidTarget => 4404,
            Self::Idle | Self::Stalled => 4408,
            Self::Busy { .. } | Self::Replaced => 4409,
            Self::TooSlow => 4499,
        }
    }

    /// The name in metrics and logs, and the first word of the close frame's reason.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PublisherEnded => "publisher_ended",
            Self::PublisherLost => "publisher_lost",
            Self::ProbeAnswered => "probe_answered",
            Self::ClientClosed => "client_closed",
            Self::Draining { .. } => "draining",
            Self::ProtocolViolation => "protocol_violation",
            Self::BadText => "bad_text",
            Self::UnexpectedText => "unexpected_text",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::FormUnavailable => "form_unavailable",
            Self::ChunkTooBig => "chunk_too_big",
            Self::Full { .. } => "full",
            Self::WrongKey => "wrong_key",
            Self::InvalidTarget => "invalid_target",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Busy { .. } => "busy",
            Self::Replaced => "replaced",
            Self::TooSlow => "too_slow",
            Self::Unavailable { .. } => "unavailable",
            Self::Kicked => "kicked",
            Self::ChannelClosed => "channel_closed",
            Self::Banned => "banned",
        }
    }

    /// Whether an operator wanted the whole publication to end.
    pub const fn ends_publication(self) -> bool {
        matches!(self, Self::ChannelClosed | Self::Banned)
    }

    const fn sentence(self) -> Option<&'static str> {
        Some(match self {
            Self::PublisherEnded | Self::PublisherLost | Self::ProbeAnswered | Self::ClientClosed => {
                return None;
            }
            Self::Draining { .. } => "The node is leaving service",
            Self::ProtocolViolation => "Websocket protocol violation",
            Self::BadText => "A text message is not UTF-8",
            Self::UnexpectedText => "A publisher sends binary messages and the heartbeat, nothing else",
            Self::OriginNotAllowed => "This page's origin is not allowed here",
            Self::FormUnavailable => "The stream cannot be remuxed to the form asked for",
            Self::ChunkTooBig => "The message is larger than this node takes",
            Self::Full { .. } => "No room for another session",
            Self::WrongKey => "Invalid streaming key",
            Self::InvalidTarget => "Invalid channel, key or kind",
            Self::Idle => "Nothing was heard from you",
            Self::Stalled => "No media was received from you",
            Self::Busy { .. } => "Somebody is already publishing on this channel",
            Self::Replaced => "A newer publisher took over this channel",
            Self::TooSlow => "Your connection is too slow for this stream",
            Self::Unavailable { .. } => "The cluster cannot say at the moment who may publish",
            Self::Kicked => "An operator ended this session",
            Self::ChannelClosed => "An operator closed this channel",
            Self::Banned => "An operator banned this key from the channel",
        })
    }

    /// When the client may come back, if the server has an opinion.
    pub const fn retry_after_ms(self) -> Option<u32> {
        match self {
            Self::Draining { retry_after_ms }
            | Self::Full { retry_after_ms }
            | Self::Unavailable { retry_after_ms }
            | Self::Busy { retry_after_ms } => Some(retry_after_ms),
            _ => None,
        }
    }

    /// The TEXT message that precedes the close frame; `None` where the end is no error.
    pub fn error_text(self) -> Option<Cow<'static, str>> {
        // Known to clients by the letter, so it is never decorated.
        if self == Self::WrongKey {
            return Some(Cow::Borrowed("ERROR: Invalid streaming key"));
        }
        let mut text = format!("{ERROR_PREFIX}{}", self.sentence()?);
        self.append_hint(&mut text);
        Some(Cow::Owned(text))
    }

    /// The reason inside the close frame; at most 123 bytes (RFC 6455, section 5.5).
    pub fn reason(self) -> String {
        let mut reason = self.name().to_owned();
        self.append_hint(&mut reason);
        reason
    }

    fn append_hint(self, text: &mut String) {
        if let Some(hint) = self.retry_after_ms() {
            // Writing to a String cannot fail.
            let _ = write!(text, " retry_after_ms={hint}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Clients in the field match on these. A change here is a change of the protocol.
    #[test]
    fn wire_forms_are_pinned() {
        let wire = |close: Close| {
            (close.code(), close.reason(), close.error_text().unwrap_or_default().into_owned())
        };
        let expect = |code, reason: &str, text: &str| (code, reason.to_owned(), text.to_owned());
        assert_eq!(wire(Close::PublisherEnded), expect(1000, "publisher_ended", ""));
        assert_eq!(wire(Close::PublisherLost), expect(1000, "publisher_lost", ""));
        assert_eq!(wire(Close::ProbeAnswered), expect(1000, "probe_answered", ""));
        assert_eq!(wire(Close::ClientClosed), expect(1000, "client_closed", ""));
        assert_eq!(
            wire(Close::Draining { retry_after_ms: 1200 }),
            expect(
                1012,
                "draining retry_after_ms=1200",
                "ERROR: The node is leaving service retry_after_ms=1200"
            )
        );
        assert_eq!(
            wire(Close::ProtocolViolation),
            expect(1002, "protocol_violation", "ERROR: Websocket protocol violation")
        );
        assert_eq!(wire(Close::BadText), expect(1007, "bad_text", "ERROR: A text message is not UTF-8"));
        assert_eq!(
            wire(Close::UnexpectedText),
            expect(
                1008,
                "unexpected_text",
                "ERROR: A publisher sends binary messages and the heartbeat, nothing else"
            )
        );
        assert_eq!(
            wire(Close::OriginNotAllowed),
            expect(1008, "origin_not_allowed", "ERROR: This page's origin is not allowed here")
        );
        assert_eq!(
            wire(Close::FormUnavailable),
            expect(1008, "form_unavailable", "ERROR: The stream cannot be remuxed to the form asked for")
        );
        assert_eq!(
            wire(Close::ChunkTooBig),
            expect(1009, "chunk_too_big", "ERROR: The message is larger than this node takes")
        );
        assert_eq!(
            wire(Close::Full { retry_after_ms: 5 }),
            expect(1013, "full retry_after_ms=5", "ERROR: No room for another session retry_after_ms=5")
        );
        assert_eq!(wire(Close::WrongKey), expect(4403, "wrong_key", "ERROR: Invalid streaming key"));
        assert_eq!(
            wire(Close::InvalidTarget),
            expect(4404, "invalid_target", "ERROR: Invalid channel, key or kind")
        );
        assert_eq!(wire(Close::Idle), expect(4408, "idle", "ERROR: Nothing was heard from you"));
        assert_eq!(wire(Close::Stalled), expect(4408, "stalled", "ERROR: No media was received from you"));
        assert_eq!(
            wire(Close::Busy { retry_after_ms: 7 }),
            expect(
                4409,
                "busy retry_after_ms=7",
                "ERROR: Somebody is already publishing on this channel retry_after_ms=7"
            )
        );
        assert_eq!(
            wire(Close::Replaced),
            expect(4409, "replaced", "ERROR: A newer publisher took over this channel")
        );
        assert_eq!(
            wire(Close::TooSlow),
            expect(4499, "too_slow", "ERROR: Your connection is too slow for this stream")
        );
        assert_eq!(
            wire(Close::Unavailable { retry_after_ms: 9 }),
            expect(
                1013,
                "unavailable retry_after_ms=9",
                "ERROR: The cluster cannot say at the moment who may publish retry_after_ms=9"
            )
        );
        assert_eq!(wire(Close::Kicked), expect(1008, "kicked", "ERROR: An operator ended this session"));
        assert_eq!(
            wire(Close::ChannelClosed),
            expect(1008, "channel_closed", "ERROR: An operator closed this channel")
        );
        assert_eq!(
            wire(Close::Banned),
            expect(4403, "banned", "ERROR: An operator banned this key from the channel")
        );
    }

    #[test]
    fn names_differ_and_reasons_fit_a_close_frame() {
        let names: HashSet<_> = Close::ALL.iter().map(|close| close.name()).collect();
        assert_eq!(names.len(), Close::ALL.len());
        assert!(
            Close::ALL.iter().all(|close| close.reason().len() + " retry_after_ms=4294967295".len() <= 123)
        );
    }
}
