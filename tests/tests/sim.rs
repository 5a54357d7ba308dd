//! Simulated devices on a real broker: they answer as their makers say, and leave nothing behind.

#![allow(clippy::unwrap_used, reason = "a test may end this way, its helpers too")]

use std::process::Stdio;

use relay_tests::HANG;
use relay_tests::ffmpeg;
use relay_tests::mosquitto::{Client, Mosquitto};
use relay_tests::process::{Process, loadtest};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::ChildStdout;
use tokio::time::timeout;

/// Devices, and what they tell.
struct Sim {
    process: Process,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Sim {
    fn start(broker: &Mosquitto, args: &str) -> Self {
        let url = broker.url();
        let mut command =
            loadtest(["sim"].into_iter().chain(args.split(' ')).chain(["--mqtt", &url, "--json"]));
        let mut process = Process::start("relaycast-loadtest sim", command.stdout(Stdio::piped()));
        let lines = BufReader::new(process.take_stdout()).lines();
        Self { process, lines }
    }

    /// The next event of this name.
    async fn event(&mut self, name: &str) -> Value {
        let find = async {
            loop {
                let line = self.lines.next_line().await.unwrap().expect("it goes on");
                let event: Value = serde_json::from_str(&line).unwrap();
                if event["event"] == name {
                    return event;
                }
            }
        };
        timeout(HANG, find).await.unwrap_or_else(|_| panic!("there is no {name}"))
    }

    /// Tells it to leave, and waits for that.
    async fn leaves(self) {
        self.process.terminate();
        self.process.succeeds().await;
    }
}

fn parsed(payload: &[u8]) -> Value {
    serde_json::from_slice(payload).unwrap()
}

/// A request of this action to an agent.
fn request(device: &str, action: &str, timestamp: &Value) -> String {
    json!({"mid": "1", "device_id": device, "timestamp": 1_767_225_600, "hidden": false,
        "payload": {"action": action, "device_id": device, "value": {"timestamp": timestamp}}})
    .to_string()
}

#[tokio::test]
async fn an_agent_sends_pictures_while_it_is_asked() {
    let broker = Mosquitto::start().await;
    let mut client = broker.client().await;
    client.subscribe("kerberos/hub/#").await;
    let args = "kerberos --hub hub --device garden --gop 0.2 --chunked --image-bytes 30000";
    let mut sim = Sim::start(&broker, args);
    assert_eq!(sim.event("connected").await["device"], "garden");

    client.publish("kerberos/agent/hub", request("garden", "request-sd-stream", &json!("1767225600"))).await;
    assert!(sim.event("dropped").await["reason"].as_str().unwrap().contains("timestamp"));
    client.publish("kerberos/agent/hub", request("garden", "request-sd-stream", &json!(1_767_225_600))).await;
    sim.event("requested").await;
    for number in 0..2 {
        for index in 0..2 {
            let message = client.next().await;
            assert_eq!(message.topic, "kerberos/hub/hub/garden");
            let value = parsed(&message.payload)["payload"]["value"].take();
            assert_eq!((&value["chunkIndex"], &value["chunkCount"]), (&json!(index), &json!(2)));
        }
        let picture = sim.event("picture").await;
        assert_eq!((&picture["number"], &picture["bytes"]), (&json!(number), &json!(30_000)));
    }
    sim.leaves().await;
}

#[tokio::test]
async fn a_silent_agent_hears_and_a_hidden_one_is_not_read_without_the_key() {
    let broker = Mosquitto::start().await;
    let mut client = broker.client().await;
    client.subscribe("kerberos/hub/#").await;
    let mut silent = Sim::start(&broker, "kerberos --hub quiet --silent --gop 0.05");
    let mut hidden = Sim::start(&broker, "kerberos --hub hub --hidden private --count 2 --gop 0.05");
    for sim in [&mut silent, &mut hidden] {
        sim.event("connected").await;
    }
    hidden.event("connected").await;
    for hub in ["quiet", "hub"] {
        let topic = format!("kerberos/agent/{hub}");
        client.publish(&topic, request("cam1", "request-sd-stream", &json!(1_767_225_600))).await;
        client.publish(&topic, request("cam1", "get-ptz-position", &json!(1_767_225_600))).await;
    }
    silent.event("requested").await;
    silent.event("requested").await;
    for _ in 0..2 {
        let message = client.next().await;
        assert_eq!(message.topic, "kerberos/hub/hub", "the other says nothing");
        let message = parsed(&message.payload);
        assert_eq!((&message["hidden"], &message["payload"]["value"]), (&json!(true), &json!({})));
        assert!(message["payload"]["hidden_value"].as_str().unwrap().starts_with("U2FsdGVkX1"));
    }
    let mut wrong: Value = serde_json::from_str(&request("cam2", "request-sd-stream", &json!(1))).unwrap();
    wrong["hidden"] = json!(true);
    wrong["payload"]["hidden_value"] = json!("U2FsdGVkX18=");
    client.publish("kerberos/agent/hub", wrong.to_string()).await;
    assert_eq!(hidden.event("error").await["device"], "cam2");
    hidden.leaves().await;
    silent.leaves().await;
}

#[tokio::test]
async fn an_agent_is_back_after_a_reboot_and_after_the_broker() {
    let mut broker = Mosquitto::start().await;
    let mut sim = Sim::start(&broker, "kerberos --hub hub --reboot-after 0.5 --reboot-for 0.1");
    sim.event("rebooting").await;
    sim.event("connected").await;
    broker.kill();
    sim.event("disconnected").await;
    broker.restart().await;
    sim.event("connected").await;
    let mut client = broker.client().await;
    client.publish("kerberos/agent/hub", request("cam1", "request-sd-stream", &json!(1))).await;
    sim.event("picture").await;
    sim.leaves().await;
}

async fn service(client: &mut Client, method: &str, data: Value) {
    let message = json!({"tid": method, "bid": "b", "timestamp": 1, "method": method, "data": data});
    client.publish("thing/product/D/services", message.to_string()).await;
}

async fn reply(client: &mut Client) -> Value {
    client
        .find(|message| (message.topic == "thing/product/D/services_reply").then(|| parsed(&message.payload)))
        .await
}

#[tokio::test]
async fn a_dock_comes_online_and_pushes_video_that_changes_its_size() {
    let broker = Mosquitto::start().await;
    let mut client = broker.client().await;
    client.subscribe("sys/product/+/status").await;
    client.subscribe("thing/product/+/state").await;
    client.subscribe("thing/product/+/services_reply").await;
    let folder = tempfile::tempdir().unwrap();
    let received = folder.path().join("received.flv");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("rtmp://127.0.0.1:{port}/live/c/key");
    let mut server = ffmpeg::ffmpeg();
    server.args(["-v", "info", "-listen", "1", "-i", &url, "-c", "copy"]).arg(&received);
    let server = Process::start("ffmpeg", &mut server);
    let mut sim = Sim::start(&broker, "dock --sn D --aircraft A");

    let topology = parsed(&client.next().await.payload);
    assert_eq!((&topology["method"], &topology["data"]["domain"]), (&json!("update_topo"), &json!("3")));
    let capacity = parsed(&client.next().await.payload)["data"]["live_capacity"].take();
    assert_eq!(capacity["device_list"].as_array().unwrap().len(), 2);
    sim.event("topology").await;

    let video = "A/52-0-0/normal-0";
    let start = json!({"url_type": 1, "url": url, "video_id": video, "video_quality": 0});
    service(&mut client, "live_start_push", start.clone()).await;
    let told = sim.event("start").await;
    assert_eq!((&told["channel"], &told["video_id"]), (&json!("c"), &json!(video)));
    assert!(!told.to_string().contains("key"), "{told}");
    let answer = reply(&mut client).await;
    assert_eq!((&answer["tid"], &answer["bid"]), (&json!("live_start_push"), &json!("b")));
    assert_eq!(answer["data"]["result"], 0);
    sim.event("push_started").await;
    server.says(|said| said.contains("640x360").then_some(())).await;
    service(&mut client, "live_start_push", start).await;
    assert_eq!(reply(&mut client).await["data"]["result"], 513_003);

    service(&mut client, "live_lens_change", json!({"video_type": "ir"})).await;
    assert_eq!(reply(&mut client).await["data"]["result"], 0);
    // Only once the other picture is there can it be looked at.
    relay_tests::until("there is a smaller picture", async || {
        let seen = sizes(&received).await;
        seen.contains("320,180").then(|| assert!(seen.contains("640,360"), "{seen}"))
    })
    .await;
    service(&mut client, "live_stop_push", json!({"video_id": video})).await;
    assert_eq!(sim.event("push_ended").await["complaint"], "");
    // The sender said farewell, and the receiver has ended by that.
    server.ended().await;
    sim.leaves().await;
}

/// Sizes of the pictures of a file that is still written.
async fn sizes(file: &std::path::Path) -> String {
    let mut command = tokio::process::Command::new("ffprobe");
    command.args(["-v", "quiet", "-show_entries", "frame=width,height", "-of", "csv=p=0"]).arg(file);
    String::from_utf8(relay_tests::process::run(&mut command).await.stdout).unwrap()
}

#[tokio::test]
async fn faults_of_a_controller_come_as_they_were_ordered() {
    let broker = Mosquitto::start().await;
    let mut client = broker.client().await;
    client.subscribe("thing/product/D/services_reply").await;
    let args =
        "rc --sn D --aircraft A --no-push --fail-first 1:13006 --lose-replies 1 --duplicate-replies --sloppy";
    let mut sim = Sim::start(&broker, args);
    sim.event("topology").await;
    let start = json!({"url_type": 1, "url": "rtmp://127.0.0.1/live/c/key", "video_id": "A/52-0-0/normal-0",
        "video_quality": 0});
    service(&mut client, "live_start_push", start.clone()).await;
    let lost = sim.event("reply").await;
    assert_eq!((&lost["fate"], &lost["result"]), (&json!("lost"), &json!(613_006)));
    service(&mut client, "live_start_push", start.clone()).await;
    service(&mut client, "live_start_push", start).await;
    let mut results = Vec::new();
    for _ in 0..4 {
        let message = reply(&mut client).await;
        assert!(message["method"].is_null() && message["timestamp:"].is_u64(), "{message}");
        results.push(message["data"]["result"].as_u64().unwrap());
    }
    assert_eq!(results, [0, 0, 613_003, 613_003]);
    sim.leaves().await;
}

#[tokio::test]
async fn many_idle_docks_come_and_one_that_leaves_says_nothing() {
    let broker = Mosquitto::start().await;
    let mut client = broker.client().await;
    client.subscribe("sys/product/+/status").await;
    let mut sim = Sim::start(&broker, "dock --sn IDLE --count 20 --no-push --offline-after 3");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        assert!(seen.insert(client.next().await.topic));
    }
    assert!(seen.contains("sys/product/IDLE0020/status"), "{seen:?}");
    for _ in 0..20 {
        sim.event("offline").await;
    }
    sim.leaves().await;
}
