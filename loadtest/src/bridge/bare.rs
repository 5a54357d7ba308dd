//! The least that it takes to hear what cameras and docks say: a client that decodes the pictures and drops them.

use std::io;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use memchr::{memchr, memmem};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::report::Quantiles;
use crate::sim::kerberos::pictures::published_at;
use crate::sim::unix_now;

/// What stands before a picture.
const IMAGE: &[u8] = b"\"image\":\"";

/// The largest packet that is taken.
const PACKET_BYTES_MAX: usize = 16 << 20;

/// Subscriptions that wait to be sent.
const REQUESTS_MAX: usize = 16;

/// What came since the last time that this was told.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Bare {
    pub(crate) messages: u64,
    pub(crate) pictures: u64,
    pub(crate) delay_us: Quantiles,
}

/// Hears everything until standard input ends; tells at each of its lines.
pub(crate) async fn run(
    port: u16,
    filters: &[String],
    mut tell: impl FnMut(&Bare),
) -> Result<(), Box<dyn std::error::Error>> {
    let mut options = MqttOptions::new("bare", "127.0.0.1", port);
    options.set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX).set_keep_alive(Duration::from_secs(30));
    let (client, mut events) = AsyncClient::new(options, REQUESTS_MAX);
    for filter in filters {
        client.subscribe(filter, QoS::AtLeastOnce).await?;
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let (mut seen, mut delays) = (Bare::default(), delays()?);
    let mut space = Vec::new();
    loop {
        tokio::select! {
            event = events.poll() => if let Event::Incoming(Packet::Publish(message)) = event? {
                seen.messages += 1;
                if let Some(picture) = picture(&message.payload, &mut space)? {
                    seen.pictures += 1;
                    // A delay of more than a minute is as bad as one of a minute.
                    delays.saturating_record(delay_ns(picture));
                }
            },
            line = lines.next_line() => {
                if line?.is_none() {
                    return Ok(());
                }
                seen.delay_us = Quantiles::from(&delays);
                tell(&seen);
                (seen, delays) = (Bare::default(), self::delays()?);
            }
        }
    }
}

/// Delays in nanoseconds, up to a minute.
pub(super) fn delays() -> Result<Histogram<u64>, hdrhistogram::CreationError> {
    Histogram::new_with_max(60_000_000_000, 3)
}

/// How long ago a picture was published; 0 where it does not say when.
pub(super) fn delay_ns(picture: &[u8]) -> u64 {
    let now = u64::try_from(unix_now().as_nanos()).unwrap_or(u64::MAX);
    published_at(picture).map_or(0, |at| now.saturating_sub(at))
}

/// The picture of a message, if it has one.
fn picture<'a>(message: &[u8], space: &'a mut Vec<u8>) -> io::Result<Option<&'a [u8]>> {
    let Some(start) = memmem::find(message, IMAGE) else { return Ok(None) };
    let rest = &message[start + IMAGE.len()..];
    let len = memchr(b'"', rest).unwrap_or(rest.len());
    space.clear();
    STANDARD.decode_vec(&rest[..len], space).map_err(io::Error::other)?;
    Ok(Some(space))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_found_and_decoded() {
        let mut space = Vec::new();
        let found = picture(br#"{"value":{"image":"YWJj"}}"#, &mut space).unwrap();
        assert_eq!(found, Some(&b"abc"[..]));
        assert_eq!(picture(b"{}", &mut space).unwrap(), None);
        assert!(picture(br#"{"image":"?"}"#, &mut space).is_err());
    }
}
