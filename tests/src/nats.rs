//! A real NATS server as a process of its own, on free ports.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub use self::client::{Client, Message};
pub use self::cluster::NatsCluster;
pub use self::regions::NatsRegions;
use crate::certificates::{Certificates, Transport};
use crate::http;
use crate::server::{Launch, Server, local, on_free_ports};

mod client;
mod cluster;
mod regions;

/// What a server is told.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The largest message that it takes, in bytes; its own bound where none is given.
    pub max_payload: Option<usize>,
    /// Whom it lets in; everybody where none is given.
    pub login: Option<Login>,
    /// What clients speak. [`Nats::client`] speaks TCP alone.
    pub transport: Transport,
    /// More text of its configuration file.
    pub config: String,
}

/// Who a client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: String,
}

/// A running server. Dropping it kills the process.
#[derive(Debug)]
pub struct Nats {
    server: Server,
    ports: Ports,
    login: Option<Login>,
    certificates: Option<Certificates>,
    _folder: Option<TempDir>,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    client: u16,
    /// Where it tells about itself over HTTP.
    monitor: u16,
}

impl Nats {
    /// Starts one that lets everybody in.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// Starts one with these options.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_with(options: Options) -> Self {
        on_free_ports(async |[client, monitor]| {
            Self::on(Ports { client, monitor }, &options, "Server is ready").await
        })
        .await
    }

    /// Starts one on these ports; `None` when somebody has one of them.
    async fn on(ports: Ports, options: &Options, ready: &'static str) -> Option<Self> {
        let Ports { client, monitor } = ports;
        let mut text = format!("listen: \"127.0.0.1:{client}\"\nhttp: \"127.0.0.1:{monitor}\"\n");
        if let Some(bytes) = options.max_payload {
            text.push_str(&format!("max_payload: {bytes}\n"));
        }
        if let Some(Login { user, password }) = &options.login {
            text.push_str(&format!("authorization {{ user: \"{user}\", password: \"{password}\" }}\n"));
        }
        let folder = tempfile::tempdir().unwrap();
        let certificates = options.transport.certificates(folder.path()).await;
        if let Some(tls) = &certificates {
            let (certificate, key) = (tls.certificate(), tls.key());
            text.push_str(&format!("tls {{ cert_file: {certificate:?}, key_file: {key:?} }}\n"));
        }
        text.push_str(&options.config);
        let file = folder.path().join("nats.conf");
        std::fs::write(&file, text).unwrap();
        let server = Server::start(launch(&file, Vec::new(), ready)).await?;
        Some(Self { server, ports, login: options.login.clone(), certificates, _folder: Some(folder) })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        local(self.ports.client)
    }

    /// `nats://HOST:PORT`, or `tls:`, with the login where one is needed.
    pub fn url(&self) -> String {
        match &self.login {
            Some(Login { user, password }) => self.url_as(user, password),
            None => format!("{}://{}", self.scheme(), self.address()),
        }
    }

    /// The URL of a user.
    pub fn url_as(&self, user: &str, password: &str) -> String {
        format!("{}://{user}:{password}@{}", self.scheme(), self.address())
    }

    fn scheme(&self) -> &'static str {
        if self.certificates.is_some() { "tls" } else { "nats" }
    }

    /// The certificate that clients have to trust.
    ///
    /// # Panics
    /// When it does not speak TLS.
    pub fn authority(&self) -> PathBuf {
        self.certificates.as_ref().expect("it was started with TLS").authority()
    }

    /// What the server tells about itself: `/varz`, `/connz`, `/routez`, `/gatewayz` and the like.
    ///
    /// # Panics
    /// When it does not.
    pub async fn monitor(&self, path: &str) -> serde_json::Value {
        let (status, body) = http::get(local(self.ports.monitor), path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// A connection that is let in.
    ///
    /// # Panics
    /// When it is not.
    pub async fn client(&self) -> Client {
        Client::connect(self.address(), self.login.as_ref()).await.unwrap()
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again on its ports, after killing it where it still runs.
    pub async fn restart(&mut self) {
        self.server.restart().await;
    }

    /// `kill -STOP`: it keeps its connections and answers nothing.
    pub async fn stop(&self) {
        self.server.process().stop().await;
    }

    /// `kill -CONT`: it goes on after [`Nats::stop`].
    pub fn resume(&self) {
        self.server.process().resume();
    }
}

/// How a server is started with this configuration.
fn launch(config: &Path, environment: Vec<(&'static str, String)>, ready: &'static str) -> Launch {
    let args = vec!["--config".into(), config.into()];
    Launch { name: "nats-server", program: binary(), args, environment, ready }
}

/// The server that `deploy/setup.sh` installs, else that of `PATH`.
pub fn binary() -> PathBuf {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/nats-server");
    if installed.is_file() { installed } else { "nats-server".into() }
}
