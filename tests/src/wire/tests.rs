use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::*;
use crate::HANG;

/// That nothing comes can only be seen for a while. Too short a while would let a bug pass, and never fail without one.
const QUIET: Duration = Duration::from_millis(50);

/// More than the kernel holds for both sockets on either side of a wire.
const KERNEL_BYTES_MAX: usize = 32 << 20;

/// A delay that nobody lives to see the end of.
const ENDLESS: Mode = Mode::Delay(Duration::from_secs(3600));

struct Ends {
    wire: Wire,
    listener: TcpListener,
}

impl Ends {
    async fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        Self { wire: Wire::to(listener.local_addr().unwrap()).await, listener }
    }

    /// Both ends of a new connection, the client's first.
    async fn pair(&self) -> (TcpStream, TcpStream) {
        (self.client().await, self.server().await)
    }

    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.wire.address()).await.unwrap()
    }

    async fn server(&self) -> TcpStream {
        timeout(HANG, self.listener.accept()).await.expect("the wire connects").unwrap().0
    }
}

async fn get(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    timeout(HANG, stream.read_exact(&mut bytes)).await.expect("bytes come").unwrap();
    bytes
}

/// The bytes until the end, and how it came.
async fn rest(stream: &mut TcpStream) -> (Vec<u8>, Result<()>) {
    let mut bytes = Vec::new();
    let ended = timeout(HANG, stream.read_to_end(&mut bytes)).await.expect("the connection ends");
    (bytes, ended.map(|_| ()))
}

async fn is_reset(stream: &mut TcpStream) -> bool {
    rest(stream).await.1.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

async fn is_quiet(stream: &mut TcpStream) -> bool {
    timeout(QUIET, stream.peek(&mut [0])).await.is_err()
}

/// Bytes of which each place can be told from its neighbours.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index % 251) as u8).collect()
}

/// Sends until nothing more is taken, and returns how much was.
async fn fill(stream: &mut TcpStream) -> usize {
    let part = pattern(251 << 10);
    let mut sent = 0;
    loop {
        let from = sent % part.len();
        match timeout(QUIET, stream.write(&part[from..])).await {
            Ok(written) => sent += written.unwrap(),
            Err(_) => return sent,
        }
    }
}

#[tokio::test]
async fn passes_both_directions_and_their_ends() {
    let ends = Ends::new().await;
    let (mut client, mut server) = ends.pair().await;
    client.write_all(b"ask").await.unwrap();
    assert_eq!(get(&mut server, 3).await, b"ask");
    client.shutdown().await.unwrap();
    assert!(matches!(rest(&mut server).await, (bytes, Ok(())) if bytes.is_empty()));
    server.write_all(b"answer").await.unwrap();
    drop(server);
    assert!(matches!(rest(&mut client).await, (bytes, Ok(())) if bytes == b"answer"));
}

#[tokio::test]
async fn passes_no_more_than_the_other_end_takes() {
    let ends = Ends::new().await;
    let (mut client, mut server) = ends.pair().await;
    let sent = fill(&mut client).await;
    assert!(sent < KERNEL_BYTES_MAX, "{sent}");
    assert_eq!(get(&mut server, sent).await, pattern(sent));
}

#[tokio::test]
async fn a_reset_passes() {
    let ends = Ends::new().await;
    let (mut client, server) = ends.pair().await;
    server.set_zero_linger().unwrap();
    drop(server);
    assert!(is_reset(&mut client).await);
}

#[tokio::test]
async fn a_server_that_is_not_there_resets_its_clients() {
    let Ends { wire, listener } = Ends::new().await;
    drop(listener);
    assert!(is_reset(&mut TcpStream::connect(wire.address()).await.unwrap()).await);
}

#[tokio::test]
async fn cut_resets_what_is_there_and_what_comes() {
    let ends = Ends::new().await;
    let (mut client, mut server) = ends.pair().await;
    ends.wire.set(Mode::Cut);
    assert!(is_reset(&mut client).await);
    assert!(is_reset(&mut server).await);
    assert!(is_reset(&mut ends.client().await).await);

    ends.wire.set(Mode::Pass);
    let (mut client, mut server) = ends.pair().await;
    client.write_all(b"again").await.unwrap();
    assert_eq!(get(&mut server, 5).await, b"again");
}

#[tokio::test]
async fn a_stall_holds_bytes_ends_and_new_connections() {
    let ends = Ends::new().await;
    let (mut client, mut server) = ends.pair().await;
    ends.wire.set(Mode::Stall);
    client.write_all(b"held").await.unwrap();
    client.shutdown().await.unwrap();
    server.write_all(b"back").await.unwrap();
    let mut late = ends.client().await;
    late.write_all(b"late").await.unwrap();
    assert!(is_quiet(&mut server).await);
    assert!(is_quiet(&mut client).await);
    assert!(is_quiet(&mut late).await);
    assert!(timeout(QUIET, ends.listener.accept()).await.is_err());

    ends.wire.set(Mode::Pass);
    assert!(matches!(rest(&mut server).await, (bytes, Ok(())) if bytes == b"held"));
    assert_eq!(get(&mut client, 4).await, b"back");
    assert_eq!(get(&mut ends.server().await, 4).await, b"late");
}

