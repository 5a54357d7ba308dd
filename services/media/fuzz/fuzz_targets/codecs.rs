//! Every parser of codec configuration.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| relay_media_fuzz::codecs(data));
