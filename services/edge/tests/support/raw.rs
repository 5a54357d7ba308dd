//! A client that writes bytes, not messages: for what no websocket library would send, or leave unread.

use std::future::Future;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::{HANG, Node, Seen};

/// First bytes of frames (RFC 6455, section 5.2).
pub(crate) const FIN: u8 = 0x80;
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// The nonce of RFC 6455, section 1.3.
pub(crate) const HANDSHAKE_HEADERS: &str = "Host: node\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A connection without a protocol.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    /// Read and not yet looked at.
    ahead: Vec<u8>,
}

impl Node {
    /// Connects, and says nothing.
    pub(crate) async fn connect(&self) -> Raw {
        Raw { stream: in_time(TcpStream::connect(self.address)).await.unwrap(), ahead: vec![] }
    }

    /// Connects with a kernel that takes little for somebody who does not read.
    pub(crate) async fn connect_narrow(&self) -> Raw {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Raw { stream: in_time(socket.connect(self.address)).await.unwrap(), ahead: vec![] }
    }

    /// Connects and completes the handshake.
    pub(crate) async fn open_raw(&self, path: &str) -> Raw {
        self.connect().await.upgrade(path).await
    }
}

impl Raw {
    /// Completes the handshake.
    pub(crate) async fn upgrade(mut self, path: &str) -> Self {
        self.write(format!("GET {path} HTTP/1.1\r\n{HANDSHAKE_HEADERS}\r\n")).await;
        let head = self.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        self
    }

    /// Sends a request that ends the connection, and reads the answer.
    pub(crate) async fn ask(mut self, head: &str) -> String {
        self.write(format!("{head}Connection: close\r\n\r\n")).await;
        self.everything().await
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        in_time(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// The same, where the node may have closed already.
    pub(crate) async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        in_time(self.stream.write_all(bytes.as_ref())).await
    }

    /// Sends a masked frame.
    pub(crate) async fn send(&mut self, first: u8, payload: &[u8]) {
        self.write(frame(first, payload)).await;
    }

    /// Sends a whole binary message.
    pub(crate) async fn chunk(&mut self, payload: &[u8]) {
        self.send(FIN | BINARY, payload).await;
    }

    /// Everything up to the empty line of an answer.
    pub(crate) async fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.ahead.split_off(at + 4);
                return String::from_utf8(std::mem::replace(&mut self.ahead, rest)).unwrap();
            }
            assert!(self.read().await, "the node closed without an answer: {:?}", self.ahead);
        }
    }

    /// An answer with its body.
    pub(crate) async fn answer(&mut self) -> String {
        let head = self.head().await;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let length: usize = length.parse().unwrap();
        while self.ahead.len() < length {
            assert!(self.read().await, "the node closed within an answer");
        }
        let rest = self.ahead.split_off(length);
        head + &String::from_utf8(std::mem::replace(&mut self.ahead, rest)).unwrap()
    }

    /// Everything up to and with this.
    pub(crate) async fn until(&mut self, wanted: &str) -> String {
        loop {
            let found = self.ahead.windows(wanted.len()).position(|window| window == wanted.as_bytes());
            if let Some(at) = found {
                let rest = self.ahead.split_off(at + wanted.len());
                return String::from_utf8(std::mem::replace(&mut self.ahead, rest)).unwrap();
            }
            let more = self.read().await;
            assert!(more, "the node closed before {wanted:?}: {}", String::from_utf8_lossy(&self.ahead));
        }
    }

    /// Everything until the node closes.
    pub(crate) async fn everything(&mut self) -> String {
        while self.read().await {}
        String::from_utf8_lossy(&std::mem::take(&mut self.ahead)).into_owned()
    }

    /// The next frame: opcode and payload. `None` when the node has closed.
    pub(crate) async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((header, len)) = self.length()
                && self.ahead.len() >= header + len
            {
                let rest = self.ahead.split_off(header + len);
                let frame = std::mem::replace(&mut self.ahead, rest);
                assert_eq!(frame[0] & 0xF0, FIN, "a whole message without reserved bits");
                return Some((frame[0] & 0x0F, frame[header..].to_vec()));
            }
            if !self.read().await {
                return None;
            }
        }
    }

    /// The next thing that is neither heartbeat nor ping.
    pub(crate) async fn next(&mut self) -> Seen {
        loop {
            match self.frame().await {
                Some((BINARY, chunk)) => return Seen::Chunk(chunk),
                Some((TEXT, text)) if text == b"h" => {}
                Some((TEXT, text)) => return Seen::Text(String::from_utf8(text).unwrap()),
                Some((CLOSE, payload)) => {
                    let code = u16::from_be_bytes([payload[0], payload[1]]);
                    return Seen::Close(code, String::from_utf8(payload[2..].to_vec()).unwrap());
                }
                Some((PING | PONG, _)) => {}
                Some((opcode, _)) => panic!("opcode {opcode}"),
                None => return Seen::Lost,
            }
        }
    }

    /// Asserts that the session ends with this error and close code, and not a byte beside.
    pub(crate) async fn is_refused(&mut self, text: &str, code: u16, reason: &str) {
        match self.next().await {
            Seen::Text(seen) => assert_eq!(seen, text),
            other => panic!("an error text is expected, not {other:?}"),
        }
        assert_eq!(self.next().await, Seen::Close(code, reason.to_owned()));
        assert_eq!(self.next().await, Seen::Lost);
    }

    fn length(&self) -> Option<(usize, usize)> {
        let short = *self.ahead.get(1)?;
        assert_eq!(short & 0x80, 0, "a node does not mask");
        Some(match short {
            126 => (4, usize::from(u16::from_be_bytes(*self.ahead.get(2..)?.first_chunk()?))),
            127 => {
                let len = u64::from_be_bytes(*self.ahead.get(2..)?.first_chunk()?);
                (10, usize::try_from(len).unwrap())
            }
            short => (2, usize::from(short)),
        })
    }

    async fn read(&mut self) -> bool {
        let read = in_time(self.stream.read_buf(&mut self.ahead)).await;
        // A node that closes with bytes unread resets the connection, which is an end too.
        matches!(read, Ok(count) if count > 0)
    }
}

/// A masked frame.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x44];
    let mut frame = header(first, payload.len());
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// What stands before a masked payload of this length.
pub(crate) fn header(first: u8, len: usize) -> Vec<u8> {
    let mut header = vec![first];
    match len {
        0..=125 => header.push(0x80 | len as u8),
        126..=0xFFFF => {
            header.push(0x80 | 126);
            header.extend((len as u16).to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend((len as u64).to_be_bytes());
        }
    }
    header.extend([0x11, 0x22, 0x33, 0x44]);
    header
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(HANG, future).await.expect("done in time")
}
