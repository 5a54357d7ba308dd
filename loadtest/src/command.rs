//! The commands of the command line.

pub(crate) mod ceiling;
pub(crate) mod compare;
pub(crate) mod run;
