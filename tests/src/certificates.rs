//! Certificates for servers on this machine, made by `openssl` for one test: no key lies in the repository.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::process::run;

/// No extension comes from what is configured on the machine.
const CONFIG: &str = "
[req]
distinguished_name = name
prompt = no
[name]
CN = Relaycast tests
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
authorityKeyIdentifier = keyid
";

/// What clients speak with a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    #[default]
    Plain,
    /// TLS, with a certificate for `localhost` and 127.0.0.1.
    Tls,
}

impl Transport {
    /// Makes in this folder what a server needs for it.
    pub(crate) async fn certificates(self, folder: &Path) -> Option<Certificates> {
        match self {
            Self::Plain => None,
            Self::Tls => Some(Certificates::make(folder).await),
        }
    }
}

/// An authority and a certificate of it for `localhost` and 127.0.0.1, as PEM files.
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes them in this folder.
    ///
    /// # Panics
    /// When `openssl` is not there or complains.
    pub async fn make(folder: &Path) -> Self {
        std::fs::write(folder.join("openssl.cnf"), CONFIG).unwrap();
        let signed = ["-CA", "authority.crt", "-CAkey", "authority.key"];
        request(folder, "authority", &[]).await;
        request(folder, "server", &signed).await;
        Self { folder: folder.to_owned() }
    }

    /// The certificate that clients have to trust.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("authority.crt")
    }

    /// The server's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("server.crt")
    }

    /// The server's key.
    pub fn key(&self) -> PathBuf {
        self.folder.join("server.key")
    }
}

/// Makes a key and a certificate with the extensions of its section; it signs itself where nobody else is named.
async fn request(folder: &Path, name: &str, signed: &[&str]) {
    let mut command = Command::new("openssl");
    command.current_dir(folder).args("req -x509 -config openssl.cnf -days 2 -nodes".split(' '));
    command.args("-newkey ec -pkeyopt ec_paramgen_curve:prime256v1".split(' ')).args(signed);
    command.args(["-extensions", name, "-keyout", &format!("{name}.key"), "-out", &format!("{name}.crt")]);
    let made = run(&mut command).await;
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
}
