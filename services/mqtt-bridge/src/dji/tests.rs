//! What the driver does of what a bridge must, case by case.

use proptest::prelude::*;
use relay_proto::source::{CameraPosition, StartOptions};

use super::calls::CALLS_MAX;
use super::fleet::{GATEWAYS_MAX, VIDEOS_MAX};
use super::*;

const DOCK: &str = "4BKBJ4R1010TGD";
const AIRCRAFT: &str = "1581F4BND22180040075";
const RC: &str = "RC1";

/// The camera of the dock, the one under the aircraft's nose, and the one it carries.
const HOUSE: &str = "dji/4BKBJ4R1010TGD/165-0-7/normal-0";
const FPV: &str = "dji/1581F4BND22180040075/39-0-7/normal-0";
const LOAD: &str = "dji/1581F4BND22180040075/52-0-0/normal-0";

const URL: &str = "rtmp://node-1:1935/live/channel/key";

struct Bed {
    driver: Dji,
    ms: u64,
}

impl Bed {
    fn with(settings: Settings) -> (Self, Effects) {
        let mut effects = Effects::new();
        let driver = Dji::new(settings, 7, &mut effects);
        (Self { driver, ms: 1_000 }, effects)
    }

    fn empty() -> Self {
        Self::with(Settings::default()).0
    }

    /// A dock with its aircraft, both there.
    fn dock() -> Self {
        Self::dock_with(Settings::default())
    }

    fn dock_with(settings: Settings) -> Self {
        let (mut bed, _) = Self::with(settings);
        bed.topology(&[AIRCRAFT]);
        bed.state(&capacity(2, 1, 2));
        bed
    }

    fn now(&self) -> Now {
        Now { ms: self.ms, unix_ms: 1_767_225_600_000 + self.ms }
    }

    fn hear(&mut self, topic: &str, message: &Json) -> Effects {
        let (now, mut effects) = (self.now(), Effects::new());
        self.driver.heard(topic, &message.to_string().into_bytes().into(), now, &mut effects);
        effects
    }

    /// What belongs to the dock, told as something new.
    fn topology(&mut self, aircraft: &[&str]) -> Effects {
        let tid = uuid(self.driver.random.u128(..));
        self.topology_of(DOCK, 2, &tid, aircraft)
    }

    fn topology_of(&mut self, sn: &str, kind: i64, tid: &str, aircraft: &[&str]) -> Effects {
        let domain = if kind > 9 { "2" } else { "3" };
        let list: Vec<Json> =
            aircraft.iter().map(|sn| json!({"sn": sn, "domain": "0", "type": 67, "sub_type": 0})).collect();
        let data = json!({"domain": domain, "type": kind, "sub_type": 0, "sub_devices": list});
        let message = json!({"tid": tid, "bid": "b", "timestamp": 1, "method": "update_topo", "data": data});
        self.hear(&format!("sys/product/{sn}/status"), &message)
    }

    fn state(&mut self, data: &Json) -> Effects {
        self.hear(
            &format!("thing/product/{DOCK}/state"),
            &json!({"tid": "t", "bid": "b", "timestamp": 1, "gateway": DOCK, "data": data}),
        )
    }

    fn osd(&mut self, sn: &str) -> Effects {
        let message = json!({"tid": "t", "bid": "b", "gateway": DOCK, "data": {"height": 12.5}});
        self.hear(&format!("thing/product/{sn}/osd"), &message)
    }

    fn status(&mut self, name: &str, live: bool, error: i64) -> Effects {
        let item = json!({"video_id": name.strip_prefix("dji/"), "video_type": "wide", "video_quality": 2,
                          "status": u8::from(live), "error_status": error});
        self.state(&json!({ "live_status": [item] }))
    }

    fn start_with(&mut self, name: &str, options: StartOptions) -> Effects {
        let ingest = Ingest { rtmp: Some(URL.to_owned()), options };
        let (now, mut effects) = (self.now(), Effects::new());
        self.driver.start(&source(name), &ingest, now, &mut effects);
        effects
    }

    fn start(&mut self, name: &str) -> Effects {
        self.start_with(name, StartOptions::default())
    }

    fn stop(&mut self, name: &str) -> Effects {
        let (now, mut effects) = (self.now(), Effects::new());
        self.driver.stop(&source(name), now, &mut effects);
        effects
    }

    fn command(&mut self, ticket: u64, name: &str, command: &Command) -> Effects {
        let (now, mut effects) = (self.now(), Effects::new());
        self.driver.command(Ticket(ticket), &source(name), command, now, &mut effects);
        effects
    }

    fn reply_to(&mut self, sent: &Sent, result: i64) -> Effects {
        let message =
            json!({"tid": sent.tid, "bid": sent.bid, "timestamp:": "1", "data": {"result": result}});
        self.hear(&format!("thing/product/{}/services_reply", sent.gateway), &message)
    }

    /// Starts it, and has the gateway accept.
    fn live(&mut self, name: &str) {
        let sent = only(&self.start(name));
        assert_eq!(self.reply_to(&sent, 0)[0], sign(name, Sign::Accepted));
    }

