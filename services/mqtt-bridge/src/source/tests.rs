use proptest::prelude::*;
use relay_proto::Epoch;

use super::*;

/// A machine, its clock, and what it wanted done so far.
struct Rig {
    machine: Machine,
    now: u64,
}

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn media_at(name: &str, flows: bool) -> Option<Media> {
    Some(Media { node: node(name), epoch: Epoch::new(1), flows })
}

impl Rig {
    fn new(conduct: Conduct) -> Self {
        Self { machine: Machine::new(conduct, Timing::default()), now: 1_000_000 }
    }

    /// Wanted, its lease held, told to start on n1.
    fn started(conduct: Conduct) -> Self {
        let mut rig = Self::new(conduct);
        assert_eq!(rig.wanted(true), []);
        assert_eq!(rig.held(true), [Do::Pick(vec![])]);
        assert_eq!(rig.picked("n1"), [Do::Start]);
        rig
    }

    fn live(conduct: Conduct) -> Self {
        let mut rig = Self::started(conduct);
        assert_eq!(rig.sign(Sign::Accepted), []);
        assert_eq!(rig.media(media_at("n1", true)), []);
        assert_eq!(rig.state(), SourceState::Live);
        rig
    }

    fn wanted(&mut self, is_wanted: bool) -> Vec<Do> {
        self.machine.wanted(is_wanted, self.now)
    }

    fn held(&mut self, is_held: bool) -> Vec<Do> {
        self.machine.held(is_held, self.now)
    }

    fn media(&mut self, media: Option<Media>) -> Vec<Do> {
        self.machine.media(media, self.now)
    }

    fn picked(&mut self, name: &str) -> Vec<Do> {
        self.machine.picked(Some(node(name)), self.now)
    }

    fn sign(&mut self, sign: Sign) -> Vec<Do> {
        self.machine.sign(sign, self.now)
    }

    /// Lets time pass, the machine being told when it asked to be.
    fn pass(&mut self, ms: u64) -> Vec<Do> {
        let until = self.now + ms;
        let mut todo = Vec::new();
        while let Some(next) = self.machine.next().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            let done = self.machine.tick(self.now);
            assert!(
                !done.is_empty() || self.machine.next() != Some(next),
                "it asks for the same moment again: {:?}",
                self.machine
            );
            todo.extend(done);
        }
        self.now = until;
        todo
    }

    fn state(&self) -> SourceState {
        self.machine.describe().state
    }

    fn reason(&self) -> Option<SourceReason> {
        self.machine.describe().reason
    }
}

fn refused(retry: Retry, code: i64) -> Sign {
    Sign::Refused { retry, reason: SourceReason::Device(code) }
}

#[test]
fn nothing_is_done_without_the_lease() {
    let mut rig = Rig::new(Conduct::Answers);
    assert_eq!(rig.wanted(true), []);
    assert!(rig.machine.needs_lease());
    assert_eq!(rig.pass(100_000), []);
    assert_eq!(rig.state(), SourceState::Idle);
}

#[test]
fn a_node_that_nobody_tells_of_is_asked_for_again() {
    let mut rig = Rig::new(Conduct::Answers);
    rig.wanted(true);
    assert_eq!(rig.held(true), [Do::Pick(vec![])]);
    assert_eq!(rig.pass(59_999), []);
    assert_eq!(rig.pass(1), [Do::Pick(vec![])]);
    assert_eq!(rig.picked("n1"), [Do::Start]);
}

#[test]
fn only_media_makes_it_live() {
    let mut rig = Rig::started(Conduct::Answers);
    rig.sign(Sign::Accepted);
    rig.sign(Sign::Says { live: true, error: None });
    assert_eq!(rig.state(), SourceState::Starting);
    rig.media(media_at("n1", false));
    assert_eq!(rig.state(), SourceState::Starting, "connected, and nothing comes");
    rig.media(media_at("n1", true));
    assert_eq!((rig.state(), rig.machine.describe().node), (SourceState::Live, Some(node("n1"))));
}

