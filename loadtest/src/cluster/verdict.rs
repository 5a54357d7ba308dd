//! What must be reached, and whether it is.

use std::fmt::Write;

use serde::Serialize;

/// A figure beside its bound.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Verdict {
    what: String,
    unit: &'static str,
    #[serde(flatten)]
    bound: Bound,
    seen: f64,
    holds: bool,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Verdict {
    /// What was not measured does not hold.
    pub(crate) fn at_most(what: impl Into<String>, at_most: f64, seen: f64, unit: &'static str) -> Self {
        Self { what: what.into(), unit, bound: Bound::AtMost(at_most), seen, holds: seen <= at_most }
    }

    /// What was not measured does not hold.
    pub(crate) fn at_least(what: impl Into<String>, at_least: f64, seen: f64, unit: &'static str) -> Self {
        Self { what: what.into(), unit, bound: Bound::AtLeast(at_least), seen, holds: seen >= at_least }
    }

    pub(crate) fn holds(&self) -> bool {
        self.holds
    }

    /// In words, for who is told that it does not hold.
    pub(crate) fn words(&self) -> String {
        let Self { what, unit, bound, seen, .. } = self;
        let (words, bound) = match bound {
            Bound::AtMost(bound) => ("at most", bound),
            Bound::AtLeast(bound) => ("at least", bound),
        };
        format!("{what} is {}, wanted {words} {}", number(*seen, unit), number(*bound, unit))
    }
}

/// A table in Markdown.
pub(crate) fn table(verdicts: &[Verdict]) -> String {
    let mut table = String::from("| what | to reach | seen | |\n|---|---|---|---|\n");
    for Verdict { what, unit, bound, seen, holds } in verdicts {
        let holds = if *holds { "reached" } else { "**missed**" };
        let (sign, bound) = match bound {
            Bound::AtMost(bound) => ('≤', bound),
            Bound::AtLeast(bound) => ('≥', bound),
        };
        let (bound, seen) = (number(*bound, unit), number(*seen, unit));
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| {what} | {sign} {bound} | {seen} | {holds} |");
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
        let below = Verdict::at_least("y", 0.6, 0.59, "×");
        assert_eq!(below.words(), "y is 0.59 ×, wanted at least 0.60 ×");
        assert!(!below.holds() && Verdict::at_least("y", 0.6, 0.6, "×").holds());
        assert!(!Verdict::at_least("y", 0.6, f64::NAN, "").holds());
    }

    #[test]
    fn a_bound_is_named_in_json() {
        let json = serde_json::to_value([
            Verdict::at_most("x", 2.0, 1.0, "ms"),
            Verdict::at_least("y", 2.0, 1.0, "ms"),
        ]);
        assert_eq!(
            json.unwrap(),
            serde_json::json!([
                { "what": "x", "unit": "ms", "at_most": 2.0, "seen": 1.0, "holds": true },
                { "what": "y", "unit": "ms", "at_least": 2.0, "seen": 1.0, "holds": false },
            ])
        );
    }
}
