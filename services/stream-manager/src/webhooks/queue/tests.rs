use std::collections::{BTreeSet, HashSet};

use proptest::prelude::*;
use relay_proto::event::EventKind;

use super::*;

fn id(number: u64) -> EventId {
    // Events of one millisecond, and milliseconds without one.
    EventId { ms: 10 + number / 3 * 5, number: number % 3 }
}

fn event(number: u64, channel: &str) -> Event {
    Event {
        id: id(number),
        kind: EventKind::ChannelStarted,
        at: "1970-01-01T00:00:00.010Z".to_owned(),
        sequence: number,
        channel: Some(channel.parse().unwrap()),
        epoch: None,
        node: None,
        reason: None,
        role: None,
    }
}

fn all(_: &Event) -> bool {
    true
}

fn limits() -> Limits {
    Limits { in_flight_max: 3, held_max: 8, ahead_max: 12, page: 5, ..Limits::default() }
}

fn queue() -> Queue {
    Queue::new(limits(), Delivered::default())
}

/// The numbers of what is sent now.
fn sent(queue: &mut Queue, now: u64) -> Vec<Attempt> {
    std::iter::from_fn(|| queue.next(now)).collect()
}

fn sequences(attempts: &[Attempt]) -> Vec<u64> {
    attempts.iter().map(|attempt| attempt.event.sequence).collect()
}

#[test]
fn one_event_of_a_subject_goes_at_a_time_and_subjects_go_side_by_side() {
    let mut queue = queue();
    queue.push(vec![event(1, "a"), event(2, "a"), event(3, "b")], all, 0);
    let first = sent(&mut queue, 0);
    assert_eq!(sequences(&first), [1, 3]);
    assert_eq!(queue.settle(&first[0], Outcome::Delivered, 5, 0), Next::Settled);
    assert_eq!(queue.through(), id(1));
    assert_eq!(sequences(&sent(&mut queue, 5)), [2]);
}

#[test]
fn a_channel_and_a_node_of_one_name_are_two_subjects() {
    let node = Event { channel: None, node: Some("a".parse().unwrap()), ..event(2, "x") };
    assert_ne!(subject(&event(1, "a")), subject(&node));
    let both = Event { node: Some("n".parse().unwrap()), ..event(3, "a") };
    assert_eq!(subject(&event(1, "a")), subject(&both));
}

#[test]
fn no_more_are_on_their_way_than_may_be() {
    let mut queue = queue();
    queue.push((1..=5).map(|number| event(number, &format!("c{number}"))).collect(), all, 0);
    let first = sent(&mut queue, 0);
    assert_eq!(sequences(&first), [1, 2, 3]);
    assert_eq!(queue.next_at(), None, "only an answer makes room");
    queue.settle(&first[1], Outcome::Delivered, 1, 0);
    assert_eq!(queue.next_at(), Some(0));
    assert_eq!(sequences(&sent(&mut queue, 1)), [4]);
}

