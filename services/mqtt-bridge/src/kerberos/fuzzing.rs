//! For the fuzz target only.

use bytes::Bytes;
use relay_proto::source::Command;
use serde_json::Value as Json;

use super::{Kerberos, Settings};
use crate::driver::{Driver, Effect, Effects, Ingest, Now, Ticket};

/// Every message is heard by a driver that waits for everything.
pub(crate) fn hear_anything(messages: &[Vec<u8>]) {
    let settings = Settings {
        hub_key: "hub".parse().expect("a part"),
        hub_private_key: "hidden".parse().ok(),
        symmetric_key: "encrypted".parse().ok(),
        cameras: vec!["cam1".parse().expect("a part")],
    };
    let mut effects = Effects::new();
    let mut driver = Kerberos::new(settings, 1, &mut effects);
    let source = driver.devices[0].source.clone();
    let now = |ms: u64| Now { ms, unix_ms: ms };
    let ingest = Ingest { rtmp: None, options: Default::default() };
    driver.start(&source, &ingest, now(0), &mut effects);
    let ask = Command::Action { name: "get-ptz-position".to_owned(), value: Json::Null };
    driver.command(Ticket(1), &source, &ask, now(0), &mut effects);
    for (at, message) in messages.iter().enumerate() {
        let at = now(at as u64 * 100);
        driver.heard("kerberos/hub/hub", &Bytes::copy_from_slice(message), at, &mut effects);
        driver.tick(at, &mut effects);
    }
    for effect in effects {
        if let Effect::Picture(_, picture) = effect {
            let picture = picture.bytes();
            assert!(picture.starts_with(&[0xFF, 0xD8]) && picture.ends_with(&[0xFF, 0xD9]));
        }
    }
}
