//! Whatever publishers and receivers do at the same time: what a receiver gets is in order and of one epoch at a time.

use proptest::prelude::*;
use relay_edge::{Config, PublisherPolicy};

use crate::support::{Client, Node, Staying};

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A new publisher replaces the one that is there.
    Publish,
    Push(u8),
    Join,
    JoinLive,
    /// A receiver leaves without a word.
    Leave(usize),
    /// The publisher vanishes.
    Vanish,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Publish),
        6 => (1_u8..40).prop_map(Step::Push),
        3 => Just(Step::Join),
        1 => Just(Step::JoinLive),
        1 => any::<usize>().prop_map(Step::Leave),
        1 => Just(Step::Vanish),
    ];
    prop::collection::vec(step, 1..30)
}

/// Asserts on everything one receiver got. A chunk is `epoch,number`.
fn check(chunks: &[Vec<u8>], from_the_first: bool) {
    let mut last: Option<(u64, u64)> = None;
    for chunk in chunks {
        let text = std::str::from_utf8(chunk).unwrap();
        let (epoch, number) = text.split_once(',').unwrap();
        let (epoch, number): (u64, u64) = (epoch.parse().unwrap(), number.parse().unwrap());
        match last {
            Some((same, before)) if same == epoch => {
                assert_eq!(number, before + 1, "a hole in epoch {epoch}")
            }
            Some((older, _)) => {
                assert!(older < epoch, "epoch {epoch} after {older}");
                assert_eq!(number, 0, "epoch {epoch} does not start with its beginning");
            }
            None => assert!(number == 0 || !from_the_first, "the cache has more than {number}"),
        }
        last = Some((epoch, number));
    }
}

async fn run(steps: Vec<Step>) {
    let node = Node::start(Config { publisher_policy: PublisherPolicy::Takeover, ..Config::default() }).await;
    let mut publisher: Option<Client> = None;
    let mut receivers: Vec<(Staying, bool)> = vec![];
    let (mut epoch, mut number) = (0_u32, 0_u64);
    for step in steps.into_iter().chain([Step::Publish, Step::Push(1)]) {
        match step {
            Step::Publish => {
                let next = node.open("/cam/secret/publish").await;
                epoch += 1;
                number = 0;
                node.until("relaycast_publications_total", |count| count == f64::from(epoch)).await;
                publisher = Some(next);
            }
            Step::Push(count) => {
                let Some(publisher) = &mut publisher else { continue };
                for _ in 0..count {
                    publisher.send(format!("{epoch},{number}").as_bytes()).await;
                    number += 1;
                }
            }
            Step::Join => receivers.push((node.open("/cam/secret/receive").await.stay(), true)),
            Step::JoinLive => {
                receivers.push((node.open("/cam/secret/receive?cache=live").await.stay(), false));
            }
            Step::Leave(which) if !receivers.is_empty() => {
                receivers.swap_remove(which % receivers.len());
            }
            Step::Leave(_) => {}
            Step::Vanish => publisher = None,
        }
    }
    // Nobody may still be on the way when the last publication ends: it would wait for the next.
    node.until_labelled("relaycast_sessions", &["receive"], |open| open >= receivers.len() as f64).await;
    let all = receivers.len() as f64;
    let attached = async { while (node.channel().await.receivers as f64) < all {} };
    tokio::time::timeout(crate::support::HANG, attached).await.unwrap();
    publisher.unwrap().close().await;
    for (receiver, from_the_first) in receivers {
        let (chunks, texts, close) = receiver.ended().await;
        assert_eq!(texts, Vec::<String>::new());
        assert_eq!(close, Some((1000, "publisher_ended".into())));
        check(&chunks, from_the_first);
        match chunks.last() {
            Some(last) => assert_eq!(last, format!("{epoch},{}", number - 1).as_bytes(), "up to the last"),
            // It may have come after the last chunk.
            None => assert!(!from_the_first, "the cache has the last publication"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_receiver_gets_is_in_order_and_epochs_never_mix(steps in steps()) {
        // Two threads, so that publishers and receivers do run at the same time.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
