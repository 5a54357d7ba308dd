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
