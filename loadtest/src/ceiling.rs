//! The ceiling of a machine: what a relay would cost that is nothing but its system calls.
//!
//! One thread, one epoll, and for each message one write of a ready frame per receiver. There is no authorization, no
//! cache, no limit and no metric, and a receiver that is too slow grows a queue without bound: not a server to use, but
//! the one to compare servers with.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use relay_proto::websocket::{FrameHeader, Kind, OpCode, Target};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const LISTENER: Token = Token(usize::MAX);

/// Read at once from one socket.
const SCRATCH_BYTES: usize = 256 << 10;

/// Longest request of a handshake.
const REQUEST_BYTES_MAX: usize = 8 << 10;

/// Serves until the process is ended.
pub(crate) fn serve(address: SocketAddr, ready: impl FnOnce(SocketAddr)) -> io::Result<()> {
    let mut listener = TcpListener::bind(address)?;
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    ready(listener.local_addr()?);
    let mut server = Server {
        poll,
        clients: Vec::new(),
        free: Vec::new(),
        channels: HashMap::new(),
        scratch: vec![0; SCRATCH_BYTES],
    };
    let mut events = Events::with_capacity(1024);
    loop {
        match server.poll.poll(&mut events, None) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        for event in &events {
            match event.token() {
                LISTENER => server.accept(&listener)?,
                Token(id) => {
                    if event.is_writable() && server.flush(id).is_err() {
                        server.drop_client(id);
                    }
                    if event.is_readable() && server.read(id).is_err() {
                        server.drop_client(id);
                    }
                }
            }
        }
    }
}

struct Server {
    poll: Poll,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    /// Receivers by channel.
    channels: HashMap<String, Vec<usize>>,
    scratch: Vec<u8>,
}

struct Client {
    stream: TcpStream,
    role: Role,
    /// What the socket has not taken yet; of the first, this many bytes are gone.
    pending: VecDeque<Rc<[u8]>>,
    gone: usize,
}

enum Role {
    /// Handshake under way, with so much of the request.
    New(Vec<u8>),
    /// Of which so much has come that is no whole frame.
    Publisher(String, Vec<u8>),
    Receiver(String),
}

