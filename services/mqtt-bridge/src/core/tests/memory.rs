//! What outlives a run.

use super::*;
use crate::core::memory::STARTS_MAX;

fn start() -> Command {
    Command::Start(StartOptions { quality: Some(3), protocol: None })
}

/// Two bridges with one registry, which both know the camera, and have read what was remembered.
async fn two() -> (Rig, Rig) {
    let registry = Arc::new(MemoryRegistry::new());
    let mut rigs = [1, 2].map(|number| Rig::beside(Arc::clone(&registry), number, Vec::new()));
    for rig in &mut rigs {
        rig.core.recall();
        rig.happens([Effect::Known(cam(), true)]);
    }
    let [mut one, mut other] = rigs;
    one.pass(Duration::from_millis(100)).await;
    other.pass(Duration::from_millis(100)).await;
    (one, other)
}

/// An operator says this, and what follows from it is kept.
async fn say(rig: &mut Rig, command: Command) {
    let answered = rig.command(command);
    assert!(matches!(answered.await.unwrap(), Answered::Done { .. }));
    rig.pass(Duration::from_millis(500)).await;
}

fn is_forced(rig: &Rig) -> bool {
    rig.core.entries.get(&cam()).is_some_and(|entry| entry.is_forced)
}

fn is_held(rig: &Rig) -> bool {
    rig.core.entries.get(&cam()).is_some_and(|entry| entry.is_held)
}

#[tokio::test(start_paused = true)]
async fn an_operators_start_is_taken_up_after_a_crash_until_it_is_taken_back() {
    let mut rig = Rig::new();
    rig.happens([Effect::Known(cam(), true)]);
    say(&mut rig, start()).await;
    assert!(is_held(&rig));
    // It ends without a word, and another run begins.
    let mut next = Rig::beside(rig.registry, 2, Vec::new());
    next.core.recall();
    next.pass(Duration::from_secs(1)).await;
    assert!(is_forced(&next) && !is_held(&next), "the device is not known yet");
    next.happens([Effect::Known(cam(), true)]);
    next.pass(Duration::from_secs(8)).await;
    assert!(is_held(&next));
    assert_eq!(next.core.entries[&cam()].options.quality, Some(3));
    say(&mut next, Command::Stop).await;
    next.pass(Duration::from_secs(30)).await;
    assert!(!is_held(&next));
    let mut last = Rig::beside(next.registry, 3, Vec::new());
    last.core.recall();
    last.happens([Effect::Known(cam(), true)]);
    last.pass(Duration::from_secs(30)).await;
    assert!(!is_forced(&last) && !is_held(&last));
}

#[tokio::test(start_paused = true)]
async fn what_a_bridge_was_asked_that_is_gone_is_done_by_the_others() {
    for says_so in [false, true] {
        let (mut one, mut other) = two().await;
        other.hears_of_bridge(1);
        say(&mut one, start()).await;
        other.pass(Duration::from_secs(1)).await;
        assert!(is_held(&one) && !is_forced(&other), "who has it is not asked while it is there");
        if says_so {
            let now = other.core.now().ms;
            other.core.heard_of_others(&to_json(&SourcesReport::Gone { by: peer(1) }), now);
        }
        other.pass(Duration::from_secs(if says_so { 9 } else { 20 })).await;
        assert!(is_forced(&other) && is_held(&other));
    }
}

#[tokio::test(start_paused = true)]
async fn who_missed_that_a_start_was_taken_back_finds_out_with_the_lease() {
    let (mut one, mut other) = two().await;
    say(&mut one, start()).await;
    other.core.recall();
    other.pass(Duration::from_secs(1)).await;
    assert!(is_forced(&other) && !is_held(&other));
    say(&mut one, Command::Stop).await;
    one.pass(Duration::from_secs(30)).await;
    assert!(!is_held(&one));
    other.pass(Duration::from_secs(5)).await;
    assert!(!is_forced(&other) && !is_held(&other));
    assert_eq!(other.desk.roster().find(&cam()).unwrap().1.state, SourceState::Idle);
}

