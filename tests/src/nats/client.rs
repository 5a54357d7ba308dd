//! As much of the protocol of NATS as a test needs to speak and to listen on the bus.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::Login;

/// More messages than a test leaves unread.
const UNREAD_MAX: usize = 4096;

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
    info: Value,
    subscriptions: u64,
    unread: VecDeque<Message>,
}

/// What came to a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is about.
    pub subject: String,
    /// What it says.
    pub payload: Vec<u8>,
}

/// What the server says.
#[derive(Debug)]
enum Said {
    Message(Message),
    Pong,
}

impl Client {
    /// Connects, and waits until the server has let it in.
    ///
    /// # Errors
    /// When nobody listens there, or the server refuses.
    pub async fn connect(address: SocketAddr, login: Option<&Login>) -> Result<Self> {
        let mut stream = BufReader::new(TcpStream::connect(address).await?);
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let info = line.strip_prefix("INFO ").ok_or_else(|| odd(&line))?;
        let info = serde_json::from_str(info)?;
        let mut hello = json!({ "verbose": false, "pedantic": false, "name": "relay-tests" });
        if let Some(Login { user, password }) = login {
            hello["user"] = user.as_str().into();
            hello["pass"] = password.as_str().into();
        }
        let mut client = Self { stream, info, subscriptions: 0, unread: VecDeque::new() };
        client.send(format!("CONNECT {hello}\r\n").as_bytes()).await?;
        client.flush().await?;
        Ok(client)
    }

    /// What the server said of itself when the client connected.
    pub fn info(&self) -> &Value {
        &self.info
    }

    /// Subscribes. The server knows of it when this returns; others it is joined with may not yet.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn subscribe(&mut self, subject: &str) -> Result<()> {
        self.subscriptions += 1;
        self.send(format!("SUB {subject} {}\r\n", self.subscriptions).as_bytes()).await?;
        self.flush().await
    }

    /// Publishes. The server has it when this returns.
    ///
    /// # Errors
    /// When the connection is lost, or the server refuses.
    pub async fn publish(&mut self, subject: &str, payload: &[u8]) -> Result<()> {
        let head = format!("PUB {subject} {}\r\n", payload.len());
        self.send(&[head.as_bytes(), payload, b"\r\n"].concat()).await?;
        self.flush().await
    }

    /// Asks, and waits for the first answer. Nothing else may come meanwhile.
    ///
    /// # Errors
    /// When the connection is lost, or the server refuses.
    pub async fn ask(&mut self, subject: &str, payload: &[u8]) -> Result<Message> {
        let inbox = format!("_INBOX.tests.{}", self.subscriptions);
        self.subscribe(&inbox).await?;
        let head = format!("PUB {subject} {inbox} {}\r\n", payload.len());
        self.send(&[head.as_bytes(), payload, b"\r\n"].concat()).await?;
        self.next().await
    }

    /// Waits for a message of what it subscribed to.
    ///
    /// # Errors
    /// When the connection is lost, or the server complains.
    pub async fn next(&mut self) -> Result<Message> {
        if let Some(message) = self.unread.pop_front() {
            return Ok(message);
        }
        loop {
            if let Said::Message(message) = self.said().await? {
                return Ok(message);
            }
        }
    }

    /// Waits until the server has handled what was sent, and keeps what comes meanwhile.
    async fn flush(&mut self) -> Result<()> {
        self.send(b"PING\r\n").await?;
        loop {
            match self.said().await? {
                Said::Pong => return Ok(()),
                Said::Message(_) if self.unread.len() == UNREAD_MAX => return Err(odd("too much is unread")),
                Said::Message(message) => self.unread.push_back(message),
            }
        }
    }

    async fn said(&mut self) -> Result<Said> {
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("PONG") => return Ok(Said::Pong),
                Some("PING") => self.send(b"PONG\r\n").await?,
                // Told again when the servers it is joined with change.
                Some("INFO") => {}
                Some("MSG") => {
                    let subject = words.next().ok_or_else(|| odd(&line))?.to_owned();
                    let len: usize =
                        words.next_back().and_then(|len| len.parse().ok()).ok_or_else(|| odd(&line))?;
                    let mut payload = vec![0; len + "\r\n".len()];
                    self.stream.read_exact(&mut payload).await?;
                    payload.truncate(len);
                    return Ok(Said::Message(Message { subject, payload }));
                }
                _ => return Err(odd(line.trim_end())),
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await
    }
}

/// Also what a server says before it closes: `-ERR 'Authorization Violation'`.
fn odd(line: &str) -> Error {
    Error::new(ErrorKind::InvalidData, line)
}
