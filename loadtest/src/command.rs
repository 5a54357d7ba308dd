//! The commands of the command line.

pub(crate) mod bare;
pub(crate) mod bare_http;
pub(crate) mod bare_mqtt;
pub(crate) mod bridge;
pub(crate) mod ceiling;
pub(crate) mod cluster;
pub(crate) mod compare;
pub(crate) mod picks;
pub(crate) mod run;
pub(crate) mod sim;