#[tokio::test(start_paused = true)]
async fn who_has_a_source_knows_better_than_the_registry() {
    let (mut one, _other) = two().await;
    say(&mut one, start()).await;
    one.registry.remember(&format!("asked/start/{}", cam()), "null", Duration::from_secs(60)).await.unwrap();
    one.registry.remember(&asked(&cam()), "older", Duration::from_secs(60)).await.unwrap();
    one.core.recall();
    one.pass(Duration::from_secs(1)).await;
    assert!(is_forced(&one));
    assert_eq!(one.driver.script().recalled, []);
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_of_a_source_comes_with_its_lease() {
    let (mut one, mut other) = two().await;
    one.happens([Effect::Remember(asked(&cam()), "wide".to_owned())]);
    one.pass(Duration::from_secs(1)).await;
    assert_eq!(other.driver.script().recalled, []);
    say(&mut other, start()).await;
    assert!(is_held(&other));
    assert_eq!(other.driver.script().recalled, [(asked(&cam()), "wide".to_owned())]);
    // Kept leases bring nothing.
    other.pass(Duration::from_secs(10)).await;
    assert_eq!(other.driver.script().recalled.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_kept_yet_is_newer_than_what_is() {
    let mut rig = Rig::new();
    rig.registry.remember(&asked(&cam()), "older", Duration::from_secs(60)).await.unwrap();
    rig.registry.set_outage(true);
    rig.core.recall();
    rig.happens([Effect::Known(cam(), true), Effect::Remember(asked(&cam()), "newer".to_owned())]);
    let _answered = rig.command(start());
    rig.pass(Duration::from_secs(5)).await;
    assert!(is_forced(&rig) && !is_held(&rig));
    rig.registry.set_outage(false);
    rig.pass(Duration::from_secs(10)).await;
    assert!(is_held(&rig) && is_forced(&rig));
    assert_eq!(rig.driver.script().recalled, []);
    let kept = rig.registry.recall(&[asked(&cam())]).await.unwrap();
    assert_eq!(kept, [(asked(&cam()), "newer".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_while_the_registry_tells_is_not_undone_by_it() {
    let mut rig = Rig::new();
    rig.registry.remember(&asked(&cam()), "older", Duration::from_secs(60)).await.unwrap();
    rig.happens([Effect::Known(cam(), true)]);
    rig.core.recall();
    // The registry has told, and nobody has looked at it yet.
    while !rig.core.jobs.is_empty() {
        let told = rig.core.jobs.join_next().await.unwrap();
        rig.happens([Effect::Remember(asked(&cam()), "newer".to_owned())]);
        assert!(rig.core.jobs.is_empty(), "nothing is kept before that");
        rig.core.done(told);
    }
    assert_eq!(rig.driver.script().recalled, []);
}

#[tokio::test(start_paused = true)]
async fn so_many_starts_are_remembered_and_the_last_are_not() {
    let mut rig = Rig::new();
    let cam = |number: usize| -> SourceId { format!("kerberos/hub/cam{number}").parse().unwrap() };
    for number in 0..=STARTS_MAX {
        rig.happens([Effect::Known(cam(number), true)]);
        let (answer, _answered) = oneshot::channel();
        rig.core.ask(Ask::Command { source: cam(number), command: start() }, Reply::Here(answer));
    }
    rig.pass(Duration::from_secs(20)).await;
    let kept = rig.registry.remembered().await.unwrap();
    assert_eq!(kept.len(), STARTS_MAX);
    assert_eq!(rig.core.metrics.not_remembered.get(), 1);
    assert!(rig.core.entries.values().all(|entry| entry.is_forced));
}

#[tokio::test(start_paused = true)]
async fn a_start_is_given_anew_for_as_long_as_it_runs() {
    let mut rig = Rig::new();
    rig.happens([Effect::Known(cam(), true)]);
    say(&mut rig, start()).await;
    let name = format!("asked/start/{}", cam());
    rig.registry.remember(&name, "null", Duration::from_secs(60)).await.unwrap();
    advance(Duration::from_secs(25 * 60 * 60)).await;
    rig.pass(Duration::from_secs(1)).await;
    let kept = rig.registry.recall(std::slice::from_ref(&name)).await.unwrap();
    assert_eq!(kept, [(name, "{\"quality\":3}".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_cannot_be_read_is_passed_over() {
    let mut rig = Rig::new();
    for (name, text) in [("asked/start/x", "{}"), ("asked/start/kerberos/hub/cam1", "{"), ("asked/", "")] {
        rig.registry.remember(name, text, Duration::from_secs(60)).await.unwrap();
    }
    // Nobody here speaks to docks.
    rig.registry.remember("asked/start/dji/A/1/2", "{}", Duration::from_secs(60)).await.unwrap();
    rig.core.recall();
    rig.pass(Duration::from_secs(1)).await;
    assert!(rig.core.entries.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_device_tells_while_the_bridge_leaves_is_remembered() {
    let mut rig = Rig::with(vec![cam()]);
    rig.happens([Effect::Known(cam(), true)]);
    rig.pass(Duration::from_secs(1)).await;
    let Rig { core, driver, registry, requests, .. } = rig;
    let (sender, heard) = mpsc::channel(1);
    let (trigger, drain) = drain::channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(core.run(Inbox::of(heard), requests, drain));
    trigger.advance();
    // It leaves by now.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let ended = (format!("asked/started/{}", cam()), "null".to_owned());
    driver.script().effects = vec![Effect::Remember(ended.0.clone(), ended.1.clone())];
    sender.try_send(message()).unwrap();
    tasks.join_next().await.unwrap().unwrap();
    assert_eq!(registry.remembered().await.unwrap(), [ended]);
}

#[tokio::test(start_paused = true)]
async fn whether_a_source_was_started_is_remembered_by_who_has_it() {
    let mut rig = Rig::new();
    rig.happens([Effect::Known(cam(), true)]);
    let started = (format!("asked/started/{}", cam()), "7".to_owned());
    let remember = || Effect::Remember(started.0.clone(), started.1.clone());
    rig.hears_who_has_it(2);
    rig.happens([remember()]);
    rig.pass(Duration::from_secs(1)).await;
    assert!(rig.registry.remembered().await.unwrap().is_empty());
    rig.pass(Duration::from_secs(60)).await;
    rig.happens([remember()]);
    rig.pass(Duration::from_secs(1)).await;
    assert_eq!(rig.registry.remembered().await.unwrap(), [started], "the other is gone");
}
