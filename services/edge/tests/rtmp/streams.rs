//! Real streams of every combination of codecs, pushed by `ffmpeg` or by tags of our own, decode clean in both forms.

use relay_edge::Config;
use relay_rtmp::amf0::Value;
use relay_rtmp::client::Event;
use relay_rtmp::{Media, MediaKind};

use crate::ffmpeg::{decode, encode, push};
use crate::pusher::{Pusher, start};
use crate::support::{Node, Staying};

const PICTURES: &str = "-f lavfi -i testsrc2=size=160x120:rate=25";
const SOUND: &str = "-f lavfi -i sine=frequency=440:sample_rate=44100";
const H264: &str = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 25";

/// Seconds that each combination is pushed.
fn seconds() -> u64 {
    std::env::var("RELAYCAST_RTMP_SECONDS").map_or(2, |seconds| seconds.parse().unwrap())
}

/// Receivers of both forms that are there from the beginning.
struct Both {
    flv: Staying,
    fmp4: Staying,
}

impl Both {
    async fn of(node: &Node) -> Self {
        let flv = node.wait_for("/cam/secret/receive").await.stay();
        let fmp4 = node.wait_for("/cam/secret/receive?as=fmp4").await.stay();
        Self { flv, fmp4 }
    }

    /// The whole streams, once they have ended as a publisher that is done ends them.
    async fn ended(self) -> (Vec<u8>, Vec<u8>) {
        let mut streams = [Vec::new(), Vec::new()];
        for (stream, staying) in streams.iter_mut().zip([self.flv, self.fmp4]) {
            let (chunks, texts, close) = staying.ended().await;
            assert_eq!((texts, close), (vec![], Some((1000, "publisher_ended".to_owned()))));
            *stream = chunks.concat();
        }
        streams.into()
    }
}

/// Pushes by `ffmpeg`; each form has as many pictures as this, and no complaint.
async fn pushed(args: &str, pictures: u64) {
    let node = start(Config::default()).await;
    let both = Both::of(&node).await;
    let url = format!("rtmp://{}/live/cam/secret", node.rtmp.unwrap());
    assert_eq!(push(&format!("{args} -t {} -f flv", seconds()), &url).await, Ok(()));
    let (flv, fmp4) = both.ended().await;
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(decode(folder.path(), "received.flv", &flv).await, pictures);
    assert_eq!(decode(folder.path(), "received.mp4", &fmp4).await, pictures);
}

#[tokio::test]
async fn h264_with_aac() {
    pushed(&format!("-re {PICTURES} {SOUND} {H264} -c:a aac"), 25 * seconds()).await;
}

#[tokio::test]
async fn h264_with_mp3() {
    pushed(&format!("-re {PICTURES} {SOUND} {H264} -c:a libmp3lame"), 25 * seconds()).await;
}

#[tokio::test]
async fn h264_alone() {
    pushed(&format!("-re {PICTURES} {H264} -bf 2"), 25 * seconds()).await;
}

#[tokio::test]
async fn aac_alone() {
    pushed(&format!("-re {SOUND} -c:a aac"), 0).await;
}

#[tokio::test]
async fn a_stream_behind_tls() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("node.crt"), folder.path().join("node.key"));
    let made = tokio::process::Command::new("openssl")
        .args("req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -out".split(' '))
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .output();
    assert!(made.await.unwrap().status.success());
    let rtmps = Some(relay_edge::Rtmps { listen: ([127, 0, 0, 1], 0).into(), certificate, key });
    let node = Node::start(Config { rtmps, ..Config::default() }).await;
    let receiver = node.wait_for("/cam/secret/receive").await.stay();
    let url = format!("rtmps://{}/live/cam/secret", node.rtmps.unwrap());
    assert_eq!(push(&format!("{PICTURES} {H264} -t 1 -f flv"), &url).await, Ok(()));
    let (chunks, _, close) = receiver.ended().await;
    assert_eq!(close, Some((1000, "publisher_ended".to_owned())));
    assert_eq!(decode(folder.path(), "received.flv", &chunks.concat()).await, 25);
}

