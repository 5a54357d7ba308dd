//! Where published bytes come from: a file or a pipe, read by a thread of its own.
//!
//! A thread, because a read from a pipe cannot be given up: it would keep the runtime from ending. The bound of the
//! channel is the back-pressure on whoever writes the pipe.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

/// Bytes of one read: what a Linux pipe holds.
const READ_BYTES: usize = 64 * 1024;
/// Reads that may be ahead of the socket.
const READS_AHEAD: usize = 4;

/// The bytes, in order; the end of the channel is the end of the input.
pub(crate) type Input = mpsc::Receiver<io::Result<Bytes>>;

/// Opens a file, or standard input for `-`.
pub(crate) fn open(path: &Path) -> io::Result<Input> {
    let file = if path == Path::new("-") {
        File::from(io::stdin().as_fd().try_clone_to_owned()?)
    } else {
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        file
    };
    Ok(read(file))
}

/// Reads a file that is open.
pub(crate) fn read(mut file: File) -> Input {
    let (sender, receiver) = mpsc::channel(READS_AHEAD);
    std::thread::spawn(move || {
        loop {
            let mut buffer = BytesMut::zeroed(READ_BYTES);
            let read = match file.read(&mut buffer) {
                Ok(0) => return,
                Ok(len) => {
                    buffer.truncate(len);
                    Ok(buffer.freeze())
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let last = read.is_err();
            // Without a receiver nobody wants the rest.
            if sender.blocking_send(read).is_err() || last {
                return;
            }
        }
    });
    receiver
}
