//! Brings cameras and docks that speak MQTT to the cluster: starts them when somebody wants to see them, and stops them when
//! nobody does any more.

pub mod broker;
mod demand;
pub mod dji;
mod driver;
pub mod kerberos;
mod picker;
mod pictures;
mod rendezvous;
pub mod source;
mod telemetry;

/// For the fuzz targets only.
#[cfg(fuzzing)]
pub mod fuzzing {
    /// Hears what agents of Kerberos say, as a bridge that waits for everything.
    pub fn kerberos(messages: &[Vec<u8>]) {
        crate::kerberos::fuzzing::hear_anything(messages);
    }
}
