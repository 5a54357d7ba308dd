//! Settings: declared once, read from four places, with one precedence.
//!
//! ```text
//! ┌──────────────────────────────────────────────────────────────────────────────────────┐
//! │ A flag beats its RELAYCAST_… variable, which beats the file, which beats the default. │
//! └──────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Every place is a map from keys to texts; [`resolve`] picks one text for each setting and only then parses it. So no
//! place can shadow another by accident, and a bad value is always reported with the place it came from. All problems
//! are reported at once, not one for each start.
//!
//! [`settings!`](crate::settings) declares a struct of settings; this module knows nothing of command lines, which are
//! built from [`Settings::SETTINGS`] elsewhere.

mod environment;
mod file;
mod units;

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

pub use environment::{from_environment, unknown_variables};
pub use file::File;
pub use units::{BitRate, ByteSize, List, TimeSpan, UnitError};

/// Every variable of ours starts with this.
pub const VARIABLE_PREFIX: &str = "RELAYCAST_";

/// The declaration of one setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The name of the struct's field: `idle_timeout`.
    pub field: &'static str,
    /// What stands for the value in the help; tells its unit: `DURATION`.
    pub placeholder: &'static str,
    /// What it does, line by line.
    pub help: &'static [&'static str],
    /// Value where nobody chose one; `None` for a setting that may be absent.
    pub default: Option<&'static str>,
    /// Under which heading it is shown.
    pub heading: &'static str,
}

impl Setting {
    /// Its name in the file and, after two dashes, on the command line: `idle-timeout`.
    pub fn key(&self) -> String {
        self.field.replace('_', "-")
    }

    /// Its name in the environment: `RELAYCAST_IDLE_TIMEOUT`.
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.field.to_uppercase())
    }

    /// What it does, in one line.
    pub fn help(&self) -> String {
        self.help.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }
}

/// A struct of settings; implemented by [`settings!`](crate::settings).
pub trait Settings: Sized {
    /// The declarations, in the order of the help.
    const SETTINGS: &'static [Setting];

    /// Takes each setting's text and parses it. `None` when a problem was noted in `values`.
    fn take(values: &mut Values) -> Option<Self>;
}

/// Where the texts are looked up.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    /// Key to text, of the command line.
    pub flags: BTreeMap<String, String>,
    /// Name to text, of the environment. An empty text counts as unset: that is how charts and compose files
    /// leave a variable out.
    pub variables: BTreeMap<String, String>,
    /// The file, if there is one.
    pub file: Option<&'a File>,
    /// Keys whose default differs from the declared one in this role of the program.
    pub defaults: &'a [(&'a str, &'a str)],
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// The environment.
    Variable,
    /// The file, at this place: `relaycast.toml:3:9`.
    File(String),
    /// Nobody chose it.
    Default,
}

/// One setting as it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The key.
    pub key: String,
    /// The text; `None` for a setting that is absent.
    pub text: Option<String>,
    /// Who chose it.
    pub origin: Origin,
}

/// Settings, and how they came about.
#[derive(Debug, Clone)]
pub struct Resolved<S> {
    /// The values.
    pub settings: S,
    /// The same, for people.
    pub effective: Vec<Effective>,
}

/// Everything that is wrong with the settings, a line for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// Texts that were picked and are not parsed yet.
#[derive(Debug)]
pub struct Values {
    picked: BTreeMap<&'static str, Picked>,
    problems: Vec<String>,
}

#[derive(Debug)]
struct Picked {
    text: String,
    /// As a person would look for it: `--grace`, `RELAYCAST_GRACE`, `relaycast.toml:3:9: grace`.
    place: String,
}

