//! RTMP, the publishing side of it: what encoders push live streams with.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ No socket and no clock: bytes go in, events and bytes come out. What comes out depends on    │
//! │ the bytes alone, never on how they were cut. Whatever the bytes say, memory is bounded.      │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! [`server::Server`] is the end that takes a stream, [`client::Client`] the end that sends one. Between them lie the
//! handshake, the chunk stream, which cuts messages into chunks so that a long one does not hold up a short one, and commands in
//! [`amf0`]. What a node makes of it is said in `proto/RTMP.md`.
//!
//! Sources: Adobe's RTMP specification 1.0 (2012), AMF 0 specification (2007), Video File Format Specification 10.1, Enhanced
//! RTMP v1 and v2 (Veovera).

pub mod amf0;
mod chunk;
pub mod client;
mod handshake;
mod message;
pub mod server;

pub use chunk::{CHUNK_BYTES_MAX, CHUNK_STREAMS_MAX, INTERLEAVED_BYTES_MAX};
pub use message::{COMMAND_BYTES_MAX, Media, MediaKind};

/// Why a connection cannot go on. What led to it is the other end's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// See there.
    #[error(transparent)]
    Handshake(#[from] handshake::WrongVersion),
    /// A chunk says that all is as before, and nothing was before.
    #[error("a chunk refers to one that never came")]
    NothingBefore,
    /// More chunk streams than anyone has a use for.
    #[error("there are more than {CHUNK_STREAMS_MAX} chunk streams")]
    ChunkStreams,
    /// A message is larger than is taken.
    #[error("a message is too long")]
    TooLong,
    /// Messages that have begun are together larger than is taken.
    #[error("too much of messages that have begun")]
    TooMuch,
    /// A chunk of no bytes, or a control message that is cut short.
    #[error("a control message makes no sense")]
    Control,
    /// A command is no command.
    #[error("a command makes no sense")]
    Command,
    /// A command that may only follow another came without.
    #[error("a command is out of order")]
    Order,
    /// The other end does not take what it is told.
    #[error("the other end does not read what it is told")]
    Unread,
}

/// For the fuzz targets only.
#[cfg(fuzzing)]
pub mod fuzzing;
