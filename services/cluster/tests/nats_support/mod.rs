//! NATS servers that live as long as a test, and what every test of a backbone asks for.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "what is unwrapped is what the test asserts")]

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::StreamExt;
use relay_cluster::Backbone;
use relay_cluster::backbone::nats::Config;
use relay_cluster::backbone::{Contact, Message, NatsBackbone, Subscription};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How long anything may take that should happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A server, killed when dropped.
pub(crate) struct Server {
    child: Child,
    folder: TempDir,
    pub(crate) port: u16,
}

/// What a server is started with.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) port: Option<u16>,
    /// The port for other servers, and theirs.
    pub(crate) cluster: Option<(u16, Vec<u16>)>,
    pub(crate) user: Option<(&'static str, &'static str)>,
    pub(crate) max_payload: Option<usize>,
    /// With a certificate for 127.0.0.1, see [`Server::ca`].
    pub(crate) tls: bool,
}

impl Settings {
    pub(crate) async fn start(self) -> Server {
        let port = self.port.unwrap_or_else(free_port);
        let mut text = format!("listen: \"127.0.0.1:{port}\"\n");
        if let Some((own, others)) = self.cluster {
            let routes: Vec<_> = others.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
            let routes = routes.join(", ");
            writeln!(text, "cluster {{ name: test, listen: \"127.0.0.1:{own}\", routes: [{routes}] }}")
                .unwrap();
        }
        if let Some((user, password)) = self.user {
            writeln!(text, "authorization {{ user: \"{user}\", password: \"{password}\" }}").unwrap();
        }
        if let Some(bytes) = self.max_payload {
            writeln!(text, "max_payload: {bytes}").unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        if self.tls {
            let [cert, key] = certificates(folder.path());
            writeln!(text, "tls {{ cert_file: {cert:?}, key_file: {key:?} }}").unwrap();
        }
        let path = folder.path().join("nats.conf");
        std::fs::write(&path, text).unwrap();
        let mut server = Server { child: spawn(&path), folder, port };
        server.answers().await;
        server
    }
}

impl Server {
    pub(crate) async fn new() -> Self {
        Settings::default().start().await
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Who signed its certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// As kill -9.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(crate) async fn start_again(&mut self) {
        self.kill();
        self.child = spawn(&self.folder.path().join("nats.conf"));
        self.answers().await;
    }

    /// From now on it holds its connections and says nothing.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    async fn answers(&mut self) {
        let started = async {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.is_err() {
                assert!(self.child.try_wait().unwrap().is_none(), "the server ended");
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, started).await.expect("a server starts");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A launcher in front of the server, as version managers put there, is replaced by it: the child is the server.
fn spawn(config: &Path) -> Child {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/.venv/bin/nats-server");
    let program = if installed.exists() { installed } else { "nats-server".into() };
    Command::new(program)
        .arg("-c")
        .arg(config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nats-server is installed: deploy/setup.sh test")
}

/// An authority, and a certificate and a key for 127.0.0.1.
fn certificates(folder: &Path) -> [PathBuf; 2] {
    let openssl = |args: &str| {
        let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=test";
        let args = new.split(' ').chain(args.split(' '));
        let made = Command::new("openssl").args(args).current_dir(folder).stderr(Stdio::null()).status();
        assert!(made.expect("openssl is installed: deploy/setup.sh test").success());
    };
    openssl("-keyout ca.key -out ca.pem -addext basicConstraints=critical,CA:TRUE");
    openssl(
        "-CA ca.pem -CAkey ca.key -keyout key.pem -out cert.pem -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=CA:FALSE",
    );
    ["cert.pem", "key.pem"].map(|name| folder.join(name))
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

pub(crate) fn config(urls: &str) -> Config {
    Config { urls: urls.into(), credentials_file: None, ca_file: None, name: "n1".into() }
}

/// A node's end that is connected.
pub(crate) async fn connect(urls: &str) -> NatsBackbone {
    let backbone = NatsBackbone::start(config(urls)).await.unwrap();
    until(&backbone, |contact| contact.connected).await;
    backbone
}

/// Servers of one cluster.
pub(crate) async fn start_cluster<const SIZE: usize>() -> [Server; SIZE] {
    let routes = [(); SIZE].map(|()| free_port());
    let mut servers = Vec::new();
    for own in routes {
        let others = routes.into_iter().filter(|port| *port != own).collect();
        servers.push(Settings { cluster: Some((own, others)), ..Settings::default() }.start().await);
    }
    servers.try_into().ok().unwrap()
}

/// Two ends on two servers that know of each other.
pub(crate) async fn connect_across(servers: &[Server; 2]) -> (NatsBackbone, NatsBackbone) {
    let (one, other) = (connect(&servers[0].url()).await, connect(&servers[1].url()).await);
    let mut messages = other.subscribe("t.reach").await.unwrap();
    reach(&one, "t.reach", &mut messages).await;
    (one, other)
}

/// Publishes until another node has heard of it: how long a way through a cluster takes to open is its own business.
pub(crate) async fn reach(from: &NatsBackbone, subject: &str, messages: &mut Subscription) {
    let payload = |number: u64| number.to_string().into();
    let reached = async {
        loop {
            let _ = from.publish(subject, None, payload(0)).await;
            if timeout(Duration::from_millis(50), messages.next()).await.is_ok() {
                break;
            }
        }
        // What is late of the attempts.
        from.publish(subject, None, payload(1)).await.unwrap();
        while next_number(messages).await != 1 {}
    };
    timeout(SOON, reached).await.expect("messages get through");
}

pub(crate) async fn until(backbone: &dyn Backbone, wanted: impl FnMut(&Contact) -> bool) -> Contact {
    let mut contact = backbone.contact();
    *timeout(SOON, contact.wait_for(wanted))
        .await
        .expect("contact is as wanted")
        .expect("the backbone is there")
}

pub(crate) async fn next(messages: &mut Subscription) -> Message {
    timeout(SOON, messages.next()).await.expect("a message comes").expect("the subscription goes on")
}

/// The number that a message has for its payload.
pub(crate) async fn next_number(messages: &mut Subscription) -> u64 {
    number(&next(messages).await)
}

pub(crate) fn number(message: &Message) -> u64 {
    std::str::from_utf8(&message.payload).unwrap().parse().unwrap()
}
