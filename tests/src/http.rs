//! One question over HTTP, one answer, with no library that could hide what came.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::HANG;

/// Status and body of the answer to a GET.
///
/// # Panics
/// When nobody listens there, or the answer is no HTTP or does not come.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    ask("GET", address, path, &[], "").await
}

/// The same with these headers.
///
/// # Panics
/// As [`get`].
pub async fn get_with(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    ask("GET", address, path, headers, "").await
}

/// Status and body of the answer to a POST without a body.
///
/// # Panics
/// As [`get`].
pub async fn post(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    ask("POST", address, path, headers, "").await
}

/// Status and body of the answer to a POST of this JSON.
///
/// # Panics
/// As [`get`].
pub async fn post_json(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    json: &str,
) -> (u16, String) {
    let length = json.len().to_string();
    let own = [("Content-Type", "application/json"), ("Content-Length", &length)];
    ask("POST", address, path, &[headers, &own].concat(), json).await
}

/// The sum of a metric over its labels.
///
/// # Panics
/// When there is no such metric.
pub async fn metric(admin: SocketAddr, name: &str) -> f64 {
    let (status, body) = get(admin, "/metrics").await;
    assert_eq!(status, 200, "{body}");
    let values: Vec<f64> = body
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with([' ', '{']))
        .map(|rest| rest.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(!values.is_empty(), "no metric {name}");
    values.iter().sum()
}

/// All that comes for this request until the other end closes the connection.
///
/// # Panics
/// When nobody listens there, or the connection is not closed.
pub async fn raw(address: SocketAddr, request: &str) -> String {
    let answer = timeout(HANG, async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    });
    answer.await.unwrap_or_else(|_| panic!("{address} does not answer {request:?} in time"))
}

async fn ask(
    method: &str,
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String) {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    // In version 1.0 the end of the connection is the end of the body, whatever its length.
    let request = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\n{headers}\r\n{body}");
    let answer = raw(address, &request).await;
    let parsed = answer.split_once("\r\n\r\n").and_then(|(head, body)| {
        let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    });
    parsed.unwrap_or_else(|| panic!("http://{address}{path}: {answer}"))
}