    /// Lets the time pass until then, while the dock is there; all that was done, and when.
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

/// A message to a gateway.
#[derive(Debug, Clone, PartialEq)]
struct Sent {
    gateway: String,
    tid: String,
    bid: String,
    method: String,
    data: Json,
}

fn sent(effects: &[Effect]) -> Vec<Sent> {
    let read = |effect: &Effect| {
        let Effect::Publish(outgoing) = effect else { return None };
        let topic: Topic = outgoing.topic.parse().unwrap();
        assert_eq!(outgoing.qos, Qos::AtMostOnce);
        let message = Message::read(&outgoing.payload).unwrap();
        assert!(message.timestamp.is_some_and(|at| at > 1_767_225_600_000));
        Some(Sent {
            gateway: topic.sn.to_string(),
            tid: message.tid.unwrap_or_default(),
            bid: message.bid.unwrap_or_default(),
            method: message.method.unwrap(),
            data: message.data,
        })
    };
    effects.iter().filter_map(read).collect()
}

/// The one message that was sent.
fn only(effects: &[Effect]) -> Sent {
    let sent = sent(effects);
    assert_eq!(sent.len(), 1, "{effects:?}");
    sent[0].clone()
}

fn source(name: &str) -> SourceId {
    name.parse().unwrap()
}

fn sign(name: &str, sign: Sign) -> Effect {
    Effect::Sign(source(name), sign)
}

fn online(name: &str, is_online: bool) -> Effect {
    sign(name, Sign::Online(is_online))
}

fn refused(name: &str, retry: Retry, reason: SourceReason) -> Effect {
    sign(name, Sign::Refused { retry, reason })
}

fn late() -> Effect {
    Effect::Malformed(LATE_REPLY)
}

fn capacity(all: u32, of_dock: u32, of_aircraft: u32) -> Json {
    let camera = |index: &str, lenses: &[&str]| {
        json!({"camera_index": index, "available_video_number": 1, "coexist_video_number_max": 1, "video_list": [
            {"video_index": "normal-0", "video_type": lenses[0], "switchable_video_types": lenses}]})
    };
    json!({"live_capacity": {"available_video_number": 3, "coexist_video_number_max": all, "device_list": [
        {"sn": DOCK, "coexist_video_number_max": of_dock, "camera_list": [camera("165-0-7", &["normal"])]},
        {"sn": AIRCRAFT, "coexist_video_number_max": of_aircraft, "camera_list": [
            camera("39-0-7", &["normal"]), camera("52-0-0", &["wide", "zoom", "ir"])]},
    ]}})
}

fn configured(name: &str, gateway: Option<&str>) -> Settings {
    let gateway = gateway.map(|sn| sn.parse().unwrap());
    Settings { cameras: vec![Configured { source: source(name), gateway }], ..Settings::default() }
}

fn protocol(name: &str) -> StartOptions {
    StartOptions { quality: None, protocol: Some(name.to_owned()) }
}

#[test]
fn cameras_appear_when_a_gateway_tells_of_them_and_are_kept() {
    let mut bed = Bed::empty();
    assert_eq!(bed.topology(&[AIRCRAFT]).len(), 1, "what is to be kept");
    let effects = bed.state(&capacity(2, 1, 2));
    for name in [HOUSE, FPV, LOAD] {
        let at = |wanted: Effect| effects.iter().position(|effect| *effect == wanted).unwrap();
        assert!(at(Effect::Known(source(name), true)) < at(online(name, true)));
    }
    let Some(Effect::Remember(name, text)) = effects.last() else { panic!("{effects:?}") };
    assert_eq!(name, &format!("dji/{DOCK}"));
    assert!(bed.state(&capacity(2, 1, 2)).is_empty(), "nothing new");

    let (mut other, mut effects) = (Bed::empty(), Effects::new());
    other.driver.recall(name, text, bed.now(), &mut effects);
    assert_eq!(effects.len(), 3);
    assert!(effects.contains(&Effect::Known(source(LOAD), true)));
    // Whether they are there is not known of what was kept.
    assert_eq!(other.start(LOAD), [refused(LOAD, Retry::OnNews, SourceReason::Offline)]);
    assert!(other.osd(DOCK).contains(&online(LOAD, true)));
    assert_eq!(only(&other.start(LOAD)).gateway, DOCK);
    for text in ["", "[]", "{}", "{\"live_capacity\":7}"] {
        let mut effects = Effects::new();
        other.driver.recall("dji/X", text, bed.now(), &mut effects);
        assert!(effects.is_empty());
    }
}

#[test]
fn what_is_kept_is_given_anew_every_day() {
    let mut bed = Bed::dock();
    let mut kept = 0;
    // Every half minute of 50 hours.
    for turn in 1..=50_u64 * 120 {
        let done = bed.until(turn * 30_000);
        kept += done.iter().filter(|(_, effect)| matches!(effect, Effect::Remember(..))).count();
        bed.osd(DOCK);
    }
    assert_eq!(kept, 2);
}

#[test]
fn nothing_is_sent_to_a_gateway_that_is_unknown_or_away() {
    let (mut bed, known) = Bed::with(configured(HOUSE, None));
    assert_eq!(known, [Effect::Known(source(HOUSE), true)]);
    for name in [HOUSE, LOAD] {
        assert_eq!(bed.start(name), [refused(name, Retry::OnNews, SourceReason::Offline)]);
    }
    assert_eq!(bed.stop(HOUSE), [sign(HOUSE, Sign::Stopped)]);
    assert_eq!(bed.osd(DOCK), [online(HOUSE, true)]);
    assert_eq!(only(&bed.start(HOUSE)).method, "live_start_push");
}

#[test]
fn a_gateway_is_away_after_a_minute_of_silence() {
    let mut bed = Bed::dock();
    bed.live(HOUSE);
    let ticket = Command::Quality { quality: 1 };
    let mut last = 0;
    for ms in [11_000, 21_000, 31_000] {
        assert!(bed.until(ms).is_empty());
        bed.osd(AIRCRAFT);
        last = ms;
    }
    bed.until(last + OFFLINE_MS - 1_000);
    assert_eq!(only(&bed.command(1, HOUSE, &ticket)).method, "live_set_quality");
    assert!(bed.until(last + OFFLINE_MS - 1).is_empty());
    let done: Vec<Effect> = bed.until(last + OFFLINE_MS).into_iter().map(|(_, effect)| effect).collect();
    assert_eq!(done[0], Effect::Answer(Ticket(1), Err(CommandError::Offline)));
    for name in [HOUSE, FPV, LOAD] {
        assert!(done.contains(&online(name, false)));
    }
    assert_eq!(bed.driver.next(), None, "nothing is waited for");
    let done = bed.osd(DOCK);
    assert_eq!(done, [online(HOUSE, true), online(FPV, true), online(LOAD, true)]);
}

#[test]
fn an_aircraft_that_left_is_gone_and_the_dock_goes_on() {
    let mut bed = Bed::dock();
    bed.live(HOUSE);
    bed.live(LOAD);
    assert_eq!(bed.start(FPV), [refused(FPV, Retry::OnNews, SourceReason::Limit)]);
    let effects = bed.topology(&[]);
    assert!(effects.contains(&online(LOAD, false)) && effects.contains(&online(FPV, false)));
    assert!(!effects.contains(&online(HOUSE, false)) && !effects.contains(&online(FPV, true)));
    assert_eq!(bed.start(LOAD), [refused(LOAD, Retry::OnNews, SourceReason::Gone)]);
    assert_eq!(only(&bed.stop(HOUSE)).method, "live_stop_push");
    let effects = bed.topology(&[AIRCRAFT]);
    assert!(effects.contains(&online(LOAD, true)) && effects.contains(&online(FPV, true)));
    assert_eq!(only(&bed.start(LOAD)).gateway, DOCK);
}

#[test]
fn a_configured_camera_starts_before_anything_is_known_of_it() {
    let (mut bed, _) = Bed::with(configured(LOAD, Some(DOCK)));
    assert_eq!(bed.osd(DOCK), [online(LOAD, true)]);
    let start = only(&bed.start(LOAD));
    assert_eq!((start.gateway.as_str(), start.method.as_str()), (DOCK, "live_start_push"));
    // It is not there as far as the gateway knows, which will tell when it is.
    let no_camera = SourceReason::Device(513_002);
    assert_eq!(bed.reply_to(&start, 513_002), [refused(LOAD, Retry::OnNews, no_camera)]);
    assert!(bed.state(&capacity(2, 1, 2)).contains(&online(LOAD, true)));
}

#[test]
fn cameras_that_a_device_has_no_more_are_gone() {
    let mut bed = Bed::dock();
    let mut less = capacity(2, 1, 2);
    less["live_capacity"]["device_list"][1]["camera_list"].as_array_mut().unwrap().pop();
    assert!(bed.state(&less).contains(&Effect::Known(source(LOAD), false)));
    assert_eq!(bed.start(LOAD), [refused(LOAD, Retry::OnNews, SourceReason::Gone)]);
    assert!(bed.state(&capacity(2, 1, 2)).contains(&Effect::Known(source(LOAD), true)));
    // A device that is away keeps what it had.
    less["live_capacity"]["device_list"].as_array_mut().unwrap().pop();
    assert!(!bed.state(&less).iter().any(|effect| matches!(effect, Effect::Known(_, false))));
}

#[test]
fn a_start_names_the_video_and_is_accepted_by_its_reply() {
    let mut bed = Bed::dock();
    let options = StartOptions { quality: Some(3), protocol: None };
    let start = only(&bed.start_with(LOAD, options));
    assert_eq!((start.gateway.as_str(), start.method.as_str()), (DOCK, "live_start_push"));
    let expected =
        json!({"url_type": 1, "url": URL, "video_id": LOAD.strip_prefix("dji/"), "video_quality": 3});
    assert_eq!(start.data, expected);
    assert_eq!(bed.reply_to(&start, 0), [sign(LOAD, Sign::Accepted)]);
    assert!(bed.until(40_000).is_empty(), "nothing is repeated");
}

#[test]
fn early_refusals_are_told_for_the_pauses_to_grow() {
    let mut bed = Bed::dock();
    for code in [513_006, 513_008, 513_009, 513_010, 513_012, 513_015, 513_099, 327_015, 4] {
        let start = only(&bed.start(HOUSE));
        let reason = SourceReason::Device(code);
        assert_eq!(bed.reply_to(&start, code), [refused(HOUSE, Retry::Later, reason)], "{code}");
    }
    for code in [313_004, 513_014, 613_005, 613_013] {
        let start = only(&bed.start(HOUSE));
        let reason = SourceReason::Device(code);
        assert_eq!(bed.reply_to(&start, code), [refused(HOUSE, Retry::Never, reason)], "{code}");
    }
    assert_eq!(only(&bed.start(FPV)).data["video_quality"], 0);
}

#[test]
fn a_lost_reply_is_asked_for_three_times_under_new_names() {
    let mut bed = Bed::dock();
    let mut tries = vec![only(&bed.start(HOUSE))];
    for at in [21_000, 41_000] {
        bed.osd(DOCK);
        let done = bed.until(at);
        assert_eq!((done.len(), done[0].0), (1, at));
        tries.push(only(&[done[0].1.clone()]));
    }
    bed.osd(DOCK);
    assert_eq!(bed.until(61_000), [(61_000, sign(HOUSE, Sign::Unanswered))]);
    for (at, one) in tries.iter().enumerate() {
        let uuid = |text: &str| text.len() == 36 && &text[14..15] == "4";
        assert!(uuid(&one.tid) && uuid(&one.bid) && one.tid != one.bid);
        assert!(tries[at + 1..].iter().all(|other| other.tid != one.tid && other.bid != one.bid));
        assert_eq!(one.data, tries[0].data);
    }
}

#[test]
fn a_late_reply_and_anothers_are_passed_over() {
    let mut bed = Bed::dock();
    let first = only(&bed.start(HOUSE));
    let second = only(&[bed.until(21_000)[0].1.clone()]);
    assert_eq!(bed.reply_to(&first, 513_004), [late()]);
    for odd in [
        Sent { bid: "other".to_owned(), ..second.clone() },
        Sent { tid: "other".to_owned(), ..second.clone() },
        Sent { gateway: "other".to_owned(), ..second.clone() },
    ] {
        assert_eq!(bed.reply_to(&odd, 0), [late()]);
    }
    assert_eq!(bed.reply_to(&second, 0), [sign(HOUSE, Sign::Accepted)]);
    assert_eq!(bed.reply_to(&second, 0), [late()], "it comes twice");
    let topic = format!("thing/product/{DOCK}/services_reply");
    for odd in [json!({"data": {"result": 0}}), json!({"tid": "t", "bid": "b", "data": {}})] {
        assert_eq!(bed.hear(&topic, &odd), [Effect::Malformed(MALFORMED_MESSAGE)]);
    }
}

#[test]
fn a_video_that_became_live_was_started_whatever_the_reply() {
    let mut bed = Bed::dock();
    bed.status(HOUSE, false, 0);
    let start = only(&bed.start(HOUSE));
    let effects = bed.status(HOUSE, true, 0);
    assert_eq!(effects, [sign(HOUSE, Sign::Accepted), sign(HOUSE, Sign::Says { live: true, error: None })]);
    assert!(bed.reply_to(&start, 0).is_empty(), "a reply after that is no stranger's");
    assert_eq!(bed.reply_to(&start, 0), [late()]);
    assert!(bed.until(40_000).is_empty());
}

#[test]
fn a_video_that_was_live_before_proves_nothing() {
    let mut bed = Bed::dock();
    bed.status(HOUSE, true, 0);
    only(&bed.start(HOUSE));
    assert_eq!(bed.status(HOUSE, true, 0), [sign(HOUSE, Sign::Says { live: true, error: None })]);
}

#[test]
fn a_second_start_is_told_as_already_live() {
    let mut bed = Bed::dock();
    let start = only(&bed.start(HOUSE));
    // Nobody knows whose it is.
    assert_eq!(bed.reply_to(&start, 513_003), [sign(HOUSE, Sign::AlreadyLive)]);
}

#[test]
fn somebody_elses_video_is_left_alone_unless_it_may_be_taken_over() {
    for (take_over, expected) in [
        (false, refused(HOUSE, Retry::Later, SourceReason::Device(513_003))),
        (true, sign(HOUSE, Sign::AlreadyLive)),
    ] {
        let mut bed = Bed::dock_with(Settings { take_over, ..Settings::default() });
        bed.status(HOUSE, true, 0);
        for _ in 0..2 {
            let start = only(&bed.start(HOUSE));
            assert_eq!(bed.reply_to(&start, 513_003), std::slice::from_ref(&expected));
        }
    }
}

#[test]
fn a_video_that_was_started_here_is_not_somebody_elses() {
    let mut bed = Bed::dock();
    bed.live(HOUSE);
    bed.status(HOUSE, true, 0);
    let start = only(&bed.start(HOUSE));
    assert_eq!(bed.reply_to(&start, 513_003), [sign(HOUSE, Sign::AlreadyLive)]);
    // Nor one whose first answer was lost.
    let mut bed = Bed::dock();
    bed.status(HOUSE, true, 0);
    bed.start(HOUSE);
    let again = only(&[bed.until(21_000)[0].1.clone()]);
    assert_eq!(bed.reply_to(&again, 513_003), [sign(HOUSE, Sign::AlreadyLive)]);
}

#[test]
fn a_stop_ends_by_its_reply_by_status_or_because_nothing_was_live() {
    let mut bed = Bed::dock();
    for code in [0, 513_011] {
        bed.live(HOUSE);
        let stop = only(&bed.stop(HOUSE));
        assert_eq!((stop.method.as_str(), &stop.data["video_id"]), ("live_stop_push", &json!(&HOUSE[4..])));
        assert_eq!(bed.reply_to(&stop, code), [sign(HOUSE, Sign::Stopped)]);
    }
    bed.live(HOUSE);
    let stop = only(&bed.stop(HOUSE));
    let says = sign(HOUSE, Sign::Says { live: false, error: None });
    assert_eq!(bed.status(HOUSE, false, 0), [sign(HOUSE, Sign::Stopped), says]);
    assert!(bed.reply_to(&stop, 0).is_empty());
    bed.live(HOUSE);
    let stop = only(&bed.stop(HOUSE));
    assert_eq!(bed.reply_to(&stop, 513_009), [sign(HOUSE, Sign::StopUnanswered)]);
}

#[test]
fn a_stop_is_tried_three_times() {
    let mut bed = Bed::dock();
    bed.live(HOUSE);
    bed.stop(HOUSE);
    for at in [21_000, 41_000] {
        bed.osd(DOCK);
        assert_eq!(only(&[bed.until(at)[0].1.clone()]).method, "live_stop_push");
    }
    bed.osd(DOCK);
    assert_eq!(bed.until(61_000), [(61_000, sign(HOUSE, Sign::StopUnanswered))]);
}

#[test]
fn errors_of_a_live_video_are_told() {
    let mut bed = Bed::dock();
    bed.live(HOUSE);
    let says = |live, error| sign(HOUSE, Sign::Says { live, error });
    assert_eq!(bed.status(HOUSE, true, 513_015), [says(true, Some(513_015))]);
    assert_eq!(bed.status(HOUSE, true, 0), [says(true, None)]);
    assert_eq!(bed.status(HOUSE, false, 513_010), [says(false, Some(513_010))]);
}

#[test]
fn a_reboot_ends_what_was_live_and_what_was_asked() {
    for by_config in [false, true] {
        let mut bed = Bed::dock();
        bed.live(HOUSE);
        bed.status(HOUSE, true, 0);
        let start = only(&bed.start(LOAD));
        only(&bed.command(3, HOUSE, &Command::Quality { quality: 1 }));
        let config = json!({"tid": "t", "bid": "b", "method": "config", "data": {"config_type": "json"}});
        let requests = format!("thing/product/{DOCK}/requests");
        let effects = if by_config { bed.hear(&requests, &config) } else { bed.topology(&[AIRCRAFT]) };
        assert_eq!(effects[0], Effect::Answer(Ticket(3), Err(CommandError::Offline)));
        for name in [HOUSE, FPV, LOAD] {
            assert!(effects.contains(&sign(name, Sign::Rebooted)));
        }
        assert!(bed.topology(&[AIRCRAFT]).is_empty(), "it is the same reboot");
        assert_eq!(bed.reply_to(&start, 0), [late()]);
        assert_eq!(bed.start(HOUSE), [refused(HOUSE, Retry::OnNews, SourceReason::Offline)]);
        assert_eq!(bed.osd(DOCK), [online(HOUSE, true), online(FPV, true), online(LOAD, true)]);
        only(&bed.start(HOUSE));
        only(&bed.start(LOAD));
    }
}

#[test]
fn a_topology_that_comes_twice_is_no_reboot() {
    let mut bed = Bed::dock();
    bed.topology_of(DOCK, 2, "same", &[]);
    assert!(bed.topology_of(DOCK, 2, "same", &[]).is_empty());
    let effects = bed.topology_of(DOCK, 2, "other", &[]);
    assert_eq!(effects, [sign(HOUSE, Sign::Rebooted)]);
}

#[test]
fn a_new_connection_repeats_what_was_asked_and_takes_nobody_for_gone() {
    let mut bed = Bed::dock();
    let first = only(&bed.start(HOUSE));
    assert!(bed.until(15_000).is_empty());
    let (now, mut effects) = (bed.now(), Effects::new());
    bed.driver.connected(now, &mut effects);
    let again = only(&effects);
    assert!(again.tid != first.tid && again.data == first.data);
    assert_eq!(bed.reply_to(&again, 0), [sign(HOUSE, Sign::Accepted)]);
    assert!(bed.until(15_000 + OFFLINE_MS - 1).is_empty(), "counted from the new connection on");
    // What the gateway says of itself after that is no reboot.
    assert!(bed.topology(&[AIRCRAFT]).is_empty());
    // An aircraft whose coming was missed is there.
    bed.topology(&[]);
    bed.driver.connected(now, &mut effects);
    let effects = bed.osd(AIRCRAFT);
    assert!(effects.contains(&online(LOAD, true)) && effects.contains(&online(FPV, true)));
}

#[test]
fn as_many_are_live_as_the_gateway_the_device_and_the_camera_take() {
    for (all, of_aircraft) in [(2, 9), (9, 1)] {
        let mut bed = Bed::empty();
        bed.topology(&[AIRCRAFT]);
        bed.state(&capacity(all, 1, of_aircraft));
        bed.live(FPV);
        if all == 2 {
            bed.live(HOUSE);
        }
        let limit = refused(LOAD, Retry::OnNews, SourceReason::Limit);
        assert_eq!(bed.start(LOAD), [limit], "{all} {of_aircraft}");
        let stop = only(&bed.stop(FPV));
        assert_eq!(bed.reply_to(&stop, 0), [sign(FPV, Sign::Stopped), online(LOAD, true)]);
        only(&bed.start(LOAD));
    }
    // A second video of one camera.
    let mut bed = Bed::empty();
    let mut two = capacity(0, 0, 0);
    let list = &mut two["live_capacity"]["device_list"][0]["camera_list"][0]["video_list"];
    list.as_array_mut().unwrap().push(json!({"video_index": "zoom-0"}));
    bed.state(&two);
    bed.live(HOUSE);
    let zoom = "dji/4BKBJ4R1010TGD/165-0-7/zoom-0";
    assert_eq!(bed.start(zoom), [refused(zoom, Retry::OnNews, SourceReason::Limit)]);
    // None at all is read as not told: the others start.
    bed.live(FPV);
    bed.live(LOAD);
}

#[test]
fn what_others_have_started_counts_too() {
    let mut bed = Bed::empty();
    bed.topology(&[AIRCRAFT]);
    bed.state(&capacity(1, 1, 1));
    bed.status(FPV, true, 0);
    assert_eq!(bed.start(HOUSE), [refused(HOUSE, Retry::OnNews, SourceReason::Limit)]);
    let effects = bed.status(FPV, false, 0);
    assert_eq!(effects, [sign(FPV, Sign::Says { live: false, error: None }), online(HOUSE, true)]);
    only(&bed.start(HOUSE));
}

#[test]
fn a_start_that_fails_gives_its_place_back() {
    let mut bed = Bed::empty();
    bed.topology(&[AIRCRAFT]);
    bed.state(&capacity(1, 1, 1));
    let start = only(&bed.start(FPV));
    bed.start(HOUSE);
    let effects = bed.reply_to(&start, 513_010);
    assert_eq!(effects[1], online(HOUSE, true));
    let start = only(&bed.start(HOUSE));
    bed.driver.forget(&source(HOUSE));
    assert_eq!(bed.reply_to(&start, 0), [late()], "whoever has it now knows");
    only(&bed.start(FPV));
}

#[test]
fn a_quality_that_is_refused_is_tried_as_adaptive_once() {
    let mut bed = Bed::dock();
    let options = StartOptions { quality: Some(4), protocol: None };
    let start = only(&bed.start_with(HOUSE, options.clone()));
    let again = only(&bed.reply_to(&start, 513_005));
    assert_eq!((&start.data["video_quality"], &again.data["video_quality"]), (&json!(4), &json!(0)));
    assert_eq!(bed.reply_to(&again, 0), [sign(HOUSE, Sign::Accepted)]);
    assert_eq!(only(&bed.start_with(HOUSE, options)).data["video_quality"], 0, "it is known now");
}

#[test]
fn what_is_paused_waits_for_its_status() {
    let mut bed = Bed::dock();
    let start = only(&bed.start(LOAD));
    let paused = refused(LOAD, Retry::OnNews, SourceReason::Paused);
    assert_eq!(bed.reply_to(&start, 513_017), [paused]);
    let says = |live, error| sign(LOAD, Sign::Says { live, error });
    assert_eq!(bed.status(LOAD, false, 513_017), [says(false, Some(513_017))]);
    assert_eq!(bed.status(LOAD, true, 0), [says(true, None), online(LOAD, true)]);
}

#[test]
fn an_aircraft_that_is_refused_waits_for_the_topology() {
    let (mut bed, _) = Bed::with(configured(LOAD, Some(DOCK)));
    bed.osd(DOCK);
    let reason = SourceReason::Device(313_001);
    let start = only(&bed.start(LOAD));
    assert_eq!(bed.reply_to(&start, 313_001), [refused(LOAD, Retry::OnNews, reason.clone())]);
    assert!(bed.topology(&[AIRCRAFT]).contains(&online(LOAD, true)));
    let start = only(&bed.start(LOAD));
    assert_eq!(bed.reply_to(&start, 313_001), [refused(LOAD, Retry::Later, reason)], "it is there, they say");
}

#[test]
fn other_protocols_go_where_the_settings_say() {
    let settings = Settings {
        whip_url: Some("http://srs/rtc/v1/whip/?app=live&stream={channel}".to_owned()),
        gb28181_url: Some("serverIP=1&channel={camera}".to_owned()),
        ..Settings::default()
    };
    let mut bed = Bed::dock_with(settings);
    let gb = only(&bed.start_with(HOUSE, protocol("gb28181")));
    assert_eq!((&gb.data["url_type"], &gb.data["url"]), (&json!(3), &json!("serverIP=1&channel=165-0-7")));
    assert_eq!(bed.reply_to(&gb, 0), [sign(HOUSE, Sign::AcceptedExternally)]);
    let whip = only(&bed.start_with(FPV, protocol("whip")));
    assert_eq!(whip.data["url_type"], 4);
    // A gateway that does not know it is asked by what every one knows.
    let rtmp = only(&bed.reply_to(&whip, 613_013));
    assert_eq!((&rtmp.data["url_type"], &rtmp.data["url"]), (&json!(1), &json!(URL)));
    assert_eq!(bed.reply_to(&rtmp, 0), [sign(FPV, Sign::Accepted)]);
    bed.stop(HOUSE);
    bed.status(HOUSE, false, 0);
    for name in ["agora", "rtsp", ""] {
        let expected = refused(HOUSE, Retry::Never, SourceReason::NoNode);
        assert_eq!(bed.start_with(HOUSE, protocol(name)), [expected], "{name}");
    }
}

#[test]
fn changes_of_what_is_live_are_answered_by_the_gateway() {
    let mut bed = Bed::dock();
    bed.live(LOAD);
    let id = &LOAD[4..];
    for (command, method, data) in [
        (Command::Quality { quality: 4 }, "live_set_quality", json!({"video_id": id, "video_quality": 4})),
        (
            Command::Lens { lens: "ir".to_owned() },
            "live_lens_change",
            json!({"video_id": id, "video_type": "ir"}),
        ),
        (
            Command::Camera { position: CameraPosition::Outside },
            "live_camera_change",
            json!({"video_id": id, "camera_position": 1}),
        ),
    ] {
        let call = only(&bed.command(1, LOAD, &command));
        assert_eq!((call.method.as_str(), &call.data), (method, &data));
        assert_eq!(bed.reply_to(&call, 0), [Effect::Answer(Ticket(1), Ok(json!({"applied": true})))]);
        let call = only(&bed.command(2, LOAD, &command));
        let text = "another video is live and has to stop first";
        let error = CommandError::Refused { code: 513_012, text };
        assert_eq!(bed.reply_to(&call, 513_012), [Effect::Answer(Ticket(2), Err(error))]);
    }
    bed.command(3, LOAD, &Command::Quality { quality: 1 });
    for at in [21_000, 41_000] {
        bed.osd(DOCK);
        assert_eq!(sent(&[bed.until(at)[0].1.clone()]).len(), 1);
    }
    bed.osd(DOCK);
    assert_eq!(bed.until(61_000), [(61_000, Effect::Answer(Ticket(3), Err(CommandError::NoReply)))]);
    // What was accepted holds after the next start, what was not does not.
    let stop = only(&bed.stop(LOAD));
    bed.reply_to(&stop, 0);
    let start = only(&bed.start(LOAD));
    assert_eq!(start.data["video_quality"], 4);
    let again = sent(&bed.reply_to(&start, 0));
    let methods: Vec<_> = again.iter().map(|sent| sent.method.as_str()).collect();
    assert_eq!(methods, ["live_lens_change", "live_camera_change"]);
    assert!(again.iter().all(|sent| bed.reply_to(sent, 513_012).is_empty()));
}

#[test]
fn changes_of_what_is_not_live_are_kept_for_its_start() {
    let mut bed = Bed::dock();
    let kept = |ticket| [Effect::Answer(Ticket(ticket), Ok(json!({"applied": false})))];
    assert_eq!(bed.command(1, LOAD, &Command::Quality { quality: 2 }), kept(1));
    assert_eq!(bed.command(2, LOAD, &Command::Lens { lens: "zoom".to_owned() }), kept(2));
    let start = only(&bed.start(LOAD));
    assert_eq!(start.data["video_quality"], 2);
    // While it starts, too: the last one is right.
    assert_eq!(bed.command(3, LOAD, &Command::Quality { quality: 3 }), kept(3));
    let effects = bed.reply_to(&start, 0);
    assert_eq!(effects[0], sign(LOAD, Sign::Accepted));
    let data: Vec<_> = sent(&effects).into_iter().map(|sent| sent.data).collect();
    let id = &LOAD[4..];
    assert_eq!(
        data,
        [json!({"video_id": id, "video_quality": 3}), json!({"video_id": id, "video_type": "zoom"})]
    );
    let options = StartOptions { quality: Some(1), protocol: None };
    assert_eq!(only(&bed.start_with(LOAD, options)).data["video_quality"], 1);
}

#[test]
fn what_a_device_does_not_know_is_not_sent() {
    let mut bed = Bed::dock();
    bed.topology_of(RC, 144, "t", &[]);
    bed.hear(
        &format!("thing/product/{RC}/state"),
        &json!({"gateway": RC, "data": {"live_capacity": {"device_list": [{"sn": RC, "camera_list": [
            {"camera_index": "1-0-0", "video_list": [{"video_index": "normal-0"}]}]}]}}}),
    );
    let of_rc = "dji/RC1/1-0-0/normal-0";
    for (name, command) in [
        (LOAD, Command::Quality { quality: 5 }),
        (LOAD, Command::Lens { lens: "thermal".to_owned() }),
        (of_rc, Command::Lens { lens: "a/b".to_owned() }),
        (of_rc, Command::Lens { lens: "a".repeat(33) }),
        (of_rc, Command::Camera { position: CameraPosition::Inside }),
        (LOAD, Command::Action { name: "ptz".to_owned(), value: Json::Null }),
    ] {
        let effects = bed.command(1, name, &command);
        assert!(
            matches!(effects[..], [Effect::Answer(Ticket(1), Err(CommandError::Unsupported(_)))]),
            "{command:?}"
        );
    }
    let unknown = bed.command(1, "dji/a/b/c", &Command::Quality { quality: 1 });
    assert_eq!(unknown, [Effect::Answer(Ticket(1), Err(CommandError::Offline))]);
    // Where it is not told which lenses there are, the device knows.
    let thermal = bed.command(1, of_rc, &Command::Lens { lens: "thermal".to_owned() });
    assert_eq!(thermal, [Effect::Answer(Ticket(1), Ok(json!({"applied": false})))]);
}

#[test]
fn lenses_of_the_newer_controller_go_another_way() {
    let mut bed = Bed::empty();
    bed.topology_of(RC, 174, "t", &[AIRCRAFT]);
    let mut told = capacity(0, 0, 0);
    told["live_status"] = json!([{"video_id": &LOAD[4..], "status": 0, "video_quality": 3}]);
    bed.hear(&format!("thing/product/{RC}/state"), &json!({"gateway": RC, "data": told}));
    let quality = |bed: &Bed| bed.driver.devices(bed.now())[0]["videos"][2]["quality"].clone();
    assert_eq!(quality(&bed), 4, "as others count it");
    bed.live(LOAD);
    let lens = Command::Lens { lens: "zoom".to_owned() };
    let effects = bed.command(1, LOAD, &lens);
    let Some(Effect::Publish(outgoing)) = effects.first() else { panic!("{effects:?}") };
    assert_eq!(outgoing.topic, format!("thing/product/{RC}/drc/down"));
    let call = only(&effects);
    assert_eq!(call.data, json!({"payload_index": "52-0-0", "video_type": "zoom"}));
    assert_eq!((call.tid.as_str(), call.method.as_str()), ("", "drc_live_lens_change"));
    let effects = bed.command(2, LOAD, &lens);
    assert!(matches!(effects[..], [Effect::Answer(Ticket(2), Err(CommandError::Unsupported(_)))]));
    let up = format!("thing/product/{RC}/drc/up");
    assert!(bed.hear(&up, &json!({"method": "other", "data": {"result": 0}})).is_empty());
    let effects = bed.hear(&up, &json!({"method": "drc_live_lens_change", "data": {"result": 0}}));
    assert_eq!(effects, [Effect::Answer(Ticket(1), Ok(json!({"applied": true})))]);
}

#[test]
fn numbers_of_a_device_go_beside_its_live_videos_only() {
    let mut bed = Bed::dock();
    bed.live(HOUSE);
    assert!(bed.osd(AIRCRAFT).is_empty());
    let topic = format!("thing/product/{DOCK}/osd");
    let numbers = Bytes::from_static(b"{\"height\":12.5}");
    assert_eq!(bed.osd(DOCK), [Effect::Telemetry(source(HOUSE), topic, numbers)]);
}

#[test]
fn onboarding_is_answered_only_by_who_owns_it() {
    let own = Onboarding { app_id: "1".to_owned(), app_key: "k".to_owned(), app_license: "l".to_owned() };
    for own in [None, Some(own)] {
        let owns = own.is_some();
        let (mut bed, _) = Bed::with(Settings { own_onboarding: own, ..Settings::default() });
        let filters = bed.driver.filters();
        assert_eq!(filters.contains(&"thing/product/+/events".to_owned()), owns);
        assert!(filters.contains(&"sys/product/+/status".to_owned()));
        let message = |method: &str, data: Json| json!({"tid": "t", "bid": "b", "method": method, "need_reply": 1, "data": data});
        let config = bed.hear(&format!("thing/product/{DOCK}/requests"), &message("config", json!({})));
        let topology = bed
            .hear(&format!("sys/product/{DOCK}/status"), &message("update_topo", json!({"sub_devices": []})));
        let event = bed.hear(&format!("thing/product/{DOCK}/events"), &message("hms", json!({})));
        let answers: Vec<_> = [config, topology, event]
            .concat()
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Publish(outgoing) => Some(outgoing),
                _ => None,
            })
            .collect();
        if !owns {
            assert!(answers.is_empty());
            continue;
        }
        let topics: Vec<_> = answers.iter().map(|answer| answer.topic.clone()).collect();
        let thing = |rest: &str| format!("thing/product/{DOCK}/{rest}");
        let status_reply = format!("sys/product/{DOCK}/status_reply");
        assert_eq!(topics, [thing("requests_reply"), status_reply, thing("events_reply")]);
        let read = Message::read(&answers[0].payload).unwrap();
        assert_eq!((read.tid.as_deref(), read.bid.as_deref()), (Some("t"), Some("b")));
        assert_eq!((read.method.as_deref(), &read.data["app_license"]), (Some("config"), &json!("l")));
        assert_eq!(Message::read(&answers[1].payload).unwrap().reply().unwrap().result, 0);
    }
}

