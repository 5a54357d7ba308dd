//! Streams through real processes: what goes in comes out, and what ends it is told by the exit code.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::support::*;

#[test]
fn what_is_published_is_received_byte_for_byte() {
    let node = Node::start();
    let receiver = receiver(&node, "cam1", &[]);
    let film = film(3);
    let (publisher, mut pipe) = publisher(&node, "cam1");
    pipe.write_all(&film).unwrap();
    drop(pipe);
    let published = publisher.wait();
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    let received = receiver.wait();
    assert_eq!(received.code, Some(0), "{}", received.stderr);
    assert_eq!(received.stdout.len(), film.len());
    assert!(received.stdout == film, "the bytes differ");
}

#[test]
fn a_file_plays_in_real_time_and_begins_again() {
    let node = Node::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("film.flv");
    std::fs::write(&path, film(1)).unwrap();
    let receiver = receiver(&node, "cam1", &["--duration", "3500ms"]);
    let url = node.url("cam1");
    let publisher = start(&["publish", "-v", "--realtime", "--loop", &url, path.to_str().unwrap()]);
    let received = receiver.wait();
    assert_eq!(received.code, Some(0), "{}", received.stderr);
    let rounds = beginnings(&received.stdout);
    assert!((2..=5).contains(&rounds), "{rounds} rounds of one second in 3.5 s:\n{}", received.stderr);
    publisher.signal("-TERM");
    assert_eq!(publisher.wait().code, Some(0));
}

#[test]
fn a_publisher_and_a_receiver_outlive_their_node() {
    let node = Node::start();
    let address = node.address.clone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("received.flv");
    let receiver = receiver(&node, "cam1", &["-o", path.to_str().unwrap()]);
    let film = film(8);
    let (publisher, mut pipe) = publisher(&node, "cam1");
    let (first, second) = film.split_at(film.len() / 2);
    pipe.write_all(first).unwrap();
    wait_for_bytes(&path, 10_000);
    drop(node);
    publisher.line("trying again");
    receiver.line("trying again");
    let _node = Node::at(&address, &[]);
    receiver.line("*** again");
    publisher.line("*** again");
    pipe.write_all(second).unwrap();
    drop(pipe);
    let published = publisher.wait();
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    let ended = receiver.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let received = std::fs::read(&path).unwrap();
    assert_eq!(beginnings(&received), 2, "the second publication starts with its init:\n{}", ended.stderr);
    assert!(received.ends_with(&film[film.len() - 1000..]), "and goes on to the end");
}

#[test]
fn a_wrong_key_is_refused() {
    let node = Node::start();
    let (_publisher, mut pipe) = publisher(&node, "cam1");
    pipe.write_all(&film(1)).unwrap();
    let url = format!("ws://{}/cam1/not-the-key", node.address);
    for command in ["receive", "probe"] {
        let ended = run(&[command, &url]);
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        assert!(ended.stderr.contains("Invalid streaming key") && ended.stderr.contains("check the key"));
        assert!(!ended.stderr.contains("not-the-key"), "{}", ended.stderr);
    }
}

#[test]
fn a_second_publisher_is_refused() {
    let node = Node::at("127.0.0.1:0", &["--publisher-policy", "reject"]);
    let (_publisher, mut pipe) = publisher(&node, "cam1");
    pipe.write_all(&film(1)).unwrap();
    let url = node.url("cam1");
    let mut second = command(&["publish", &url]);
    second.stdin(Stdio::piped());
    let mut second = Relaycast::spawn(second);
    let _pipe = second.stdin();
    let ended = second.wait();
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("stop the other publisher"), "{}", ended.stderr);
}

#[test]
fn nobody_there_has_a_code_of_its_own() {
    let node = Node::start();
    let ended = run(&["probe", "--timeout", "300ms", &node.url("cam1")]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("/cam1/***"), "{}", ended.stderr);
}

#[test]
fn a_probe_tells_what_is_on_a_channel() {
    let node = Node::start();
    let (_publisher, mut pipe) = publisher(&node, "cam1");
    pipe.write_all(&film(1)).unwrap();
    let ended = run(&["probe", &node.url("cam1")]);
    let text = String::from_utf8(ended.stdout).unwrap();
    assert!(text.starts_with("container  flv\nvideo      avc1.") && text.contains("  320x180\n"), "{text}");
    let ended = run(&["probe", "--json", &node.url("cam1")]);
    let json: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!((json["container"].as_str(), json["tracks"][0]["width"].as_u64()), (Some("flv"), Some(320)));
}