/// Picks and parses every setting of `S`.
///
/// # Errors
/// Every value that does not parse and every unknown key of the file.
pub fn resolve<S: Settings>(sources: &Sources<'_>) -> Result<Resolved<S>, Problems> {
    let mut values = Values { picked: BTreeMap::new(), problems: Vec::new() };
    let mut effective = Vec::new();
    for setting in S::SETTINGS {
        let (key, variable) = (setting.key(), setting.variable());
        let default = sources.defaults.iter().find(|(own, _)| *own == key).map(|(_, text)| *text);
        let chosen = if let Some(text) = sources.flags.get(&key) {
            Some((text.clone(), Origin::Flag, format!("--{key}")))
        } else if let Some(text) = sources.variables.get(&variable).filter(|text| !text.is_empty()) {
            Some((text.clone(), Origin::Variable, variable))
        } else if let Some((text, place)) = sources.file.and_then(|file| file.get(&key)) {
            Some((text.to_owned(), Origin::File(place.clone()), format!("{place}: {key}")))
        } else {
            default
                .or(setting.default)
                .map(|text| (text.to_owned(), Origin::Default, format!("default of {key}")))
        };
        let (text, origin) = match chosen {
            Some((text, origin, place)) => {
                values.picked.insert(setting.field, Picked { text: text.clone(), place });
                (Some(text), origin)
            }
            None => (None, Origin::Default),
        };
        effective.push(Effective { key, text, origin });
    }
    let keys: Vec<String> = S::SETTINGS.iter().map(Setting::key).collect();
    if let Some(file) = sources.file {
        values.problems.extend(file.unknown_keys(&keys));
    }
    match S::take(&mut values) {
        Some(settings) if values.problems.is_empty() => Ok(Resolved { settings, effective }),
        _ => Err(Problems(values.problems)),
    }
}

impl Values {
    /// The value of a setting that has a default. `None` when its text does not parse; that is noted.
    pub fn required<T: FromStr<Err: fmt::Display>>(
        &mut self,
        field: &'static str,
        _: PhantomData<T>,
    ) -> Option<T> {
        match self.optional(field, PhantomData)? {
            Some(value) => Some(value),
            None => {
                self.problems.push(format!("{}: has no value", field.replace('_', "-")));
                None
            }
        }
    }

    /// The value of a setting that may be absent. `None` when its text does not parse; that is noted.
    pub fn optional<T: FromStr<Err: fmt::Display>>(
        &mut self,
        field: &'static str,
        _: PhantomData<T>,
    ) -> Option<Option<T>> {
        let Some(Picked { text, place }) = self.picked.remove(field) else { return Some(None) };
        match text.parse() {
            Ok(value) => Some(Some(value)),
            Err(error) => {
                self.problems.push(format!("{place}: '{text}': {error}"));
                None
            }
        }
    }
}

