//! Starting and stopping.

use super::*;

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
fn a_late_reply_is_counted_and_anothers_is_not() {
    let mut bed = Bed::dock();
    let first = only(&bed.start(HOUSE));
    let second = only(&[bed.until(21_000)[0].1.clone()]);
    assert_eq!(bed.reply_to(&first, 513_004), [late()]);
    for odd in [
        Sent { bid: "other".to_owned(), ..second.clone() },
        Sent { gateway: "other".to_owned(), ..second.clone() },
    ] {
        assert_eq!(bed.reply_to(&odd, 0), [late()]);
    }
    // What another bridge or another server asked is no business of this one.
    let mut effects = Effects::new();
    let driver = Dji::new(Settings::default(), 8, &mut effects);
    for tid in ["other".to_owned(), uuid(7), driver.tid(1), "ü".repeat(18)] {
        assert_eq!(bed.reply_to(&Sent { tid, ..second.clone() }, 0), []);
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

/// A bridge that was told what others had remembered of starts.
fn heir(kept: &[(String, String)]) -> Bed {
    let mut heir = Bed::dock();
    for (name, text) in kept {
        assert!(heir.driver.asked_names(&source(HOUSE)).contains(name));
        heir.driver.recall(name, text, heir.now(), &mut Effects::new());
    }
    heir
}

/// What comes of a start, where the gateway tells that the video is live, and says so.
fn started_though_live(bed: &mut Bed) -> Effects {
    bed.status(HOUSE, true, 0);
    let start = only(&bed.start(HOUSE));
    bed.reply_to(&start, 513_003)
}

#[test]
fn a_video_that_an_earlier_run_started_is_not_somebody_elses_until_it_has_ended() {
    let mut bed = Bed::dock();
    only(&bed.start(HOUSE));
    assert!(bed.starts.is_empty(), "not before it is accepted");
    let mut bed = Bed::dock();
    bed.live(HOUSE);
    bed.status(HOUSE, false, 0);
    assert_eq!(bed.starts.len(), 1, "it has not begun yet");

    assert_eq!(started_though_live(&mut heir(&bed.starts)), [sign(HOUSE, Sign::AlreadyLive)]);
    type End = fn(&mut Bed);
    let ends: [(&str, End); 5] = [
        ("it says so", |bed| drop(bed.status(HOUSE, false, 0))),
        ("it stopped", |bed| {
            let stop = only(&bed.stop(HOUSE));
            bed.reply_to(&stop, 0);
        }),
        ("it began anew", |bed| drop(bed.topology(&[AIRCRAFT]))),
        ("it is silent", |bed| drop(bed.until(70_000))),
        ("it was stopped, and whether is not known", |bed| {
            let stop = only(&bed.stop(HOUSE));
            bed.reply_to(&stop, 513_099);
            bed.status(HOUSE, false, 0);
        }),
    ];
    for (how, end) in ends {
        let mut bed = heir(&bed.starts);
        end(&mut bed);
        assert_eq!(bed.starts.last().map(|(_, text)| text.as_str()), Some("null"), "{how}");
        assert_eq!(
            started_though_live(&mut heir(&bed.starts)),
            [sign(HOUSE, refused_as_anothers())],
            "{how}"
        );
    }
}

#[test]
fn that_a_video_was_started_counts_for_two_days_and_is_given_anew_each_day() {
    const HOUR_MS: u64 = 60 * 60 * 1_000;

    let mut bed = Bed::dock();
    bed.live(HOUSE);
    bed.status(HOUSE, true, 0);
    let mut kept = bed.starts.clone();
    for (hours, expected) in [(47, Sign::AlreadyLive), (49, refused_as_anothers())] {
        let mut heir = heir(&kept);
        heir.ms += hours * HOUR_MS;
        assert_eq!(started_though_live(&mut heir), [sign(HOUSE, expected)], "{hours}");
    }
    for _ in 0..25 * 60 * 2 {
        bed.osd(DOCK);
        bed.until(bed.ms + 30_000);
    }
    kept.extend(bed.starts.split_off(1));
    assert!(kept.len() > 1 && kept.last().unwrap().1 > kept[0].1, "{kept:?}");
}

fn refused_as_anothers() -> Sign {
    Sign::Refused { retry: Retry::Later, reason: SourceReason::Device(513_003) }
}

#[test]
fn a_video_whose_media_comes_here_was_started_here() {
    let mut bed = Bed::dock();
    bed.status(HOUSE, true, 0);
    let (now, mut effects) = (bed.now(), Effects::new());
    bed.driver.runs(&source(HOUSE), now, &mut effects);
    assert!(bed.did(effects).is_empty());
    assert_eq!(bed.starts.len(), 1, "whoever it was, and whatever was answered");
    assert_eq!(started_though_live(&mut bed), [sign(HOUSE, Sign::AlreadyLive)]);
}

#[test]
fn who_cannot_be_heard_is_not_silent() {
    let mut bed = Bed::dock();
    bed.live(HOUSE);
    bed.driver.disconnected();
    assert_eq!(bed.until(1_000_000), []);
    assert_eq!(bed.starts.len(), 1, "it may be live all the while");
    let (now, mut effects) = (bed.now(), Effects::new());
    bed.driver.connected(now, &mut effects);
    assert!(bed.until(1_059_000).is_empty());
    let silent = bed.until(1_061_000);
    assert!(silent.iter().any(|(_, effect)| *effect == online(HOUSE, false)), "{silent:?}");
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
