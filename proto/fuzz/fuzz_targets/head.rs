//! The beginning of a snapshot: reading it never panics, and what was read is written and read back the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use relay_proto::backbone::{head_body, parse_head};

fuzz_target!(|body: &[u8]| {
    let Ok((head, init, preamble)) = parse_head(body) else { return };
    let join = head.join.as_ref();
    assert_eq!(join.map_or(0, |join| join.init), init.len() as u64);
    assert_eq!(join.map_or(0, |join| join.preamble), preamble.len() as u64);
    let written = head_body(&head, init, preamble);
    // Members that are not known are passed over, and numbers lose their odd spellings, so only the second time is exact.
    let (again, init_again, preamble_again) = parse_head(&written).expect("what is written can be read");
    assert_eq!((&again, init_again, preamble_again), (&head, init, preamble));
    assert_eq!(head_body(&again, init_again, preamble_again), written);
});
