//! The scanner, given FLV.

#![no_main]

use libfuzzer_sys::fuzz_target;
use relay_media::Container;

fuzz_target!(|data: &[u8]| relay_media_fuzz::scan(Some(Container::Flv), data));
