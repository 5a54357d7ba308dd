//! Logs to standard error: text for a person at a terminal, one JSON object a line for everything else.

use std::fmt;
use std::io::IsTerminal;
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// How and what to log.
#[derive(Debug, Clone)]
pub struct Log {
    /// How a line looks.
    pub format: Format,
    /// What is logged: a level, or `target=level` pairs separated by commas.
    pub filter: Filter,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Text for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A log filter that is known to be valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(String);

/// The text is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Not a [`Format`].
    #[error("not a log format: one of auto, text, json")]
    Format,
    /// Not a [`Filter`].
    #[error(
        "not a log filter: a level (error, warn, info, debug, trace) or pairs such as relay_edge=debug,info"
    )]
    Filter,
}

/// Logs are already written by somebody else in this process.
#[derive(Debug, thiserror::Error)]
#[error("logging is already set up")]
pub struct AlreadyInitialised;

/// Libraries that log what we log ourselves, once and without addresses and keys. A filter that names them is heard.
const QUIET: &str = "async_nats=off,rumqttc=off,rumqttd=off,tungstenite=off";

/// Starts logging for the whole process.
///
/// # Errors
/// When something else in this process has set a subscriber before.
pub fn init(log: &Log) -> Result<(), AlreadyInitialised> {
    let terminal = std::io::stderr().is_terminal();
    // https://no-color.org: present and not empty, whatever its value.
    let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_env_filter(EnvFilter::new(format!("{QUIET},{}", log.filter.0)));
    let started = match log.format.resolve(terminal) {
        Format::Json => builder.json().flatten_event(true).with_current_span(false).finish().try_init(),
        Format::Text | Format::Auto => builder.with_target(false).finish().try_init(),
    };
    started.map_err(|_| AlreadyInitialised)
}

impl Format {
    fn resolve(self, terminal: bool) -> Self {
        match (self, terminal) {
            (Self::Auto, true) => Self::Text,
            (Self::Auto, false) => Self::Json,
            (chosen, _) => chosen,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

impl FromStr for Format {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Auto, Self::Text, Self::Json]
            .into_iter()
            .find(|format| format.to_string() == text)
            .ok_or(ParseError::Format)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Filter {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // `EnvFilter` takes any single word for the name of a target, and then logs nothing: `--log-level inof`.
        // An empty word would be the level ERROR.
        let level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
        let plausible = text.split(',').all(|word| level(word) || word.contains(['=', '[']));
        if plausible && EnvFilter::try_new(text).is_ok() {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseError::Filter)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_text_for_people_and_json_for_machines() {
        assert_eq!(Format::Auto.resolve(true), Format::Text);
        assert_eq!(Format::Auto.resolve(false), Format::Json);
        assert_eq!(Format::Text.resolve(false), Format::Text);
        assert_eq!(Format::Json.resolve(true), Format::Json);
    }

    #[test]
    fn a_mistyped_level_is_refused_rather_than_silent() {
        for good in ["info", "DEBUG", "off", "relay_edge=debug,info", "relay_edge::listener=trace"] {
            assert_eq!(good.parse::<Filter>().unwrap().to_string(), good);
        }
        for bad in ["inof", "", "info,", "relay_edge", "a=loud"] {
            assert!(bad.parse::<Filter>().is_err(), "{bad:?}");
        }
    }
}
