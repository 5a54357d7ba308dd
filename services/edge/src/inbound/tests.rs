use proptest::prelude::*;

use super::script::{check, receive};
use super::*;

const FIN: u8 = 0x80;
const MAX: usize = 1000;

/// A masked frame.
fn frame(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        0..=125 => frame.push(0x80 | payload.len() as u8),
        126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend((payload.len() as u16).to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A frame with some mask.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, [0x11, 0x22, 0x44, 0x88], payload)
}

fn all(bytes: &[u8]) -> Vec<Received> {
    check(bytes, MAX, 7, 100);
    receive(bytes, MAX, usize::MAX, usize::MAX).received
}

fn binary(payload: &[u8]) -> Received {
    Received::Binary(Chunk::copy_from(payload))
}

const VIOLATION: Received = Received::Invalid(Close::ProtocolViolation);
const BAD_TEXT: Received = Received::Invalid(Close::BadText);
const TOO_BIG: Received = Received::Invalid(Close::ChunkTooBig);

#[test]
fn fragments_with_a_ping_between_are_one_chunk() {
    let bytes = [masked(0x02, b"a"), masked(0x89, b"?"), masked(0x80, b"b"), masked(0x81, b"h")].concat();
    assert_eq!(all(&bytes), [Received::Sign, binary(b"ab"), Received::Heartbeat, Received::Lost]);
    assert_eq!(receive(&bytes, MAX, 1, 1).answers, b"\x8A\x01?");
}

#[test]
fn a_message_has_at_most_its_bound() {
    assert_eq!(all(&masked(0x82, &[7; MAX])), [binary(&[7; MAX]), Received::Lost]);
    for opcode in [1, 2, 9] {
        assert_eq!(all(&masked(FIN | opcode, &[0; MAX + 1])), [TOO_BIG]);
    }
    for opcode in [1, 2] {
        let all_but_last = [masked(opcode, &[b'x'; MAX - 1]), masked(0, b""), masked(0, b"y")].concat();
        let whole = all(&[&all_but_last[..], &masked(0x80, b"")].concat());
        assert!(matches!(whole[..], [Received::Binary(_) | Received::Text, Received::Lost]), "{whole:?}");
        assert_eq!(all(&[&all_but_last[..], &masked(0x80, b"z")].concat()), [TOO_BIG]);
    }
}

#[test]
fn a_length_beyond_all_bounds_is_too_big() {
    for len in [1 << 32, u64::MAX >> 1, u64::MAX] {
        assert_eq!(all(&[&[0x82, 0xFF][..], &len.to_be_bytes(), &[0; 4]].concat()), [TOO_BIG]);
    }
}

#[test]
fn a_control_frame_has_at_most_125_bytes() {
    for opcode in [9, 10] {
        assert_eq!(all(&masked(FIN | opcode, &[0; 125])), [Received::Sign, Received::Lost]);
        assert_eq!(all(&masked(FIN | opcode, &[0; 126])), [VIOLATION]);
    }
    let close = |len| [&1000_u16.to_be_bytes()[..], &vec![b'x'; len]].concat();
    assert_eq!(all(&masked(0x88, &close(123))), [Received::Closed(Farewell::Done)]);
    assert_eq!(all(&masked(0x88, &close(124))), [VIOLATION]);
}

#[test]
fn a_length_takes_as_few_bytes_as_it_can() {
    let of_two = |len: u16| [&[0x82, 0xFE][..], &len.to_be_bytes(), &[0; 4], &vec![0; len.into()]].concat();
    let of_eight =
        |len: u64| [&[0x82, 0xFF][..], &len.to_be_bytes(), &[0; 4], &vec![0; len as usize]].concat();
    let first = |bytes: &[u8]| receive(bytes, 1 << 20, usize::MAX, usize::MAX).received.remove(0);
    assert_eq!(first(&of_two(125)), VIOLATION);
    assert_eq!(first(&of_two(126)), binary(&[0; 126]));
    assert_eq!(first(&of_eight(0xFFFF)), VIOLATION);
    assert_eq!(first(&of_eight(0x1_0000)), binary(&[0; 0x1_0000]));
}

#[test]
fn what_a_header_breaks_is_told_without_the_payload() {
    for first in [0x83, 0x8B, 0xC2, 0xA2, 0x92, 0x09, 0x08, 0x80] {
        assert_eq!(all(&masked(first, b"xx")[..6]), [VIOLATION], "{first:x}");
    }
    assert_eq!(all(&[0x82, 2]), [VIOLATION], "not masked");
    assert_eq!(all(&[masked(0x02, b"a"), masked(0x82, b"b")].concat()), [VIOLATION]);
    assert_eq!(all(&[masked(0x01, b"a"), masked(0x81, b"b")].concat()), [VIOLATION]);
}

