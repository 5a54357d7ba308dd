//! Declared settings as command-line flags. Their texts are not looked at here: [`relay_lifecycle::config`] does that
//! for all places alike.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use clap::{Arg, ArgAction, ArgMatches, Command};
use relay_lifecycle::config::{Setting, Settings};

/// A way to run the program: which settings it has, and which of their defaults differ.
pub(super) trait Role {
    type Settings: Settings;
    /// Key and text.
    const DEFAULTS: &'static [(&'static str, &'static str)];
}

/// The flags that were given.
#[derive(Debug)]
pub(super) struct Flags<R> {
    pub(super) texts: BTreeMap<String, String>,
    role: PhantomData<R>,
}

/// Whether a setting is a list: then its flag may also be given several times, which is the same as one with commas.
fn is_list(setting: &Setting) -> bool {
    setting.placeholder.ends_with(",…")
}

fn flag<R: Role>(setting: &Setting) -> Arg {
    let key = setting.key();
    let own = R::DEFAULTS.iter().find(|(own, _)| *own == key).map(|(_, text)| *text);
    let default = match own.or(setting.default) {
        Some(text) if !text.is_empty() => format!(" [default: {text}]"),
        _ => String::new(),
    };
    let help = setting.help();
    let long = format!("{help}\n[env: {}]{default}", setting.variable());
    Arg::new(key.clone())
        .long(key)
        .value_name(setting.placeholder)
        .help(format!("{help}{default}"))
        .long_help(long)
        .help_heading(setting.heading)
        .allow_hyphen_values(true)
        .action(if is_list(setting) { ArgAction::Append } else { ArgAction::Set })
}

impl<R: Role> clap::Args for Flags<R> {
    fn augment_args(command: Command) -> Command {
        command.args(R::Settings::declared().into_iter().map(flag::<R>))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<R: Role> clap::FromArgMatches for Flags<R> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self { texts: BTreeMap::new(), role: PhantomData };
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in R::Settings::declared() {
            let key = setting.key();
            if let Some(texts) = matches.get_many::<String>(&key) {
                let texts: Vec<_> = texts.map(String::as_str).collect();
                self.texts.insert(key, texts.join(","));
            }
        }
        Ok(())
    }
}
