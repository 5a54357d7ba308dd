//! Nodes' ends of a backbone in NATS, and what is waited for at any.

use std::time::Duration;

use futures_util::StreamExt;
use relay_cluster::Backbone;
use relay_cluster::backbone::nats::Config;
use relay_cluster::backbone::{Contact, Message, NatsBackbone, Subscription};
use relay_tests::nats::NatsCluster;
use tokio::time::timeout;

/// How long anything may take that should happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) fn config(urls: &str) -> Config {
    Config { urls: urls.into(), credentials_file: None, ca_file: None, name: "n1".into() }
}

/// A node's end that is connected.
pub(crate) async fn connect(urls: &str) -> NatsBackbone {
    let backbone = NatsBackbone::start(config(urls)).await.unwrap();
    until(&backbone, |contact| contact.connected).await;
    backbone
}

/// Two ends on two servers that know of each other.
pub(crate) async fn connect_across(cluster: &NatsCluster) -> (NatsBackbone, NatsBackbone) {
    let [one, other, ..] = cluster.servers() else { panic!("there are two") };
    let (one, other) = (connect(&one.url()).await, connect(&other.url()).await);
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
    std::str::from_utf8(&next(messages).await.payload).unwrap().parse().unwrap()
}
