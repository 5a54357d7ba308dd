//! What a cluster must reach, and whether it does.

use std::fmt::Write;

use serde::Serialize;

/// A figure beside its bound.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Verdict {
    what: String,
    unit: &'static str,
    at_most: f64,
    seen: f64,
    holds: bool,
}

impl Verdict {
    /// What was not measured does not hold.
    pub(crate) fn at_most(what: impl Into<String>, at_most: f64, seen: f64, unit: &'static str) -> Self {
        Self { what: what.into(), unit, at_most, seen, holds: seen <= at_most }
    }

    pub(crate) fn holds(&self) -> bool {
        self.holds
    }

    /// In words, for who is told that it does not hold.
    pub(crate) fn words(&self) -> String {
        let Self { what, unit, at_most, seen, .. } = self;
        format!("{what} is {}, wanted at most {}", number(*seen, unit), number(*at_most, unit))
    }
}

/// A table in Markdown.
pub(crate) fn table(verdicts: &[Verdict]) -> String {
    let mut table = String::from("| what | to reach | seen | |\n|---|---|---|---|\n");
    for Verdict { what, unit, at_most, seen, holds } in verdicts {
        let holds = if *holds { "reached" } else { "**missed**" };
        // Writing to a string cannot fail.
        let _ =
            writeln!(table, "| {what} | ≤ {} | {} | {holds} |", number(*at_most, unit), number(*seen, unit));
    }
    table
}

fn number(value: f64, unit: &str) -> String {
    if unit.is_empty() { format!("{value:.0}") } else { format!("{value:.2} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_holds_at_the_bound_and_not_beyond() {
        assert!(Verdict::at_most("x", 2.0, 2.0, "ms").holds());
        let beyond = Verdict::at_most("x", 2.0, 2.1, "ms");
        assert_eq!(beyond.words(), "x is 2.10 ms, wanted at most 2.00 ms");
        assert!(!beyond.holds());
        assert!(!Verdict::at_most("x", 2.0, f64::NAN, "").holds(), "what was not measured is missed");
    }
}
