//! What the fuzz targets call: no interface, and nothing but assertions.

use crate::chunk::{Message, Reader, Room};
use crate::server::{Event, Limits, Server};
use crate::{Error, amf0, handshake};

const MESSAGE_BYTES_MAX: usize = 1000;

/// Reads values, and what was read again after it is written.
pub fn amf0(bytes: &[u8]) {
    let values = amf0::read_some(bytes);
    let mut written = Vec::new();
    values.iter().for_each(|value| value.write(&mut written));
    let again = amf0::read_all(&written).expect("what is written can be read");
    assert_eq!(again.len(), values.len());
}

/// Reads a chunk stream whole and in pieces, and checks that it is the same.
pub fn chunks(bytes: &[u8], chunk_bytes: usize, piece: usize) {
    let read = |piece: usize| -> Result<Vec<Message>, Error> {
        let mut reader = Reader::new(MESSAGE_BYTES_MAX, Room { before: 3, after: 2 });
        reader.set_chunk_bytes(chunk_bytes);
        let mut messages = Vec::new();
        for mut input in bytes.chunks(piece) {
            while let Some(message) = reader.take(&mut input)? {
                messages.push(message);
            }
        }
        Ok(messages)
    };
    assert_eq!(read(piece.max(1)), read(usize::MAX));
}

/// Runs a whole connection in pieces, from behind its handshake or from before, and lets the server say yes to everything.
pub fn connection(bytes: &[u8], shaken: bool, piece: usize) {
    let limits = Limits { message_bytes_max: MESSAGE_BYTES_MAX, room_before: 3, room_after: 2 };
    let mut server = Server::new(limits, 1);
    if shaken {
        let shake = [handshake::first(1), vec![0; handshake::PACKET_BYTES]].concat();
        assert_eq!(server.take(&mut &shake[..]), Ok(None));
    }
    for mut input in bytes.chunks(piece.max(1)) {
        loop {
            match server.take(&mut input) {
                Ok(Some(Event::Connect { .. })) => server.accept_connection(),
                Ok(Some(Event::Publish { .. })) => server.accept_stream(),
                Ok(Some(Event::Media(media))) => assert!(
                    media.body.len() > 3
                        && media.body.len() <= 3 + MESSAGE_BYTES_MAX.max(crate::COMMAND_BYTES_MAX)
                ),
                Ok(Some(Event::Unpublish)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        server.output().clear();
    }
}
