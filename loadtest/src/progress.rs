//! The line that moves while a run goes on.

use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::plan::Plan;
use crate::process::Usage;
use crate::report::{Snapshot, bytes, count};
use crate::swarm::Phase;

/// How often a line that nobody samples shows that it lives: rarely, since it competes with what is measured.
const TURN: Duration = Duration::from_millis(500);

/// A line on the terminal; nothing where there is none.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    /// What this run is, where there are several.
    name: String,
    connections: usize,
    last: Snapshot,
}

impl Progress {
    pub(crate) fn new(plan: &Plan) -> Self {
        let bar = spinner();
        let publishers = if plan.publishes() { plan.channels } else { 0 };
        Self {
            bar,
            name: String::new(),
            connections: plan.receivers_total() + publishers,
            last: Snapshot::default(),
        }
    }

    /// Precedes the line from now on.
    pub(crate) fn name(&mut self, name: String) {
        self.name = name;
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// What the run did so far; asked now and then.
    pub(crate) fn sample(&mut self, phase: Phase, now: &Snapshot) {
        let elapsed = now.at.saturating_sub(self.last.at).as_secs_f64();
        let per_second = |now: u64, before: u64| (now - before) as f64 / elapsed.max(1e-3);
        let name = match phase {
            Phase::ConnectReceivers | Phase::ConnectPublishers => "connecting",
            Phase::WarmUp => "warming up",
            Phase::Measure => "measuring",
            Phase::Settle | Phase::Over => "settling",
        };
        let mut line = format!("{}{name:<11} {} of {} connections", self.name, now.open, self.connections);
        if phase >= Phase::WarmUp {
            line += &format!(
                "  {} messages/s  {}/s  {} lost",
                count(per_second(now.received, self.last.received)),
                bytes(per_second(now.bytes, self.last.bytes)),
                now.lost
            );
        }
        if !self.last.server.is_empty() {
            let (usage, last) = (Usage::sum(&now.server), Usage::sum(&self.last.server));
            let cpus = usage.cpu.saturating_sub(last.cpu).as_secs_f64() / elapsed.max(1e-3);
            line += &format!("  server {cpus:.2} CPU, {}", bytes(usage.rss as f64));
        }
        self.bar.set_message(line);
        self.bar.tick();
        self.last = now.clone();
    }
}

/// The same line, for what goes on in steps. It is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Steps(ProgressBar);

impl Steps {
    pub(crate) fn new() -> Self {
        let bar = spinner();
        bar.enable_steady_tick(TURN);
        Self(bar)
    }

    /// What goes on from now on.
    pub(crate) fn now(&self, step: String) {
        self.0.set_message(step);
    }

    /// Lets time pass.
    pub(crate) fn wait(&self, duration: Duration) {
        let until = Instant::now() + duration;
        while let left = until.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            thread::park_timeout(left);
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {elapsed:>4} {wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar
}