#[test]
fn it_is_stopped_a_while_after_the_last_viewer_left_and_then_rests() {
    let mut rig = Rig::live(Conduct::Answers);
    rig.wanted(false);
    assert_eq!(rig.pass(9_999), []);
    assert_eq!(rig.pass(1), [Do::Stop]);
    assert_eq!(rig.state(), SourceState::Stopping);
    assert_eq!(rig.sign(Sign::Stopped), [], "its media has not ended");
    assert_eq!(rig.media(None), [Do::Rest]);
    assert_eq!(rig.state(), SourceState::Idle);
    assert!(!rig.machine.needs_lease());
}

#[test]
fn a_viewer_who_returns_in_the_grace_finds_it_running() {
    let mut rig = Rig::live(Conduct::Answers);
    rig.wanted(false);
    assert_eq!(rig.pass(9_000), []);
    rig.wanted(true);
    assert_eq!(rig.pass(60_000), []);
    assert_eq!(rig.state(), SourceState::Live);
}

#[test]
fn a_viewer_who_returns_while_it_stops_gets_it_started_once_it_has_stopped() {
    let mut rig = Rig::live(Conduct::Answers);
    rig.wanted(false);
    assert_eq!(rig.pass(10_000), [Do::Stop]);
    assert_eq!(rig.wanted(true), []);
    assert_eq!(rig.sign(Sign::Stopped), []);
    assert_eq!(rig.media(None), [Do::Rest, Do::Pick(vec![])]);
    assert_eq!(rig.picked("n1"), [Do::Start]);
}

#[test]
fn a_stop_without_an_answer_is_confirmed_by_the_end_of_media_or_said_again() {
    let mut rig = Rig::live(Conduct::Answers);
    rig.wanted(false);
    rig.pass(10_000);
    assert_eq!(rig.sign(Sign::StopUnanswered), []);
    assert_eq!(rig.pass(5_000), [Do::Stop]);
    rig.sign(Sign::StopUnanswered);
    assert_eq!(rig.media(None), [Do::Rest]);
}

#[test]
fn a_viewer_who_leaves_while_it_starts_has_it_stopped_when_the_device_has_answered() {
    let mut rig = Rig::started(Conduct::Answers);
    rig.wanted(false);
    assert_eq!(rig.pass(30_000), [], "one thing at a time");
    assert_eq!(rig.sign(Sign::Accepted), [Do::Stop]);
    assert_eq!(rig.sign(Sign::Stopped), [Do::Rest]);
}

#[test]
fn no_media_stops_it_pauses_and_starts_it_on_another_node() {
    let mut rig = Rig::started(Conduct::Answers);
    rig.sign(Sign::Accepted);
    assert_eq!(rig.pass(14_999), []);
    assert_eq!(rig.pass(1), [Do::Stop]);
    assert_eq!(rig.reason(), Some(SourceReason::NoMedia));
    assert_eq!(rig.state(), SourceState::Starting, "a viewer still waits");
    assert_eq!(rig.sign(Sign::Stopped), []);
    assert_eq!(rig.pass(5_000), [Do::Pick(vec![node("n1")])]);
    assert_eq!(rig.picked("n2"), [Do::Start]);
    rig.sign(Sign::Accepted);
    rig.media(media_at("n2", true));
    assert_eq!((rig.state(), rig.reason()), (SourceState::Live, None));
}

#[test]
fn pauses_grow_and_then_stay() {
    let mut rig = Rig::started(Conduct::Answers);
    for pause in [5_000, 10_000, 20_000, 30_000, 30_000, 30_000, 30_000, 30_000, 60_000, 60_000] {
        assert_eq!(rig.sign(refused(Retry::Later, 513_099)), []);
        assert_eq!(rig.reason(), Some(SourceReason::Device(513_099)));
        assert_eq!(rig.pass(pause - 1), []);
        assert_eq!(rig.pass(1), [Do::Pick(vec![])]);
        assert_eq!(rig.picked("n1"), [Do::Start]);
    }
}

#[test]
fn what_was_refused_for_good_waits_for_somebody_new() {
    let mut rig = Rig::started(Conduct::Answers);
    rig.sign(refused(Retry::Never, 513_004));
    assert_eq!(rig.pass(1_000_000), []);
    rig.wanted(false);
    assert_eq!(rig.wanted(true), [Do::Pick(vec![])]);
}

