//! The file of endpoints: who is told what, and how they know that it is us.
//!
//! No problem that is told here has anything of a secret, or of an address, which may be one.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use hyper::Uri;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::filter::{Filter, Pattern};
use super::signature::Secret;

/// Each has a connection, a place in the journal and labels of metrics.
pub const ENDPOINTS_MAX: usize = 32;
/// A label of metrics and a part of keys.
const NAME_CHARS_MAX: usize = 64;
/// Longer addresses are refused by many servers.
const URL_CHARS_MAX: usize = 2048;
/// Each event is compared with each pattern.
const PATTERNS_MAX: usize = 64;
/// A pattern with as many stars as letters matches names of the longest kind.
const PATTERN_CHARS_MAX: usize = 256;

const KEYS: &[&str] = &["name", "url", "secret", "events", "channels", "ca_file"];

/// Who is told of events.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) name: String,
    pub(super) uri: Uri,
    pub(super) secret: Secret,
    pub(super) filter: Filter,
    /// Instead of the authorities that the system trusts.
    pub(super) authorities: Option<PathBuf>,
}

impl Endpoint {
    /// Its name in logs and metrics.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Many services have a secret in the path.
        f.debug_struct("Endpoint").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Everything that is wrong with the file, a line for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// Reads the text of the file. No endpoint at all is none.
///
/// # Errors
/// Everything that is wrong with it, each with its line and column.
pub fn parse(text: &str) -> Result<Vec<Endpoint>, Problems> {
    let table = DeTable::parse(text).map_err(|error| {
        // What the parser says may quote the text.
        Problems(vec![format!("{}: is not TOML", place(text, error.span().unwrap_or(0..0)))])
    })?;
    let mut reader = Reader { text, problems: Vec::new() };
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for (key, value) in table.into_inner() {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("webhook", DeValue::Array(tables)) => {
                for table in tables {
                    let Some(endpoint) = reader.endpoint(table) else { continue };
                    if endpoints.iter().any(|other| other.name == endpoint.name) {
                        reader.problem(table.span(), &format!("name: there is another '{}'", endpoint.name));
                    } else if endpoints.len() == ENDPOINTS_MAX {
                        reader
                            .problem(table.span(), &format!("there are more than {ENDPOINTS_MAX} webhooks"));
                        break;
                    } else {
                        endpoints.push(endpoint);
                    }
                }
            }
            ("webhook", _) => reader.problem(value.span(), "webhook: write [[webhook]]"),
            (unknown, _) => reader.unknown(key.span(), unknown, &["webhook"]),
        }
    }
    if reader.problems.is_empty() { Ok(endpoints) } else { Err(reader.finish()) }
}

struct Reader<'a> {
    text: &'a str,
    /// Where each begins, and what it is.
    problems: Vec<(usize, String)>,
}

