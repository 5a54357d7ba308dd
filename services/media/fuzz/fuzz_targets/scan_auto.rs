//! The scanner, given any container, recognised from the bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| relay_media_fuzz::scan(None, data));
