//! What the driver does of what a bridge must, case by case.

use proptest::prelude::*;
use relay_proto::source::StartOptions;

use super::asks::{QUIET_MS, TOGETHER_MS};
use super::*;
use super::{base64, cipher::seal};

const HUB: &str = "kerberos/hub/hub1";
const PRIVATE: &str = "hub-private-key";
const SYMMETRIC: &str = "of-the-agent";

struct Bed {
    driver: Kerberos,
    ms: u64,
}

impl Bed {
    fn new() -> Self {
        Self::with(Some(PRIVATE), Some(SYMMETRIC))
    }

    fn with(private: Option<&str>, symmetric: Option<&str>) -> Self {
        let settings = Settings {
            hub_key: "hub1".parse().unwrap(),
            hub_private_key: private.map(|key| key.parse().unwrap()),
            symmetric_key: symmetric.map(|key| key.parse().unwrap()),
            cameras: vec!["cam1".parse().unwrap()],
        };
        let mut effects = Effects::new();
        let driver = Kerberos::new(settings, 7, &mut effects);
        assert_eq!(effects, [Effect::Known(source("cam1"), true)]);
        Self { driver, ms: 0 }
    }

    fn now(&self) -> Now {
        Now { ms: self.ms, unix_ms: 1_767_225_600_000 + self.ms }
    }

    fn start(&mut self, key: &str) -> Effects {
        let ingest = Ingest { rtmp: None, options: StartOptions::default() };
        let (now, mut effects) = (self.now(), Effects::new());
        self.driver.start(&source(key), &ingest, now, &mut effects);
        effects
    }

    fn stop(&mut self, key: &str) -> Effects {
        let (now, mut effects) = (self.now(), Effects::new());
        self.driver.stop(&source(key), now, &mut effects);
        effects
    }

    fn hear_on(&mut self, topic: &str, message: &Json) -> Effects {
        let (now, mut effects) = (self.now(), Effects::new());
        self.driver.heard(topic, &message.to_string().into_bytes().into(), now, &mut effects);
        effects
    }

    fn hear(&mut self, message: &Json) -> Effects {
        self.hear_on(HUB, message)
    }

    fn command(&mut self, ticket: u64, command: &Command) -> Effects {
        let (now, mut effects) = (self.now(), Effects::new());
        self.driver.command(Ticket(ticket), &source("cam1"), command, now, &mut effects);
        effects
    }

    fn action(&mut self, ticket: u64, name: &str, value: Json) -> Effects {
        self.command(ticket, &Command::Action { name: name.to_owned(), value })
    }

    /// Lets the time pass until then; all that was done, and when.
    fn until(&mut self, ms: u64) -> Vec<(u64, Effect)> {
        let mut done = Vec::new();
        while let Some(next) = self.driver.next().filter(|next| *next <= ms) {
            self.ms = self.ms.max(next);
            let (now, mut effects) = (self.now(), Effects::new());
            self.driver.tick(now, &mut effects);
            done.extend(effects.into_iter().map(|effect| (now.ms, effect)));
        }
        self.ms = ms;
        done
    }
}

fn source(key: &str) -> SourceId {
    format!("kerberos/hub1/{key}").parse().unwrap()
}

fn message(key: &str, action: &str, value: &Json) -> Json {
    json!({"mid": "m", "device_id": key, "timestamp": 1, "encrypted": false, "hidden": false, "public_key": "",
           "fingerprint": "", "payload": payload(key, action, value)})
}

fn payload(key: &str, action: &str, value: &Json) -> Json {
    json!({"version": "", "action": action, "device_id": key, "signature": "", "encrypted_value": "",
           "hidden_value": "", "value": value})
}

fn sealed(payload: &Json, key: &str) -> String {
    seal(payload.to_string().as_bytes(), &key.parse().unwrap(), [3; 8])
}

