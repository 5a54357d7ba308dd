//! The scanner, given pictures one after another.

#![no_main]

use libfuzzer_sys::fuzz_target;
use relay_media::Container;

fuzz_target!(|data: &[u8]| relay_media_fuzz::scan(Some(Container::Mjpeg), data));
