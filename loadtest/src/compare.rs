//! The comparison: several servers, the same load, one after the other and round after round, so that what else the
//! machine does hits all of them alike.

pub(crate) mod plot;
pub(crate) mod server;
pub(crate) mod summary;
