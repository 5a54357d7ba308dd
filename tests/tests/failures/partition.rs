//! A node behind a network that swallows packets: no reset, no error, nothing. In a network namespace of its own, which only
//! root can make; where there can be none, the test says so and does nothing.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use relay_tests::cluster::{Cluster, as_str, node_flags, until_leased, until_misses, until_ready};
use relay_tests::node::Node;
use relay_tests::numbered::{Camera, Viewer, flows};
use relay_tests::wire::Wire;
use tokio::time::Instant;

/// A server is given up after 4.5 s of silence, and looked for again every two seconds.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// A lease outlives the partition, which takes as long as NATS to be noticed.
const FLAGS: [&str; 2] = ["--registry-interval=3s", "--grace=30s"];

/// A network namespace and the link to it. Dropping it takes both away.
struct Namespace {
    name: String,
    /// This machine, as seen from inside.
    outer: Ipv4Addr,
    /// The inside, as seen from this machine.
    inner: Ipv4Addr,
}

impl Namespace {
    /// An error is why there can be none.
    fn new() -> Result<Self, String> {
        let id = std::process::id();
        // Of the network for benchmarks (RFC 2544), which nobody routes.
        let [_, _, third, fourth] = id.to_be_bytes();
        let [outer, inner] =
            [1, 2].map(|host| Ipv4Addr::new(198, 18 + (third >> 7), third, fourth & 0xFC | host));
        let this = Self { name: format!("relay-{id}"), outer, inner };
        let (name, far) = (&this.name, format!("rf{id}"));
        let near = format!("rn{id}");
        run("ip", &["netns", "add", name])?;
        run("ip", &["link", "add", &near, "type", "veth", "peer", "name", &far])?;
        run("ip", &["link", "set", &far, "netns", name])?;
        run("ip", &["address", "add", &format!("{outer}/30"), "dev", &near])?;
        run("ip", &["link", "set", &near, "up"])?;
        this.inside(&["ip", "address", "add", &format!("{inner}/30"), "dev", &far])?;
        this.inside(&["ip", "link", "set", &far, "up"])?;
        this.inside(&["ip", "link", "set", "lo", "up"])?;
        this.inside(&["iptables", "--list"])?;
        Ok(this)
    }

    fn inside(&self, words: &[&str]) -> Result<(), String> {
        run("ip", &[&["netns", "exec", &self.name], words].concat())
    }

    /// Swallows what goes to these ports of this machine and what comes from them, or lets it through again.
    fn swallow(&self, change: &str, ports: &[u16]) {
        for port in ports {
            let port = port.to_string();
            for rule in [["OUTPUT", "--destination-port"], ["INPUT", "--source-port"]] {
                let words =
                    ["iptables", change, rule[0], "--protocol", "tcp", rule[1], &port, "--jump", "DROP"];
                self.inside(&words).unwrap();
            }
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Its end of the link goes with it, and the other with that. Where it was never there, nothing is to be done.
        let _ = run("ip", &["netns", "delete", &self.name]);
    }
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program} {}: {said}", args.join(" "))) }
}

#[tokio::test]
async fn an_origin_whose_packets_vanish_is_made_up_for_when_they_come_through_again() {
    let namespace = match Namespace::new() {
        Ok(namespace) => namespace,
        Err(why) => return eprintln!("SKIPPED: this machine has no network namespaces: {why}"),
    };
    let Cluster { members: [two, three], redis, nats } = Cluster::start(&FLAGS).await;
    let to_redis = Wire::between(namespace.outer, redis.address()).await;
    let to_nats = Wire::between(namespace.outer, nats.address()).await;
    let urls = [format!("redis://{}/", to_redis.address()), format!("nats://{}", to_nats.address())];
    let flags = node_flags("inside", &urls[0], &urls[1], &FLAGS);
    let one = Node::start_in(&namespace.name, namespace.inner, &as_str(&flags)).await;
    until_ready(&one).await;
    let camera = Camera::start(&one, "cam/key", "cam").await;
    let local = Viewer::start(&one, "cam/key").await;
    let elsewhere = [Viewer::start(&two.node, "cam/key").await, Viewer::start(&three.node, "cam/key").await];
    let all = [&local, &elsewhere[0], &elsewhere[1]];
    flows(&camera, &all).await;
    let before = until_leased(&redis, "cam", |lease| lease.is_live).await;

    let ports = [to_redis.address().port(), to_nats.address().port()];
    namespace.swallow("--append", &ports);
    let cut = Instant::now();
    until_misses(&one, "registry").await;
    eprintln!("registry missed after {:?}", cut.elapsed());
    until_misses(&one, "backbone").await;
    eprintln!("backbone missed after {:?}", cut.elapsed());
    flows(&camera, &[&local]).await;
    let paused = elsewhere[0].run();
    Camera::open(&two.node, "cam/other", "other").await.ended().await.is(4409, "busy");
    assert_eq!(two.node.readyz().await.0, 200);

    namespace.swallow("--delete", &ports);
    let back = Instant::now();
    until_ready(&one).await;
    flows(&camera, &all).await;
    eprintln!("healed after {:?}, pause {:?}", back.elapsed(), elsewhere[0].run().pause);
    assert!(back.elapsed() < BACK_WITHIN, "{:?}", back.elapsed());
    assert!(paused.next < elsewhere[0].run().next);
    for viewer in all {
        viewer.has_seen(&["cam"]);
    }
    assert_eq!(until_leased(&redis, "cam", |lease| lease.is_live).await, before);
    assert_eq!(one.metric("relaycast_leases_lost_total").await, 0.0);
    for node in [&two.node, &three.node] {
        assert_eq!(node.metric("relaycast_upstream_gaps_total{outcome=\"skipped\"}").await, 0.0);
    }
}
