//! Where received bytes go: a file or a pipe, written by a thread of its own, because a write to a pipe may block for
//! ever.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

/// Chunks that may wait for the output. When it is full the socket is not read, and the node decides what a slow
/// receiver gets.
const CHUNKS_AHEAD: usize = 16;

/// An open output.
#[derive(Debug)]
pub(crate) struct Output {
    chunks: mpsc::Sender<Bytes>,
    done: oneshot::Receiver<io::Result<()>>,
}

/// Opens a file, emptied, or standard output for `-`.
pub(crate) fn open(path: &Path) -> io::Result<Output> {
    let file = if path == Path::new("-") {
        File::from(io::stdout().as_fd().try_clone_to_owned()?)
    } else {
        File::create(path)?
    };
    Ok(write(file))
}

fn write(mut file: File) -> Output {
    let (chunks, mut queue) = mpsc::channel::<Bytes>(CHUNKS_AHEAD);
    let (sender, done) = oneshot::channel();
    std::thread::spawn(move || {
        let mut result = Ok(());
        while let Some(chunk) = queue.blocking_recv() {
            result = file.write_all(&chunk);
            if result.is_err() {
                break;
            }
        }
        // Closed before it is told, so that whoever waits for the end sees whoever reads the pipe see it too.
        drop((queue, file));
        let _ = sender.send(result);
    });
    Output { chunks, done }
}

impl Output {
    /// Hands over a chunk. `false` when the output is broken; [`Output::finish`] says why.
    pub(crate) async fn chunk(&self, chunk: Bytes) -> bool {
        self.chunks.send(chunk).await.is_ok()
    }

    /// Returns when the output is broken, otherwise never.
    pub(crate) async fn broken(&self) {
        self.chunks.closed().await;
    }

    /// Waits until everything is written. Whoever reads the pipe may stop reading: that is no error.
    pub(crate) async fn finish(self) -> io::Result<()> {
        drop(self.chunks);
        match self.done.await {
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Ok(result) => result,
            Err(_) => Err(io::Error::other("the writing thread is gone")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_is_written_before_the_end() {
        let (reader, writer) = io::pipe().unwrap();
        let output = write(File::from(std::os::fd::OwnedFd::from(writer)));
        for chunk in ["a", "bc", "def"] {
            assert!(output.chunk(Bytes::from_static(chunk.as_bytes())).await);
        }
        output.finish().await.unwrap();
        assert_eq!(io::read_to_string(reader).unwrap(), "abcdef");
    }

    #[tokio::test]
    async fn a_reader_that_leaves_ends_it_quietly() {
        let (reader, writer) = io::pipe().unwrap();
        let output = write(File::from(std::os::fd::OwnedFd::from(writer)));
        drop(reader);
        assert!(output.chunk(Bytes::from_static(b"x")).await);
        output.broken().await;
        assert!(!output.chunk(Bytes::from_static(b"y")).await);
        output.finish().await.unwrap();
    }
}