#[test]
fn retries_wait_for_a_part_of_one_second_then_two_up_to_a_minute() {
    let limits = Limits::default();
    let longest: Vec<u64> = (1..=9).map(|attempts| delay(&limits, attempts, u64::MAX) + 1).collect();
    assert_eq!(longest, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    assert_eq!(delay(&limits, 9, 1 << 63), 30_000);
    assert_eq!(delay(&limits, u32::MAX, 0), 0);

    let mut queue = queue();
    queue.push(vec![event(1, "a"), event(2, "a")], all, 0);
    let attempt = queue.next(0).unwrap();
    assert_eq!(queue.settle(&attempt, Outcome::Failed, 100, 1 << 63), Next::Again);
    assert_eq!(queue.next_at(), Some(600));
    assert!(queue.next(599).is_none());
    let attempt = queue.next(600).unwrap();
    assert_eq!((attempt.event.sequence, attempt.number), (1, 2));
}

#[test]
fn an_event_is_given_up_after_an_hour_of_failures_and_the_next_has_an_hour_of_its_own() {
    const HOUR: u64 = 60 * 60 * 1000;
    let mut queue = queue();
    queue.push(vec![event(1, "a"), event(2, "a")], all, 7);
    for number in 1..1000 {
        let attempt = queue.next(7 + number).unwrap();
        assert_eq!(queue.settle(&attempt, Outcome::Failed, 7 + number, 0), Next::Again);
    }
    let attempt = queue.next(8 + HOUR - 1).unwrap();
    assert_eq!(queue.settle(&attempt, Outcome::Failed, 8 + HOUR - 1, 0), Next::Again);
    let attempt = queue.next(8 + HOUR).unwrap();
    assert_eq!(queue.settle(&attempt, Outcome::Failed, 8 + HOUR, 0), Next::Dead);
    let attempt = queue.next(8 + HOUR).unwrap();
    assert_eq!((attempt.event.sequence, attempt.number), (2, 1));
    assert_eq!(queue.settle(&attempt, Outcome::Failed, 8 + HOUR + HOUR - 1, 0), Next::Again);
    assert_eq!(queue.through(), id(1));
}

#[test]
fn an_event_that_is_refused_ten_times_is_given_up() {
    let mut queue = queue();
    queue.push(vec![event(1, "a")], all, 0);
    for number in 1..=10 {
        let attempt = queue.next(number).unwrap();
        // What is no refusal does not count as one.
        assert_eq!(queue.settle(&attempt, Outcome::Failed, number, 0), Next::Again);
        let attempt = queue.next(number).unwrap();
        let expected = if number == 10 { Next::Dead } else { Next::Again };
        assert_eq!(queue.settle(&attempt, Outcome::Refused, number, 0), expected);
    }
    assert_eq!((queue.held(), queue.through(), queue.next_at()), (0, id(1), None));
}

#[test]
fn an_endpoint_that_asks_for_a_pause_gets_nothing_meanwhile_and_not_for_ever() {
    let mut queue = queue();
    queue.push(vec![event(1, "a"), event(2, "b")], all, 0);
    let attempt = queue.next(0).unwrap();
    assert_eq!(queue.settle(&attempt, Outcome::Later(Duration::from_secs(30)), 1000, 1 << 63), Next::Again);
    assert_eq!(queue.next_at(), Some(31_000), "the other subject");
    assert!(queue.next(30_999).is_none());
    assert_eq!(sequences(&sent(&mut queue, 31_000)), [2]);
    assert_eq!(queue.next_at(), Some(31_500), "and the one that was told to wait, somewhat later");
    let attempt = queue.next(31_500).unwrap();
    queue.settle(&attempt, Outcome::Later(Duration::MAX), 40_000, 0);
    assert_eq!(queue.next_at(), Some(40_000 + 10 * 60 * 1000));
}

#[test]
fn no_more_is_read_than_may_be_held() {
    let mut queue = queue();
    assert_eq!(queue.room(), 5, "a page");
    queue.push((1..=5).map(|number| event(number, "a")).collect(), all, 0);
    assert_eq!(queue.room(), 3, "what is left of 8");
    queue.push((6..=8).map(|number| event(number, "a")).collect(), all, 0);
    assert_eq!((queue.room(), queue.held()), (0, 8));
    let attempt = queue.next(0).unwrap();
    queue.settle(&attempt, Outcome::Delivered, 0, 0);
    assert_eq!(queue.room(), 1);
}

#[test]
fn no_more_is_looked_at_beyond_the_oldest_event_than_may_be() {
    let mut queue = queue();
    queue.push(vec![event(1, "stuck")], all, 0);
    let stuck = queue.next(0).unwrap();
    for number in 2..=12 {
        assert!(queue.room() > 0, "{number}");
        queue.push(vec![event(number, "a")], all, 0);
        for attempt in sent(&mut queue, 0) {
            queue.settle(&attempt, Outcome::Delivered, 0, 0);
        }
    }
    assert_eq!((queue.room(), queue.held()), (0, 1));
    queue.settle(&stuck, Outcome::Delivered, 0, 0);
    assert_eq!((queue.room(), queue.through()), (5, id(12)));
}

#[test]
fn what_nobody_wants_is_passed_over_and_counts_as_settled() {
    let mut queue = queue();
    queue.push((1..=4).map(|number| event(number, "a")).collect(), |event| event.sequence == 3, 0);
    assert_eq!(queue.through(), id(2));
    let attempt = queue.next(0).unwrap();
    queue.settle(&attempt, Outcome::Delivered, 0, 0);
    assert_eq!(queue.through(), id(4));
}

#[test]
fn what_a_predecessor_settled_is_not_sent_again() {
    let beyond = BTreeMap::from([("channel/a".to_owned(), id(3))]);
    let mut queue = Queue::new(limits(), Delivered { through: id(1), beyond });
    let events =
        vec![event(1, "b"), event(2, "a"), event(2, "a"), event(3, "a"), event(4, "b"), event(5, "a")];
    queue.push(events, all, 0);
    assert_eq!(sequences(&sent(&mut queue, 0)), [4, 5]);
    assert_eq!(queue.through(), id(3));
}

#[test]
fn the_journal_is_told_once_where_that_is_enough() {
    let mut progress = Progress::new(id(0));
    let subject = |name: &str| Subject::from(name);
    assert_eq!(progress.next(id(0), Thoroughness::All), None);
    assert_eq!(progress.next(id(3), Thoroughness::Needed), None, "nobody wanted these");
    assert_eq!(progress.next(id(3), Thoroughness::All), Some(Save::Through(id(3))));
    progress.settled(subject("a"), id(1));
    progress.settled(subject("b"), id(2));
    progress.settled(subject("c"), id(5));
    let save = progress.next(id(3), Thoroughness::Needed).unwrap();
    assert_eq!(save, Save::Through(id(3)));
    // It did not answer.
    assert_eq!(progress.next(id(3), Thoroughness::Needed), Some(save.clone()));
    progress.saved(&save);
    let save = progress.next(id(3), Thoroughness::Needed).unwrap();
    assert_eq!(save, Save::Subject(subject("c"), id(5)));
    // Meanwhile there is more to tell.
    progress.settled(subject("c"), id(6));
    progress.saved(&save);
    let save = progress.next(id(3), Thoroughness::Needed).unwrap();
    assert_eq!(save, Save::Subject(subject("c"), id(6)));
    progress.saved(&save);
    assert_eq!(progress.next(id(3), Thoroughness::All), None);
}

#[test]
fn a_journal_that_lost_its_last_events_is_read_on_from_the_last_that_it_has() {
    let mut queue = queue();
    queue.push((1..=5).map(|number| event(number, &format!("c{}", number % 2))).collect(), all, 0);
    let attempts = sent(&mut queue, 0);
    assert_eq!(sequences(&attempts), [1, 2]);
    queue.settle(&attempts[0], Outcome::Delivered, 0, 0);
    // Of 5 events it has 3; the others were read and are delivered.
    queue.rewind(id(3));
    assert_eq!((queue.read(), queue.through(), queue.held()), (id(3), id(1), 4));
    // Others are there instead of them, one with an identifier that was used.
    queue.push(vec![event(4, "c4"), event(7, "c1")], all, 0);
    let mut all: Vec<u64> = Vec::new();
    let mut attempts = vec![attempts[1].clone()];
    while !attempts.is_empty() {
        all.extend(sequences(&attempts));
        for attempt in &attempts {
            queue.settle(attempt, Outcome::Delivered, 0, 0);
        }
        attempts = sent(&mut queue, 0);
    }
    all.sort_unstable();
    assert_eq!(all, [2, 3, 4, 4, 5, 7]);
    assert_eq!((queue.through(), queue.held()), (id(7), 0));
}

#[test]
fn a_journal_that_lost_everything_is_read_from_its_beginning() {
    let mut queue = queue();
    queue.push((8..=9).map(|number| event(number, "a")).collect(), all, 0);
    queue.rewind(id(5));
    assert_eq!((queue.read(), queue.held()), (EventId::FIRST, 2));
    queue.push(vec![event(5, "b")], all, 0);
    assert_eq!(sequences(&sent(&mut queue, 0)), [8, 5]);
    assert_eq!(queue.through(), EventId::FIRST, "of what the journal has nothing is settled");
    let mut progress = Progress::new(id(9));
    assert_eq!(progress.next(queue.through(), Thoroughness::All), None);
    progress.forgotten();
    assert_eq!(progress.next(queue.through(), Thoroughness::All), Some(Save::Through(BEFORE_ALL)));
}

#[test]
fn only_so_many_events_are_remembered_for_that() {
    let mut queue = Queue::new(Limits::default(), Delivered { through: id(1), beyond: BTreeMap::new() });
    let count = u64::try_from(RECENT_MAX).unwrap();
    queue.push((2..=count + 1).map(|number| event(number, "a")).collect(), |_| false, 0);
    assert_eq!((queue.recent.len(), queue.recent.front()), (RECENT_MAX, Some(&id(2))));
}

/// Ends come soon.
fn hasty() -> Limits {
    Limits { refusals_max: 2, give_up_after: Duration::from_secs(10), ..limits() }
}

/// A journal, an endpoint and one deliverer after another.
struct World {
    events: Vec<Event>,
    noted: Delivered,
    queue: Queue,
    progress: Progress,
    in_flight: Vec<Attempt>,
    /// Every arrival at the endpoint, in its order.
    arrived: Vec<(String, u64)>,
    /// How often each was sent, by this deliverer, and how often that failed.
    attempts: HashMap<u64, (u32, u32)>,
    dead: HashSet<u64>,
    now: u64,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Something happens of this channel.
    Happen(u8),
    Read,
    Send,
    /// One of those on their way is answered.
    Answer(usize, Fate),
    /// The journal is told.
    Save(Thoroughness),
    Wait(u64),
    /// Another deliverer goes on.
    Crash,
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Taken,
    /// The endpoint has it, and the answer is lost.
    TakenUnheard,
    Failed,
    Refused,
    Later(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fate = prop_oneof![
        6 => Just(Fate::Taken),
        1 => Just(Fate::TakenUnheard),
        2 => Just(Fate::Failed),
        1 => Just(Fate::Refused),
        1 => (0u64..3000).prop_map(Fate::Later),
    ];
    let thoroughness = prop_oneof![Just(Thoroughness::Needed), Just(Thoroughness::All)];
    let step = prop_oneof![
        6 => (0u8..6).prop_map(Step::Happen),
        3 => Just(Step::Read),
        4 => Just(Step::Send),
        6 => (any::<usize>(), fate).prop_map(|(which, fate)| Step::Answer(which, fate)),
        2 => thoroughness.prop_map(Step::Save),
        3 => (0u64..5000).prop_map(Step::Wait),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..400)
}

/// Channel 5 is not wanted.
fn wanted(event: &Event) -> bool {
    event.channel.as_ref().is_some_and(|channel| channel.as_str() != "c5")
}

impl World {
    fn new() -> Self {
        Self {
            events: Vec::new(),
            noted: Delivered::default(),
            queue: Queue::new(hasty(), Delivered::default()),
            progress: Progress::new(EventId::FIRST),
            in_flight: Vec::new(),
            arrived: Vec::new(),
            attempts: HashMap::new(),
            dead: HashSet::new(),
            now: 0,
        }
    }

    fn step(&mut self, step: Step, dice: u64) {
        match step {
            Step::Happen(channel) => {
                let number = self.events.len() as u64;
                self.events.push(event(number, &format!("c{channel}")));
            }
            Step::Read => {
                let room = self.queue.room();
                let page = self.events.iter().filter(|event| event.id > self.queue.read()).take(room);
                let page = page.cloned().collect();
                self.queue.push(page, wanted, self.now);
            }
            Step::Send => self.send(),
            Step::Answer(which, fate) if !self.in_flight.is_empty() => {
                let attempt = self.in_flight.swap_remove(which % self.in_flight.len());
                self.answer(&attempt, fate, dice);
            }
            Step::Answer(..) => {}
            Step::Save(thoroughness) => {
                if let Some(save) = self.progress.next(self.queue.through(), thoroughness) {
                    match &save {
                        Save::Through(through) => {
                            self.noted.through = self.noted.through.max(*through);
                            self.noted.beyond.retain(|_, id| *id > *through);
                        }
                        Save::Subject(subject, id) => {
                            self.noted.beyond.insert(subject.to_string(), *id);
                        }
                    }
                    self.progress.saved(&save);
                }
            }
            Step::Wait(ms) => self.now += ms,
            Step::Crash => {
                self.in_flight.clear();
                self.attempts.clear();
                self.progress = Progress::new(self.noted.through);
                self.queue = Queue::new(hasty(), self.noted.clone());
            }
        }
    }

    fn send(&mut self) {
        assert!(
            self.queue
                .next_at()
                .is_none_or(|at| at >= self.now || self.in_flight.len() < limits().in_flight_max)
        );
        while let Some(attempt) = self.queue.next(self.now) {
            let (sent, failed) = self.attempts.entry(attempt.event.sequence).or_default();
            assert_eq!(sent, failed, "{} is sent again without a failure", attempt.event.sequence);
            *sent += 1;
            assert!(self.in_flight.iter().all(|other| other.subject != attempt.subject), "two of a subject");
            self.in_flight.push(attempt);
        }
        assert!(self.in_flight.len() <= limits().in_flight_max);
        assert!(self.queue.held() <= limits().held_max);
    }

    fn answer(&mut self, attempt: &Attempt, fate: Fate, dice: u64) {
        let number = attempt.event.sequence;
        if matches!(fate, Fate::Taken | Fate::TakenUnheard) {
            self.arrived.push((attempt.subject.to_string(), number));
        }
        let outcome = match fate {
            Fate::Taken => Outcome::Delivered,
            Fate::TakenUnheard | Fate::Failed => Outcome::Failed,
            Fate::Refused => Outcome::Refused,
            Fate::Later(ms) => Outcome::Later(Duration::from_millis(ms)),
        };
        match self.queue.settle(attempt, outcome, self.now, dice) {
            Next::Settled => {}
            Next::Again => self.attempts.get_mut(&number).unwrap().1 += 1,
            Next::Dead => drop(self.dead.insert(number)),
        }
        if !matches!(self.attempts.get(&number), Some((sent, failed)) if sent == failed) {
            self.progress.settled(Arc::clone(&attempt.subject), attempt.event.id);
        }
    }

    /// Where whoever has read everything is. Where nothing has happened, that is noted as before all.
    fn newest(&self) -> EventId {
        self.events.last().map_or(BEFORE_ALL, |last| last.id)
    }

    /// The endpoint is well again, and time passes until nothing is left.
    fn finish(&mut self) {
        for _ in 0..10_000 {
            self.step(Step::Read, 0);
            self.send();
            while !self.in_flight.is_empty() {
                self.step(Step::Answer(0, Fate::Taken), 0);
            }
            if self.queue.held() == 0 && self.queue.read().max(BEFORE_ALL) == self.newest() {
                return;
            }
            if let Some(at) = self.queue.next_at() {
                self.now = self.now.max(at);
            }
        }
        panic!("this has no end: {:?}", self.queue);
    }
}

proptest! {
    #[test]
    fn everything_arrives_and_for_the_first_time_in_order(steps in steps(), seed: u64) {
        let (mut world, mut dice) = (World::new(), fastrand::Rng::with_seed(seed));
        for step in steps {
            world.step(step, dice.u64(..));
            prop_assert!(world.noted.through <= world.queue.through().max(BEFORE_ALL));
        }
        world.finish();

        let all = world.newest();
        let mut seen = BTreeSet::new();
        let mut newest: HashMap<String, u64> = HashMap::new();
        for (subject, number) in world.arrived {
            if seen.insert(number) {
                let before = newest.insert(subject, number);
                // What was given up may yet come from a successor that was not told.
                let late = world.dead.contains(&number);
                prop_assert!(late || before.is_none_or(|before| before < number), "{number} after {before:?}");
            }
        }
        for event in world.events.iter().filter(|event| wanted(event)) {
            prop_assert!(seen.contains(&event.sequence) || world.dead.contains(&event.sequence), "{} is lost", event.sequence);
        }
        prop_assert_eq!(world.queue.through().max(BEFORE_ALL), all);
    }
}
