//! The real binary in real processes, on free ports. Needs ffmpeg.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says where; clippy exempts only the test functions"
)]

mod command_line;
mod streams;
mod support;