#[test]
fn a_device_that_is_not_there_is_started_when_it_comes() {
    let mut rig = Rig::started(Conduct::Answers);
    rig.sign(Sign::Online(false));
    assert_eq!(rig.reason(), Some(SourceReason::Offline));
    assert_eq!(rig.pass(1_000_000), []);
    assert_eq!(rig.sign(Sign::Online(true)), [Do::Pick(vec![])]);
}

#[test]
fn a_lost_reply_is_no_failure_when_media_comes() {
    let mut rig = Rig::started(Conduct::Answers);
    rig.media(media_at("n1", true));
    assert_eq!(rig.state(), SourceState::Live, "before the reply");
    assert_eq!(rig.sign(Sign::Unanswered), []);
    assert_eq!(rig.state(), SourceState::Live);
}

#[test]
fn media_that_comes_late_counts_whatever_was_thought() {
    let mut rig = Rig::started(Conduct::Answers);
    rig.sign(Sign::Unanswered);
    assert_eq!(rig.reason(), Some(SourceReason::NoReply));
    rig.media(media_at("n1", true));
    assert_eq!(rig.state(), SourceState::Live);
    assert_eq!(rig.pass(100_000), []);
}

#[test]
fn a_device_that_streams_already_is_taken_for_ours_if_its_media_is_here_and_stopped_once_if_not() {
    let mut rig = Rig::started(Conduct::Answers);
    rig.sign(Sign::AlreadyLive);
    rig.media(media_at("n1", true));
    assert_eq!((rig.state(), rig.pass(60_000)), (SourceState::Live, vec![]));

    let mut rig = Rig::started(Conduct::Answers);
    rig.sign(Sign::AlreadyLive);
    assert_eq!(rig.pass(5_000), [Do::Stop]);
    rig.sign(Sign::Stopped);
    assert_eq!(rig.pass(5_000), [Do::Pick(vec![node("n1")])]);
}

#[test]
fn a_stream_that_breaks_may_come_back_by_itself_and_is_else_started_anew_elsewhere() {
    let mut rig = Rig::live(Conduct::Answers);
    rig.media(None);
    assert_eq!(rig.state(), SourceState::Starting);
    assert_eq!(rig.pass(4_000), []);
    rig.media(media_at("n1", true));
    assert_eq!(rig.state(), SourceState::Live);
    rig.media(None);
    assert_eq!(rig.pass(5_000), [Do::Stop]);
    assert_eq!(rig.sign(Sign::Stopped), [Do::Pick(vec![node("n1")])]);
    assert_eq!(rig.picked("n2"), [Do::Start]);
}

#[test]
fn a_stream_that_breaks_before_the_device_has_answered_waits_for_the_answer() {
    let mut rig = Rig::started(Conduct::Answers);
    rig.media(media_at("n1", true));
    rig.media(None);
    assert_eq!(rig.pass(30_000), [], "one thing at a time");
    assert_eq!(rig.sign(Sign::Accepted), []);
    assert_eq!(rig.pass(0), [Do::Stop]);
}

#[test]
fn a_stream_whose_device_says_that_it_ended_is_started_anew_at_once() {
    let mut rig = Rig::live(Conduct::Answers);
    rig.sign(Sign::Says { live: false, error: None });
    assert_eq!(rig.state(), SourceState::Live, "its media counts");
    assert_eq!(rig.media(None), [Do::Pick(vec![node("n1")])]);
    assert_eq!(rig.picked("n2"), [Do::Start]);
    rig.sign(Sign::Says { live: true, error: None });
    rig.sign(Sign::Accepted);
    rig.media(media_at("n2", true));
    rig.media(None);
    assert_eq!(rig.pass(4_999), [], "it may come back by itself");
}

