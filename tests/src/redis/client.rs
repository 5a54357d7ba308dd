//! As much of the protocol of Redis as a test needs to ask and to meddle: words go out, one reply comes in.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
}

/// What Redis answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A status, or a value.
    Text(String),
    /// A refusal.
    Refusal(String),
    /// A number.
    Number(i64),
    /// No value.
    Nil,
    /// Several.
    List(Vec<Reply>),
}

impl Reply {
    /// What most commands that change something are answered by.
    pub fn ok() -> Self {
        Self::Text("OK".to_owned())
    }

    /// The text.
    ///
    /// # Panics
    /// When it is something else.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            other => panic!("a text is expected: {other:?}"),
        }
    }

    /// A field of what `INFO` and the like tell.
    ///
    /// # Panics
    /// When it is no text.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.text().lines().filter_map(|line| line.split_once(':'));
        fields.find(|field| field.0 == name).map(|field| field.1)
    }

    /// The list.
    ///
    /// # Panics
    /// When it is something else.
    pub fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            other => panic!("a list is expected: {other:?}"),
        }
    }
}

impl Client {
    /// Connects without saying who it is.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        Ok(Self { stream: BufReader::new(TcpStream::connect(address).await?) })
    }

    /// Sends a command and waits for the reply. An answer that was given up is the reply to the next command.
    ///
    /// # Errors
    /// When the connection is lost. A refusal is a reply.
    pub async fn command(&mut self, words: &[&str]) -> Result<Reply> {
        self.send(words).await?;
        self.reply().await
    }

    /// Sends a command.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn send(&mut self, words: &[&str]) -> Result<()> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.write_all(request.as_bytes()).await
    }

    /// Waits for a reply, or for what comes to a subscriber.
    ///
    /// # Errors
    /// When the connection is lost, or what comes is no reply.
    pub async fn reply(&mut self) -> Result<Reply> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let odd = || Error::new(ErrorKind::InvalidData, format!("no reply: {line:?}"));
        let line = line.strip_suffix("\r\n").ok_or_else(odd)?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(odd)?;
        let number = || rest.parse::<i64>().map_err(|_| odd());
        Ok(match kind {
            "+" => Reply::Text(rest.to_owned()),
            "-" => Reply::Refusal(rest.to_owned()),
            ":" => Reply::Number(number()?),
            "$" => match usize::try_from(number()?) {
                Ok(len) => self.value(len).await?,
                Err(_) => Reply::Nil,
            },
            "*" => match usize::try_from(number()?) {
                Ok(len) => {
                    let mut list = Vec::new();
                    for _ in 0..len {
                        list.push(Box::pin(self.reply()).await?);
                    }
                    Reply::List(list)
                }
                Err(_) => Reply::Nil,
            },
            _ => return Err(odd()),
        })
    }

    async fn value(&mut self, len: usize) -> Result<Reply> {
        let mut value = vec![0; len + "\r\n".len()];
        self.stream.read_exact(&mut value).await?;
        value.truncate(len);
        Ok(Reply::Text(String::from_utf8_lossy(&value).into_owned()))
    }
}