#[tokio::test]
async fn what_is_due_does_not_pass_once_the_mode_has_changed() {
    let ends = Ends::new().await;
    let (mut client, mut server) = ends.pair().await;
    let (mode, seen) = watch::channel(Mode::Pass);
    let link = Link { mode: seen, number: 1, passed: AtomicU64::new(0) };
    let mut queue = Queue { parts: [(Instant::now(), "due".into())].into(), bytes: 3, is_ended: false };
    let (_, to_server) = client.split();
    for halt in [Mode::Stall, Mode::Cut] {
        mode.send_replace(halt);
        link.pass(&to_server, &mut queue).unwrap();
        assert_eq!(queue.bytes, 3);
    }
    mode.send_replace(Mode::Pass);
    to_server.writable().await.unwrap();
    link.pass(&to_server, &mut queue).unwrap();
    assert_eq!(queue.bytes, 0);
    assert_eq!(get(&mut server, 3).await, b"due");
}

#[tokio::test]
async fn a_stall_takes_no_more_than_the_kernel_holds() {
    let ends = Ends::new().await;
    let (mut client, mut server) = ends.pair().await;
    ends.wire.set(Mode::Stall);
    let sent = fill(&mut client).await;
    assert!(sent < KERNEL_BYTES_MAX, "{sent}");
    ends.wire.set(Mode::Pass);
    assert_eq!(get(&mut server, sent).await, pattern(sent));
}

#[tokio::test]
async fn a_stall_can_end_in_a_cut() {
    let ends = Ends::new().await;
    let (mut client, mut server) = ends.pair().await;
    ends.wire.set(Mode::Stall);
    let mut late = ends.client().await;
    client.write_all(b"lost").await.unwrap();
    ends.wire.set(Mode::Cut);
    assert!(is_reset(&mut late).await);
    assert!(is_reset(&mut client).await);
    assert!(matches!(rest(&mut server).await, (bytes, Err(_)) if bytes.is_empty()));
}

#[tokio::test]
async fn a_delay_is_that_of_each_direction() {
    const DELAY: Duration = Duration::from_millis(100);
    let ends = Ends::new().await;
    let (mut client, mut server) = ends.pair().await;
    ends.wire.set(Mode::Delay(DELAY));
    let begin = Instant::now();
    client.write_all(b"ask").await.unwrap();
    assert_eq!(get(&mut server, 3).await, b"ask");
    assert!(begin.elapsed() >= DELAY);
    server.write_all(b"answer").await.unwrap();
    drop(server);
    assert!(matches!(rest(&mut client).await, (bytes, Ok(())) if bytes == b"answer"));
    assert!(begin.elapsed() >= 2 * DELAY);
}

#[tokio::test]
async fn a_delay_does_not_limit_how_much_is_on_the_way() {
    let ends = Ends::new().await;
    let (mut client, mut server) = ends.pair().await;
    ends.wire.set(ENDLESS);
    let sent = pattern(DELAYED_BYTES_MAX);
    timeout(HANG, client.write_all(&sent)).await.expect("all is on the way").unwrap();
    assert!(is_quiet(&mut server).await);
    ends.wire.set(Mode::Pass);
    assert!(get(&mut server, sent.len()).await == sent, "in order");
}

#[tokio::test]
async fn a_delay_holds_no_more_than_its_bound() {
    let ends = Ends::new().await;
    let (mut client, _server) = ends.pair().await;
    ends.wire.set(ENDLESS);
    let sent = fill(&mut client).await;
    assert!(sent < DELAYED_BYTES_MAX + KERNEL_BYTES_MAX, "{sent}");
}

/// How many bytes pass until each of a few connections is reset.
async fn lifetimes(seed: u64, bytes_max: u64) -> Vec<usize> {
    let ends = Ends::new().await;
    ends.wire.set(Mode::Resets { seed, bytes_max });
    let mut lifetimes = Vec::new();
    for _ in 0..5 {
        let (mut client, mut server) = ends.pair().await;
        // The reset may come before all is sent.
        let _ = client.write_all(&pattern(usize::try_from(bytes_max).unwrap() + 1)).await;
        let (bytes, ended) = rest(&mut server).await;
        assert!(ended.is_err());
        assert_eq!(bytes, pattern(bytes.len()));
        lifetimes.push(bytes.len());
    }
    lifetimes
}

#[tokio::test]
async fn a_seed_resets_the_same_connections_after_the_same_bytes() {
    const BYTES_MAX: u64 = 10_000;
    let once = lifetimes(1, BYTES_MAX).await;
    assert!(once.iter().all(|len| (1..=10_000).contains(len)), "{once:?}");
    assert!(once.windows(2).any(|pair| pair[0] != pair[1]), "{once:?}");
    assert_eq!(once, lifetimes(1, BYTES_MAX).await);
    assert_ne!(once, lifetimes(2, BYTES_MAX).await);
    assert_eq!(lifetimes(1, 1).await, [1; 5]);
}

#[tokio::test]
async fn a_connection_that_carried_its_bytes_before_is_reset_with_the_next() {
    let ends = Ends::new().await;
    let (mut client, mut server) = ends.pair().await;
    client.write_all(b"before").await.unwrap();
    assert_eq!(get(&mut server, 6).await, b"before");
    ends.wire.set(Mode::Resets { seed: 0, bytes_max: 6 });
    server.write_all(b"after").await.unwrap();
    assert!(matches!(rest(&mut client).await, (bytes, Err(_)) if bytes.is_empty()));
}

#[tokio::test]
async fn a_wire_that_is_dropped_ends_its_connections() {
    let ends = Ends::new().await;
    let (mut client, mut server) = ends.pair().await;
    drop(ends.wire);
    assert!(rest(&mut client).await.0.is_empty());
    assert!(rest(&mut server).await.0.is_empty());
}
