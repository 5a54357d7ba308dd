//! The scanner, given byte streams of H.264.

#![no_main]

use libfuzzer_sys::fuzz_target;
use relay_media::Container;

fuzz_target!(|data: &[u8]| relay_media_fuzz::scan(Some(Container::H264), data));