/// The known word that `word` was probably meant to be.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Above this two words are merely two words.
    const SIMILARITY_MIN: f64 = 0.75;
    known
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// Declares a struct of settings and implements [`Settings`] for it.
///
/// The doc comment of a field is its help. A field with a default has the type that is written, one without is an
/// `Option` of it. Types need `FromStr` and an error that prints.
///
/// ```
/// relay_lifecycle::settings! {
///     /// How to greet.
///     pub struct Greeting {
///         "Manners" {
///             /// Whom to greet
///             name "TEXT": String = "world",
///             /// How long to wait for an answer
///             patience "DURATION": relay_lifecycle::config::TimeSpan,
///         }
///     }
/// }
/// # use relay_lifecycle::config::{resolve, Sources};
/// let greeting = resolve::<Greeting>(&Sources::default()).unwrap().settings;
/// assert_eq!(greeting.name, "world");
/// assert!(greeting.patience.is_none());
/// ```
#[macro_export]
macro_rules! settings {
    (
        $(#[doc = $struct_doc:literal])+
        $visibility:vis struct $name:ident {
            $($heading:literal {
                $(
                    $(#[doc = $doc:literal])+
                    $field:ident $placeholder:literal : $type:ty $(= $default:literal)?,
                )+
            })+
        }
    ) => {
        $(#[doc = $struct_doc])+
        #[derive(Debug, Clone)]
        $visibility struct $name {
            $($(
                $(#[doc = $doc])+
                $visibility $field: $crate::settings!(@type $type $(, $default)?),
            )+)+
        }

        impl $crate::config::Settings for $name {
            const SETTINGS: &'static [$crate::config::Setting] = &[
                $($(
                    $crate::config::Setting {
                        field: stringify!($field),
                        placeholder: $placeholder,
                        help: &[$($doc),+],
                        default: $crate::settings!(@default $($default)?),
                        heading: $heading,
                    },
                )+)+
            ];

            fn take(values: &mut $crate::config::Values) -> ::core::option::Option<Self> {
                $($(
                    let $field = $crate::settings!(@take values, $field, $type $(, $default)?);
                )+)+
                // All were parsed before the first bad one ends it, so that all problems are reported.
                Some(Self { $($($field: $field?,)+)+ })
            }
        }
    };
    (@type $type:ty, $default:literal) => { $type };
    (@type $type:ty) => { ::core::option::Option<$type> };
    (@default $default:literal) => { ::core::option::Option::Some($default) };
    (@default) => { ::core::option::Option::None };
    (@take $values:ident, $field:ident, $type:ty, $default:literal) => {
        $values.required(stringify!($field), ::core::marker::PhantomData::<$type>)
    };
    (@take $values:ident, $field:ident, $type:ty) => {
        $values.optional(stringify!($field), ::core::marker::PhantomData::<$type>)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::settings! {
        /// Settings of a test.
        struct Test {
            "One" {
                /// How long to
                /// wait
                grace "DURATION": TimeSpan = "15s",
                /// How many
                receivers_max "NUMBER": u32 = "10",
            }
            "Two" {
                /// A name
                node_id "NAME": String,
            }
        }
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_setting_is_declared_once() {
        let [grace, _, node] = Test::SETTINGS else { unreachable!() };
        assert_eq!((grace.key(), grace.variable()), ("grace".to_owned(), "RELAYCAST_GRACE".to_owned()));
        assert_eq!((node.key(), node.variable()), ("node-id".to_owned(), "RELAYCAST_NODE_ID".to_owned()));
        assert_eq!(
            (grace.help(), grace.default, grace.heading),
            ("How long to wait".to_owned(), Some("15s"), "One")
        );
        assert_eq!((node.default, node.heading), (None, "Two"));
    }

    #[test]
    fn flag_beats_variable_beats_file_beats_default() {
        let file = File::parse("a.toml", "receivers-max = 3").unwrap();
        let mut sources = Sources {
            flags: map(&[("receivers-max", "1")]),
            variables: map(&[("RELAYCAST_RECEIVERS_MAX", "2")]),
            file: Some(&file),
            defaults: &[("receivers-max", "4")],
        };
        let now = |sources: &Sources<'_>| {
            let resolved = resolve::<Test>(sources).unwrap();
            (resolved.settings.receivers_max, resolved.effective[1].origin.clone())
        };
        assert_eq!(now(&sources), (1, Origin::Flag));
        sources.flags.clear();
        assert_eq!(now(&sources), (2, Origin::Variable));
        sources.variables = map(&[("RELAYCAST_RECEIVERS_MAX", "")]);
        assert_eq!(now(&sources), (3, Origin::File("a.toml:1:17".to_owned())));
        sources.file = None;
        assert_eq!(now(&sources), (4, Origin::Default));
        sources.defaults = &[];
        assert_eq!(now(&sources), (10, Origin::Default));
    }

    #[test]
    fn places_are_layered_setting_by_setting() {
        let file = File::parse("a.toml", "grace = \"2s\"\nnode-id = \"n7\"").unwrap();
        let sources = Sources { flags: map(&[("grace", "1s")]), file: Some(&file), ..Sources::default() };
        let test = resolve::<Test>(&sources).unwrap().settings;
        assert_eq!(test.grace.to_string(), "1s");
        assert_eq!(test.node_id.as_deref(), Some("n7"));
        assert_eq!(test.receivers_max, 10);
    }

    #[test]
    fn every_problem_is_reported_with_its_place() {
        let file = File::parse("a.toml", "\ngrase = \"2s\"\nnode-id = 3\ncolour = 1\n").unwrap();
        let sources = Sources {
            flags: map(&[("receivers-max", "-1")]),
            variables: map(&[("RELAYCAST_GRACE", "15")]),
            file: Some(&file),
            defaults: &[],
        };
        let problems = resolve::<Test>(&sources).unwrap_err().to_string();
        assert_eq!(
            problems,
            "a.toml:2:1: unknown key 'grase': did you mean 'grace'?\n\
             a.toml:4:1: unknown key 'colour'\n\
             RELAYCAST_GRACE: '15': has no unit: 500ms, 15s, 2m or 1h\n\
             --receivers-max: '-1': invalid digit found in string"
        );
    }
}
