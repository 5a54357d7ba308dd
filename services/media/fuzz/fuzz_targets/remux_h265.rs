//! The remuxer, given byte streams of H.265.

#![no_main]

use libfuzzer_sys::fuzz_target;
use relay_media::Container;

fuzz_target!(|data: &[u8]| relay_media_fuzz::remux(Container::H265, data));
