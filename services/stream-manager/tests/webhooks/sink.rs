//! A service that takes webhooks, or does not: a server that does with each request what the test says.

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use relay_proto::event::Event;
use relay_tests::certificates::Certificates;
use relay_tests::until;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What sinks of these tests share with whoever sends: `whsec_` and these bytes.
pub(crate) const KEY: &[u8] = b"thirty-two bytes that are secret";

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is noted and answered with 204.
    Taken,
    /// It is noted, and answered with this.
    Answered(u16, Vec<(&'static str, String)>),
    /// It is not noted, and answered with this.
    Lost(u16),
    /// It is not noted, and never answered.
    Hangs,
}

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) event: Event,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) at: Instant,
}

type Decide = Box<dyn FnMut(&Event) -> Fate + Send>;

pub(crate) struct Sink {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
    _server: JoinSet<()>,
}

struct State {
    decide: Decide,
    noted: Vec<Received>,
    requests: usize,
}

impl Sink {
    pub(crate) async fn new(decide: impl FnMut(&Event) -> Fate + Send + 'static) -> Self {
        Self::listen(None, decide).await
    }

    /// With a certificate for `localhost`.
    pub(crate) async fn tls(
        certificates: &Certificates,
        decide: impl FnMut(&Event) -> Fate + Send + 'static,
    ) -> Self {
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                chain(&certificates.certificate()),
                PrivateKeyDer::from_pem_file(certificates.key()).unwrap(),
            )
            .unwrap();
        Self::listen(Some(TlsAcceptor::from(Arc::new(config))), decide).await
    }

    async fn listen(tls: Option<TlsAcceptor>, decide: impl FnMut(&Event) -> Fate + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let state = Arc::new(Mutex::new(State { decide: Box::new(decide), noted: Vec::new(), requests: 0 }));
        let shared = Arc::clone(&state);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (state, tls) = (Arc::clone(&shared), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(socket, state).await,
                        Some(tls) => {
                            // Whoever does not trust us is gone.
                            if let Ok(socket) = tls.accept(socket).await {
                                serve(socket, state).await;
                            }
                        }
                    }
                });
            }
        });
        Self { url: format!("{scheme}://localhost:{port}/hook?from=relaycast"), state, _server: server }
    }

    /// What was noted, in the order of arrival.
    pub(crate) fn noted(&self) -> Vec<Received> {
        self.state.lock().unwrap().noted.clone()
    }

    /// How many requests came, noted or not.
    pub(crate) fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }

    /// Waits until the noted ones are as the test wants them.
    pub(crate) async fn until(&self, what: &str, look: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        until(what, async || Some(self.noted()).filter(|noted| look(noted))).await
    }
}

fn chain(file: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(file).unwrap().map(Result::unwrap).collect()
}

async fn serve(socket: impl AsyncRead + AsyncWrite + Unpin, state: Arc<Mutex<State>>) {
    let service = service_fn(|request| answer(request, Arc::clone(&state)));
    // Clients may vanish at any moment.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { std::future::pending().await };
    let body = body.to_bytes();
    assert_eq!((head.method.as_str(), head.uri.to_string().as_str()), ("POST", "/hook?from=relaycast"));
    verify(&head.headers, &body);
    let event: Event = serde_json::from_slice(&body).unwrap();
    let fate = {
        let mut state = state.lock().unwrap();
        state.requests += 1;
        let fate = (state.decide)(&event);
        if matches!(fate, Fate::Taken | Fate::Answered(..)) {
            state.noted.push(Received { event, headers: head.headers, body, at: Instant::now() });
        }
        fate
    };
    let (status, headers) = match fate {
        Fate::Taken => (204, Vec::new()),
        Fate::Answered(status, headers) => (status, headers),
        Fate::Lost(status) => (status, Vec::new()),
        Fate::Hangs => std::future::pending().await,
    };
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    Ok(response.body(Empty::new()).unwrap())
}

/// As the specification has it, written down once more.
fn verify(headers: &HeaderMap, body: &[u8]) {
    let header =
        |name: &str| headers.get(name).unwrap_or_else(|| panic!("{name} is missing")).to_str().unwrap();
    let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
        - header("webhook-timestamp").parse::<u64>().unwrap();
    assert!(age < Duration::from_secs(60).as_secs(), "signed {age} s ago");
    let signed =
        [header("webhook-id").as_bytes(), b".", header("webhook-timestamp").as_bytes(), b".", body].concat();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(KEY).unwrap();
    mac.update(&signed);
    let expected = STANDARD.encode(mac.finalize().into_bytes());
    assert_eq!(header("webhook-signature"), format!("v1,{expected}"));
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("user-agent"), format!("relaycast/{}", env!("CARGO_PKG_VERSION")));
}
