use proptest::prelude::*;
use relay_proto::kerberos::Scalar;

use super::*;

/// A JPEG as far as its ends go, with this in it.
fn jpeg(len: usize, fill: u8) -> Vec<u8> {
    [&[0xFF, 0xD8][..], &vec![fill; len], &[0xFF, 0xD9]].concat()
}

fn piece_of(picture: &[u8], id: i64, index: usize, size: usize) -> Value<'static> {
    let count = picture.len().div_ceil(size);
    let chunk = &picture[index * size..picture.len().min((index + 1) * size)];
    Value {
        id: Scalar::Integer(id),
        chunk: Scalar::Text(base64::encode(chunk).into()),
        chunk_index: Scalar::Integer(index as i64),
        chunk_size: Scalar::Integer(size as i64),
        chunk_count: Scalar::Integer(count as i64),
        ..Value::default()
    }
}

fn pieces(picture: &[u8], id: i64, size: usize) -> Vec<Value<'static>> {
    (0..picture.len().div_ceil(size)).map(|index| piece_of(picture, id, index, size)).collect()
}

fn is_empty(assembler: &Assembler) -> bool {
    assembler.sets.is_empty() && assembler.ends.is_empty() && assembler.bytes == 0
}

#[test]
fn a_whole_picture_is_a_jpeg_or_nothing() {
    assert_eq!(whole(base64::encode(jpeg(9, 1)).as_bytes()).unwrap().bytes(), jpeg(9, 1));
    assert_eq!(whole(b"/9j/*"), Err(Bad::Base64));
    for bytes in [&[][..], &[0xFF, 0xD8], &[0xFF, 0xD8, 0xD9], &[0xFF, 0xD8, 1, 2], &[0x89, b'P', 0xFF, 0xD9]]
    {
        assert_eq!(whole(base64::encode(bytes).as_bytes()), Err(Bad::Jpeg), "{bytes:?}");
    }
}

#[test]
fn the_largest_picture_comes_through_and_no_larger_one() {
    assert!(whole(base64::encode(jpeg(PICTURE_BYTES_MAX - 4, 1)).as_bytes()).is_ok());
    assert_eq!(whole(base64::encode(jpeg(PICTURE_BYTES_MAX - 3, 1)).as_bytes()), Err(Bad::Size));
    assert_eq!(whole("A".repeat(10 << 20).as_bytes()), Err(Bad::Size));
}

#[test]
fn pieces_out_of_order_and_twice_make_the_picture_once() {
    let mut assembler = Assembler::default();
    let picture = jpeg(60_000, 5);
    let pieces = pieces(&picture, 7, 25_600);
    let mut came = Vec::new();
    for index in [2, 0, 0, 2, 1, 1, 0, 2] {
        came.extend(assembler.piece(0, &pieces[index], 10).unwrap());
    }
    assert_eq!(came, [Picture::from(picture.as_slice())]);
    assert!(is_empty(&assembler));
}

#[test]
fn a_set_that_lacks_a_piece_is_dropped_after_three_seconds() {
    let mut assembler = Assembler::default();
    let pieces = pieces(&jpeg(60, 5), 7, 40);
    assert_eq!(assembler.piece(0, &pieces[0], 10), Ok(None));
    assert_eq!(assembler.next(), Some(10 + SET_MS_MAX));
    assert_eq!(assembler.expire(9 + SET_MS_MAX), 0);
    assert_eq!(assembler.expire(10 + SET_MS_MAX), 1);
    assert!(is_empty(&assembler));
    assert_eq!(assembler.piece(0, &pieces[1], 11 + SET_MS_MAX), Ok(None));
}

#[test]
fn a_newer_picture_ends_the_older_one_that_is_not_whole() {
    let mut assembler = Assembler::default();
    let (old, new) = (pieces(&jpeg(60, 5), 7, 40), pieces(&jpeg(60, 6), 8, 40));
    assert_eq!(assembler.piece(0, &old[0], 0), Ok(None));
    assert_eq!(assembler.piece(0, &new[0], 1), Ok(None));
    assert_eq!(assembler.piece(0, &new[1], 2).unwrap().unwrap().bytes(), jpeg(60, 6));
    assert!(is_empty(&assembler));
    assert_eq!(assembler.piece(0, &old[1], 3), Ok(None));
    assert!(is_empty(&assembler), "a late piece begins nothing");
}

#[test]
fn another_picture_of_the_same_second_begins_the_set_anew() {
    let mut assembler = Assembler::default();
    let (one, other) = (pieces(&jpeg(60, 5), 7, 40), pieces(&jpeg(60, 6), 7, 40));
    assert_eq!(assembler.piece(0, &one[0], 0), Ok(None));
    assert_eq!(assembler.piece(0, &other[0], 1), Ok(None));
    assert_eq!(assembler.piece(0, &other[1], 2).unwrap().unwrap().bytes(), jpeg(60, 6));

    let longer = pieces(&jpeg(100, 8), 9, 40);
    let shorter = pieces(&jpeg(60, 9), 9, 40);
    assert_eq!(assembler.piece(0, &longer[0], 3), Ok(None));
    assert_eq!(assembler.piece(0, &shorter[1], 4), Ok(None));
    assert_eq!(assembler.piece(0, &shorter[0], 5).unwrap().unwrap().bytes(), jpeg(60, 9));
}

#[test]
fn a_device_whose_clock_went_back_is_seen_again_after_three_seconds() {
    let mut assembler = Assembler::default();
    let picture = jpeg(10, 1);
    assert!(assembler.piece(0, &piece_of(&picture, 1_000, 0, 40), 0).unwrap().is_some());
    assert_eq!(assembler.piece(0, &piece_of(&picture, 5, 0, 40), SET_MS_MAX - 1), Ok(None));
    assert!(assembler.piece(0, &piece_of(&picture, 6, 0, 40), SET_MS_MAX).unwrap().is_some());
}

