//! Three nodes, fifty channels, three hundred receivers, publishers that come and go, and every five seconds something is
//! killed, stopped or cut. Whatever happens, no receiver sees bytes out of order or an older publication after a newer one;
//! and once it is over, everything is as if nothing had been.
//!
//! A minute of it; `RELAYCAST_SOAK_SECONDS` for longer.

#![allow(clippy::unwrap_used, reason = "what is unwrapped is what the test asserts")]

mod clients;
mod faults;
mod nodes;

use std::sync::Arc;
use std::time::Duration;

use relay_proto::api::ChannelState;
use relay_tests::seed::Seed;
use relay_tests::until;
use tokio::time::{Instant, sleep, sleep_until};

use crate::clients::Clients;
use crate::faults::Fault;
use crate::nodes::Nodes;

const CHANNELS: usize = 50;
const RECEIVERS: usize = 300;

/// How often something fails.
const FAULT_INTERVAL: Duration = Duration::from_secs(5);

/// How long it fails for: longer than a lease lasts, and shorter than viewers are held.
const FAULT_TIME: Duration = Duration::from_secs(3);

const SECONDS_VARIABLE: &str = "RELAYCAST_SOAK_SECONDS";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_streams_stay_in_order_and_everything_recovers() {
    let seconds =
        std::env::var(SECONDS_VARIABLE).map_or(60, |text| text.parse().expect("a number of seconds"));
    let mut seed = Seed::from_environment();
    let mut nodes = Nodes::start().await;
    let clients = Clients::start(CHANNELS, RECEIVERS, Arc::clone(nodes.addresses()), &mut seed);

    let end = Instant::now() + Duration::from_secs(seconds);
    let mut next = Instant::now() + FAULT_INTERVAL;
    while next < end {
        sleep_until(next).await;
        let fault = Fault::any(&mut seed);
        eprintln!("{:>4} s left: {fault:?}; {}", (end - Instant::now()).as_secs(), clients.summary());
        nodes.fail(fault, FAULT_TIME).await;
        next += FAULT_INTERVAL;
    }
    eprintln!("quiet; {}", clients.summary());

    // Nothing fails any more: publishers stay, and everyone sees them.
    clients.settle();
    until("every publisher has its channel and every receiver sees it", async || {
        sleep(Duration::from_millis(100)).await;
        clients.are_served().then_some(())
    })
    .await;
    until("the nodes count as many sessions as there are sockets", async || {
        (nodes.sum("relaycast_sessions").await == (CHANNELS + RECEIVERS) as f64).then_some(())
    })
    .await;
    assert_eq!(nodes.sum("relaycast_publications").await, CHANNELS as f64, "one publisher each");
    assert_eq!(nodes.sum("relaycast_leases").await, CHANNELS as f64, "one lease each");
    // Redis may have come back a moment ago, and empty: then each lease is there again with its next renewal.
    until("the registry knows of one lease each", async || {
        sleep(Duration::from_millis(100)).await;
        (nodes.live_leases().await == CHANNELS).then_some(())
    })
    .await;
    for node in nodes.all() {
        until("every node is ready", async || {
            sleep(Duration::from_millis(100)).await;
            (node.readyz().await.0 == 200).then_some(())
        })
        .await;
    }

    for manager in nodes.managers() {
        until("the stream-managers count as many viewers as there are sockets", async || {
            sleep(Duration::from_millis(100)).await;
            let channels = manager.channels().await;
            let live = channels.iter().filter(|channel| channel.state == ChannelState::Live).count();
            let receivers: u64 = channels.iter().map(|channel| channel.receivers).sum();
            (live == CHANNELS && receivers == RECEIVERS as u64).then_some(())
        })
        .await;
    }

    let report = clients.finish().await;
    eprintln!("{report}");
    for what in ["sessions", "publications", "leases", "upstreams", "exports", "channels"] {
        let name = format!("relaycast_{what}");
        until(&format!("no {what} are left"), async || (nodes.sum(&name).await == 0.0).then_some(())).await;
    }
    for manager in nodes.managers() {
        until("the stream-managers know of no channel", async || {
            manager.channels().await.is_empty().then_some(())
        })
        .await;
    }
    assert_eq!(nodes.live_leases().await, 0);
    nodes.every_channel_is_free(CHANNELS).await;
}
