//! The file: TOML, flat, the same keys as the command line.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::{Problems, nearest};

/// Keys and texts of a TOML file.
#[derive(Debug, Clone, Default)]
pub struct File {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    text: String,
    /// `relaycast.toml:3:9`
    key_place: String,
    value_place: String,
}

impl File {
    /// Reads `text`; `name` is what its places are called.
    ///
    /// # Errors
    /// What is not TOML, and values that no setting has.
    pub fn parse(name: &str, text: &str) -> Result<Self, Problems> {
        let place = |span: Range<usize>| {
            let (line, column) = position(text, span.start);
            format!("{name}:{line}:{column}")
        };
        let table = DeTable::parse(text).map_err(|error| {
            let message = error.message().trim().replace('\n', ", ");
            Problems(vec![format!("{}: {message}", place(error.span().unwrap_or(0..0)))])
        })?;
        let mut file = Self::default();
        let mut problems = Vec::new();
        for (key, value) in table.into_inner() {
            let (key_place, value_place) = (place(key.span()), place(value.span()));
            let key = key.into_inner().into_owned();
            match plain(value.get_ref()) {
                Some(text) => {
                    file.entries.insert(key, Entry { text, key_place, value_place });
                }
                None if matches!(value.get_ref(), DeValue::Table(_)) => {
                    problems.push(format!("{key_place}: unknown table '{key}': the file is flat"));
                }
                None => problems.push(format!(
                    "{value_place}: {key}: write a string, a whole number, true, false, or an array of these"
                )),
            }
        }
        if problems.is_empty() { Ok(file) } else { Err(Problems(problems)) }
    }

    /// Text and place of a key.
    pub(super) fn get(&self, key: &str) -> Option<(&str, &String)> {
        self.entries.get(key).map(|entry| (entry.text.as_str(), &entry.value_place))
    }

    /// A problem for each key that is not known.
    pub(super) fn unknown_keys(&self, known: &[String]) -> Vec<String> {
        let mut problems = Vec::new();
        for (key, entry) in self.entries.iter().filter(|(key, _)| !known.contains(key)) {
            let place = &entry.key_place;
            problems.push(match nearest(key, known.iter().map(String::as_str)) {
                Some(meant) => format!("{place}: unknown key '{key}': did you mean '{meant}'?"),
                None => format!("{place}: unknown key '{key}'"),
            });
        }
        problems.sort_by_key(|problem| problem.split(':').nth(1).and_then(|line| line.parse::<usize>().ok()));
        problems
    }
}

/// The text of a value as a flag would have it.
fn plain(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
        }
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Array(values) => {
            let texts: Option<Vec<String>> = values.iter().map(|value| plain(value.get_ref())).collect();
            texts.map(|texts| texts.join(","))
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

/// Line and column, both from 1, of a byte offset; columns count characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_texts_as_a_flag_would_have_them() {
        let text = "a = \"x y\"\nb = 1_000\nc = 0x10\nd = true\ne = ['p', 'q']\n\"f\" = -1\n";
        let file = File::parse("t", text).unwrap();
        let value = |key: &str| file.get(key).unwrap().0.to_owned();
        assert_eq!(["a", "b", "c", "d", "e", "f"].map(value), ["x y", "1000", "16", "true", "p,q", "-1"]);
    }

    #[test]
    fn problems_have_line_and_column() {
        let problem = |text: &str| File::parse("t", text).unwrap_err().to_string();
        assert!(problem("a = 1\nb = = 2\n").starts_with("t:2:5: "), "{}", problem("a = 1\nb = = 2\n"));
        assert!(problem("a = 1\na = 2\n").starts_with("t:2:1: "), "{}", problem("a = 1\na = 2\n"));
        assert_eq!(problem("\n[edge]\na = 1\n"), "t:2:2: unknown table 'edge': the file is flat");
        assert!(problem("'é' = 1.5").starts_with("t:1:7: é: write a string"), "{}", problem("'é' = 1.5"));
    }
}
