//! For the fuzz target only.

use bytes::Bytes;
use relay_proto::source::Command;

use super::{Configured, Dji, Settings};
use crate::driver::{Driver, Effect, Effects, Ingest, Now, Ticket};

/// Every message is heard, on one topic after the other, by a driver that waits for everything.
pub(crate) fn hear_anything(messages: &[Vec<u8>]) {
    let source = "dji/A/1-0-0/normal-0".parse().expect("a source");
    let cameras = vec![Configured { source, gateway: "B".parse().ok() }];
    let source = cameras[0].source.clone();
    let mut effects = Effects::new();
    let mut driver = Dji::new(Settings { cameras, ..Settings::default() }, 1, &mut effects);
    let topics: Vec<String> = driver.filters().iter().map(|filter| filter.replace('+', "B")).collect();
    let now = |ms: u64| Now { ms, unix_ms: ms };
    driver.heard("thing/product/B/osd", &Bytes::from_static(b"{}"), now(0), &mut effects);
    let ingest = Ingest { rtmp: Some(String::new()), options: Default::default() };
    driver.start(&source, &ingest, now(0), &mut effects);
    for (at, message) in messages.iter().enumerate() {
        let topic = &topics[at % topics.len()];
        let at = now(at as u64 * 100);
        driver.command(Ticket(at.ms), &source, &Command::Quality { quality: 1 }, at, &mut effects);
        driver.heard(topic, &Bytes::copy_from_slice(message), at, &mut effects);
        driver.recall("dji/B", &String::from_utf8_lossy(message), at, &mut effects);
        for name in driver.asked_names(&source) {
            driver.recall(&name, &String::from_utf8_lossy(message), at, &mut effects);
        }
        driver.tick(at, &mut effects);
        let _ = driver.devices(at);
    }
    driver.tick(now(u64::MAX / 2), &mut effects);
    driver.tick(now(u64::MAX / 2 + 100_000), &mut effects);
    driver.tick(now(u64::MAX / 2 + 200_000), &mut effects);
    let answers = effects.iter().filter(|effect| matches!(effect, Effect::Answer(..))).count();
    assert_eq!(answers, messages.len(), "every command is answered once");
}
