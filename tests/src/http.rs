//! One question over HTTP, one answer, with no library that could hide what came.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::HANG;

/// Status and body of an answer.
///
/// # Panics
/// When nobody listens there, or the answer is no HTTP or does not come.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = timeout(HANG, async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // In version 1.0 the end of the connection is the end of the body, whatever its length.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    });
    let answer = answer.await.unwrap_or_else(|_| panic!("http://{address}{path} hangs"));
    let parsed = answer.split_once("\r\n\r\n").and_then(|(head, body)| {
        let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    });
    parsed.unwrap_or_else(|| panic!("http://{address}{path}: {answer}"))
}