impl Reader<'_> {
    /// `None` when something is wrong; that is noted.
    fn endpoint(&mut self, table: &Spanned<DeValue<'_>>) -> Option<Endpoint> {
        let DeValue::Table(fields) = table.get_ref() else {
            self.problem(table.span(), "webhook: write [[webhook]]");
            return None;
        };
        let before = self.problems.len();
        let (mut name, mut uri, mut secret, mut authorities) = (None, None, None, None);
        let mut filter = Filter::new();
        for (key, value) in fields {
            match key.get_ref().as_ref() {
                "name" => name = self.string(value, "name", checked_name),
                "url" => uri = self.string(value, "url", checked_url),
                "secret" => {
                    secret = self.string(value, "secret", |text| {
                        text.parse::<Secret>().map_err(|error| error.to_string())
                    });
                }
                "ca_file" => authorities = self.string(value, "ca_file", |text| Ok(PathBuf::from(text))),
                "events" => {
                    let read = |text: &str| {
                        Pattern::of_events(text).ok_or("has a pattern that no type of event matches")
                    };
                    if let Some(patterns) = self.patterns(value, "events", read) {
                        filter.of_events(patterns);
                    }
                }
                "channels" => {
                    let read = |text: &str| {
                        Pattern::of_channels(text).ok_or("has a pattern that no channel can match")
                    };
                    if let Some(patterns) = self.patterns(value, "channels", read) {
                        filter.of_channels(patterns);
                    }
                }
                unknown => self.unknown(key.span(), unknown, KEYS),
            }
        }
        for required in ["name", "url", "secret"] {
            if !fields.iter().any(|(key, _)| key.get_ref().as_ref() == required) {
                self.problem(table.span(), &format!("{required}: is missing"));
            }
        }
        if authorities.is_some() && uri.as_ref().is_some_and(|uri: &Uri| uri.scheme_str() == Some("http")) {
            self.problem(table.span(), "ca_file: only https has certificates");
        }
        let (Some(name), Some(uri), Some(secret)) = (name, uri, secret) else { return None };
        (self.problems.len() == before).then_some(Endpoint { name, uri, secret, filter, authorities })
    }

    fn string<T>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        field: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let DeValue::String(text) = value.get_ref() else {
            self.problem(value.span(), &format!("{field}: write a string"));
            return None;
        };
        read(text).map_err(|problem| self.problem(value.span(), &format!("{field}: {problem}"))).ok()
    }

    fn patterns(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        field: &str,
        read: impl Fn(&str) -> Result<Pattern, &'static str>,
    ) -> Option<Vec<Pattern>> {
        let DeValue::Array(values) = value.get_ref() else {
            self.problem(value.span(), &format!("{field}: write an array of strings"));
            return None;
        };
        if values.is_empty() {
            // Most likely somebody wants everything, and would get nothing.
            self.problem(value.span(), &format!("{field}: is empty; leave it out for everything"));
            return None;
        }
        if values.iter().count() > PATTERNS_MAX {
            self.problem(value.span(), &format!("{field}: has more than {PATTERNS_MAX} patterns"));
            return None;
        }
        let read = |text: &str| match text.len() {
            0..=PATTERN_CHARS_MAX => read(text).map_err(str::to_owned),
            _ => Err(format!("has a pattern of more than {PATTERN_CHARS_MAX} characters")),
        };
        values.iter().map(|value| self.string(value, field, read)).collect()
    }

    fn unknown(&mut self, span: Range<usize>, key: &str, known: &[&str]) {
        // Above this two words are merely two words.
        const SIMILARITY_MIN: f64 = 0.75;
        let meant = known
            .iter()
            .map(|known| (strsim::jaro_winkler(key, known), known))
            .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
            .max_by(|(a, _), (b, _)| a.total_cmp(b));
        // The key itself is not told: in a file that went wrong it may be anything.
        match meant {
            Some((_, meant)) => self.problem(span, &format!("unknown key: did you mean '{meant}'?")),
            None => self.problem(span, &format!("unknown key: there are {}", known.join(", "))),
        }
    }

    fn problem(&mut self, span: Range<usize>, what: &str) {
        self.problems.push((span.start, format!("{}: {what}", place(self.text, span))));
    }

    /// In the order of the file.
    fn finish(mut self) -> Problems {
        self.problems.sort_by_key(|(start, _)| *start);
        Problems(self.problems.into_iter().map(|(_, problem)| problem).collect())
    }
}

fn checked_name(text: &str) -> Result<String, String> {
    let may_be = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if text.is_empty() || text.len() > NAME_CHARS_MAX || !text.bytes().all(may_be) {
        return Err(format!("has 1 to {NAME_CHARS_MAX} letters, digits, '-' and '_'"));
    }
    Ok(text.to_owned())
}

fn checked_url(text: &str) -> Result<Uri, String> {
    if text.len() > URL_CHARS_MAX {
        return Err(format!("is longer than {URL_CHARS_MAX} characters"));
    }
    if text.contains('#') {
        return Err("has a fragment, which no server ever sees".to_owned());
    }
    let uri: Uri = text.parse().map_err(|_| "is not an address".to_owned())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("is neither http:// nor https://".to_owned());
    }
    let authority = uri.authority().ok_or("has no host")?;
    if authority.as_str().contains('@') {
        return Err("has credentials: requests are signed instead".to_owned());
    }
    if authority.host().is_empty() {
        return Err("has no host".to_owned());
    }
    Ok(uri)
}

