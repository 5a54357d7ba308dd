//! `GET /n/{node}/{channel}/{key}/{kind}`: a websocket to a node, for clients that reach the stream-manager alone.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ Bytes go both ways as they come, as fast as the slower side takes them, and to a node that has  │
//! │ reported: nothing in a request chooses another address.                                         │
//! └──────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::upgrade::{OnUpgrade, on};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prometheus::IntGauge;
use relay_lifecycle::drain::{Drain, Phase};
use relay_proto::NodeId;
use relay_proto::websocket::{ParseTargetError, Target};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::http::problem::{Kind, Problem};
use crate::metrics::Counted;
use crate::replica::Replica;

/// What paths of this kind begin with, and how they are told of.
pub(crate) const PREFIX: &str = "/n/";
pub(crate) const ROUTE: &str = "/n/{node}/{channel}/{key}/{kind}";

/// How long a node may take to answer a handshake: it looks at the request and at nothing else.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

/// A node says something every 20 s. Where the way to it is lost without a word, the kernel finds out after two minutes at most,
/// and not when a client gives up.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVES: u32 = 3;

/// What is read at a time from a client, which mostly sends heartbeats, and from a node, which mostly sends media.
const FROM_CLIENT_BYTES: usize = 8 << 10;
const FROM_NODE_BYTES: usize = 16 << 10;

/// Headers of a handshake that the other side has to see; all others are between two neighbours, or for the stream-manager.
const TO_NODE: [HeaderName; 8] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::ORIGIN,
    header::USER_AGENT,
];
const TO_CLIENT: [HeaderName; 5] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_ACCEPT,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
];

/// Whom a node has the client from.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Makes connections to nodes.
pub(crate) struct Proxy(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxy")
    }
}

impl Proxy {
    pub(crate) fn new() -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(HANDSHAKE_WITHIN));
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        tcp.set_keepalive_retries(Some(KEEPALIVES));
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the protocols that it is known for");
        let trusted = tls.clone().with_native_roots().unwrap_or_else(|error| {
            warn!(%error, "the system's certificates cannot be read: nodes with wss:// are not reached");
            tls.with_root_certificates(RootCertStore::empty())
        });
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trusted.with_no_client_auth())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        // Each connection becomes a websocket, so none comes back.
        Self(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
    }

    /// Shakes hands with the node for the client. The answer is what the client gets; then the rest is to be relayed.
    ///
    /// # Errors
    /// What the client gets instead.
    pub(crate) async fn open(
        &self,
        replica: &Replica,
        mut request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<(Response<Empty<Bytes>>, Relay), Problem> {
        let (node, target) = target(request.uri())?;
        if request.method() != Method::GET {
            return Err(Problem::only("GET"));
        }
        if !is_websocket(request.headers()) {
            return Err(Problem::new(Kind::UpgradeNeeded).because("this is the address of a stream"));
        }
        let url = {
            let known = replica.known();
            let member = known.view.node(&node).ok_or(Problem::new(Kind::NoSuchNode))?;
            member.record.url.clone()
        };
        let asked = handshake(&url, target, request.headers(), peer).ok_or(Problem::new(Kind::NodeSilent))?;
        let silent = |what: &'static str| {
            debug!(node = node.as_str(), what, "not relayed");
            Problem::new(Kind::NodeSilent)
        };
        let mut answer = match timeout(HANDSHAKE_WITHIN, self.0.request(asked)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => return Err(silent("it cannot be connected to")),
            Err(_) => return Err(silent("it does not answer the handshake")),
        };
        match answer.status() {
            StatusCode::SWITCHING_PROTOCOLS => {}
            StatusCode::BAD_REQUEST => {
                return Err(Problem::bad(
                    "the node does not take this for a handshake (RFC 6455, section 4.2)",
                ));
            }
            _ => return Err(silent("it refuses the handshake")),
        }
        let mut response = Response::new(Empty::new());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        copy(&TO_CLIENT, answer.headers(), response.headers_mut());
        let relay =
            Relay { client: on(&mut request), node: on(&mut answer), open: replica.metrics.proxied.clone() };
        Ok((response, relay))
    }
}

/// A websocket between a client and a node, as soon as the client has its answer.
#[derive(Debug)]
pub(crate) struct Relay {
    client: OnUpgrade,
    node: OnUpgrade,
    open: IntGauge,
}

impl Relay {
    /// Relays until either side has ended, or until the process leaves: then until a random moment within `spread`, so that not
    /// all come back at once.
    pub(crate) async fn run(self, mut drain: Drain, spread: Duration) {
        let (Ok(client), Ok(node)) = tokio::join!(self.client, self.node) else { return };
        let _counted = Counted::new(&self.open);
        let (mut client, mut node) = (TokioIo::new(client), TokioIo::new(node));
        let relayed =
            copy_bidirectional_with_sizes(&mut client, &mut node, FROM_CLIENT_BYTES, FROM_NODE_BYTES);
        tokio::select! {
            // Who has broken off, the other side has noticed as well.
            _ = relayed => {}
            () = async {
                drain.reached(Phase::Draining).await;
                sleep(spread.mul_f64(fastrand::f64())).await;
            } => {}
        }
    }
}