#[test]
fn sloppy_messages_are_understood_and_odd_ones_counted() {
    let mut bed = Bed::empty();
    let effects = bed.hear(
        &format!("thing/product/{DOCK}/state"),
        &json!({"data": {"live_capacity": capacity(2, 1, 2)["live_capacity"],
                         "live_status": [{"video_id": &HOUSE[4..], "status": true}, {"video_id": 7}, 3]}}),
    );
    assert!(effects.contains(&sign(HOUSE, Sign::Says { live: true, error: None })));
    for (topic, message, what) in [
        ("sys/product/A/status", json!({"method": "update_topo", "data": {}}), MALFORMED_MESSAGE),
        ("thing/product/A/state", json!([]), MALFORMED_MESSAGE),
        (
            "thing/product/A/state",
            json!({"data": {"live_status": vec![0; relay_proto::dji::ITEMS_MAX + 1]}}),
            MALFORMED_LONG,
        ),
    ] {
        assert_eq!(bed.hear(topic, &message), [Effect::Malformed(what)]);
    }
    assert!(bed.hear("thing/product/A/B/state", &json!({})).is_empty());
}

#[test]
fn invented_gateways_are_known_up_to_a_bound() {
    let mut bed = Bed::empty();
    for number in 0..GATEWAYS_MAX {
        assert!(bed.hear(&format!("thing/product/{number}/osd"), &json!({})).is_empty());
    }
    assert_eq!(bed.hear("thing/product/X/osd", &json!({})), [Effect::Malformed(TOO_MANY_DEVICES)]);
}

