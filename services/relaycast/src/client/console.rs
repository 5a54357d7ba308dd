//! Standard error of a client: a progress line on a terminal, and only what matters in a pipe.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::watch::{Notice, Watch};

/// How often the progress line is drawn: often enough to look alive, rarely enough to cost nothing.
const REDRAW_INTERVAL: Duration = Duration::from_millis(250);

/// How much a client tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// Problems only.
    Normal,
    /// Every notice.
    Verbose,
}

/// Standard error.
#[derive(Debug)]
pub(crate) struct Console {
    bar: ProgressBar,
    verbosity: Verbosity,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    chunks: AtomicU64,
    /// Plus one; zero while the server has not told.
    viewers: AtomicU64,
}

impl Console {
    /// A console whose progress line starts with `verb`: `publishing cam1`.
    pub(crate) fn new(verb: String, verbosity: Verbosity) -> Self {
        let counts = Arc::new(Counts::default());
        let bar =
            ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_style(style(&counts));
        if std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
            bar.set_message(verb);
            bar.enable_steady_tick(REDRAW_INTERVAL);
        }
        Self { bar, verbosity, counts }
    }

    /// Takes the progress line away; what comes next is written to a clean line.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn line(&self, text: &str) {
        self.bar.suspend(|| {
            // Nobody reads standard error any more: that is no reason to end a stream.
            let _ = writeln!(std::io::stderr(), "{text}");
        });
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Watch for Console {
    fn notice(&self, notice: &Notice) {
        let matters = match notice {
            Notice::Retrying { .. } | Notice::Warning(_) | Notice::Connected { again: true, .. } => true,
            Notice::Connected { again: false, .. } | Notice::Stream { .. } => false,
        };
        if matters || self.verbosity == Verbosity::Verbose {
            self.line(&notice.to_string());
        }
    }

    fn passed(&self, bytes: usize) {
        self.counts.chunks.fetch_add(1, Ordering::Relaxed);
        self.bar.inc(bytes as u64);
    }

    fn viewers(&self, viewers: u64) {
        self.counts.viewers.store(viewers + 1, Ordering::Relaxed);
    }
}

fn style(counts: &Arc<Counts>) -> ProgressStyle {
    let (chunks, viewers) = (Arc::clone(counts), Arc::clone(counts));
    ProgressStyle::with_template("{spinner} {msg}  {rate}  {bytes}  {time}  {chunks} chunks{viewers}")
        // The template is a constant, and a test draws it.
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = out.write_str(&bit_rate(state.per_sec() * 8.0));
        })
        .with_key("time", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let seconds = state.elapsed().as_secs();
            let _ = write!(out, "{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        })
        .with_key("chunks", move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{}", chunks.chunks.load(Ordering::Relaxed));
        })
        .with_key("viewers", move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = match viewers.viewers.load(Ordering::Relaxed) {
                0 => Ok(()),
                2 => out.write_str("  1 viewer"),
                told => write!(out, "  {} viewers", told - 1),
            };
        })
}

/// `2.4 Mbit/s`, in three significant places or so.
fn bit_rate(bits_per_second: f64) -> String {
    match bits_per_second {
        rate if rate >= 1e9 => format!("{:.2} Gbit/s", rate / 1e9),
        rate if rate >= 1e6 => format!("{:.1} Mbit/s", rate / 1e6),
        rate if rate >= 1e3 => format!("{:.0} kbit/s", rate / 1e3),
        rate => format!("{rate:.0} bit/s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_short() {
        assert_eq!(bit_rate(0.0), "0 bit/s");
        assert_eq!(bit_rate(64_000.0), "64 kbit/s");
        assert_eq!(bit_rate(2_440_000.0), "2.4 Mbit/s");
        assert_eq!(bit_rate(1.5e9), "1.50 Gbit/s");
    }

    #[test]
    fn the_progress_line_shows_what_passed() {
        let counts = Arc::new(Counts::default());
        let terminal = indicatif::InMemoryTerm::new(2, 120);
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let console = Console {
            bar: ProgressBar::with_draw_target(None, target)
                .with_style(style(&counts))
                .with_message("publishing cam1"),
            verbosity: Verbosity::Normal,
            counts,
        };
        console.passed(2048);
        console.viewers(1);
        console.bar.force_draw();
        let line = terminal.contents();
        assert!(line.contains("publishing cam1") && line.contains("2.00 KiB"), "{line:?}");
        assert!(line.contains("0:00:00  1 chunks  1 viewer"), "{line:?}");
        console.finish();
        assert_eq!(terminal.contents(), "");
    }
}
