//! What a client tells while it runs. The command line shows it to a person, the demo writes it to the log.

use std::fmt;
use std::time::Duration;

/// Something worth a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A connection stands.
    Connected { address: String, again: bool },
    /// It ended and is tried again.
    Retrying { what: String, delay: Duration },
    /// The stream is known.
    Stream { summary: String },
    /// Something is not as it should be, and goes on.
    Warning(String),
}

/// Whoever is told. Called from the task that carries the media, so it never waits.
pub(crate) trait Watch: Send + Sync {
    /// Something happened.
    fn notice(&self, notice: &Notice);
    /// A chunk of this many bytes passed.
    fn passed(&self, bytes: usize);
    /// The server told how many receive the channel.
    fn viewers(&self, viewers: u64);
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { address, again: false } => write!(f, "connected to {address}"),
            Self::Connected { address, again: true } => write!(f, "connected to {address} again"),
            Self::Retrying { what, delay } => {
                write!(f, "{what}; trying again in {:.1} s", delay.as_secs_f64())
            }
            Self::Stream { summary } => f.write_str(summary),
            Self::Warning(text) => write!(f, "warning: {text}"),
        }
    }
}

/// Writes to the log.
#[derive(Debug)]
pub(crate) struct Logged;

impl Watch for Logged {
    fn notice(&self, notice: &Notice) {
        match notice {
            Notice::Connected { .. } | Notice::Stream { .. } => tracing::info!(client = "demo", "{notice}"),
            Notice::Retrying { .. } | Notice::Warning(_) => tracing::warn!(client = "demo", "{notice}"),
        }
    }

    fn passed(&self, _: usize) {}

    fn viewers(&self, _: u64) {}
}