#[test]
fn a_node_that_is_gone_has_a_code_of_its_own() {
    let node = Node::start();
    let receiver = receiver(&node, "cam1", &["--retry-for", "1s"]);
    let url = node.url("cam1");
    drop(node);
    let ended = receiver.wait();
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    let ended = run(&["receive", &url]);
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    assert!(ended.stderr.contains("connection refused"), "{}", ended.stderr);
}

#[test]
fn files_that_cannot_be_used_have_a_code_of_their_own() {
    let node = Node::start();
    let url = node.url("cam1");
    let ended = run(&["publish", &url, "/nonexistent/film.flv"]);
    assert_eq!(ended.code, Some(6), "{}", ended.stderr);
    assert!(ended.stderr.contains("/nonexistent/film.flv: "), "{}", ended.stderr);
    assert_eq!(run(&["receive", &url, "/nonexistent/film.flv"]).code, Some(6));
    let taken = run(&["edge", "--listen", &node.address, "--admin-listen", "127.0.0.1:0"]);
    assert_eq!(taken.code, Some(6), "{}", taken.stderr);
}

#[test]
fn a_reader_that_leaves_the_pipe_ends_a_receiver_quietly() {
    let node = Node::start();
    let mut child = command(&["receive", &node.url("cam1")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (_publisher, mut pipe) = publisher(&node, "cam1");
    let film = film(2);
    pipe.write_all(&film[..film.len() / 2]).unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    pipe.write_all(&film[film.len() / 2..]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn signals_end_clients_in_order() {
    for signal in ["-TERM", "-INT"] {
        let node = Node::start();
        let receiver = receiver(&node, "cam1", &[]);
        let (publisher, mut pipe) = publisher(&node, "cam1");
        pipe.write_all(&film(1)).unwrap();
        publisher.signal(signal);
        assert_eq!(publisher.wait().code, Some(0));
        node.process.line("publisher_ended");
        assert_eq!(receiver.wait().code, Some(0), "the publisher said goodbye");
        let waiting = crate::support::receiver(&node, "cam2", &[]);
        waiting.signal(signal);
        assert_eq!(waiting.wait().code, Some(0));
        node.process.line("client_closed");
    }
}

#[test]
fn the_key_may_come_from_a_file_or_the_environment() {
    let node = Node::start();
    let (_publisher, mut pipe) = publisher(&node, "cam1");
    pipe.write_all(&film(1)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, format!("{KEY}\n")).unwrap();
    let url = format!("ws://{}/cam1", node.address);
    assert_eq!(run(&["probe", "--key-file", path.to_str().unwrap(), &url]).code, Some(0));
    for (name, text) in [("RELAYCAST_KEY", KEY.to_owned()), ("RELAYCAST_URL", node.url("cam1"))] {
        let mut probe = if name == "RELAYCAST_KEY" { command(&["probe", &url]) } else { command(&["probe"]) };
        probe.env(name, text);
        assert_eq!(Relaycast::spawn(probe).wait().code, Some(0), "{name}");
    }
    assert_eq!(run(&["probe", &url]).code, Some(2), "no key at all");
}

#[test]
fn the_demo_can_be_watched_and_leaves_nothing_behind() {
    let node = start(&[
        "standalone",
        "--demo",
        "--listen",
        "127.0.0.1:0",
        "--manager-listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--rtmp-listen",
        "127.0.0.1:0",
        "--log-format",
        "json",
    ]);
    let line: serde_json::Value = serde_json::from_str(&node.line("\"serving\"")).unwrap();
    let started: serde_json::Value = serde_json::from_str(&node.line("demo started")).unwrap();
    let url = format!("ws://{}/demo/demo", line["listen"].as_str().unwrap());
    let ended = run(&["probe", &url]);
    assert!(String::from_utf8_lossy(&ended.stdout).contains("1280x720"), "{}", ended.stderr);
    node.signal("-TERM");
    assert_eq!(node.wait().code, Some(0));
    let ffmpeg = started["pid"].to_string();
    assert!(!Command::new("kill").args(["-0", &ffmpeg]).stderr(Stdio::null()).status().unwrap().success());
}