/// Where in the file, both from 1; columns count characters.
fn place(text: &str, span: Range<usize>) -> String {
    let before = text.get(..span.start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    format!("line {}, column {}", before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn file(more: &str) -> String {
        format!(
            "[[webhook]]\nname = 'ops'\nurl = 'https://sink.example/T0KEN'\nsecret = 'whsec_{SECRET}'\n{more}"
        )
    }

    fn problem(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_file_has_endpoints_in_its_order() {
        let text = format!(
            "{}[[webhook]]\nname = 'b_2-'\nurl = 'http://127.0.0.1:9/x?y=z'\nsecret = 'whsec_{SECRET}'\n",
            file("events = ['channel.*', 'node.lost']\nchannels = ['cam-*']\nca_file = '/ca.pem'\n"),
        );
        let endpoints = parse(&text).unwrap();
        assert_eq!(endpoints.iter().map(Endpoint::name).collect::<Vec<_>>(), ["ops", "b_2-"]);
        assert_eq!(endpoints[0].authorities.as_deref(), Some(std::path::Path::new("/ca.pem")));
        assert_eq!(endpoints[1].uri.to_string(), "http://127.0.0.1:9/x?y=z");
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn problems_have_places_and_come_all_at_once() {
        let text = "[[webhook]]\nname = 'a b'\nurl = 'ftp://x/'\nevent = []\n";
        assert_eq!(
            problem(text),
            "line 1, column 1: secret: is missing\n\
             line 2, column 8: name: has 1 to 64 letters, digits, '-' and '_'\n\
             line 3, column 7: url: is neither http:// nor https://\n\
             line 4, column 1: unknown key: did you mean 'events'?"
        );
        assert_eq!(problem("a = = 1"), "line 1, column 5: is not TOML");
        assert_eq!(problem("[webhook]\nname = 'x'\n"), "line 1, column 1: webhook: write [[webhook]]");
        assert_eq!(problem("webhook = [1]\n"), "line 1, column 12: webhook: write [[webhook]]");
        assert_eq!(problem("[[webhooks]]\n"), "line 1, column 3: unknown key: did you mean 'webhook'?");
        assert!(problem(&file("retries = 3\n")).contains("unknown key: there are name, url, secret"));
    }

    #[test]
    fn each_field_tells_what_is_wrong_with_it() {
        let tells = |field: &str, expected: &str| {
            let told = problem(&file(field));
            assert!(told.starts_with("line 5, column ") && told.ends_with(expected), "{field}: {told}");
        };
        tells("events = 'channel.*'", "events: write an array of strings");
        tells("events = [1]", "events: write a string");
        tells("events = []", "events: is empty; leave it out for everything");
        tells("events = ['channel.start']", "events: has a pattern that no type of event matches");
        tells("channels = ['cam 1']", "channels: has a pattern that no channel can match");
        tells("ca_file = true", "ca_file: write a string");
        let url = |url: &str| {
            let text = file("").replace("https://sink.example/T0KEN", url);
            parse(&text).err().map(|problems| problems.to_string().split_once("url: ").unwrap().1.to_owned())
        };
        assert_eq!(url("http://[::1]:8080/x"), None);
        assert_eq!(url("https://ann:pw@x/").unwrap(), "has credentials: requests are signed instead");
        assert_eq!(url("https://ann@x/").unwrap(), "has credentials: requests are signed instead");
        assert_eq!(url("https://x/#y").unwrap(), "has a fragment, which no server ever sees");
        assert_eq!(url("/x").unwrap(), "is neither http:// nor https://");
        assert_eq!(url("https:///x").unwrap(), "is not an address");
        assert_eq!(
            url(&format!("https://x/{}", "a".repeat(URL_CHARS_MAX))).unwrap(),
            "is longer than 2048 characters"
        );
        let plain = file("ca_file = '/x'").replace("https", "http");
        assert_eq!(problem(&plain), "line 1, column 1: ca_file: only https has certificates");
    }

    #[test]
    fn names_are_unique_and_there_are_at_most_32() {
        assert_eq!(
            problem(&format!("{}{}", file(""), file(""))),
            "line 5, column 1: name: there is another 'ops'"
        );
        let many = |count: usize| -> String {
            (0..count).map(|number| file("").replace("ops", &format!("ops-{number}"))).collect()
        };
        assert_eq!(parse(&many(ENDPOINTS_MAX)).unwrap().len(), ENDPOINTS_MAX);
        assert!(problem(&many(ENDPOINTS_MAX + 1)).ends_with("there are more than 32 webhooks"));
        let list = |count: usize| file(&format!("events = [{}]", vec!["'*'"; count].join(", ")));
        assert!(parse(&list(PATTERNS_MAX)).is_ok());
        assert!(problem(&list(PATTERNS_MAX + 1)).ends_with("has more than 64 patterns"));
        let pattern = |chars: usize| file(&format!("events = ['{}']", "*".repeat(chars)));
        assert!(parse(&pattern(PATTERN_CHARS_MAX)).is_ok());
        assert!(
            problem(&pattern(PATTERN_CHARS_MAX + 1)).ends_with("has a pattern of more than 256 characters")
        );
        let name = |chars: usize| file("").replace("ops", &"n".repeat(chars));
        assert!(parse(&name(NAME_CHARS_MAX)).is_ok());
        assert!(parse(&name(NAME_CHARS_MAX + 1)).is_err());
    }

    #[test]
    fn neither_secret_nor_address_is_printed() {
        let printed = format!("{:?}", parse(&file("")).unwrap());
        assert!(
            printed.contains("ops") && !printed.contains(&SECRET[..6]) && !printed.contains("T0KEN"),
            "{printed}"
        );
    }

    proptest! {
        /// Whatever a slip of the finger makes of the file.
        #[test]
        fn no_problem_tells_a_secret(at in 0_usize..120, cut in 0_usize..12, instead in "[ \"'=\\[\\]#a-z\n]{0,3}") {
            let mut text = file("events = ['channel.*']\n");
            let at = at.min(text.len());
            text.replace_range(at..(at + cut).min(text.len()), &instead);
            if let Err(problems) = parse(&text) {
                let told = problems.to_string();
                prop_assert!(!SECRET.as_bytes().windows(6).any(|part| told.contains(std::str::from_utf8(part).unwrap())), "{told}");
                prop_assert!(!told.contains("T0KE"), "{told}");
            }
        }
    }
}