#[test]
fn a_device_that_reboots_is_started_anew_and_not_at_once() {
    let mut rig = Rig::started(Conduct::Answers);
    rig.sign(Sign::Rebooted);
    assert_eq!(rig.pass(4_999), []);
    assert_eq!(rig.pass(1), [Do::Pick(vec![])]);

    let mut rig = Rig::live(Conduct::Answers);
    rig.sign(Sign::Rebooted);
    assert_eq!(rig.state(), SourceState::Live, "its media goes on to come");
    rig.media(None);
    assert_eq!(rig.pass(5_000), [Do::Stop]);
}

#[test]
fn a_pause_of_the_device_is_waited_for() {
    let mut rig = Rig::started(Conduct::Answers);
    rig.sign(Sign::Accepted);
    rig.sign(Sign::Says { live: false, error: Some(513_017) });
    assert_eq!(rig.reason(), Some(SourceReason::Paused));
    assert_eq!(rig.pass(1_000_000), []);
    rig.sign(Sign::Says { live: true, error: None });
    assert_eq!(rig.reason(), None);
    rig.media(media_at("n1", true));
    assert_eq!(rig.state(), SourceState::Live);
}

#[test]
fn without_a_node_another_is_asked_for_soon() {
    let mut rig = Rig::new(Conduct::Answers);
    rig.wanted(true);
    rig.held(true);
    assert_eq!(rig.machine.picked(None, rig.now), []);
    assert_eq!(rig.reason(), Some(SourceReason::NoNode));
    assert_eq!(rig.pass(2_000), [Do::Pick(vec![])]);
}

#[test]
fn an_heir_takes_a_stream_that_runs_as_it_is() {
    let mut rig = Rig::new(Conduct::Answers);
    rig.media(media_at("n1", true));
    rig.wanted(true);
    assert_eq!(rig.held(true), []);
    assert_eq!(rig.state(), SourceState::Live);
    assert_eq!(rig.pass(100_000), []);
}

#[test]
fn an_heir_stops_who_is_connected_and_sends_nothing_for_nobody() {
    let mut rig = Rig::new(Conduct::Answers);
    rig.media(media_at("n1", false));
    assert!(rig.machine.needs_lease());
    assert_eq!(rig.held(true), [Do::Stop]);
    rig.sign(Sign::Stopped);
    assert_eq!(rig.media(None), [Do::Rest]);
    assert!(!rig.machine.needs_lease());
}

#[test]
fn who_says_that_it_has_ended_and_stays_connected_is_stopped_once() {
    let mut rig = Rig::live(Conduct::Answers);
    rig.wanted(false);
    rig.media(media_at("n1", false));
    for _ in 0..3 {
        rig.sign(Sign::Says { live: false, error: None });
        assert_eq!(rig.state(), SourceState::Starting);
    }
    assert_eq!(rig.pass(5_000), [Do::Stop]);
    assert_eq!(rig.sign(Sign::Stopped), []);
    assert_eq!(rig.media(None), []);
    assert!(!rig.machine.needs_lease(), "{:?}", rig.machine);
}

#[test]
fn an_heir_stops_a_stream_that_nobody_wants() {
    let mut rig = Rig::new(Conduct::Answers);
    rig.media(media_at("n1", true));
    assert!(rig.machine.needs_lease());
    assert_eq!(rig.held(true), [Do::Stop]);
    rig.sign(Sign::Stopped);
    assert_eq!(rig.media(None), [Do::Rest]);
}

#[test]
fn who_loses_the_lease_does_nothing_more() {
    let mut rig = Rig::live(Conduct::Answers);
    assert_eq!(rig.held(false), [Do::Abandon]);
    assert_eq!(rig.pass(100_000), []);
    rig.wanted(false);
    assert_eq!(rig.pass(100_000), []);
    assert_eq!(rig.state(), SourceState::Idle);
}

#[test]
fn what_streams_elsewhere_is_said_to_and_stopped() {
    let mut rig = Rig::started(Conduct::Answers);
    rig.sign(Sign::AcceptedExternally);
    assert_eq!(rig.state(), SourceState::External);
    assert_eq!(rig.pass(1_000_000), []);
    rig.wanted(false);
    assert_eq!(rig.pass(10_000), [Do::Stop]);
    assert_eq!(rig.sign(Sign::Stopped), [Do::Rest]);
}

