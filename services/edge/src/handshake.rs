//! HTTP in: a websocket session, the page, or the API.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Method, Request, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use relay_proto::api;
use relay_proto::websocket::{Close, ParseTargetError, Target};
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::answer::{Answer, json, text, with, with_close};
use crate::beside::follow::{self, KEEP_ALIVE};
use crate::metrics::Refusal;
use crate::node::Node;
use crate::page;
use crate::session::{Accepted, Refused};
use crate::sessions::Page;

/// Request line and headers together; a browser with many cookies stays far below.
const REQUEST_BYTES_MAX: usize = 16 << 10;

/// Headers of one request.
const HEADERS_MAX: usize = 64;

/// How long a connection may be used for page and API requests before it must be made anew.
const HTTP_LIFETIME: std::time::Duration = std::time::Duration::from_secs(60);

/// Serves HTTP on a connection until it ends or becomes a websocket. The permit comes back with that; who follows what is
/// told beside a picture needs it no more.
pub(crate) async fn run(
    node: Arc<Node>,
    stream: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
) -> Option<(Accepted, OwnedSemaphorePermit)> {
    let node = &node;
    let taken = Arc::new(Notify::new());
    let upgrade = Mutex::new(None);
    let answered = AtomicBool::new(false);
    let service = service_fn(async |mut request| {
        answered.store(true, Ordering::Relaxed);
        let (answer, asked) = answer(node, &mut request, &taken);
        let answer = if node.service.is_leaving() { with_close(answer) } else { answer };
        *upgrade.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        Ok::<_, Infallible>(answer)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(node.config.handshake_timeout)
        .max_buf_size(REQUEST_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut permit = Some(permit);
    let over = async {
        if timeout(HTTP_LIFETIME, taken.notified()).await.is_ok() {
            permit = None;
            let patience = KEEP_ALIVE + node.config.write_timeout;
            while timeout(patience, taken.notified()).await.is_ok() {}
        }
    };
    let ended = tokio::select! {
        // Boxed: the state of an HTTP connection is large, and a session that may last for days must not carry it along.
        ended = Box::pin(connection) => ended,
        () = over => return None,
    };
    let permit = permit?;
    match ended {
        Ok(()) => {}
        // Kept by a browser for the request after the last: nobody was slow.
        Err(error) if error.is_timeout() && answered.load(Ordering::Relaxed) => return None,
        Err(error) => {
            count_refusal(node, &error);
            return None;
        }
    }
    let (upgrade, ask) = upgrade.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    let upgraded = upgrade.await.ok()?;
    let (stream, read_ahead) = unwrap(upgraded)?;
    Some((Accepted { stream, read_ahead, peer, ask }, permit))
}

fn unwrap(upgraded: Upgraded) -> Option<(TcpStream, Vec<u8>)> {
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
    // Copied, and mostly nothing: the buffer itself has kilobytes, which the session would keep for its whole life.
    Some((parts.io.into_inner(), parts.read_buf.to_vec()))
}

fn count_refusal(node: &Node, error: &hyper::Error) {
    let refusal = if error.is_timeout() {
        Refusal::Slow
    } else if error.is_parse_too_large() {
        Refusal::TooLarge
    } else if error.is_parse() {
        Refusal::Malformed
    } else {
        Refusal::Lost
    };
    node.metrics.handshakes_refused.with_label_values(&[refusal.name()]).inc();
}

type Ask = (OnUpgrade, Result<Target, Refused>);

fn answer(node: &Arc<Node>, request: &mut Request<Incoming>, taken: &Arc<Notify>) -> (Answer, Option<Ask>) {
    let path = request.uri().path();
    let asked = request.uri().path_and_query().map_or(path, |whole| whole.as_str()).parse::<Target>();
    let is_own = asked.is_err() && is_own_path(path);
    if asked != Err(ParseTargetError::Shape) && !is_own {
        let ask =
            asked.map_err(Refused::from).and_then(|target| check_origin(node, request.headers(), target));
        return websocket(node, request, ask);
    }
    let answer = match (request.method(), path) {
        (&Method::GET, path) if let Some(name) = follow::channel_of(path) => {
            follow::answer(node, name, request.uri().query(), taken)
        }
        (&Method::GET | &Method::HEAD, "/v1/channels") => json(channels(node)),
        (&Method::GET | &Method::HEAD, "/v1/sessions") => match sessions(node, request.uri().query()) {
            Some(sessions) => json(sessions),
            None => text(StatusCode::BAD_REQUEST, "after is the number of a session, max a number\n"),
        },
        (&Method::GET | &Method::HEAD, path) if node.config.page => match page::file(path) {
            Some(file) => file.into_answer(),
            None => text(StatusCode::NOT_FOUND, "not found\n"),
        },
        (&Method::GET | &Method::HEAD, _) => text(StatusCode::NOT_FOUND, "not found\n"),
        _ => with(text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n"), header::ALLOW, "GET, HEAD"),
    };
    (answer, None)
}

/// The channels of this node, as JSON.
fn channels(node: &Node) -> Vec<u8> {
    let stall_timeout = node.config.publisher_stall_timeout;
    let channels = node.channels.list().iter().map(|channel| channel.describe(stall_timeout)).collect();
    // The answer has neither a map with odd keys nor anything else that JSON could refuse.
    serde_json::to_vec(&api::Channels { channels }).unwrap_or_default()
}

/// The sessions of this node, or those of `?channel=NAME`, as JSON: all of them, or the first `max` with greater numbers than
/// `after`. `None` where these are no numbers.
fn sessions(node: &Node, query: Option<&str>) -> Option<Vec<u8>> {
    let value = |name: &str| {
        let mut pairs = query.into_iter().flat_map(|query| query.split('&'));
        pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    };
    let page = Page {
        channel: value("channel"),
        after: value("after").map(str::parse).transpose().ok()?,
        max: value("max").map(str::parse).transpose().ok()?.unwrap_or(usize::MAX),
    };
    Some(serde_json::to_vec(&node.sessions.describe(&page)).unwrap_or_default())
}

/// Paths that are no stream's, whatever their segments, unless they are whole and valid targets: `v1` and `page` are
/// names of channels like any other.
fn is_own_path(path: &str) -> bool {
    path.starts_with("/v1/") || path.starts_with("/page/")
}

fn check_origin(node: &Node, headers: &HeaderMap, target: Target) -> Result<Target, Refused> {
    let allowed = &node.config.allowed_origins;
    let origin = headers.get(header::ORIGIN);
    let refused = !allowed.is_empty()
        && origin
            .is_some_and(|origin| !allowed.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()));
    if refused { Err(Refused { kind: target.kind, close: Close::OriginNotAllowed }) } else { Ok(target) }
}

/// The server's side of the handshake (RFC 6455, section 4.2). What is wrong with the target is told inside the websocket.
fn websocket(
    node: &Node,
    request: &mut Request<Incoming>,
    ask: Result<Target, Refused>,
) -> (Answer, Option<Ask>) {
    let headers = request.headers();
    if request.method() != Method::GET || !has_token(headers, header::UPGRADE, "websocket") {
        let answer =
            text(StatusCode::UPGRADE_REQUIRED, "this is the address of a stream: connect with a websocket\n");
        let answer = with(answer, header::UPGRADE, "websocket");
        return (with(answer, header::CONNECTION, "Upgrade"), None);
    }
    let malformed = |why: &'static str| {
        node.metrics.handshakes_refused.with_label_values(&[Refusal::Malformed.name()]).inc();
        (text(StatusCode::BAD_REQUEST, why), None)
    };
    // RFC 6455, section 4.1: at least HTTP/1.1. What is older has no upgrade, so nothing would follow the answer.
    if request.version() < Version::HTTP_11 {
        return malformed("a websocket takes HTTP/1.1\n");
    }
    if !has_token(headers, header::CONNECTION, "upgrade") {
        return malformed("the Connection header does not name Upgrade\n");
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let (answer, ask) = malformed("the websocket version must be 13\n");
        return (with(answer, header::SEC_WEBSOCKET_VERSION, "13"), ask);
    }
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| is_nonce(key.as_bytes())) else {
        return malformed("Sec-WebSocket-Key is missing or not 16 bytes in base64\n");
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(request);
    let answer = text(StatusCode::SWITCHING_PROTOCOLS, "");
    let answer = with(answer, header::UPGRADE, "websocket");
    let answer = with(answer, header::CONNECTION, "Upgrade");
    (with(answer, header::SEC_WEBSOCKET_ACCEPT, accept), Some((upgrade, ask)))
}

/// 16 bytes in base64: 22 characters and two of padding.
fn is_nonce(key: &[u8]) -> bool {
    key.len() == 24
        && key.ends_with(b"==")
        && key[..22].iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|listed| listed.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use relay_proto::websocket::Kind;

    use super::*;

    #[test]
    fn a_nonce_is_16_bytes_in_base64() {
        assert!(is_nonce(b"dGhlIHNhbXBsZSBub25jZQ=="));
        assert!(!is_nonce(b"dGhlIHNhbXBsZSBub25jZQ="));
        assert!(!is_nonce(b"dGhlIHNhbXBsZSBub25j!Q=="));
        assert!(!is_nonce(b""));
    }

    #[test]
    fn tokens_are_found_in_lists_whatever_their_case() {
        let mut headers = HeaderMap::new();
        headers.append(header::CONNECTION, HeaderValue::from_static("keep-alive, UPGRADE"));
        assert!(has_token(&headers, header::CONNECTION, "upgrade"));
        assert!(!has_token(&headers, header::CONNECTION, "close"));
        assert!(!has_token(&headers, header::UPGRADE, "websocket"));
    }

    #[test]
    fn no_own_path_ends_in_a_kind() {
        for kind in Kind::ALL {
            assert!(!is_own_path(&format!("/channel/key/{kind}")));
        }
    }
}
