//! The smallest streams in which a node finds init and join points.

/// A picture of 16 by 8 that carries a number. Pictures one after another are MJPEG, and each is a join point.
pub(crate) fn picture(number: u8) -> Vec<u8> {
    [
        &[0xFF, 0xD8][..],
        // A frame header of one component.
        &[0xFF, 0xC0, 0, 11, 8, 0, 8, 0, 16, 1, 1, 0x11, 0],
        // A scan, its entropy-coded data, and the end of the picture.
        &[0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 63, 0, number % 0xFF, 0xFF, 0xD9],
    ]
    .concat()
}

/// What an FLV stream of H.264 begins with: file header, metadata with a picture size, and a sequence header.
pub(crate) fn flv_init(mark: u8) -> Vec<u8> {
    let double = |value: f64| [&[0][..], &value.to_be_bytes()].concat();
    let metadata = [
        &b"\x02\0\x0AonMetaData\x08\0\0\0\x02"[..],
        b"\0\x05width",
        &double(16.0),
        b"\0\x06height",
        &double(8.0),
        b"\0\0\x09",
    ]
    .concat();
    let record = [0x17, 0, 0, 0, 0, 1, 0x42, 0xC0, mark, 0xFF, 0xE0, 0];
    [&b"FLV\x01\x01\0\0\0\x09\0\0\0\0"[..], &tag(18, &metadata), &tag(9, &record)].concat()
}

/// A tag that a decoder may start with.
pub(crate) fn flv_key(number: u8) -> Vec<u8> {
    tag(9, &[0x17, 1, 0, 0, 0, 0, 0, 0, 1, number])
}

/// A tag that it may not start with.
pub(crate) fn flv_delta(number: u8) -> Vec<u8> {
    tag(9, &[0x27, 1, 0, 0, 0, 0, 0, 0, 1, number])
}

/// A tag with the time 0, so that the init of every join point is the one the stream began with.
fn tag(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap();
    [&[kind][..], &len.to_be_bytes()[1..], &[0; 7], body, &(len + 11).to_be_bytes()].concat()
}

/// A picture that carries these bytes; they must not look like markers.
pub(crate) fn picture_of(bytes: &[u8]) -> Vec<u8> {
    let mut picture = picture(0);
    let end = picture.len() - 2;
    picture.truncate(end);
    picture.extend_from_slice(bytes);
    picture.extend([0xFF, 0xD9]);
    picture
}

/// A tag that a decoder may start with, and that carries these bytes.
pub(crate) fn flv_key_of(bytes: &[u8]) -> Vec<u8> {
    tag(9, &[&[0x17, 1, 0, 0, 0][..], bytes].concat())
}
