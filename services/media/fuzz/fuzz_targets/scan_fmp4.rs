//! The scanner, given fragmented MP4.

#![no_main]

use libfuzzer_sys::fuzz_target;
use relay_media::Container;

fuzz_target!(|data: &[u8]| relay_media_fuzz::scan(Some(Container::Fmp4), data));
