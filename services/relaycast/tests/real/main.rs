//! The real binary in real processes, on free ports. Needs ffmpeg.

mod command_line;
mod streams;
mod support;