fn hidden(key: &str, inner: &Json, password: &str) -> Json {
    let mut message = message(key, "receive-sd-stream", &json!({}));
    message["payload"]["action"] = inner["action"].clone();
    message["hidden"] = true.into();
    message["payload"]["hidden_value"] = sealed(inner, password).into();
    message
}

fn jpeg() -> Vec<u8> {
    vec![0xFF, 0xD8, 1, 2, 3, 0xFF, 0xD9]
}

fn image() -> Json {
    json!({ "image": base64::encode(jpeg()) })
}

fn picture(key: &str) -> Json {
    message(key, "receive-sd-stream", &image())
}

fn online(key: &str) -> Effect {
    Effect::Sign(source(key), Sign::Online(true))
}

fn came(key: &str) -> [Effect; 1] {
    [Effect::Picture(source(key), jpeg().as_slice().into())]
}

/// What was asked of the agents, of these effects.
fn asked(effects: &[Effect]) -> Vec<Json> {
    let payload = |effect: &Effect| match effect {
        Effect::Publish(outgoing) => {
            assert_eq!((outgoing.topic.as_str(), outgoing.qos), ("kerberos/agent/hub1", Qos::AtMostOnce));
            Some(serde_json::from_slice(&outgoing.payload).unwrap())
        }
        _ => None,
    };
    effects.iter().filter_map(payload).collect()
}

