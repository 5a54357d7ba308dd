//! A real Mosquitto as a process of its own, on free ports. What it was told to retain is gone when it was killed.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::process::Command;

pub use self::client::{Client, Message};
use crate::certificates::{Certificates, Transport};
use crate::process::run;
use crate::server::{Launch, Server, local, on_free_ports};

mod client;

/// What a broker is told.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Who is let in; everybody where nobody is named.
    pub logins: Vec<Login>,
    /// Who may do what, line by line: `user relay`, `topic read kerberos/#`. Everybody may do everything where there are none.
    pub acl: Vec<String>,
    /// What [`Mosquitto::url`] speaks.
    pub transport: Transport,
    /// Whether [`Mosquitto::url`] speaks it in websockets.
    pub websockets: bool,
    /// More lines of its configuration file.
    pub lines: Vec<String>,
}

/// Who a client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: String,
}

/// A running broker. Dropping it kills the process.
#[derive(Debug)]
pub struct Mosquitto {
    server: Server,
    options: Options,
    ports: Ports,
    certificates: Option<Certificates>,
    _folder: TempDir,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    /// Of TCP, whatever else is spoken.
    plain: u16,
    other: u16,
}

impl Mosquitto {
    /// Starts one that lets everybody in.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// Starts one with these options.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_with(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificates = options.transport.certificates(folder.path()).await;
        let passwords = folder.path().join("passwords");
        if !options.logins.is_empty() {
            std::fs::write(&passwords, "").unwrap();
        }
        for Login { user, password } in &options.logins {
            let mut command = Command::new("mosquitto_passwd");
            let made = run(command.arg("-b").arg(&passwords).args([user, password])).await;
            assert!(made.status.success(), "mosquitto_passwd: {}", String::from_utf8_lossy(&made.stderr));
        }
        let (server, ports) = on_free_ports(async |[plain, other]| {
            let ports = Ports { plain, other };
            let text = config(folder.path(), &options, ports, certificates.as_ref());
            Some((Server::start(launch(folder.path(), &text)).await?, ports))
        })
        .await;
        Self { server, options, ports, certificates, _folder: folder }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        if self.options.is_plain() { local(self.ports.plain) } else { local(self.ports.other) }
    }

    /// `mqtt://HOST:PORT`, or `mqtts:`, `ws:`, `wss:`, with the first login where one is needed.
    pub fn url(&self) -> String {
        match self.options.logins.first() {
            Some(Login { user, password }) => self.url_as(user, password),
            None => format!("{}://{}", self.scheme(), self.address()),
        }
    }

    /// The URL of a user.
    pub fn url_as(&self, user: &str, password: &str) -> String {
        format!("{}://{user}:{password}@{}", self.scheme(), self.address())
    }

    fn scheme(&self) -> &'static str {
        match (self.options.transport, self.options.websockets) {
            (Transport::Plain, false) => "mqtt",
            (Transport::Tls, false) => "mqtts",
            (Transport::Plain, true) => "ws",
            (Transport::Tls, true) => "wss",
        }
    }

    /// The certificate that clients have to trust.
    ///
    /// # Panics
    /// When it does not speak TLS.
    pub fn authority(&self) -> PathBuf {
        self.certificates.as_ref().expect("it was started with TLS").authority()
    }

    /// A connection past TLS and websockets, of the first login where there is one.
    ///
    /// # Panics
    /// When it does not let us in.
    pub async fn client(&self) -> Client {
        Client::connect(local(self.ports.plain), self.options.logins.first()).await
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again on its ports, empty, after killing it where it still runs.
    pub async fn restart(&mut self) {
        self.server.restart().await;
    }

    /// `kill -STOP`: it keeps its connections and answers nothing.
    pub async fn stop(&self) {
        self.server.process().stop().await;
    }

    /// `kill -CONT`: it goes on after [`Mosquitto::stop`].
    pub fn resume(&self) {
        self.server.process().resume();
    }

    /// Waits until its log has this text.
    pub async fn logs(&self, text: &str) {
        self.server.logs(text).await;
    }
}

impl Options {
    fn is_plain(&self) -> bool {
        self.transport == Transport::Plain && !self.websockets
    }
}

/// How a broker is started with this configuration, which is written to its folder.
fn launch(folder: &Path, config: &str) -> Launch {
    let file = folder.join("mosquitto.conf");
    std::fs::write(&file, config).unwrap();
    let args = vec!["-c".into(), file.into_os_string()];
    Launch { name: "mosquitto", program: binary(), args, environment: Vec::new(), ready: " running" }
}

/// That of `PATH`, else where packages put it, which is often not in the `PATH` of people.
pub fn binary() -> PathBuf {
    let packaged = Path::new("/usr/sbin/mosquitto");
    if packaged.is_file() { packaged.to_owned() } else { "mosquitto".into() }
}

fn config(folder: &Path, options: &Options, ports: Ports, tls: Option<&Certificates>) -> String {
    // As root it would become somebody else, who cannot read the folder of the test.
    let mut text = String::from("user root\nlog_dest stderr\nlog_type all\nmax_queued_messages 0\n");
    let mut line = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string takes all");
    if options.logins.is_empty() {
        line(format_args!("allow_anonymous true"));
    } else {
        line(format_args!("password_file {}", folder.join("passwords").display()));
    }
    if !options.acl.is_empty() {
        let file = folder.join("acl");
        std::fs::write(&file, options.acl.join("\n")).unwrap();
        line(format_args!("acl_file {}", file.display()));
    }
    for other in &options.lines {
        line(format_args!("{other}"));
    }
    line(format_args!("listener {} 127.0.0.1", ports.plain));
    if !options.is_plain() {
        line(format_args!("listener {} 127.0.0.1", ports.other));
    }
    if options.websockets {
        line(format_args!("protocol websockets"));
    }
    if let Some(tls) = tls {
        line(format_args!("certfile {}\nkeyfile {}", tls.certificate().display(), tls.key().display()));
    }
    text
}
