//! Parts of bodies, as a bad node or a bad network might send them: joining them never panics, keeps no more than it may,
//! and gives nothing but bodies whose parts came one after the other, from the first to the last, with no part of another
//! between them.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use relay_proto::Epoch;
use relay_proto::backbone::{Body, Envelope, Flags, Joined, Joiner, Kind};

const BODY_BYTES_MAX: usize = 64;

/// Bytes of the input that make one message.
const MESSAGE_BYTES: usize = 5;

/// Few values each, so that parts often fit together.
fn message(input: &[u8]) -> Body {
    let [kind, seq, part, parts, len] = *input else { unreachable!("chunks are exact") };
    let parts = u16::from(parts % 5) + 1;
    let envelope = Envelope {
        kind: Kind::ALL[usize::from(kind) % Kind::ALL.len()],
        flags: Flags { init: kind & 0x80 != 0, ..Flags::default() },
        part: u16::from(part) % parts,
        parts,
        epoch: Epoch::new(u64::from(seq & 0x80)),
        seq: u64::from(seq & 3),
    };
    // The bytes of a part tell which it is.
    Body { envelope, bytes: Bytes::from(vec![part; usize::from(len) % (BODY_BYTES_MAX + 8)]) }
}

fuzz_target!(|input: &[u8]| {
    let mut joiner = Joiner::new(BODY_BYTES_MAX);
    // Parts since the last first one.
    let mut run: Vec<Body> = Vec::new();
    for input in input.chunks_exact(MESSAGE_BYTES) {
        let body = message(input);
        if body.envelope.parts == 1 {
            // Stands for itself, between the parts of another too.
            let fits = body.bytes.len() <= BODY_BYTES_MAX;
            let expected = if fits { Joined::Whole(body.clone()) } else { Joined::Dropped };
            assert_eq!(joiner.push(body), expected);
            continue;
        }
        if body.envelope.part == 0 {
            run.clear();
        }
        run.push(body.clone());
        match joiner.push(body) {
            Joined::Whole(whole) => {
                let first = run[0].envelope;
                assert_eq!(whole.envelope, first);
                assert_eq!(run.len(), usize::from(first.parts));
                for (part, body) in (0..).zip(&run) {
                    assert_eq!(body.envelope, Envelope { part, ..first });
                }
                let bytes: Vec<u8> = run.iter().flat_map(|body| body.bytes.iter().copied()).collect();
                assert!(bytes.len() <= BODY_BYTES_MAX);
                assert_eq!(whole.bytes, bytes);
            }
            Joined::Begun => {
                let kept: usize = run.iter().map(|body| body.bytes.len()).sum();
                assert!(kept <= BODY_BYTES_MAX, "{kept} bytes");
            }
            Joined::Dropped => {}
        }
    }
});
