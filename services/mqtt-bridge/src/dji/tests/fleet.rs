//! What is there, and what becomes known of it.

use super::*;

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
fn a_gateway_that_does_not_come_back_is_away() {
    let mut bed = Bed::dock();
    assert_eq!(bed.topology(&[AIRCRAFT]).len(), 3);
    let done: Vec<Effect> = bed.until(200_000).into_iter().map(|(_, effect)| effect).collect();
    assert_eq!(done, [online(HOUSE, false), online(FPV, false), online(LOAD, false)]);
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
