//! How the process ends: one enum for every exit code, and the one error that `main` prints.

use std::fmt;
use std::process::ExitCode;

/// The exit codes. They are part of the command line's contract: scripts match on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The server refused: wrong key, somebody else publishes, invalid channel.
    Refused = 3,
    /// Nobody publishes.
    Nothing = 4,
    /// No connection, or it was lost for good.
    Connection = 5,
    /// A file, a pipe or an address cannot be used.
    Io = 6,
}

/// The codes as `--help` shows them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done; ended by SIGINT or SIGTERM in order
  2  the command line or the configuration is wrong
  3  refused: wrong key, somebody else is publishing, not allowed
  4  nothing there: nobody publishes on the channel
  5  no connection, or lost and not regained
  6  a file, a pipe or a local address cannot be used";

/// Why a command ends with something other than 0.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// A failure of this kind; `message` is for people, and never holds a key.
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }

    /// What happened and, where there is something to do about it, what.
    pub(crate) fn advised(exit: Exit, what: &str, advice: &str) -> Self {
        if advice.is_empty() {
            Self::new(exit, what)
        } else {
            Self::new(exit, format_args!("{what}: {advice}"))
        }
    }

    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::new(Exit::Io, format_args!("{what}: {error}"))
    }

    /// The code that the process ends with.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
