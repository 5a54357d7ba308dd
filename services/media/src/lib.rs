//! Media containers without sockets and without clocks.
//!
//! A [`Scanner`] is fed the bytes of one publication, cut anywhere, and says what they are: which
//! [`Container`], which tracks, and where a decoder that was not there before may [join](Join).
//! A [`Remuxer`] turns a container that browsers cannot play into fragmented MP4.
//!
//! ```text
//! ┌────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ What a scanner reports depends on the bytes alone, never on how they were cut into pushes. │
//! └────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Nothing in this crate copies the stream: a scanner keeps the few bytes it needs of a structure that
//! straddles two pushes, and the initialisation data. Everything that is kept has a bound.

pub mod codec;
pub mod container;
mod info;
pub mod remux;
mod report;
mod scanner;

pub use info::{Container, Info, ParseContainerError, Track, TrackKind};
pub use remux::{Fragment, Remuxer, Timeline, TrackTime};
pub use report::{Event, Join};
pub use scanner::Scanner;