impl Server {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The client left while it waited.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let id = self.free.pop().unwrap_or_else(|| {
                self.clients.push(None);
                self.clients.len() - 1
            });
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(id), interest)?;
            let role = Role::New(Vec::new());
            self.clients[id] = Some(Client { stream, role, pending: VecDeque::new(), gone: 0 });
        }
    }

    fn drop_client(&mut self, id: usize) {
        let Some(client) = self.clients[id].take() else { return };
        if let Role::Receiver(channel) = &client.role
            && let Some(receivers) = self.channels.get_mut(channel)
        {
            receivers.retain(|receiver| *receiver != id);
        }
        self.free.push(id);
    }

    fn read(&mut self, id: usize) -> io::Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let result = loop {
            let Some(client) = &mut self.clients[id] else { break Ok(()) };
            match client.stream.read(&mut scratch) {
                Ok(0) => break Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    if let Err(error) = self.take(id, &mut scratch[..count]) {
                        break Err(error);
                    }
                    if count < SCRATCH_BYTES {
                        break Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.scratch = scratch;
        result
    }

    fn take(&mut self, id: usize, bytes: &mut [u8]) -> io::Result<()> {
        let Some(client) = &mut self.clients[id] else { return Ok(()) };
        match &mut client.role {
            // Heartbeats.
            Role::Receiver(_) => Ok(()),
            Role::New(request) => {
                request.extend_from_slice(bytes);
                self.upgrade(id)
            }
            Role::Publisher(channel, rest) => {
                let Some(receivers) = self.channels.get(channel) else { return Ok(()) };
                let receivers = receivers.clone();
                let mut rest = std::mem::take(rest);
                let taken = if rest.is_empty() {
                    // What is whole is used where it lies.
                    let taken = self.relay(bytes, &receivers);
                    rest.extend_from_slice(&bytes[taken..]);
                    0
                } else {
                    rest.extend_from_slice(bytes);
                    self.relay(&mut rest, &receivers)
                };
                rest.drain(..taken);
                if let Some(Client { role: Role::Publisher(_, kept), .. }) = &mut self.clients[id] {
                    *kept = rest;
                }
                Ok(())
            }
        }
    }

    /// Sends every whole frame to all receivers. Tells how many bytes were whole frames.
    fn relay(&mut self, bytes: &mut [u8], receivers: &[usize]) -> usize {
        let mut taken = 0;
        while let Some((header_len, payload_len)) = masked_header(&bytes[taken..]) {
            let Some(frame) = bytes.get_mut(taken..taken + header_len + payload_len) else { break };
            taken += frame.len();
            let is_binary = frame[0] & 0x0F == OpCode::Binary as u8;
            if !is_binary {
                continue;
            }
            let (header, payload) = frame.split_at_mut(header_len);
            let mask = &header[header_len - 4..];
            let mask = u32::from_ne_bytes([mask[0], mask[1], mask[2], mask[3]]);
            unmask(payload, mask);
            // The unmasked header is shorter: it fits where the masked one stood, right before the payload.
            let ready = FrameHeader::new(OpCode::Binary, payload.len());
            let start = header_len - ready.as_bytes().len();
            frame[start..header_len].copy_from_slice(ready.as_bytes());
            let ready = &frame[start..];
            for receiver in receivers {
                if self.send(*receiver, ready).is_err() {
                    self.drop_client(*receiver);
                }
            }
        }
        taken
    }

    fn send(&mut self, id: usize, frame: &[u8]) -> io::Result<()> {
        let Some(client) = &mut self.clients[id] else { return Ok(()) };
        if client.pending.is_empty() {
            match client.stream.write(frame) {
                Ok(count) if count == frame.len() => return Ok(()),
                Ok(count) => client.pending.push_back(frame[count..].into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    client.pending.push_back(frame.into())
                }
                Err(error) => return Err(error),
            }
        } else {
            client.pending.push_back(frame.into());
        }
        Ok(())
    }

    fn flush(&mut self, id: usize) -> io::Result<()> {
        let Some(client) = &mut self.clients[id] else { return Ok(()) };
        while let Some(front) = client.pending.front() {
            match client.stream.write(&front[client.gone..]) {
                Ok(count) => {
                    client.gone += count;
                    if client.gone == front.len() {
                        client.pending.pop_front();
                        client.gone = 0;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn upgrade(&mut self, id: usize) -> io::Result<()> {
        let Some(Client { role: Role::New(request), .. }) = &self.clients[id] else { return Ok(()) };
        let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else {
            return if request.len() < REQUEST_BYTES_MAX {
                Ok(())
            } else {
                Err(io::ErrorKind::InvalidData.into())
            };
        };
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let head = std::str::from_utf8(&request[..end]).map_err(|_| invalid())?;
        let target: Target =
            head.split(' ').nth(1).and_then(|target| target.parse().ok()).ok_or_else(invalid)?;
        let key = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
            .map(|(_, key)| key.trim())
            .ok_or_else(invalid)?;
        let accept = derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        let mut rest = request[end + 4..].to_vec();
        let channel = target.channel.as_str().to_owned();
        let role = match target.kind {
            Kind::Publish => Role::Publisher(channel, Vec::new()),
            Kind::Receive | Kind::ReceiveClearCache | Kind::Probe => {
                self.channels.entry(channel.clone()).or_default().push(id);
                Role::Receiver(channel)
            }
        };
        if let Some(client) = &mut self.clients[id] {
            client.role = role;
        }
        self.send(id, answer.as_bytes())?;
        self.take(id, &mut rest)
    }
}

/// Lengths of the header and the payload of a client's frame (RFC 6455, section 5.2).
fn masked_header(bytes: &[u8]) -> Option<(usize, usize)> {
    let (header_len, payload_len) = match bytes.get(1)? & 0x7F {
        126 => (4, u64::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        127 => (10, u64::from_be_bytes(*bytes.get(2..10)?.first_chunk()?)),
        short => (2, u64::from(short)),
    };
    let header_len = header_len + 4;
    (bytes.len() >= header_len).then(|| (header_len, usize::try_from(payload_len).unwrap_or(usize::MAX >> 1)))
}

fn unmask(payload: &mut [u8], mask: u32) {
    let (words, rest) = payload.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ mask).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.to_ne_bytes()) {
        *byte ^= mask;
    }
}