#[test]
fn only_the_heartbeat_is_the_heartbeat() {
    for text in [&b""[..], b"H", b"hh", b"h\n", &[b'h'; 300]] {
        assert_eq!(all(&masked(0x81, text)), [Received::Text, Received::Lost]);
    }
    let in_fragments = [masked(0x01, b""), masked(0x00, b"h"), masked(0x80, b"")].concat();
    assert_eq!(all(&in_fragments), [Received::Heartbeat, Received::Lost]);
}

#[test]
fn text_is_utf_8_whatever_its_fragments() {
    let text = "ä€😀".as_bytes();
    let cut =
        [masked(0x01, &text[..4]), masked(0x89, b""), masked(0x00, &text[4..6]), masked(0x80, &text[6..])];
    assert_eq!(all(&cut.concat()), [Received::Sign, Received::Text, Received::Lost]);
    assert_eq!(all(&masked(0x81, &text[..4])), [BAD_TEXT]);
    assert_eq!(all(&[masked(0x01, &text[..4]), masked(0x80, b"x")].concat()), [BAD_TEXT]);
    assert_eq!(
        all(&[masked(0x01, &[0xFF]), masked(0x82, b"")].concat()),
        [BAD_TEXT],
        "the first rule broken"
    );
    let long = [vec![b'x'; TEXT_BYTES - 1], text.to_vec()].concat();
    assert_eq!(all(&masked(0x81, &long)), [Received::Text, Received::Lost]);
}

#[test]
fn codes_of_trouble_are_told_from_those_of_an_end() {
    let close = |payload: &[u8]| all(&masked(0x88, payload));
    for done in [&b""[..], &[3, 232], &[3, 233], &[3, 232, b'x']] {
        assert_eq!(close(done), [Received::Closed(Farewell::Done)]);
    }
    for trouble in [&[3, 243][..], &[0x11, 0x93], &[0, 0], &[3, 237], &[0xFF, 0xFF]] {
        assert_eq!(close(trouble), [Received::Closed(Farewell::Trouble)]);
    }
    assert_eq!(close(&[3]), [VIOLATION]);
    assert_eq!(close(&[3, 232, 0xC3, 0x28]), [BAD_TEXT]);
    assert_eq!(close(&[3, 232, 0xC3]), [BAD_TEXT]);
}

#[test]
fn a_receiver_costs_few_bytes() {
    assert!(size_of::<Decoder>() <= 160, "{}", size_of::<Decoder>());
}

/// Sizes at which the form of a header or of a buffer changes.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0usize..300,
        2 => prop::sample::select(vec![0, 1, 63, 64, 65, 124, 125, 126, 127, 999, 1000, 1001]),
        1 => prop::sample::select(vec![65_534, 65_535, 65_536, 65_537, 262_144, 262_145]),
    ]
}

prop_compose! {
    fn any_frame()(
        first in prop_oneof![
            8 => prop::sample::select(vec![0x02u8, 0x82, 0x00, 0x80, 0x01, 0x81, 0x89, 0x8A]),
            1 => prop::sample::select(vec![0x88u8]),
            1 => any::<u8>(),
        ],
        mask in any::<[u8; 4]>(),
        is_masked in prop::bool::weighted(0.99),
        seed in any::<u8>(),
        is_ascii in any::<bool>(),
        size in size(),
    ) -> Vec<u8> {
        let payload: Vec<u8> = (0..size).map(|at| seed.wrapping_add(at as u8) & if is_ascii { 0x7F } else { 0xFF }).collect();
        let mut frame = frame(first, mask, &payload);
        if !is_masked {
            frame[1] &= 0x7F;
        }
        frame
    }
}

proptest! {
    #[test]
    fn the_same_is_received_however_it_is_cut_and_as_others_do(
        frames in prop::collection::vec(any_frame(), 0..8),
        noise in prop::collection::vec(any::<u8>(), 0..40),
        kept in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
        message_bytes_max in prop::sample::select(vec![1000, 4096, 65_536, 1 << 20]),
        piece in prop_oneof![1usize..50, 1000usize..100_000],
        direct_min in prop::sample::select(vec![1, 100, 16_384, usize::MAX]),
    ) {
        let mut bytes = [frames.concat(), noise].concat();
        if is_cut {
            bytes.truncate(kept.index(bytes.len() + 1));
        }
        check(&bytes, message_bytes_max, piece, direct_min);
    }
}