#[test]
fn a_camera_that_is_asked_goes_on_to_be_asked_and_the_reason_is_said() {
    let mut rig = Rig::started(Conduct::IsAsked);
    rig.sign(Sign::Accepted);
    assert_eq!(rig.pass(15_000), []);
    assert_eq!(rig.reason(), Some(SourceReason::NoMedia));
    assert_eq!(rig.pass(1_000_000), []);
    rig.sign(Sign::Unreadable);
    assert_eq!(rig.reason(), Some(SourceReason::DecryptFailed), "alive and unreadable is told apart");
    rig.media(media_at("n1", true));
    assert_eq!((rig.state(), rig.reason()), (SourceState::Live, None));
    rig.wanted(false);
    assert_eq!(rig.pass(10_000), [Do::Stop]);
    assert_eq!(rig.sign(Sign::Stopped), []);
    assert_eq!(rig.media(None), [Do::Rest]);
}

#[test]
fn pictures_that_do_not_get_to_a_node_go_to_another_at_once() {
    let mut rig = Rig::live(Conduct::IsAsked);
    assert_eq!(rig.machine.node_failed(false, rig.now), [Do::Pick(vec![node("n1")])]);
    assert_eq!(rig.media(None), []);
    assert_eq!(rig.picked("n2"), [Do::Start]);
}

#[test]
fn a_node_that_was_killed_is_not_believed_to_have_media_still() {
    let mut rig = Rig::live(Conduct::IsAsked);
    assert_eq!(rig.machine.node_failed(true, rig.now), [Do::Pick(vec![node("n1")])]);
    // Its viewers come to another node, and with that its last report is looked at again.
    assert_eq!(rig.media(media_at("n1", true)), []);
    assert_eq!(rig.state(), SourceState::Starting);
    assert_eq!(rig.picked("n2"), [Do::Start]);
    assert_eq!(rig.media(media_at("n1", true)), []);
    assert_eq!(rig.state(), SourceState::Starting);
    assert_eq!(rig.sign(Sign::Accepted), []);
    rig.media(Some(Media { epoch: Epoch::new(2), ..media_at("n2", true).unwrap() }));
    assert_eq!(rig.state(), SourceState::Live);
}

#[test]
fn a_node_that_refuses_is_believed_what_it_has() {
    let mut rig = Rig::live(Conduct::IsAsked);
    assert_eq!(rig.machine.node_failed(false, rig.now), [Do::Pick(vec![node("n1")])]);
    rig.media(media_at("n1", true));
    assert_eq!(rig.state(), SourceState::Live, "somebody else publishes there");
}

#[test]
fn a_stream_to_somewhere_else_that_ends_is_started_again() {
    let mut rig = Rig::started(Conduct::Answers);
    rig.sign(Sign::AcceptedExternally);
    rig.sign(Sign::Says { live: false, error: None });
    assert_eq!(rig.state(), SourceState::External, "that was of before");
    rig.sign(Sign::Says { live: true, error: None });
    rig.sign(Sign::Says { live: false, error: Some(513_017) });
    assert_eq!(rig.state(), SourceState::External, "it goes on by itself");
    rig.sign(Sign::Says { live: false, error: None });
    assert_eq!(rig.state(), SourceState::Starting);
    assert_eq!(rig.pass(5_000), [Do::Pick(vec![])]);
    rig.picked("n1");
    rig.sign(Sign::AcceptedExternally);
    rig.sign(Sign::Says { live: true, error: None });
    rig.sign(Sign::Says { live: false, error: None });
    assert_eq!(rig.wanted(false), []);
    assert_eq!(rig.pass(10_000), [], "there is nothing to be stopped");
    assert!(!rig.machine.needs_lease());
}

#[test]
fn a_pause_ends_though_the_broker_was_away_meanwhile() {
    let mut rig = Rig::started(Conduct::Answers);
    rig.sign(Sign::Accepted);
    rig.sign(Sign::Says { live: true, error: Some(513_017) });
    assert_eq!(rig.reason(), Some(SourceReason::Paused));
    rig.machine.broker(false, rig.now);
    rig.machine.broker(true, rig.now);
    rig.sign(Sign::Says { live: true, error: None });
    assert_eq!(rig.pass(15_000), [Do::Stop], "no media came");
}

