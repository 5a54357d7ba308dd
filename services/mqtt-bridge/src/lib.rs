//! Brings cameras and docks that speak MQTT to the cluster: starts them when somebody wants to see them, and stops them when
//! nobody does any more.

mod demand;
mod driver;
mod picker;
mod pictures;
pub mod kerberos;