#[tokio::test]
async fn ffmpeg_is_told_why_it_may_not_publish() {
    let node = start(Config::default()).await;
    let _other = Pusher::start(&node, "cam:other").await;
    for form in ["live/cam/secret", "live/cam:secret", "live/cam?key=secret"] {
        let url = format!("rtmp://{}/{form}", node.rtmp.unwrap());
        let why = push(&format!("{PICTURES} {H264} -t 1 -f flv"), &url).await.unwrap_err();
        assert!(why.contains("Somebody is already publishing on this channel"), "{form}: {why}");
    }
}

/// The tags of a file of FLV.
fn tags(flv: &[u8]) -> Vec<Media> {
    let mut rest = &flv[13..];
    let mut tags = Vec::new();
    while let Some((header, body)) = rest.split_first_chunk::<11>() {
        let [kind, s2, s1, s0, t2, t1, t0, t3, ..] = *header;
        let len = u32::from_be_bytes([0, s2, s1, s0]) as usize;
        let kind = match kind {
            8 => MediaKind::Audio,
            9 => MediaKind::Video,
            _ => MediaKind::Data,
        };
        let time_ms = u32::from_be_bytes([t3, t2, t1, t0]);
        tags.push(Media { kind, time_ms, body: body[..len].to_vec() });
        rest = &body[len + 4..];
    }
    tags
}

/// Pushes tags as they are, and tells what was received in both forms.
async fn pushed_tags(metadata: Option<Value>, tags: Vec<Media>) -> (Vec<u8>, Vec<u8>) {
    let node = start(Config::default()).await;
    let both = Both::of(&node).await;
    let mut pusher = Pusher::connect(&node, "cam?key=secret").await;
    assert_eq!(pusher.next().await, Some(Event::Started));
    if let Some(metadata) = metadata {
        pusher.client.send_metadata(&metadata);
    }
    for tag in tags {
        pusher.client.send_media(tag);
        pusher.flush().await;
    }
    pusher.end().await;
    both.ended().await
}

async fn flv(size: &str) -> Vec<Media> {
    let made = format!("-f lavfi -i testsrc2=size={size}:rate=25 {SOUND} {H264} -c:a aac -t 1 -flvflags");
    tags(&encode(&format!("{made} no_duration_filesize -f flv")).await)
}

#[tokio::test]
async fn a_lens_that_is_switched_changes_size_and_time_mid_stream() {
    let (wide, tele) = (flv("160x120").await, flv("320x240").await);
    let (flv, fmp4) = pushed_tags(None, [wide, tele].concat()).await;
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(decode(folder.path(), "received.flv", &flv).await, 50);
    // A browser goes on with another init; for ffmpeg that is another file.
    let inits: Vec<_> = (0..fmp4.len() - 8).filter(|at| fmp4[at + 4..].starts_with(b"ftyp")).collect();
    assert_eq!(inits.len(), 2);
    for part in [&fmp4[..inits[1]], &fmp4[inits[1]..]] {
        assert_eq!(decode(folder.path(), "received.mp4", part).await, 25);
    }
}

#[tokio::test]
async fn times_that_jump_both_ways_play_on() {
    let mut all = flv("160x120").await;
    for (number, tag) in all.iter_mut().enumerate() {
        let jump = [0, 3_000_000, 100][number * 3 / 90 % 3];
        tag.time_ms = tag.time_ms.wrapping_add(jump).wrapping_add(u32::MAX - 1_000_000);
    }
    let (flv, fmp4) = pushed_tags(None, all).await;
    let times: Vec<_> = tags(&flv).into_iter().filter(|tag| tag.kind == MediaKind::Video).collect();
    assert!(times.is_sorted_by_key(|tag| tag.time_ms) && times.last().unwrap().time_ms < 3000);
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(decode(folder.path(), "received.flv", &flv).await, 25);
    assert_eq!(decode(folder.path(), "received.mp4", &fmp4).await, 25);
}