#[test]
fn invented_cameras_are_known_up_to_a_bound() {
    let mut bed = Bed::empty();
    let videos: Vec<_> = (0..16).map(|index| json!({"video_index": format!("v-{index}")})).collect();
    let cameras: Vec<_> =
        (0..16).map(|index| json!({"camera_index": format!("{index}-0-0"), "video_list": videos})).collect();
    let mut known = 0;
    for gateway in 0..3 {
        let devices: Vec<_> = (0..16)
            .map(|index| json!({"sn": format!("{gateway}d{index}"), "camera_list": cameras}))
            .collect();
        let effects = bed.hear(
            &format!("thing/product/{gateway}/state"),
            &json!({"data": {"live_capacity": {"device_list": devices}}}),
        );
        known += effects.iter().filter(|effect| matches!(effect, Effect::Known(_, true))).count();
        let is_full = effects.contains(&Effect::Malformed(TOO_MANY_DEVICES));
        assert_eq!(is_full, gateway == 2);
    }
    assert_eq!(known, VIDEOS_MAX);
}

#[test]
fn no_more_calls_are_under_way_than_there_may_be() {
    let mut bed = Bed::dock();
    bed.live(HOUSE);
    let command = Command::Quality { quality: 1 };
    for ticket in 0..CALLS_MAX as u64 {
        only(&bed.command(ticket, HOUSE, &command));
    }
    assert_eq!(bed.command(0, HOUSE, &command), [Effect::Answer(Ticket(0), Err(CommandError::NoReply))]);
    let no_reply = refused(LOAD, Retry::Later, SourceReason::NoReply);
    assert_eq!(bed.start(LOAD), [no_reply]);
    assert_eq!(bed.stop(HOUSE), [sign(HOUSE, Sign::StopUnanswered)]);
}

