//! The remuxer, given transport streams.

#![no_main]

use libfuzzer_sys::fuzz_target;
use relay_media::Container;

fuzz_target!(|data: &[u8]| relay_media_fuzz::remux(Container::MpegTs, data));
