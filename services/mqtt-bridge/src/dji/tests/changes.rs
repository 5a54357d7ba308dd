//! Quality, lens and camera.

use super::*;

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
        let answer = Effect::Answer(Ticket(1), Ok(json!({"applied": true})));
        assert_eq!(bed.reply_to(&call, 0).last(), Some(&answer));
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
    let kept = |ticket| Some(Effect::Answer(Ticket(ticket), Ok(json!({"applied": false}))));
    assert_eq!(bed.command(1, LOAD, &Command::Quality { quality: 2 }).pop(), kept(1));
    assert_eq!(bed.command(2, LOAD, &Command::Lens { lens: "zoom".to_owned() }).pop(), kept(2));
    let start = only(&bed.start(LOAD));
    assert_eq!(start.data["video_quality"], 2);
    // While it starts, too: the last one is right.
    assert_eq!(bed.command(3, LOAD, &Command::Quality { quality: 3 }).pop(), kept(3));
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
    assert_eq!(thermal.last(), Some(&Effect::Answer(Ticket(1), Ok(json!({"applied": false})))));
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
    assert_eq!(effects.last(), Some(&Effect::Answer(Ticket(1), Ok(json!({"applied": true})))));
}

/// What an effect has remembered.
pub(super) fn remembered(effects: &[Effect]) -> Vec<(String, String)> {
    let kept = effects.iter().filter_map(|effect| match effect {
        Effect::Remember(name, text) => Some((name.clone(), text.clone())),
        _ => None,
    });
    kept.collect()
}

#[test]
fn what_was_asked_is_used_by_the_next_run_and_by_another_bridge() {
    let mut bed = Bed::dock();
    let mut kept = remembered(&bed.command(1, LOAD, &Command::Quality { quality: 2 }));
    kept.extend(remembered(&bed.command(2, LOAD, &Command::Lens { lens: "zoom".to_owned() })));
    bed.live(LOAD);
    let camera = Command::Camera { position: CameraPosition::Outside };
    let call = only(&bed.command(3, LOAD, &camera));
    kept.extend(remembered(&bed.reply_to(&call, 0)));
    assert_eq!(kept.len(), 3, "each by itself");
    assert!(kept.iter().all(|(name, _)| bed.driver.asked_names(&source(LOAD)).contains(name)));

    let mut heir = Bed::dock();
    for (name, text) in &kept {
        heir.driver.recall(name, text, heir.now(), &mut Effects::new());
    }
    let start = only(&heir.start(LOAD));
    assert_eq!(start.data["video_quality"], 2);
    let again = sent(&heir.reply_to(&start, 0));
    let methods: Vec<_> = again.iter().map(|sent| sent.method.as_str()).collect();
    assert_eq!(methods, ["live_lens_change", "live_camera_change"]);
    assert_eq!(again[0].data["video_type"], "zoom");
}

#[test]
fn a_change_is_not_sent_to_a_device_that_tells_that_it_has_it() {
    let mut bed = Bed::dock();
    bed.command(1, LOAD, &Command::Lens { lens: "wide".to_owned() });
    // What was told before the start may be undone by it.
    bed.status(LOAD, false, 0);
    let start = only(&bed.start(LOAD));
    assert_eq!(only(&bed.reply_to(&start, 0)).data["video_type"], "wide");
    bed.status(LOAD, false, 0);
    only(&bed.start(LOAD));
    let effects = bed.status(LOAD, true, 0);
    assert!(effects.contains(&sign(LOAD, Sign::Accepted)));
    assert!(sent(&effects).is_empty(), "{effects:?}");
}

#[test]
fn the_quality_of_a_start_does_not_undo_a_later_one_in_another_run() {
    let options = StartOptions { quality: Some(3), protocol: None };
    let mut bed = Bed::dock();
    let effects = bed.start_with(LOAD, options.clone());
    assert_eq!(remembered(&effects).len(), 1);
    let kept = remembered(&bed.command(1, LOAD, &Command::Quality { quality: 1 }));
    let mut heir = Bed::dock();
    heir.driver.recall(&kept[0].0, &kept[0].1, heir.now(), &mut Effects::new());
    assert_eq!(only(&heir.start_with(LOAD, options)).data["video_quality"], 1);
}

#[test]
fn what_was_remembered_wrongly_is_passed_over() {
    let mut bed = Bed::dock();
    let [quality, lens, camera, started] = bed.driver.asked_names(&source(LOAD)).try_into().unwrap();
    for (name, text) in [
        (quality.as_str(), "{\"wanted\":9}"),
        (&quality, "x"),
        (&lens, "\"a/b\""),
        (&lens, "7"),
        (&camera, "\"above\""),
        (&started, "true"),
        ("asked/other/dji/A/1/2", "1"),
        ("asked/lens/dji/A", "\"ir\""),
    ] {
        let mut effects = Effects::new();
        bed.driver.recall(name, text, bed.now(), &mut effects);
        assert!(effects.is_empty());
    }
    let start = only(&bed.start(LOAD));
    assert_eq!(start.data["video_quality"], 0);
    assert!(sent(&bed.reply_to(&start, 0)).is_empty());
}

#[test]
fn so_much_is_remembered_of_what_was_asked_and_no_more() {
    let mut bed = Bed::dock();
    for number in 0..crate::dji::asked::REMEMBERED_MAX {
        let name = format!("asked/lens/dji/A{number}/1-0-0/normal-0");
        bed.driver.recall(&name, "\"ir\"", bed.now(), &mut Effects::new());
    }
    let effects = bed.command(1, LOAD, &Command::Quality { quality: 2 });
    assert_eq!(effects[0], Effect::Malformed(TOO_MANY_ASKED));
    // It counts all the same, for as long as this bridge runs.
    assert_eq!(only(&bed.start(LOAD)).data["video_quality"], 2);
}
