//! What a run does: the numbers behind a profile.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::payload::Form;
use crate::wire;

/// Everything that decides what a run does.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Plan {
    pub(crate) channels: usize,
    /// Per channel.
    pub(crate) receivers: usize,
    pub(crate) form: Form,
    /// Per message.
    pub(crate) bytes: usize,
    pub(crate) pace: Pace,
    /// Receivers of the first channel that stop reading once they have got a message. Beyond `receivers`.
    pub(crate) frozen: usize,
    /// Receivers of the first channel that read too slowly. Beyond `receivers`.
    pub(crate) slow: usize,
    /// Bytes per second that each slow receiver reads.
    pub(crate) slow_bytes: usize,
    /// Receivers that leave, and come back at once, per second.
    pub(crate) churn: f64,
    /// Whether all leave at once in the end, while somebody else connects again and again.
    pub(crate) stampede: bool,
    /// Handshakes under way at a time, per thread.
    pub(crate) connects: usize,
    #[serde(serialize_with = "seconds")]
    pub(crate) warmup: Duration,
    #[serde(serialize_with = "seconds")]
    pub(crate) duration: Duration,
    pub(crate) threads: usize,
}

/// When a publisher sends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pace {
    /// Never: there are no publishers.
    Silent,
    /// So many messages per second, whatever becomes of them (open loop).
    Rate(f64),
    /// As long as there are less than so many messages that not every receiver has got (closed loop).
    Window(u32),
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

impl Plan {
    /// Whether there is anybody to send.
    pub(crate) fn publishes(&self) -> bool {
        self.pace != Pace::Silent
    }

    /// All receivers, those that misbehave too.
    pub(crate) fn receivers_total(&self) -> usize {
        self.channels * self.receivers + self.frozen + self.slow
    }
}

/// Where clients go: to one server, or to two nodes of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) publish: Endpoint,
    pub(crate) receive: Endpoint,
}

/// Where a server is, and how it names things.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) host: String,
    /// With `{channel}`.
    pub(crate) path: String,
}

impl Endpoint {
    /// The request that opens a websocket for a channel.
    pub(crate) fn request(&self, channel: usize) -> Vec<u8> {
        wire::request(&self.host, &self.path.replace("{channel}", &format!("load-{channel}")))
    }
}

/// The profiles: plans that have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Profile {
    /// One big event: 1 channel, 1000 receivers, 8 KiB at 30/s
    Event,
    /// Many small channels: 200 channels of 2 receivers, 8 KiB at 30/s
    Many,
    /// A fleet of cameras: 50 channels of 4 receivers, FLV with H.264, 10 KiB at 25/s
    Cameras,
    /// Cameras that send pictures: 20 channels of 5 receivers, JPEGs of 60 KiB at 10/s
    Mjpeg,
    /// As fast as it goes, small messages: 500 receivers, 1 KiB, window of 16
    Small,
    /// As fast as it goes, large messages: 500 receivers, 16 KiB, window of 8
    Bulk,
    /// The event, while 50 receivers leave and come back every second
    Churn,
    /// 500 healthy receivers beside 10 that read 64 KiB/s of a stream of 240 KiB/s
    Slow,
    /// 500 healthy receivers beside one that stops reading, for longer than a server should bear it
    Frozen,
    /// 10,000 receivers that wait, nobody publishes; in the end all leave at once
    Idle,
}

impl Profile {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Many => "many",
            Self::Cameras => "cameras",
            Self::Mjpeg => "mjpeg",
            Self::Small => "small",
            Self::Bulk => "bulk",
            Self::Churn => "churn",
            Self::Slow => "slow",
            Self::Frozen => "frozen",
            Self::Idle => "idle",
        }
    }

    /// What it does, in few words.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Event => "1000 receivers of one channel, 8 KiB at 30/s",
            Self::Many => "200 channels of 2 receivers, 8 KiB at 30/s",
            Self::Cameras => "50 cameras of 4 receivers, 10 KiB at 25/s",
            Self::Mjpeg => "20 channels of 5 receivers, 60 KiB at 10/s",
            Self::Small => "500 receivers, 1 KiB, as fast as it goes",
            Self::Bulk => "500 receivers, 16 KiB, as fast as it goes",
            Self::Churn => "1000 receivers, 50 come and go per second",
            Self::Slow => "500 receivers beside 10 slow ones",
            Self::Frozen => "500 receivers beside one that stops reading",
            Self::Idle => "10,000 receivers that wait",
        }
    }

    pub(crate) fn plan(self) -> Plan {
        let event = Plan {
            channels: 1,
            receivers: 1000,
            form: Form::Opaque,
            bytes: 8 << 10,
            pace: Pace::Rate(30.0),
            frozen: 0,
            slow: 0,
            slow_bytes: 64 << 10,
            churn: 0.0,
            stampede: false,
            connects: 100,
            warmup: Duration::from_secs(2),
            duration: Duration::from_secs(10),
            threads: 1,
        };
        match self {
            Self::Event => event,
            // Warm when as much leaves the server's cache as comes in.
            Self::Many => Plan { channels: 200, receivers: 2, warmup: Duration::from_secs(11), ..event },
            Self::Cameras => Plan {
                channels: 50,
                receivers: 4,
                form: Form::Flv,
                bytes: 10 << 10,
                pace: Pace::Rate(25.0),
                ..event
            },
            Self::Mjpeg => Plan {
                channels: 20,
                receivers: 5,
                form: Form::Mjpeg,
                bytes: 60 << 10,
                pace: Pace::Rate(10.0),
                ..event
            },
            Self::Small => Plan { receivers: 500, bytes: 1 << 10, pace: Pace::Window(16), ..event },
            Self::Bulk => Plan { receivers: 500, bytes: 16 << 10, pace: Pace::Window(8), ..event },
            Self::Churn => Plan { churn: 50.0, ..event },
            Self::Slow => Plan { receivers: 500, slow: 10, ..event },
            Self::Frozen => Plan { receivers: 500, frozen: 1, duration: Duration::from_secs(30), ..event },
            Self::Idle => {
                Plan { receivers: 10_000, pace: Pace::Silent, stampede: true, connects: 500, ..event }
            }
        }
    }
}

impl Plan {
    /// What is impossible about the plan.
    pub(crate) fn check(&self) -> Result<(), String> {
        let bytes_min = self.form.bytes_min();
        let rate_is_possible = match self.pace {
            Pace::Rate(rate) => rate.is_finite() && rate > 0.0,
            Pace::Window(window) => window > 0,
            Pace::Silent => true,
        };
        let rules = [
            (self.channels > 0, "there must be a channel".to_owned()),
            (self.threads > 0, "there must be a thread".to_owned()),
            (self.connects > 0, "at least one handshake at a time".to_owned()),
            (rate_is_possible, "the rate or the window must be more than 0".to_owned()),
            (
                !matches!(self.pace, Pace::Window(_)) || self.receivers > 0,
                "a closed loop needs receivers".to_owned(),
            ),
            (
                !matches!(self.pace, Pace::Window(_)) || self.churn == 0.0,
                "in a closed loop nobody may leave".to_owned(),
            ),
            (
                self.bytes >= bytes_min,
                format!("a message of this form has at least {bytes_min} bytes: it carries a stamp"),
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, problem)) => Err(problem),
            None => Ok(()),
        }
    }
}
