//! RTMPS: the same behind TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Makes of a connection one behind TLS.
#[derive(Clone)]
pub(crate) struct Tls(pub(crate) TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {path}: {why}")]
pub struct CertificateError {
    path: PathBuf,
    why: String,
}

impl CertificateError {
    fn new(path: &Path, why: impl std::fmt::Display) -> Self {
        Self { path: path.to_owned(), why: why.to_string() }
    }
}

/// From a certificate, with those that lead to it, and its key, both in PEM.
pub(crate) fn acceptor(certificate: &Path, key: &Path) -> Result<Tls, CertificateError> {
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |why: String| CertificateError::new(&path, why)
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(certificate)(error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(certificate)("it holds no certificate".to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key)(error.to_string()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|error| wrong(certificate)(error.to_string()))?;
    Ok(Tls(TlsAcceptor::from(Arc::new(config))))
}
