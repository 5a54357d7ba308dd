//! Asks an endpoint to take an event: one request, one verdict. No proxy, no redirect.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use hyper::http::HeaderMap;
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use relay_proto::event::Event;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use super::endpoints::Endpoint;
use super::limits::Limits;
use super::signature::Secret;

/// Longer than most servers keep a connection that is not used would only find it closed.
const IDLE_MAX: Duration = Duration::from_secs(30);

const AGENT: &str = concat!("relaycast/", env!("CARGO_PKG_VERSION"));

/// One endpoint, as a client sees it.
#[derive(Debug)]
pub(super) struct Client {
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    secret: Secret,
    answer_timeout: Duration,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// 2xx.
    Delivered,
    /// 410.
    Gone,
    /// Any other status, and how long to wait where that was said.
    Status(StatusCode, Option<Duration>),
    /// No status in time.
    Silent,
    /// No connection, or one that broke. A word for the log: what went wrong may name the address.
    Broken(&'static str),
}

/// Why there is no client for an endpoint.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrustError {
    #[error("no certificate in {0}")]
    File(String),
    #[error("the system's certificates cannot be read: {0}")]
    System(io::Error),
    #[error("tls cannot be set up: {0}")]
    Tls(rustls::Error),
}

impl Client {
    pub(super) fn new(endpoint: &Endpoint, limits: &Limits) -> Result<Self, TrustError> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(trust(endpoint)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(limits.in_flight_max)
            .build(https);
        Ok(Self {
            pool,
            uri: endpoint.uri.clone(),
            secret: endpoint.secret.clone(),
            answer_timeout: limits.answer_timeout,
        })
    }

    /// One attempt.
    pub(super) async fn post(&self, event: &Event) -> Verdict {
        let body = serde_json::to_vec(event).expect("an event is JSON");
        let id = event.id.to_string();
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, AGENT)
            .header("webhook-signature", self.secret.sign(&id, seconds, &body))
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .body(Full::new(Bytes::from(body)))
            .expect("digits and base64 are headers");
        match timeout(self.answer_timeout, self.pool.request(request)).await {
            // What the answer says beyond its status is not read: that could take for ever.
            Ok(Ok(answer)) => verdict(answer.status(), answer.headers(), SystemTime::now()),
            Ok(Err(error)) if error.is_connect() => {
                Verdict::Broken(if is_tls(&error) { "tls" } else { "connect" })
            }
            Ok(Err(_)) => Verdict::Broken("connection"),
            Err(_) => Verdict::Silent,
        }
    }
}

fn is_tls(error: &hyper_util::client::legacy::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        // The connector wraps it in an error of input and output.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if error.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        source = error.source();
    }
    false
}

fn verdict(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Verdict {
    if status.is_success() {
        return Verdict::Delivered;
    }
    match status {
        StatusCode::GONE => Verdict::Gone,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Verdict::Status(
            status,
            headers.get(RETRY_AFTER).and_then(|value| pause(value.to_str().ok()?, now)),
        ),
        _ => Verdict::Status(status, None),
    }
}

/// Seconds, or a date.
fn pause(text: &str, now: SystemTime) -> Option<Duration> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a long time.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    Some(until.duration_since(now).unwrap_or_default())
}

/// Whom this endpoint's certificate has to be from.
fn trust(endpoint: &Endpoint) -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TrustError::Tls)?;
    let config = match &endpoint.authorities {
        Some(file) => config.with_root_certificates(authorities(file)?),
        None if endpoint.uri.scheme_str() == Some("https") => {
            config.with_native_roots().map_err(TrustError::System)?
        }
        // Never asked.
        None => config.with_root_certificates(RootCertStore::empty()),
    };
    Ok(config.with_no_client_auth())
}

fn authorities(file: &Path) -> Result<RootCertStore, TrustError> {
    let none = || TrustError::File(file.display().to_string());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|_| none())? {
        roots.add(certificate.map_err(|_| none())?).map_err(|_| none())?;
    }
    if roots.is_empty() { Err(none()) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(pause("120", now), Some(Duration::from_secs(120)));
        assert_eq!(pause("0", now), Some(Duration::ZERO));
        assert_eq!(pause("99999999999999999999999", now), Some(Duration::from_secs(u64::MAX)));
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:47 GMT", now), Some(Duration::from_secs(10)));
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:17 GMT", now), Some(Duration::ZERO));
        for nonsense in ["", "-1", "+1", "1.5", "soon"] {
            assert_eq!(pause(nonsense, now), None, "{nonsense}");
        }
    }

    #[test]
    fn every_status_has_a_verdict() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        let of = |status: u16| verdict(StatusCode::from_u16(status).unwrap(), &headers, UNIX_EPOCH);
        for status in [200, 201, 204, 299] {
            assert_eq!(of(status), Verdict::Delivered);
        }
        assert_eq!(of(410), Verdict::Gone);
        for status in [429, 503] {
            assert_eq!(
                of(status),
                Verdict::Status(StatusCode::from_u16(status).unwrap(), Some(Duration::from_secs(7)))
            );
        }
        for status in [301, 307, 400, 404, 500, 502] {
            assert_eq!(of(status), Verdict::Status(StatusCode::from_u16(status).unwrap(), None));
        }
    }
}
