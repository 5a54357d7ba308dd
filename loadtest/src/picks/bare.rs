//! The least that an answer costs over HTTP: hyper, and a handler that returns a constant. A process of its own, this program's
//! once more.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Answers every request with this, until the process is ended. hyper adds the date and the length.
pub(crate) async fn serve(
    address: SocketAddr,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: String,
) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let (headers, body): (HeaderMap, Bytes) = (headers.into_iter().collect(), body.into());
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            Some(_) = connections.join_next() => continue,
        };
        stream.set_nodelay(true)?;
        let (headers, body) = (headers.clone(), body.clone());
        let answer = service_fn(move |_: Request<Incoming>| {
            let mut response = Response::new(Full::new(body.clone()));
            response.headers_mut().clone_from(&headers);
            std::future::ready(Ok::<_, Infallible>(response))
        });
        // A client that breaks off is none of its business.
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}
