//! What comes that should not, and how much of anything.

use proptest::prelude::*;

use super::*;
use crate::dji::calls::CALLS_MAX;
use crate::dji::fleet::{GATEWAYS_MAX, VIDEOS_MAX};

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
