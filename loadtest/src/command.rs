//! The commands of the command line.

pub(crate) mod bare;
pub(crate) mod ceiling;
pub(crate) mod cluster;
pub(crate) mod compare;
pub(crate) mod run;
