//! What every TLS connection of the process needs to be set once.

/// Makes ring the provider of cryptography where the process has none yet. May be called any number of times.
pub fn install_crypto_provider() {
    // Refused where somebody was first: then there is one, which is all that is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
