//! The admin listener: `/healthz`, `/readyz` and `/metrics`, apart from the port that carries media.
//!
//! Owns its listener and its connections. Never decides anything: liveness is that the process answers, readiness is
//! what the [`Readiness`] latches say. It outlives the drain, because that is when somebody watches most closely.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::drain::{Drain, Phase};
use crate::readiness::Readiness;

/// Connections at a time. A kubelet and a few scrapers need a handful; a further one waits in the listen queue.
const CONNECTIONS_MAX: usize = 64;
/// Silence before a complete request head; a scraper on the same network needs milliseconds.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Life of a connection, which carries one request: a client that never reads its answer gives the place back.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);
/// Size of a request head: these three paths need no more.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Pause after `accept` failed: what it lacks (file descriptors) does not come back at once.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A bound admin listener.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    pages: Pages,
}

/// What is shown.
#[derive(Debug, Clone)]
struct Pages {
    metrics: Registry,
    readiness: Readiness,
}

impl Admin {
    /// Takes the address; nothing is answered before [`Admin::run`].
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub async fn bind(address: SocketAddr, metrics: Registry, readiness: Readiness) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, pages: Pages { metrics, readiness } })
    }

    /// The address that was bound, with the port the system chose for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the drain is cut, or until the future is dropped. Connections end with it.
    pub async fn run(self, mut drain: Drain) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = drain.reached(Phase::Cut) => return,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(serve(stream, self.pages.clone()));
                    }
                    Err(error) => {
                        warn!(%error, "admin listener cannot accept");
                        tokio::time::sleep(ACCEPT_RETRY).await;
                    }
                },
            }
        }
    }
}

async fn serve(stream: TcpStream, pages: Pages) {
    let service = service_fn(|request| {
        let response = pages.answer(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_header_size(HEAD_BYTES_MAX)
        // A kept-alive connection holds its place while idle, and 64 of them would hide the process from its kubelet.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "admin connection ended"),
        Err(_) => debug!(reason = "timeout", "admin connection ended"),
    }
}

impl Pages {
    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let page = match request.uri().path() {
            "/healthz" => Self::healthz,
            "/readyz" => Self::readyz,
            "/metrics" => Self::metrics,
            _ => return text(StatusCode::NOT_FOUND, "not found: /healthz, /readyz or /metrics\n"),
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        page(self)
    }

    fn healthz(&self) -> Response<Full<Bytes>> {
        text(StatusCode::OK, "ok\n")
    }

    fn readyz(&self) -> Response<Full<Bytes>> {
        match self.readiness.check() {
            Ok(()) => text(StatusCode::OK, "ready\n"),
            Err(missing) => {
                text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", missing.join(", ")))
            }
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let encoder = TextEncoder::new();
        let mut body = Vec::new();
        match encoder.encode(&self.metrics.gather(), &mut body) {
            Ok(()) => {
                let mut response = Response::new(Full::new(Bytes::from(body)));
                let kind = HeaderValue::from_static(prometheus::TEXT_FORMAT);
                response.headers_mut().insert(CONTENT_TYPE, kind);
                response
            }
            Err(error) => {
                warn!(%error, "metrics cannot be encoded");
                text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be encoded\n")
            }
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::drain;

    struct Running {
        address: SocketAddr,
        readiness: Readiness,
        trigger: drain::Trigger,
        task: JoinSet<()>,
    }

    async fn start() -> Running {
        let metrics = Registry::new();
        let counter = prometheus::IntCounter::new("relaycast_test_total", "Counts nothing.").unwrap();
        metrics.register(Box::new(counter)).unwrap();
        let readiness = Readiness::new();
        let (trigger, drain) = drain::channel();
        let admin = Admin::bind(([127, 0, 0, 1], 0).into(), metrics, readiness.clone()).await.unwrap();
        let address = admin.local_addr();
        let mut task = JoinSet::new();
        task.spawn(admin.run(drain));
        Running { address, readiness, trigger, task }
    }

    async fn request(address: SocketAddr, head: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("{head} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn health_depends_on_nothing_and_readiness_names_what_is_missing() {
        let running = start().await;
        let latch = running.readiness.latch("registry");
        assert!(request(running.address, "GET /healthz").await.starts_with("HTTP/1.1 200 "));
        let unready = request(running.address, "GET /readyz").await;
        assert!(unready.starts_with("HTTP/1.1 503 "), "{unready}");
        assert!(unready.ends_with("not ready: registry\n"), "{unready}");
        latch.ready();
        assert!(request(running.address, "GET /readyz").await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn metrics_are_prometheus_text() {
        let running = start().await;
        let answer = request(running.address, "GET /metrics").await;
        assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
        assert!(answer.contains("# TYPE relaycast_test_total counter\nrelaycast_test_total 0\n"), "{answer}");
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_refused() {
        let running = start().await;
        assert!(request(running.address, "GET /").await.starts_with("HTTP/1.1 404 "));
        let post = request(running.address, "POST /metrics").await;
        assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("allow: GET, HEAD"), "{post}");
        let head = request(running.address, "HEAD /healthz").await;
        assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    }

    #[tokio::test]
    async fn it_answers_while_draining_and_ends_at_the_cut() {
        let mut running = start().await;
        running.trigger.advance();
        running.readiness.leave();
        assert!(request(running.address, "GET /healthz").await.starts_with("HTTP/1.1 200 "));
        assert!(request(running.address, "GET /readyz").await.ends_with("not ready: draining\n"));
        running.trigger.advance();
        running.task.join_next().await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn silent_connections_do_not_hide_the_process_for_ever() {
        let running = start().await;
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            silent.push(TcpStream::connect(running.address).await.unwrap());
        }
        let answer = tokio::time::timeout(HEADER_READ_TIMEOUT * 2, request(running.address, "GET /healthz"));
        assert!(answer.await.unwrap().starts_with("HTTP/1.1 200 "));
    }
}