#[test]
fn times_may_be_as_long_as_can_be_said() {
    let forever = Duration::from_millis(u64::MAX);
    let mut rig = Rig::new(Conduct::Answers);
    let timing = Timing { stop_grace: forever, media_within: forever, republish_within: forever };
    rig.machine = Machine::new(Conduct::Answers, timing);
    rig.wanted(true);
    rig.held(true);
    assert_eq!(rig.picked("n1"), [Do::Start]);
    assert_eq!(rig.sign(Sign::Accepted), []);
    rig.media(media_at("n1", true));
    assert_eq!(rig.media(media_at("n1", false)), []);
    assert_eq!(rig.wanted(false), []);
    assert_eq!(rig.pass(1_000_000_000), []);
}

#[test]
fn a_broker_that_is_away_is_the_reason_and_all_is_tried_anew_when_it_is_back() {
    let mut rig = Rig::started(Conduct::Answers);
    rig.sign(refused(Retry::Later, 513_099));
    rig.machine.broker(false, rig.now);
    assert_eq!(rig.reason(), Some(SourceReason::NoBroker));
    assert_eq!(rig.machine.broker(true, rig.now), [Do::Pick(vec![])]);
}

#[derive(Debug, Clone)]
enum Step {
    Wanted(bool),
    Held(bool),
    Media(Option<bool>),
    Picked(bool),
    NodeFailed,
    Broker(bool),
    Sign(Sign),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let sign = prop_oneof![
        any::<bool>().prop_map(Sign::Online),
        Just(Sign::Rebooted),
        Just(Sign::Accepted),
        Just(Sign::AlreadyLive),
        Just(refused(Retry::Later, 513_099)),
        Just(refused(Retry::OnNews, 513_002)),
        Just(Sign::Unanswered),
        Just(Sign::Stopped),
        Just(Sign::StopUnanswered),
        (any::<bool>(), prop_oneof![Just(None), Just(Some(513_008)), Just(Some(513_017))])
            .prop_map(|(live, error)| Sign::Says { live, error }),
        Just(Sign::Unreadable),
    ];
    prop_oneof![
        1 => any::<bool>().prop_map(Step::Wanted),
        1 => prop::bool::weighted(0.8).prop_map(Step::Held),
        1 => prop::option::of(any::<bool>()).prop_map(Step::Media),
        1 => any::<bool>().prop_map(Step::Picked),
        1 => Just(Step::NodeFailed),
        1 => any::<bool>().prop_map(Step::Broker),
        4 => sign.prop_map(Step::Sign),
        3 => (0..40_000_u64).prop_map(Step::Pass),
    ]
}

/// What a device knows of what it was told, to hold the machine to its word.
#[derive(Debug, Default)]
struct Witness {
    in_flight: Option<Told>,
    is_held: bool,
    is_wanted: bool,
    /// Whether its driver asks, and goes on to.
    is_asked: bool,
}

impl Witness {
    fn see(&mut self, todo: &[Do]) {
        for what in todo {
            match what {
                Do::Start => self.is_asked = true,
                Do::Stop | Do::Rest | Do::Abandon => self.is_asked = false,
                Do::Pick(_) => {}
            }
            match what {
                Do::Start | Do::Stop | Do::Pick(_) => assert!(self.is_held, "{what:?} without the lease"),
                Do::Abandon | Do::Rest => self.in_flight = None,
            }
            match what {
                Do::Start => {
                    assert_eq!(self.in_flight.replace(Told::Start), None, "one thing at a time");
                }
                Do::Stop => {
                    assert_eq!(self.in_flight.replace(Told::Stop), None, "one thing at a time");
                }
                _ => {}
            }
        }
    }