#[test]
fn the_first_viewer_makes_it_ask_at_once_and_every_two_seconds() {
    let mut bed = Bed::new();
    assert_eq!(bed.driver.filters(), ["kerberos/hub/hub1", "kerberos/hub/hub1/+"]);
    let effects = bed.start("cam1");
    let request = &asked(&effects)[0];
    assert_eq!(request["payload"]["action"], "request-sd-stream");
    assert_eq!((&request["device_id"], &request["timestamp"]), (&json!("cam1"), &json!(1_767_225_600)));
    assert_eq!(effects[1..], [Effect::Sign(source("cam1"), Sign::Accepted)]);
    let times: Vec<u64> = bed.until(10_000).iter().map(|(ms, _)| *ms).collect();
    assert!((1_000..=2_000).contains(&times[0]), "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 2_000) && times.len() >= 5, "{times:?}");
}

#[test]
fn cameras_that_begin_together_are_not_asked_together() {
    let mut bed = Bed::new();
    for camera in 0..100 {
        bed.start(&format!("c{camera}"));
    }
    let mut times: Vec<u64> = bed.until(2_000).iter().map(|(ms, _)| *ms).collect();
    assert!(times.len() >= 100);
    times.dedup();
    // In a second there are twenty moments at which some are asked.
    assert!(times.len() > 15 && times.iter().all(|ms| ms % TOGETHER_MS == 0), "{times:?}");
}

#[test]
fn silence_makes_it_ask_less_often_and_claims_nothing() {
    let mut bed = Bed::new();
    bed.start("cam1");
    let done = bed.until(60_000);
    assert!(done.iter().all(|(_, effect)| matches!(effect, Effect::Publish(_))), "{done:?}");
    let late: Vec<u64> = done.iter().map(|(ms, _)| *ms).filter(|ms| *ms >= QUIET_MS).collect();
    assert!(late.windows(2).all(|pair| pair[1] - pair[0] == 10_000) && late.len() >= 4, "{late:?}");
    assert_eq!(bed.hear(&picture("cam1")), came("cam1"));
    assert!(!bed.until(62_000).is_empty(), "and often again, once a picture came");
}

#[test]
fn a_wrong_hub_key_is_told_as_unreadable_and_never_answered_in_kind() {
    for mut bed in [Bed::with(Some("wrong"), None), Bed::with(None, None)] {
        bed.start("cam1");
        let hidden = hidden("cam1", &payload("cam1", "receive-sd-stream", &image()), PRIVATE);
        assert_eq!(
            bed.hear(&hidden),
            [
                online("cam1"),
                Effect::Malformed("kerberos_decrypt"),
                Effect::Sign(source("cam1"), Sign::Unreadable)
            ]
        );
        let done: Vec<_> = bed.until(5_000).into_iter().map(|(_, effect)| effect).collect();
        for request in asked(&done) {
            assert_eq!(
                (&request["hidden"], &request["payload"]["hidden_value"]),
                (&json!(false), &json!(""))
            );
        }
    }
}

#[test]
fn pictures_come_clear_hidden_encrypted_and_both_on_both_topics() {
    let plain = payload("cam1", "receive-sd-stream", &image());
    let mut encrypted = payload("cam1", "receive-sd-stream", &json!({}));
    encrypted["encrypted_value"] = sealed(&plain, SYMMETRIC).into();
    let mut only_encrypted = message("cam1", "receive-sd-stream", &json!({}));
    only_encrypted["encrypted"] = true.into();
    only_encrypted["payload"] = encrypted.clone();
    let mut both = hidden("cam1", &encrypted, PRIVATE);
    both["encrypted"] = true.into();
    let forms = [picture("cam1"), hidden("cam1", &plain, PRIVATE), only_encrypted, both];
    let mut bed = Bed::new();
    bed.start("cam1");
    for form in forms {
        for topic in [HUB, "kerberos/hub/hub1/cam1"] {
            assert_eq!(bed.hear_on(topic, &form), came("cam1"), "{form}");
        }
    }
}

#[test]
fn what_an_agent_hides_must_be_its_own() {
    let mut bed = Bed::new();
    bed.start("cam1");
    let effects = bed.hear(&hidden("cam1", &payload("cam2", "receive-sd-stream", &image()), PRIVATE));
    assert_eq!(effects[1], Effect::Malformed("kerberos_decrypt"));
    assert_eq!(effects[2], Effect::Sign(source("cam1"), Sign::Unreadable));
}

#[test]
fn a_lost_picture_changes_nothing() {
    let mut bed = Bed::new();
    bed.start("cam1");
    assert_eq!(bed.hear(&picture("cam1")), came("cam1"));
    let done = bed.until(4_000);
    assert!(done.iter().all(|(_, effect)| matches!(effect, Effect::Publish(_))));
    assert_eq!(bed.hear(&picture("cam1")), came("cam1"));
}

#[test]
fn an_agent_that_restarts_is_asked_on() {
    let mut bed = Bed::new();
    bed.start("cam1");
    assert_eq!(bed.hear(&picture("cam1")), came("cam1"));
    assert!(bed.until(12_000).len() >= 5, "nine seconds are not long enough to be asked less often");
    bed.until(40_000);
    assert_eq!(bed.hear(&picture("cam1")), came("cam1"));
}

#[test]
fn a_second_start_is_the_first_one() {
    let mut bed = Bed::new();
    bed.start("cam1");
    assert_eq!(bed.start("cam1"), [Effect::Sign(source("cam1"), Sign::Accepted)]);
    assert!(bed.until(4_500).len() <= 3);
}

#[test]
fn the_last_viewer_leaves_and_nothing_is_sent() {
    let mut bed = Bed::new();
    bed.start("cam1");
    assert_eq!(bed.stop("cam1"), [Effect::Sign(source("cam1"), Sign::Stopped)]);
    assert_eq!(bed.driver.next(), None);
    assert_eq!(bed.hear(&picture("cam1")), [online("cam1")]);
    assert_eq!(bed.stop("cam1"), [Effect::Sign(source("cam1"), Sign::Stopped)]);
}

#[test]
fn pictures_that_others_asked_for_make_a_device_known_and_no_more() {
    let mut bed = Bed::new();
    let known = Effect::Known(source("cam2"), true);
    let remember = Effect::Remember("kerberos/hub1/cam2".into(), String::new());
    assert_eq!(bed.hear(&picture("cam2")), [known, remember, online("cam2")]);
    assert_eq!(bed.hear(&picture("cam2")), [online("cam2")]);
    bed.start("cam2");
    assert_eq!(bed.hear(&picture("cam2")), came("cam2"), "who joins sees them at once");
}

#[test]
fn an_agent_that_is_heard_is_remembered_anew_every_day() {
    let mut bed = Bed::new();
    let mut effects = Effects::new();
    let remember = Effect::Remember("kerberos/hub1/cam2".into(), String::new());
    bed.driver.recall("kerberos/hub1/cam2", "", bed.now(), &mut effects);
    assert_eq!(effects, [Effect::Known(source("cam2"), true)]);
    assert_eq!(bed.hear(&picture("cam2")), [remember.clone(), online("cam2")], "an earlier run had it kept");
    bed.until(REMEMBER_MS - 1);
    assert_eq!(bed.hear(&picture("cam2")), [online("cam2")]);
    bed.until(REMEMBER_MS);
    assert_eq!(bed.hear(&picture("cam2")), [remember, online("cam2")]);
    assert_eq!(bed.hear(&picture("cam1")), [online("cam1")], "what is configured is known anyway");
}

#[test]
fn a_device_that_was_heard_once_is_known_after_a_restart() {
    let mut bed = Bed::new();
    let mut recall = |name: &str| {
        let (now, mut effects) = (bed.now(), Effects::new());
        bed.driver.recall(name, "", now, &mut effects);
        effects
    };
    assert_eq!(recall("kerberos/hub1/cam2"), [Effect::Known(source("cam2"), true)]);
    for name in ["kerberos/hub1/cam2", "kerberos/hub1/cam1", "kerberos/hub2/cam2", "dji/a/b/c", "x"] {
        assert_eq!(recall(name), [], "{name}");
    }
    assert_eq!(bed.driver.devices(bed.now()).as_array().unwrap().len(), 2);
}

#[test]
fn a_device_that_was_started_before_it_was_heard_becomes_known_when_it_is() {
    let mut bed = Bed::new();
    bed.start("cam2");
    let effects = bed.hear(&picture("cam2"));
    assert_eq!(effects[0], Effect::Known(source("cam2"), true));
    assert_eq!(effects[2..], came("cam2"));
}

#[test]
fn what_belongs_to_another_hub_is_neither_started_nor_commanded() {
    let mut bed = Bed::new();
    let other: SourceId = "kerberos/hub2/cam1".parse().unwrap();
    let (now, mut effects) = (bed.now(), Effects::new());
    let ingest = Ingest { rtmp: None, options: StartOptions::default() };
    bed.driver.start(&other, &ingest, now, &mut effects);
    let refused = Sign::Refused { retry: Retry::Never, reason: SourceReason::Gone };
    assert_eq!(effects, [Effect::Sign(other.clone(), refused)]);
    let (zoom, mut effects) =
        (Command::Action { name: "zoom".into(), value: json!({"zoom": 1}) }, Effects::new());
    for source in [other, source("never-heard")] {
        bed.driver.command(Ticket(1), &source, &zoom, now, &mut effects);
    }
    assert_eq!(effects, vec![Effect::Answer(Ticket(1), Err(CommandError::Offline)); 2]);
    assert_eq!(bed.driver.next(), None);
}

#[test]
fn answers_to_others_sessions_are_passed_over() {
    let mut bed = Bed::new();
    bed.start("cam1");
    for action in [
        "receive-hd-answer",
        "receive-hd-candidates",
        "receive-hls-ready",
        "acknowledge-update-config",
        "motion",
        "recording",
        "receive-keyframe",
        "ptz-position",
        "",
    ] {
        let value = json!({ "session_id": "another", "sdp": "x", "position": "1,2,3" });
        assert_eq!(bed.hear(&message("cam1", action, &value)), [online("cam1")], "{action}");
    }
}

#[test]
fn a_connection_that_comes_back_resumes_what_runs_at_once() {
    let mut bed = Bed::new();
    bed.start("cam1");
    bed.start("cam2");
    bed.stop("cam2");
    bed.until(3_100);
    let (now, mut effects) = (bed.now(), Effects::new());
    bed.driver.connected(now, &mut effects);
    assert_eq!(asked(&effects).len(), 1);
    assert_eq!(asked(&effects)[0]["device_id"], "cam1");
    assert!(bed.driver.next().unwrap() <= 3_100 + 2_000);
}

#[test]
fn two_replicas_ask_under_different_names() {
    let mids: Vec<Json> = [1, 2]
        .map(|seed| {
            let mut bed = Bed::new();
            bed.driver.random = fastrand::Rng::with_seed(seed);
            asked(&bed.start("cam1"))[0]["mid"].clone()
        })
        .into();
    assert_ne!(mids[0], mids[1]);
    assert_eq!(mids[0].as_str().unwrap().len(), 36);
    assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
}

#[test]
fn a_picture_in_pieces_is_put_together_and_one_that_lacks_a_piece_is_dropped() {
    let mut bed = Bed::new();
    bed.start("cam1");
    let bytes = jpeg();
    let piece = |id: u32, index: usize| {
        let chunk = base64::encode(bytes.chunks(4).nth(index).unwrap());
        let value = json!({"id": id, "chunk": chunk, "chunkIndex": index, "chunkSize": 4, "chunkCount": 2});
        hidden("cam1", &payload("cam1", "receive-sd-stream", &value), PRIVATE)
    };
    let topic = "kerberos/hub/hub1/cam1";
    assert_eq!(bed.hear_on(topic, &piece(1, 1)), [online("cam1")]);
    assert_eq!(bed.hear_on(topic, &piece(1, 0)), came("cam1"));
    assert_eq!(bed.hear_on(topic, &piece(2, 0)), [online("cam1")]);
    let done = bed.until(4_000);
    assert!(done.contains(&(3_000, Effect::Malformed("kerberos_incomplete"))), "{done:?}");
}

#[test]
fn what_is_no_picture_is_counted_and_dropped() {
    let mut bed = Bed::new();
    bed.start("cam1");
    let large = base64::encode(vec![0xFF; picture::PICTURE_BYTES_MAX + 1]);
    for (value, name) in [
        (json!({"image": "/9j/*"}), "kerberos_base64"),
        (json!({"image": base64::encode(b"GIF89a")}), "kerberos_jpeg"),
        (json!({"image": ""}), "kerberos_jpeg"),
        (json!({"image": large}), "kerberos_size"),
        (json!({"image": 7}), "kerberos_chunk"),
        (json!({}), "kerberos_chunk"),
    ] {
        let effects = bed.hear(&message("cam1", "receive-sd-stream", &value));
        assert_eq!(effects, [online("cam1"), Effect::Malformed(name)]);
    }
    let mut broken = hidden("cam1", &payload("cam1", "receive-sd-stream", &image()), PRIVATE);
    broken["payload"]["hidden_value"] = "*".into();
    assert_eq!(bed.hear(&broken)[1..], [Effect::Malformed("kerberos_base64")]);
}

#[test]
fn what_is_no_message_of_a_device_is_counted_and_dropped() {
    let mut bed = Bed::new();
    for message in [
        json!({}),
        json!({"device_id": ""}),
        json!({"device_id": "a/b"}),
        json!({"device_id": "a".repeat(65)}),
    ] {
        assert_eq!(bed.hear(&message), [Effect::Malformed("kerberos_device")], "{message}");
    }
    assert_eq!(
        bed.hear_on("kerberos/hub/hub1/cam2", &picture("cam1")),
        [Effect::Malformed("kerberos_device")],
        "on the topic of another device"
    );
    assert_eq!(bed.hear(&json!("x")), [Effect::Malformed("kerberos_message")]);
    for topic in ["kerberos/hub/hub2", "kerberos/hub/hub10", "kerberos/agent/hub1", "sys/a"] {
        assert_eq!(bed.hear_on(topic, &picture("cam1")), [], "{topic}");
    }
}

#[test]
fn a_configuration_leaves_no_trace() {
    let mut bed = Bed::new();
    bed.start("cam1");
    bed.action(1, "get-ptz-position", Json::Null);
    let value = json!({"key": "cam1", "capture": {"ipcamera": {"rtsp": "rtsp://admin:hunter2@camera"}}, "name": "hunter2"});
    let clear = message("cam1", "receive-config", &value);
    let hidden = hidden("cam1", &payload("cam1", "receive-config", &value), PRIVATE);
    for message in [clear, hidden] {
        let effects = bed.hear(&message);
        assert_eq!(effects, [online("cam1")]);
    }
    assert!(!format!("{:?}", bed.driver).contains("hunter2"));
    assert!(!format!("{:?}", bed.driver).contains(PRIVATE));
}

#[test]
fn devices_that_appear_are_bounded_and_configured_ones_are_not_among_them() {
    let mut bed = Bed::new();
    for device in 0..HEARD_MAX {
        bed.hear(&json!({"device_id": format!("d{device}")}));
    }
    assert_eq!(bed.hear(&json!({"device_id": "one-more"})), [Effect::Malformed("kerberos_devices")]);
    assert_eq!(bed.hear(&picture("cam1")), [online("cam1")]);
    assert_eq!(bed.hear(&json!({"device_id": "d0"})), [online("d0")]);
    bed.start("started");
    assert_eq!(bed.hear(&picture("started")), came("started"), "whoever is wanted is heard");
}

#[test]
fn a_camera_is_turned_by_what_the_agent_takes() {
    for (name, value, action) in [
        (
            "ptz",
            json!({"left": 1}),
            r#"{"action":"ptz","payload":{"left":1,"right":0,"up":0,"down":0,"center":0}}"#,
        ),
        (
            "ptz",
            json!({"action": "zoom", "payload": {"zoom": -1}}),
            r#"{"action":"zoom","payload":{"zoom":-1.0}}"#,
        ),
        ("zoom", json!({"zoom": 0.5}), r#"{"action":"zoom","payload":{"zoom":0.5}}"#),
        ("preset", json!({"preset": "3"}), r#"{"action":"preset","payload":{"preset":"3"}}"#),
        (
            "absolute-move",
            json!({"x": 0, "y": 1, "z": 0.5}),
            r#"{"action":"absolute-move","payload":{"x":0.0,"y":1.0,"z":0.5}}"#,
        ),
    ] {
        let effects = Bed::new().action(1, name, value);
        let payload = &asked(&effects)[0]["payload"];
        assert_eq!(payload["action"], "navigate-ptz");
        assert_eq!(payload["value"]["action"], action);
        assert_eq!(effects[1..], [Effect::Answer(Ticket(1), Ok(json!({"sent": true})))]);
    }
}

#[test]
fn what_an_agent_does_not_take_is_not_sent() {
    let unsupported = |effects: Effects| {
        assert!(
            matches!(effects[..], [Effect::Answer(Ticket(1), Err(CommandError::Unsupported(_)))]),
            "{effects:?}"
        );
    };
    for (name, value) in [
        ("ptz", json!({"left": 5})),
        ("ptz", Json::Null),
        ("zoom", json!({"zoom": 3})),
        ("record", json!({})),
        ("record", json!({"recording": "yes"})),
        ("trigger-relay", json!({"token": ""})),
        ("trigger-relay", json!({"token": "a".repeat(65)})),
        ("verify-stream", json!({"stream": "third"})),
        ("verify-stream", json!({"stream": "main", "rtsp": "a".repeat(1025)})),
        ("request-config", json!({})),
        ("update-config", json!({"config": {}})),
        ("reboot", json!({})),
    ] {
        unsupported(Bed::new().action(1, name, value));
    }
    unsupported(Bed::new().command(1, &Command::Quality { quality: 1 }));
}

#[test]
fn a_position_is_answered_by_the_device_that_was_asked() {
    let mut bed = Bed::new();
    assert_eq!(asked(&bed.action(1, "get-ptz-position", Json::Null)).len(), 1);
    let position = |key| message(key, "ptz-position", &json!({"timestamp": 1, "position": "0.1,-0.5,1.0"}));
    bed.hear(&position("cam2"));
    bed.hear(&message("cam1", "ptz-position", &json!({"position": "nowhere"})));
    let answer = Effect::Answer(Ticket(1), Ok(json!({"position": {"x": 0.1, "y": -0.5, "z": 1.0}})));
    assert_eq!(bed.hear(&position("cam1")), [online("cam1"), answer]);
    assert_eq!(bed.hear(&position("cam1")), [online("cam1")]);
    assert_eq!(bed.driver.next(), None);
}

#[test]
fn a_question_that_is_not_answered_ends() {
    let mut bed = Bed::new();
    bed.action(1, "get-ptz-position", Json::Null);
    bed.action(2, "verify-stream", json!({"stream": "sub"}));
    assert_eq!(
        bed.until(60_000),
        [
            (5_000, Effect::Answer(Ticket(1), Err(CommandError::NoReply))),
            (15_000, Effect::Answer(Ticket(2), Err(CommandError::NoReply)))
        ]
    );
}

#[test]
fn the_oldest_of_too_many_questions_gives_way() {
    let mut bed = Bed::new();
    for ticket in 0..QUESTIONS_MAX as u64 {
        assert_eq!(bed.action(ticket, "get-ptz-position", Json::Null).len(), 1);
    }
    let effects = bed.action(9_999, "get-ptz-position", Json::Null);
    assert_eq!(effects[1..], [Effect::Answer(Ticket(0), Err(CommandError::NoReply))]);
}

#[test]
fn a_look_at_a_stream_is_answered_without_the_address_of_the_camera() {
    let mut bed = Bed::new();
    bed.action(1, "verify-stream", json!({"stream": "main"}));
    let result = |stream| {
        let value = json!({"timestamp": 1, "stream": stream, "success": false, "error": "dial rtsp://admin:hunter2@c",
                           "width": 1920, "height": 1080, "codec": "H264", "fps": 12.5});
        message("cam1", "verify-stream-result", &value)
    };
    assert_eq!(bed.hear(&result("sub")), [online("cam1")]);
    let answer = json!({"stream": "main", "success": false, "width": 1920, "height": 1080, "codec": "H264", "fps": 12.5});
    assert_eq!(bed.hear(&result("main")), [online("cam1"), Effect::Answer(Ticket(1), Ok(answer))]);
}

#[test]
fn recording_and_relays_are_sent_and_not_waited_for() {
    let mut bed = Bed::new();
    for (name, value) in [("record", json!({"recording": true})), ("trigger-relay", json!({"token": "r1"}))] {
        let effects = bed.action(1, name, value);
        assert_eq!(asked(&effects)[0]["payload"]["action"], name);
        assert_eq!(effects[1..], [Effect::Answer(Ticket(1), Ok(json!({"sent": true})))]);
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_and_none_make_a_picture(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bed = Bed::new();
        bed.start("cam1");
        let (now, mut effects) = (bed.now(), Effects::new());
        bed.driver.heard(HUB, &bytes.into(), now, &mut effects);
        prop_assert!(!effects.iter().any(|effect| matches!(effect, Effect::Picture(..))));
    }

    #[test]
    fn any_payload_is_read_as_it_was_hidden(text in "\\PC{0,60}", key in "\\PC{1,20}") {
        let inner = payload("cam1", "receive-sd-stream", &json!({"image": text}));
        let sealed = sealed(&inner, &key);
        let mut space = Vec::new();
        let read = layer(&sealed, key.parse().ok().as_ref(), "cam1", &mut space).unwrap();
        prop_assert_eq!(read.value.image.0.as_deref(), Some(text.as_bytes()));
        prop_assert!(layer(&sealed, "another".parse().ok().as_ref(), "cam1", &mut Vec::new()).is_err());
    }
}