#[test]
fn devices_are_listed_with_what_they_can_do() {
    let mut bed = Bed::dock();
    bed.live(HOUSE);
    bed.status(HOUSE, true, 0);
    let list = bed.driver.devices(bed.now());
    let dock = &list[0];
    assert_eq!(
        (&dock["gateway"], &dock["model"], &dock["online"]),
        (&json!(DOCK), &json!("Dock 2"), &json!(true))
    );
    assert_eq!(
        (&dock["aircraft"][0]["sn"], &dock["aircraft"][0]["model"]),
        (&json!(AIRCRAFT), &json!("M30"))
    );
    assert_eq!((&dock["videos"][0]["source"], &dock["videos"][0]["live"]), (&json!(HOUSE), &json!(true)));
    assert_eq!(dock["live_capacity"]["device_list"][1]["sn"], AIRCRAFT);
}

/// What the members of messages may hold, and what they may not.
fn anything() -> impl Strategy<Value = Json> {
    let texts = [&HOUSE[4..], &LOAD[4..], DOCK, AIRCRAFT, "165-0-7", "normal-0", "a/b", "", "1", "config"];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        (0..4_i64).prop_map(Json::from),
        prop::sample::select(texts.to_vec()).prop_map(Json::from),
    ];
    let members = [
        "live_capacity",
        "live_status",
        "device_list",
        "camera_list",
        "video_list",
        "sub_devices",
        "sn",
        "status",
        "camera_index",
        "video_index",
        "video_id",
        "coexist_video_number_max",
        "error_status",
        "result",
        "domain",
        "type",
        "switchable_video_types",
        "video_quality",
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        let member = prop::sample::select(members.to_vec()).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::vec((member, inner), 0..6)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn messages_of_the_right_form_panic_nobody(
        messages in prop::collection::vec((0..7_usize, 0..5_usize, anything()), 0..20),
    ) {
        let own = Onboarding { app_id: String::new(), app_key: String::new(), app_license: String::new() };
        let mut bed = Bed::dock_with(Settings { own_onboarding: Some(own), ..configured(LOAD, Some(DOCK)) });
        let mut effects = Effects::new();
        for (at, (topic, sn, data)) in messages.into_iter().enumerate() {
            bed.ms += 1_000;
            let sn = [DOCK, DOCK, AIRCRAFT, RC, "X"][sn];
            let topic = bed.driver.filters()[topic].replace('+', sn);
            let method = ["config", "update_topo", "drc_live_lens_change"][at % 3];
            let tid = format!("{at}");
            effects.extend(bed.hear(&topic, &json!({"tid": tid, "bid": "b", "method": method, "data": data})));
            let name = [HOUSE, FPV, LOAD][at % 3];
            match at % 4 {
                0 => effects.extend(bed.start(name)),
                1 => effects.extend(bed.stop(name)),
                2 => effects.extend(bed.command(at as u64, name, &Command::Lens { lens: "ir".to_owned() })),
                _ => bed.driver.forget(&source(name)),
            }
        }
        effects.extend(bed.until(300_000).into_iter().map(|(_, effect)| effect));
        prop_assert_eq!(bed.driver.next(), None);
        // No command is answered twice.
        let mut answered: Vec<_> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Answer(ticket, _) => Some(*ticket),
                _ => None,
            })
            .collect();
        let count = answered.len();
        answered.sort_unstable();
        answered.dedup();
        prop_assert_eq!(answered.len(), count);
    }

    #[test]
    fn no_messages_panic_and_every_command_is_answered(
        messages in prop::collection::vec((0..6_usize, prop::collection::vec(any::<u8>(), 0..80)), 0..20),
        code in any::<i64>(),
    ) {
        let mut bed = Bed::dock();
        let start = only(&bed.start(LOAD));
        bed.live(HOUSE);
        let mut effects = bed.command(9, HOUSE, &Command::Quality { quality: 1 });
        for (topic, bytes) in messages {
            let topic = bed.driver.filters()[topic].replace('+', DOCK);
            let (now, bytes) = (bed.now(), Bytes::from(bytes));
            bed.driver.heard(&topic, &bytes, now, &mut effects);
        }
        effects.extend(bed.reply_to(&start, code));
        effects.extend(bed.until(200_000).into_iter().map(|(_, effect)| effect));
        let answers = effects.iter().filter(|effect| matches!(effect, Effect::Answer(Ticket(9), _)));
        prop_assert_eq!(answers.count(), 1);
        prop_assert_eq!(bed.driver.next(), None);
    }
}
