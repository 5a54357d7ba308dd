//! A request target: parsing it never panics, what was parsed prints as it came, and a query changes neither channel
//! nor key nor kind.

#![no_main]

use libfuzzer_sys::fuzz_target;
use relay_proto::websocket::{ReceiveOptions, Target};

fuzz_target!(|text: &str| {
    let parsed = text.parse::<Target>();
    let path = text.split_once('?').map_or(text, |(path, _)| path);
    let bare = path.parse::<Target>();
    match (&parsed, &bare) {
        (Ok(parsed), Ok(bare)) => {
            assert_eq!(bare.options, ReceiveOptions::default());
            assert!(parsed.channel == bare.channel && parsed.key == bare.key && parsed.kind == bare.kind);
            assert_eq!(path, format!("/{}/{}/{}", parsed.channel, parsed.key.expose(), parsed.kind));
        }
        (Err(parsed), Err(bare)) => assert_eq!(parsed, bare),
        other => panic!("a query decides: {other:?}"),
    }
});
