//! What the path of a chunk costs between the sockets: its bytes unmasked and decoded, its envelope, and its place in
//! the ring. Nothing here touches a socket, memory comes from the system's allocator, and what is worked on stays in the
//! processor's cache: these are upper bounds.

#![allow(missing_docs, reason = "a benchmark documents nothing")]

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use relay_edge::bench::{Chunk, Ring, decode, unmask, unmask_onto};

const KEY: [u8; 4] = [0x11, 0x22, 0x44, 0x88];

const KIB: usize = 1 << 10;

/// Read from a publisher's socket at once.
const READ_BYTES: usize = 64 * KIB;

/// Frames that are decoded in one run, about.
const DECODED_BYTES: usize = 1024 * KIB;

/// Chunks from one join point to the next: two seconds of 25 pictures, a chunk each.
const GOP_CHUNKS: usize = 50;

fn main() {
    divan::main();
}

#[divan::bench(args = [KIB, 8 * KIB, 64 * KIB, 1024 * KIB])]
fn unmask_in_place(bencher: Bencher<'_, '_>, len: usize) {
    let mut payload = vec![7; len];
    bencher.counter(BytesCount::new(len)).bench_local(|| unmask(KEY, black_box(&mut payload)));
}

#[divan::bench(args = [KIB, 8 * KIB, 64 * KIB, 1024 * KIB])]
fn unmask_while_copying(bencher: Bencher<'_, '_>, len: usize) {
    let masked = vec![7; len];
    let mut payload = Vec::with_capacity(len);
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        payload.clear();
        unmask_onto(KEY, black_box(&masked), black_box(&mut payload));
    });
}

/// A chunk's memory is taken and given back too.
#[divan::bench(args = [KIB, 8 * KIB, 64 * KIB])]
fn decode_frames(bencher: Bencher<'_, '_>, len: usize) {
    let chunks = DECODED_BYTES / len;
    let bytes = masked_frame(len).repeat(chunks);
    assert_eq!(decode(&bytes, READ_BYTES), chunks);
    bencher
        .counter(BytesCount::of_slice(&bytes))
        .counter(ItemsCount::new(chunks))
        .bench_local(|| decode(black_box(&bytes), READ_BYTES));
}

/// The same, for a chunk that we make ourselves.
#[divan::bench(args = [KIB, 8 * KIB, 64 * KIB])]
fn envelope(bencher: Bencher<'_, '_>, len: usize) {
    let payload = vec![7; len];
    bencher.counter(BytesCount::new(len)).bench_local(|| drop(Chunk::copy_from(black_box(&payload))));
}

/// Into a full ring: the oldest chunk goes, and its memory with it.
#[divan::bench(args = [KIB, 8 * KIB, 64 * KIB])]
fn ring_push(bencher: Bencher<'_, '_>, len: usize) {
    let payload = vec![7; len];
    let mut ring = Ring::full(&payload, GOP_CHUNKS);
    bencher
        .counter(ItemsCount::new(1_usize))
        .with_inputs(|| Chunk::copy_from(&payload))
        .bench_local_values(|chunk| ring.push(chunk));
}

/// The newest join point, and the first batch from there.
#[divan::bench(args = [KIB, 8 * KIB, 64 * KIB])]
fn ring_join(bencher: Bencher<'_, '_>, len: usize) {
    let mut ring = Ring::full(&vec![7; len], GOP_CHUNKS);
    let chunks = ring.join();
    assert!(chunks > 0);
    bencher.counter(ItemsCount::new(chunks)).bench_local(|| black_box(&mut ring).join());
}

/// What a crew reads of chunks of 8 KiB when it is so many behind: no more than one batch.
#[divan::bench(args = [1, 4, 16, 64])]
fn ring_read(bencher: Bencher<'_, '_>, behind: usize) {
    let mut ring = Ring::full(&vec![7; 8 * KIB], GOP_CHUNKS);
    let chunks = ring.catch_up(behind);
    assert!(chunks > 0);
    bencher.counter(ItemsCount::new(chunks)).bench_local(|| black_box(&mut ring).catch_up(behind));
}

/// A whole message of this length, as a client sends it (RFC 6455, section 5.2). Any bytes are a masked payload.
fn masked_frame(len: usize) -> Vec<u8> {
    let mut frame = vec![0x82];
    match u16::try_from(len) {
        Ok(len) => {
            assert!(len > 125, "a length of one byte is another header");
            frame.push(0x80 | 126);
            frame.extend(len.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(KEY);
    frame.resize(frame.len() + len, 7);
    frame
}