/// The node, and what it is to be asked for: path and query.
fn target(uri: &Uri) -> Result<(NodeId, &str), Problem> {
    let whole = uri.path_and_query().map_or("", |whole| whole.as_str());
    let rest = whole.strip_prefix(PREFIX).ok_or(Problem::new(Kind::NoSuchPath))?;
    let slash = rest.find('/').ok_or(Problem::new(Kind::NoSuchPath))?;
    let (node, target) = rest.split_at(slash);
    let node = node.parse().map_err(|_| Problem::new(Kind::NoSuchNode))?;
    // Anything else that is wrong with it the node tells inside the websocket, where browsers can read it.
    match target.parse::<Target>() {
        Err(ParseTargetError::Shape) => Err(Problem::new(Kind::NoSuchPath)),
        _ => Ok((node, target)),
    }
}

fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The request to the node; `None` where its address is none.
fn handshake(
    url: &str,
    target: &str,
    headers: &HeaderMap,
    peer: SocketAddr,
) -> Option<Request<Empty<Bytes>>> {
    // `ws` is `http`, and `wss` is `https`.
    let rest = url.strip_prefix("ws")?;
    let mut request =
        Request::get(format!("http{}{target}", rest.trim_end_matches('/'))).body(Empty::new()).ok()?;
    copy(&TO_NODE, headers, request.headers_mut());
    let from = HeaderValue::from_str(&peer.ip().to_canonical().to_string()).ok()?;
    request.headers_mut().insert(FORWARDED_FOR, from);
    Some(request)
}

fn copy(names: &[HeaderName], from: &HeaderMap, to: &mut HeaderMap) {
    for name in names {
        for value in from.get_all(name) {
            to.append(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(path: &str) -> Result<(String, String), Kind> {
        let uri: Uri = path.parse().unwrap();
        let parsed = target(&uri).map(|(node, target)| (node.to_string(), target.to_owned()));
        parsed.map_err(|problem| problem.kind)
    }

    #[test]
    fn a_path_names_a_node_and_a_stream() {
        let good = |target: &str| Ok(("n1".to_owned(), target.to_owned()));
        assert_eq!(parsed("/n/n1/cam/key/receive"), good("/cam/key/receive"));
        assert_eq!(parsed("/n/n1/cam/key/receive?as=fmp4"), good("/cam/key/receive?as=fmp4"));
        // The node says what is wrong with it.
        assert_eq!(parsed("/n/n1/cam/key/watch"), good("/cam/key/watch"));
        assert_eq!(parsed("/n/n1"), Err(Kind::NoSuchPath));
        assert_eq!(parsed("/n/n1/"), Err(Kind::NoSuchPath));
        assert_eq!(parsed("/n/n1/v1/channels"), Err(Kind::NoSuchPath));
        assert_eq!(parsed("/n/n1/a/b/c/d"), Err(Kind::NoSuchPath));
        assert_eq!(parsed("/n/http:%2F%2Fevil/a/b/receive"), Err(Kind::NoSuchNode));
        assert_eq!(parsed("/n/evil.example:80/a/b/receive"), Err(Kind::NoSuchNode));
    }

    #[test]
    fn what_is_asked_of_a_node_is_pinned() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
            (header::COOKIE, "secret"),
            (header::AUTHORIZATION, "Bearer secret"),
            (FORWARDED_FOR, "1.2.3.4"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let peer = SocketAddr::from(([10, 0, 0, 9], 4711));
        let request = handshake("wss://n1.example:8443", "/cam/key/receive?x=1", &headers, peer).unwrap();
        assert_eq!(request.uri(), "https://n1.example:8443/cam/key/receive?x=1");
        assert_eq!(request.headers().len(), 3);
        assert_eq!(request.headers()[FORWARDED_FOR], "10.0.0.9", "what the client says of itself is nothing");
        assert!(handshake("ftp://n1", "/cam/key/receive", &headers, peer).is_none());
    }

    proptest! {
        #[test]
        fn nothing_in_a_path_chooses_the_address(rest in "[ -~]{0,40}") {
            let Ok(uri) = format!("/n/{rest}").parse::<Uri>() else { return Ok(()) };
            let Ok((_, target)) = target(&uri) else { return Ok(()) };
            let headers = HeaderMap::new();
            let peer = SocketAddr::from(([10, 0, 0, 9], 4711));
            if let Some(request) = handshake("ws://n1.example:8080", target, &headers, peer) {
                let authority = request.uri().authority().map(|authority| authority.as_str());
                prop_assert_eq!(authority, Some("n1.example:8080"));
                prop_assert_eq!(request.uri().path().split('/').count(), 4);
            }
        }
    }
}