    fn answered(&mut self, sign: &Sign) {
        match sign {
            Sign::Accepted
            | Sign::AcceptedExternally
            | Sign::AlreadyLive
            | Sign::Refused { .. }
            | Sign::Unanswered => {
                self.in_flight.take_if(|told| *told == Told::Start);
            }
            Sign::Stopped | Sign::StopUnanswered => {
                self.in_flight.take_if(|told| *told == Told::Stop);
            }
            Sign::Rebooted | Sign::Online(false) => self.in_flight = None,
            Sign::Online(true) | Sign::Says { .. } | Sign::Unreadable => {}
        }
    }
}

/// Whatever happened: a device that does as it is told is live soon if it is wanted, and silent if it is not.
fn settle(rig: &mut Rig, witness: &mut Witness, is_wanted: bool) {
    let mut todo = rig.held(true);
    witness.is_held = true;
    todo.extend(rig.machine.broker(true, rig.now));
    todo.extend(rig.sign(Sign::Online(true)));
    todo.extend(rig.wanted(!is_wanted));
    todo.extend(rig.wanted(is_wanted));
    let mut streams = rig.machine.media.as_ref().is_some_and(|media| media.flows);
    todo.extend(rig.media(if streams { media_at("n1", true) } else { None }));
    todo.extend(rig.sign(Sign::Says { live: false, error: None }));
    // Whatever was asked before is answered now.
    todo.extend(rig.machine.picked(None, rig.now));
    for sign in [Sign::Unanswered, Sign::StopUnanswered] {
        witness.answered(&sign);
        todo.extend(rig.sign(sign));
    }
    witness.in_flight = None;
    for _ in 0..200 {
        witness.in_flight = None;
        witness.see(&todo);
        if rig.machine.conduct == Conduct::IsAsked && witness.is_asked {
            streams = true;
            todo.extend(rig.media(media_at("n9", true)));
        }
        for what in std::mem::take(&mut todo) {
            match what {
                Do::Pick(_) => todo.extend(rig.picked("n9")),
                Do::Start => {
                    streams = true;
                    todo.extend(rig.sign(Sign::Accepted));
                    todo.extend(rig.media(media_at("n9", true)));
                }
                Do::Stop => {
                    streams = false;
                    todo.extend(rig.sign(Sign::Stopped));
                    todo.extend(rig.media(None));
                }
                Do::Rest | Do::Abandon => {}
            }
        }
        todo.extend(rig.pass(1000));
    }
    let expected = if is_wanted { SourceState::Live } else { SourceState::Idle };
    assert_eq!(rig.state(), expected, "{:?}", rig.machine);
    assert_eq!(streams, is_wanted);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_one_thing_is_told_at_a_time_and_all_comes_right(
        conduct in prop_oneof![Just(Conduct::Answers), Just(Conduct::IsAsked)],
        steps in prop::collection::vec(step(), 0..60),
        is_wanted in any::<bool>(),
    ) {
        let mut rig = Rig::new(conduct);
        let mut witness = Witness::default();
        for step in steps {
            if let Step::Held(is_held) = step {
                witness.is_held = is_held;
            }
            if let Step::Sign(sign) = &step {
                witness.answered(sign);
            }
            let todo = match step {
                Step::Wanted(is_wanted) => {
                    witness.is_wanted = is_wanted;
                    rig.wanted(is_wanted)
                }
                Step::Held(is_held) => rig.held(is_held),
                Step::Media(flows) => rig.media(flows.and_then(|flows| media_at("n1", flows))),
                Step::Picked(true) => rig.picked("n2"),
                Step::Picked(false) => rig.machine.picked(None, rig.now),
                Step::NodeFailed => rig.machine.node_failed(true, rig.now),
                Step::Broker(is_connected) => rig.machine.broker(is_connected, rig.now),
                Step::Sign(sign) => rig.sign(sign),
                Step::Pass(ms) => {
                    // No command hangs for longer than that: its answer counts as lost.
                    if ms > 0 && rig.machine.in_flight.is_some_and(|(_, until)| until <= rig.now + ms) {
                        witness.in_flight = None;
                    }
                    rig.pass(ms)
                }
            };
            witness.see(&todo);
            if !witness.is_wanted {
                prop_assert!(!todo.contains(&Do::Start), "started for nobody");
            }
        }
        settle(&mut rig, &mut witness, is_wanted);
    }
}
