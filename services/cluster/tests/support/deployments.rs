//! A Redis with the rights that are written down, and what is waited for at any.

use std::time::{Duration, Instant};

use relay_cluster::registry::Unavailable;
use relay_cluster::registry::redis::DEFAULT_TIMEOUT;
use relay_tests::redis::{Client, Options, Redis};

/// Far more than a server takes to start, or a cluster to agree, on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at something that another process does in its own time.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What a call takes longer than its deadline on a machine that is busy.
pub(crate) const TOLERANCE: Duration = Duration::from_secs(1);

pub(crate) const REGISTRY_MD: &str = include_str!("../../../../proto/REGISTRY.md");

/// What makes a server take `relaycast` with the password `hunter%2`, and as few rights as `proto/REGISTRY.md` tells, word for
/// word, and those that it tells for a special case.
pub(crate) fn login(more: &[&str]) -> String {
    let rights =
        REGISTRY_MD.lines().find_map(|line| line.strip_prefix("user relaycast on >PASSWORD ")).unwrap();
    assert!(more.iter().all(|right| REGISTRY_MD.contains(right)));
    format!("relaycast on >hunter%2 {rights} {}", more.join(" "))
}

/// The same in an address.
pub(crate) const LOGIN: &str = "relaycast:hunter%252@";

pub(crate) async fn start_for(users: Vec<String>) -> Redis {
    Redis::start_with(Options { users, ..Options::default() }).await
}

/// Calls until it is answered.
pub(crate) async fn answered<T>(call: impl AsyncFnMut() -> Result<T, Unavailable>) -> T {
    answered_within(DEFAULT_TIMEOUT, call).await
}

/// The same where each call may take so long.
pub(crate) async fn answered_within<T>(
    timeout: Duration,
    mut call: impl AsyncFnMut() -> Result<T, Unavailable>,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let begun = Instant::now();
        let answer = call().await;
        assert!(begun.elapsed() < timeout + TOLERANCE, "a call took {:?}", begun.elapsed());
        match answer {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// How many connections the server has taken so far.
pub(crate) async fn connections(client: &mut Client) -> u64 {
    let stats = client.command(&["INFO", "stats"]).await.unwrap();
    stats.field("total_connections_received").unwrap().parse().unwrap()
}
