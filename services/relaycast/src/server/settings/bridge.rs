//! Every setting of a bridge but where it listens, declared once.

use std::net::SocketAddr;
use std::path::PathBuf;

use relay_lifecycle::access::Access;
use relay_lifecycle::config::{List, TimeSpan};
use relay_mqtt_bridge::config::Config;
use relay_mqtt_bridge::source::Timing;
use relay_mqtt_bridge::telemetry::Rule;
use relay_mqtt_bridge::{broker, dji, kerberos};
use relay_proto::NodeId;
use relay_proto::source::{Part, SourceId};

use super::secret;

relay_lifecycle::settings! {
    /// Every setting of a bridge but where it listens, and whom it asks for nodes.
    pub(in super::super) struct BridgeSettings {
        "MQTT bridge" {
            /// Broker that devices are connected to: mqtt://[USER:PASSWORD@]HOST[:PORT], mqtts://… with TLS, ws://… or wss://…
            mqtt "URL": String,
            /// Version of the protocol that is spoken with the broker: 3.1.1 or 5
            mqtt_version "VERSION": broker::Version = "3.1.1",
            /// Certificates in PEM to trust for the broker, instead of those of the system
            mqtt_ca_file "FILE": PathBuf,
            /// Hub key of Kerberos agents; without one they are not spoken to
            kerberos_hub_key "KEY": Part,
            /// Private key of the hub, with which agents hide what they say
            kerberos_hub_private_key "TEXT": String,
            /// Symmetric key of agents that encrypt from end to end
            kerberos_symmetric_key "TEXT": String,
            /// Keys of Kerberos agents that are known before they are heard; others appear by themselves
            kerberos_camera "KEY,…": List<Part> = "",
            /// Cameras of DJI that are known before their gateway tells of them: SN/CAMERA_INDEX/VIDEO_INDEX[@GATEWAY_SN]; others
            /// appear by themselves
            dji_camera "VIDEO,…": List<dji::Configured> = "",
            /// Whether a video of DJI is taken over that somebody else has started
            dji_take_over "true|false": bool = "false",
            /// WHIP server for those who start a video with protocol whip; {channel}, {sn}, {camera} and {video} stand for the video
            dji_whip_url "URL": String,
            /// Parameters of a GB/T 28181 server, for protocol gb28181
            dji_gb28181_url "TEXT": String,
            /// Parameters of a channel at Agora, for protocol agora
            dji_agora_url "TEXT": String,
            /// Answers what docks ask when they begin, with this id, key and licence; only where no other server does
            dji_app_id "TEXT": String,
            /// See --dji-app-id
            dji_app_key "TEXT": String,
            /// See --dji-app-id
            dji_app_license "TEXT": String,
            /// Sources that run whether somebody watches or not: kerberos/HUB/DEVICE, dji/SN/CAMERA/VIDEO
            always_on "SOURCE,…": List<SourceId> = "",
            /// Topics with JSON that viewers of a channel see beside the picture: TOPIC=CHANNEL, or a topic with {channel} as a level
            telemetry "TOPIC,…": List<Rule> = "",
            /// How long a source goes on after its last viewer has left
            stop_grace "DURATION": TimeSpan = "10s",
            /// How long media may take to come after a device said that it starts; longer than any camera's GOP
            media_within "DURATION": TimeSpan = "15s",
        }
    }
}

impl BridgeSettings {
    /// The bridge's configuration.
    pub(in super::super) fn into_config(
        self,
        listen: SocketAddr,
        name: NodeId,
        mqtt: String,
        managers: Vec<String>,
        registry_interval: TimeSpan,
        access: Access,
    ) -> Result<Config, String> {
        let secret = |name, text: Option<String>| text.map(|text| secret(name, &text)).transpose();
        let hub_private_key = secret("kerberos-hub-private-key", self.kerberos_hub_private_key)?;
        let symmetric_key = secret("kerberos-symmetric-key", self.kerberos_symmetric_key)?;
        let cameras = self.kerberos_camera.0;
        if self.kerberos_hub_key.is_none()
            && (hub_private_key.is_some() || symmetric_key.is_some() || !cameras.is_empty())
        {
            return Err("Kerberos agents are spoken to by --kerberos-hub-key, which is not set".to_owned());
        }
        let kerberos = self.kerberos_hub_key.map(|hub_key| kerberos::Settings {
            hub_key,
            hub_private_key,
            symmetric_key,
            cameras,
        });
        let own_onboarding = match (self.dji_app_id, self.dji_app_key, self.dji_app_license) {
            (Some(app_id), Some(app_key), Some(app_license)) => {
                Some(dji::Onboarding { app_id, app_key, app_license })
            }
            (None, None, None) => None,
            _ => return Err("dji-app-id, dji-app-key and dji-app-license go together".to_owned()),
        };
        let dji = dji::Settings {
            cameras: self.dji_camera.0,
            own_onboarding,
            whip_url: self.dji_whip_url,
            gb28181_url: self.dji_gb28181_url,
            agora_url: self.dji_agora_url,
            take_over: self.dji_take_over,
        };
        Ok(Config {
            dji,
            listen,
            mqtt: broker::Settings {
                url: mqtt,
                version: self.mqtt_version,
                ca_file: self.mqtt_ca_file,
                keep_alive: broker::DEFAULT_KEEP_ALIVE,
                name: name.clone(),
            },
            name,
            managers,
            manager_token: None,
            kerberos,
            always_on: self.always_on.0,
            telemetry: self.telemetry.0,
            timing: Timing {
                stop_grace: self.stop_grace.get(),
                media_within: self.media_within.get(),
                ..Timing::default()
            },
            registry_interval: registry_interval.get(),
            access,
        })
    }
}
