//! Codec configuration: what the parameter sets of H.264, H.265, AAC, VP9, AV1 and Opus tell.
//!
//! Nothing here decodes. Every parser takes a whole structure, allocates at most what it returns, and answers
//! `None` to bytes that are not what they claim to be.

pub mod aac;
pub mod av1;
pub mod bits;
pub mod h264;
pub mod h265;
pub mod mp3;
pub(crate) mod nal;
pub mod opus;
pub mod vp9;

/// Widest and highest picture taken at its word, in pixels: level 6.2 of both H.264 and H.265 ends below it, so
/// more means that the bits are not a parameter set.
const PICTURE_SIDE_MAX: u32 = 16_888;
