//! HTTP/1.1 by hand.

use std::net::SocketAddr;

use relay_proto::api::manager::Problem;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::HANG;

/// Asks one stream-manager, a connection each time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    address: SocketAddr,
}

/// What was answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) const fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[]).await
    }

    /// With the token of an operator.
    pub(crate) async fn post(&self, path: &str) -> Answer {
        self.send("POST", path, &[("authorization", &format!("Bearer {}", super::OPERATOR))]).await
    }

    /// With the token of a reader.
    pub(crate) async fn read(&self, path: &str) -> Answer {
        self.send("GET", path, &[("authorization", &format!("Bearer {}", super::READER))]).await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            head += &format!("host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        self.raw(format!("{head}\r\n").as_bytes(), method == "HEAD").await
    }

    /// Sends bytes as they are.
    pub(crate) async fn raw(&self, request: &[u8], is_head: bool) -> Answer {
        let answer = timeout(HANG, async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            // Whoever is refused before it has sent all of it is still answered.
            let _ = stream.write_all(request).await;
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes).await;
            bytes
        });
        let bytes = answer.await.unwrap_or_else(|_| panic!("{} hangs", String::from_utf8_lossy(request)));
        Answer::parse(&bytes, is_head).unwrap_or_else(|| {
            panic!("{:?} to {:?}", String::from_utf8_lossy(&bytes), String::from_utf8_lossy(request))
        })
    }

    /// Opens an answer that goes on.
    pub(crate) async fn follow(&self, path: &str, headers: &[(&str, &str)]) -> Stream {
        let stream = timeout(HANG, TcpStream::connect(self.address)).await.unwrap().unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with("\r\n\r\n") {
            assert_ne!(timeout(HANG, stream.read_line(&mut answer)).await.unwrap().unwrap(), 0, "{answer}");
        }
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        Stream { stream, head: answer, text: String::new() }
    }
}

impl Answer {
    fn parse(bytes: &[u8], is_head: bool) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .map(|line| {
                let (name, value) = line.split_once(':')?;
                Some((name.to_ascii_lowercase(), value.trim().to_owned()))
            })
            .collect::<Option<_>>()?;
        let answer = Self { status, headers, body: bytes[end + 4..].to_vec() };
        let length = answer.header("content-length").and_then(|length| length.parse().ok());
        let is_whole = if is_head { answer.body.is_empty() } else { length == Some(answer.body.len()) };
        is_whole.then_some(answer)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The answer of a request that was served.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        assert_eq!(self.status, 200, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(self.header("cache-control"), Some("no-store"));
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The problem of a request that was not: status, and the last part of its name.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem: Problem = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem.status, self.status);
        (self.status, problem.kind.strip_prefix("urn:relaycast:problem:").unwrap().to_owned())
    }

    pub(crate) fn detail(&self) -> String {
        serde_json::from_slice::<Problem>(&self.body).unwrap().detail.unwrap_or_default()
    }
}

/// An answer in chunks that goes on.
#[derive(Debug)]
pub(crate) struct Stream {
    stream: BufReader<TcpStream>,
    pub(crate) head: String,
    text: String,
}

impl Stream {
    /// The next server-sent event or comment, without its empty line; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<String> {
        timeout(HANG, async {
            loop {
                if let Some(end) = self.text.find("\n\n") {
                    let event = self.text[..end].to_owned();
                    self.text.drain(..end + 2);
                    return Some(event);
                }
                let mut size = String::new();
                self.stream.read_line(&mut size).await.ok()?;
                let size = usize::from_str_radix(size.trim(), 16).ok()?;
                let mut chunk = vec![0; size + 2];
                self.stream.read_exact(&mut chunk).await.ok()?;
                if size == 0 {
                    return None;
                }
                self.text.push_str(std::str::from_utf8(&chunk[..size]).unwrap());
            }
        })
        .await
        .expect("the stream goes on")
    }

    /// The value of a field of the next event, comments and `retry` passed over.
    pub(crate) async fn event(&mut self) -> Option<(String, String)> {
        loop {
            let text = self.next().await?;
            let field = |name: &str| {
                text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned)
            };
            if let (Some(event), Some(data)) = (field("event"), field("data")) {
                return Some((event, data));
            }
        }
    }
}