#[test]
fn devices_do_not_share_sets() {
    let mut assembler = Assembler::default();
    let (one, other) = (pieces(&jpeg(60, 5), 7, 40), pieces(&jpeg(60, 6), 7, 40));
    assert_eq!(assembler.piece(0, &one[0], 0), Ok(None));
    assert_eq!(assembler.piece(1, &other[1], 0), Ok(None));
    assert_eq!(assembler.piece(1, &other[0], 0).unwrap().unwrap().bytes(), jpeg(60, 6));
    assert_eq!(assembler.piece(0, &one[1], 0).unwrap().unwrap().bytes(), jpeg(60, 5));
}

#[test]
fn what_pieces_claim_is_bounded() {
    let mut assembler = Assembler::default();
    let claim = |count: i64, size: i64, index: i64| Value {
        chunk_count: Scalar::Integer(count),
        chunk_size: Scalar::Integer(size),
        chunk_index: Scalar::Integer(index),
        ..piece_of(&jpeg(10, 1), 1, 0, 40)
    };
    let at_the_bound = CHUNKS_MAX as i64;
    assert_eq!(assembler.piece(0, &claim(at_the_bound, 1024, 0), 0), Ok(None));
    assert_eq!(assembler.piece(0, &claim(at_the_bound + 1, 1, 0), 0), Err(Bad::Size));
    assert_eq!(assembler.piece(0, &claim(at_the_bound, 1025, 0), 0), Err(Bad::Size));
    assert_eq!(assembler.piece(0, &claim(2, i64::MAX, 0), 0), Err(Bad::Size));
    for (count, size, index) in [(0, 1, 0), (2, 1, 2), (2, 1, -1), (-1, 1, 0), (2, -1, 0)] {
        assert_eq!(assembler.piece(0, &claim(count, size, index), 0), Err(Bad::Chunk));
    }
    let empty = Value { chunk: Scalar::Text("".into()), ..claim(2, 1, 0) };
    assert_eq!(assembler.piece(0, &empty, 0), Err(Bad::Chunk));
    assembler.forget(0);
    assert!(is_empty(&assembler));
}

#[test]
fn pieces_that_are_larger_than_they_claim_are_counted_as_they_are() {
    let mut assembler = Assembler::default();
    let big = |index: i64, bytes: usize| Value {
        chunk: Scalar::Text(base64::encode(vec![1; bytes]).into()),
        chunk_index: Scalar::Integer(index),
        chunk_count: Scalar::Integer(3),
        chunk_size: Scalar::Nothing,
        ..piece_of(&jpeg(10, 1), 1, 0, 40)
    };
    assert_eq!(assembler.piece(0, &big(0, PICTURE_BYTES_MAX - 1), 0), Ok(None));
    assert_eq!(assembler.piece(0, &big(1, 1), 0), Ok(None));
    assert_eq!(assembler.piece(0, &big(2, 1), 0), Err(Bad::Size));
    assert!(is_empty(&assembler));
}

#[test]
fn a_device_has_two_sets_and_all_together_a_bounded_space() {
    let mut assembler = Assembler::default();
    for id in 1..=3 {
        assert_eq!(assembler.piece(0, &piece_of(&jpeg(60, 5), id, 0, 40), id as u64), Ok(None));
    }
    assert_eq!(assembler.keys(0), [(0, 2), (0, 3)]);

    let half = Value {
        chunk: Scalar::Text(base64::encode(vec![1; PICTURE_BYTES_MAX / 2]).into()),
        chunk_size: Scalar::Nothing,
        ..piece_of(&jpeg(60, 5), 1, 0, 40)
    };
    let results: Vec<_> = (1..=2 * WAITING_BYTES_MAX / PICTURE_BYTES_MAX)
        .map(|device| assembler.piece(device, &half, 0))
        .collect();
    assert!(results.contains(&Ok(None)) && results.last() == Some(&Err(Bad::Full)));
    assert!(assembler.bytes <= WAITING_BYTES_MAX);
    assert!(assembler.expire(SET_MS_MAX + 3) > 0);
    assert!(is_empty(&assembler));
}

proptest! {
    #[test]
    fn loss_repetition_and_disorder_never_make_a_wrong_picture(
        len in 1_usize..400, size in 1_usize..120, order in prop::collection::vec((0_i64..4, 0_usize..400), 0..200),
    ) {
        let mut assembler = Assembler::default();
        let picture = |id: i64| jpeg(len + id as usize, id as u8);
        for (at, (id, index)) in order.into_iter().enumerate() {
            let own = picture(id);
            let index = index % own.len().div_ceil(size);
            if let Some(came) = assembler.piece(0, &piece_of(&own, id, index, size), at as u64 * 50).unwrap() {
                prop_assert_eq!(came.bytes(), own);
            }
            assembler.expire(at as u64 * 50);
        }
        assembler.forget(0);
        prop_assert!(is_empty(&assembler));
    }

    #[test]
    fn no_piece_panics(fields in prop::collection::vec((any::<i64>(), -1_i64..5, -1_i64..5, any::<i64>(), "[A-D]{0,8}"), 0..40)) {
        let mut assembler = Assembler::default();
        for (at, (id, index, count, size, chunk)) in fields.into_iter().enumerate() {
            let value = Value {
                id: Scalar::Integer(id), chunk: Scalar::Text(chunk.into()), chunk_index: Scalar::Integer(index),
                chunk_count: Scalar::Integer(count), chunk_size: Scalar::Integer(size), ..Value::default()
            };
            let _ = assembler.piece(at % 3, &value, at as u64);
        }
    }
}
