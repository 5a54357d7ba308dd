//! Every setting of a bridge, with its default and the reason for it.

use std::net::SocketAddr;
use std::time::Duration;

use relay_lifecycle::access::{Access, Token};
use relay_proto::NodeId;
use relay_proto::source::SourceId;

use crate::broker;
use crate::dji;
use crate::kerberos;
use crate::picker::Picker;
use crate::source::Timing;
use crate::telemetry::Rule;

/// Every setting of a bridge.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where its REST is. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Its name in logs, on the broker and on the backbone.
    pub name: NodeId,
    /// The broker.
    pub mqtt: broker::Settings,
    /// Stream-managers, `http://…` or `https://…`, each asked while the ones before do not answer.
    pub managers: Vec<String>,
    /// What it presents to them.
    pub manager_token: Option<Token>,
    /// The hub whose agents it speaks to, if any.
    pub kerberos: Option<kerberos::Settings>,
    /// What gateways of DJI are spoken to with.
    pub dji: dji::Settings,
    /// Sources that run whether anybody watches them or not.
    pub always_on: Vec<SourceId>,
    /// Which topics are telemetry of which channel.
    pub telemetry: Vec<Rule>,
    /// How long things take.
    pub timing: Timing,
    /// How often nodes tell of themselves. One that has said nothing for three times as long is not there.
    pub registry_interval: Duration,
    /// Tokens that may read, and those that may also tell devices what to do.
    pub access: Access,
}

impl Config {
    /// Checks what the types cannot: whether the broker and the stream-managers can be spoken to with these addresses.
    ///
    /// # Errors
    /// What is wrong, without any secret.
    pub fn check(&self) -> Result<(), String> {
        broker::Broker::connect(self.mqtt.clone(), Vec::new()).map_err(|error| error.to_string())?;
        Picker::new(&self.managers, None).map_err(|error| error.to_string())?;
        Ok(())
    }
}