#[tokio::test]
async fn sound_that_is_announced_and_never_comes_holds_up_no_picture() {
    let pictures: Vec<_> =
        flv("160x120").await.into_iter().filter(|tag| tag.kind == MediaKind::Video).collect();
    let says = Value::object([("audiocodecid", Value::Number(10.0)), ("width", Value::text("odd"))]);
    let (flv, fmp4) = pushed_tags(Some(says), pictures).await;
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(decode(folder.path(), "received.flv", &flv).await, 25);
    assert_eq!(decode(folder.path(), "received.mp4", &fmp4).await, 25);
}

/// Sequence header and pictures of H.265, each as it is in MP4.
async fn h265() -> (Vec<u8>, Vec<(bool, Vec<u8>)>) {
    let options = "keyint=25:bframes=0:slices=1:log-level=none";
    let stream = encode(&format!(
        "{PICTURES} -t 1 -c:v libx265 -preset ultrafast -pix_fmt yuv420p -x265-params {options} -f hevc"
    ))
    .await;
    let (mut sets, mut pictures, mut before) = (Vec::new(), Vec::new(), Vec::new());
    let starts: Vec<_> = (0..stream.len() - 3).filter(|at| stream[*at..].starts_with(&[0, 0, 1])).collect();
    for (number, start) in starts.iter().enumerate() {
        let end = starts.get(number + 1).copied().unwrap_or(stream.len());
        let mut nal = &stream[start + 3..end];
        while number + 1 < starts.len() && nal.ends_with(&[0]) {
            nal = &nal[..nal.len() - 1];
        }
        let kind = nal[0] >> 1 & 0x3F;
        let prefixed = [&(nal.len() as u32).to_be_bytes()[..], nal].concat();
        match kind {
            32..=34 => sets.push(nal.to_vec()),
            0..=31 => {
                before.extend(prefixed);
                pictures.push(((16..=23).contains(&kind), std::mem::take(&mut before)));
            }
            _ => before.extend(prefixed),
        }
    }
    sets.truncate(3);
    // General profile, tier and level stand in the sequence parameter set behind two bytes of header and one of its own.
    let mut record = vec![1];
    record.extend_from_slice(&sets[1][3..15]);
    record.extend([0xF0, 0, 0xFC, 0xFD, 0xF8, 0xF8, 0, 0, 0x0F, 3]);
    for set in &sets {
        record.extend([0x80 | set[0] >> 1 & 0x3F, 0, 1]);
        record.extend((set.len() as u16).to_be_bytes());
        record.extend(set);
    }
    (record, pictures)
}

/// H.265 in tags whose first bytes are these: of the sequence header, of a key frame, of another.
async fn pushed_h265(heads: [&[u8]; 3]) {
    let (record, pictures) = h265().await;
    let tag = |time_ms, head: &[u8], data: &[u8]| Media {
        kind: MediaKind::Video,
        time_ms,
        body: [head, data].concat(),
    };
    let mut all = vec![tag(0, heads[0], &record)];
    for (number, (is_key, data)) in pictures.iter().enumerate() {
        all.push(tag(number as u32 * 40, if *is_key { heads[1] } else { heads[2] }, data));
    }
    let (flv, fmp4) = pushed_tags(None, all).await;
    assert_eq!(tags(&flv).len(), 26, "each tag is there");
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(decode(folder.path(), "received.mp4", &fmp4).await, 25);
}

#[tokio::test]
async fn h265_under_the_number_that_was_never_specified() {
    pushed_h265([&[0x1C, 0, 0, 0, 0], &[0x1C, 1, 0, 0, 0], &[0x2C, 1, 0, 0, 0]]).await;
}

#[tokio::test]
async fn h265_by_enhanced_rtmp() {
    pushed_h265([b"\x90hvc1", b"\x91hvc1\0\0\0", b"\xA3hvc1"]).await;
}
