//! The command line and the configuration of a node, as an operator meets them.

use std::time::{Duration, Instant};

use crate::support::*;

fn stdout(ended: Ended) -> String {
    String::from_utf8(ended.stdout).unwrap()
}

/// The keys that `--check` prints for a role.
fn keys(role: &str) -> Vec<String> {
    // A stream-manager by itself makes no sense.
    let cluster = ["--redis=redis://127.0.0.1", "--nats=nats://127.0.0.1", "--cluster-secret=s"];
    let mut args = [&[role, "--check"][..], &cluster].concat();
    if role == "bridge" {
        args.push("--mqtt=mqtt://127.0.0.1");
    }
    let text = stdout(run(&args));
    text.lines().map(|line| line.trim_start_matches("# ").split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn help_lists_every_setting_with_variable_and_default() {
    let headings = ["Addresses:", "Publishers:", "Receivers:", "Cache:", "Limits:", "Timing:", "Logs:"];
    for (role, headings) in [
        ("edge", &headings[..]),
        ("standalone", &headings),
        ("manager", &["Addresses:", "Stream-manager:", "Cluster:", "Logs:"]),
        ("bridge", &["Addresses:", "MQTT bridge:", "Cluster:", "Logs:"]),
    ] {
        let keys = keys(role);
        assert!(keys.len() > 20, "{keys:?}");
        let help = stdout(run(&[role, "--help"]));
        for key in &keys {
            let variable = format!("[env: RELAYCAST_{}]", key.to_uppercase().replace('-', "_"));
            assert!(help.contains(&format!("  --{key} <")), "{role} --{key}");
            assert!(help.contains(&variable), "{role} {variable}");
        }
        for heading in headings {
            assert!(help.contains(heading), "{role} {heading}");
        }
        for code in ["  0  ", "  2  ", "  3  ", "  4  ", "  5  ", "  6  "] {
            assert!(help.contains(code), "{role} exit code {code}");
        }
    }
    assert!(stdout(run(&["edge", "--help"])).contains("[default: 0.0.0.0:8080]"));
    assert!(stdout(run(&["standalone", "--help"])).contains("[default: 127.0.0.1:8080]"));
}

#[test]
fn a_list_may_be_given_flag_by_flag() {
    let text = stdout(run(&["edge", "--check", "--roles=publish", "--roles", "receive"]));
    assert!(text.contains("roles = \"publish,receive\""), "{text}");
    let twice = run(&["edge", "--check", "--region=a", "--region=b"]);
    assert_eq!(twice.code, Some(2), "{}", twice.stderr);
}

#[test]
fn a_bridge_says_what_it_lacks_and_shows_no_secret() {
    let bridge = |flags: &[&str]| run(&[&["bridge", "--check"], flags].concat());
    let cluster = ["--redis=redis://127.0.0.1", "--nats=nats://127.0.0.1"];
    let mqtt = "--mqtt=mqtt://user:hunter1@127.0.0.1";
    let secret = "--cluster-secret=hunter2";
    for (flags, said) in [
        (&[][..], "--mqtt"),
        (&[mqtt, secret], "--redis"),
        (&[mqtt, cluster[0], cluster[1]], "cluster-secret"),
        (&["--mqtt=http://h", secret, cluster[0], cluster[1]], "broker's URL"),
        (&[mqtt, secret, cluster[0], cluster[1], "--manager=ws://h"], "manager"),
        (&[mqtt, secret, cluster[0], cluster[1], "--kerberos-camera=a"], "kerberos-hub-key"),
        (&[mqtt, secret, cluster[0], cluster[1], "--dji-app-id=a"], "dji-app-license"),
        (&[mqtt, secret, cluster[0], cluster[1], "--telemetry=a"], "telemetry"),
    ] {
        let ended = bridge(flags);
        assert_eq!(ended.code, Some(2), "{flags:?}");
        assert!(
            ended.stderr.contains(said) && !ended.stderr.contains("hunter"),
            "{flags:?}: {}",
            ended.stderr
        );
    }
    let keys = [
        "--kerberos-hub-key=hunter3",
        "--kerberos-hub-private-key=hunter4",
        "--manager-token=hunter5-hunter5-hunter5",
    ];
    let ended = bridge(&[&[mqtt, secret, cluster[0], cluster[1]], &keys[..]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!String::from_utf8_lossy(&ended.stdout).contains("hunter"));
}

#[test]
fn one_file_serves_all_roles() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relaycast.toml");
    let path = path.to_str().unwrap();
    let text = "redis = \"redis://h\"\nnats = \"nats://h\"\ngrace = \"7s\"\nwarm-up = \"9s\"\n";
    std::fs::write(path, text).unwrap();
    for role in ["edge", "standalone", "manager"] {
        let ended = run(&[role, "--config", path, "--check"]);
        assert_eq!(ended.code, Some(0), "{role}: {}", ended.stderr);
    }
    std::fs::write(path, "warm-ap = \"9s\"\n").unwrap();
    let ended = run(&["edge", "--config", path, "--check"]);
    assert!(ended.stderr.contains("did you mean 'warm-up'?"), "{}", ended.stderr);
}

#[test]
fn a_token_that_is_wrong_is_not_told() {
    let cluster = ["--redis=redis://127.0.0.1", "--nats=nats://127.0.0.1", "--cluster-secret=s"];
    let manager = [&["manager", "--check"][..], &cluster].concat();
    let bridge = [&["bridge", "--check", "--mqtt=mqtt://127.0.0.1"][..], &cluster].concat();
    for (role, settings) in [
        (&["standalone", "--check"][..], &["reader-tokens", "operator-tokens"][..]),
        (&manager, &["reader-tokens", "operator-tokens"]),
        (&bridge, &["reader-tokens", "operator-tokens", "manager-token"]),
    ] {
        for setting in settings {
            let check = |token: &str| run(&[role, &[&format!("--{setting}={token}")]].concat());
            for (bad, said) in [
                ("hunter2", "a token has at least 16 characters"),
                ("hunter2 hunter2 hunter2", "a token has letters, digits and - . _ ~ + / = only"),
            ] {
                let ended = check(bad);
                assert_eq!(ended.code, Some(2), "{role:?} {setting}");
                assert!(ended.stderr.contains(&format!("{setting}: {said}")), "{role:?}: {}", ended.stderr);
                assert!(!ended.stderr.contains("hunter2"), "{role:?}: {}", ended.stderr);
            }
            let ended = check("hunter2hunter2hunter2");
            assert_eq!(ended.code, Some(0), "{role:?} {setting}: {}", ended.stderr);
            assert!(!stdout(ended).contains("hunter2"), "{role:?} {setting}");
        }
    }
    let ended = run(&["manager", "--check"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("takes --redis and --nats"), "{}", ended.stderr);
}

#[test]
fn check_prints_what_is_in_force_and_reads_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relaycast.toml");
    let path = path.to_str().unwrap();
    std::fs::write(path, "grace = \"7s\"\nskips-max = 3\nallowed-origins = [\"https://a\", \"https://b\"]\n")
        .unwrap();
    let mut command = command(&["edge", "--config", path, "--skips-max", "4", "--check"]);
    command.env("RELAYCAST_LAG_MAX", "8s");
    let text = stdout(Relaycast::spawn(command).wait());
    let has = |line: &str, origin: &str| {
        text.lines().any(|found| found.starts_with(line) && found.ends_with(&format!("# {origin}")))
    };
    assert!(has("grace = \"7s\"", &format!("{path}:1:9")), "{text}");
    assert!(has("skips-max = 4", "flag"), "{text}");
    assert!(has("lag-max = \"8s\"", "environment"), "{text}");
    assert!(has("allowed-origins = \"https://a,https://b\"", &format!("{path}:3:19")), "{text}");
    assert!(has("idle-timeout = \"1m\"", "default"), "{text}");
    std::fs::write(path, &text).unwrap();
    let again = run(&["edge", "--config", path, "--check"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relaycast.toml");
    let path = path.to_str().unwrap();
    std::fs::write(path, "# ours\nidle-timeot = \"30s\"\ngrace = 15\n").unwrap();
    let ended = run(&["edge", "--config", path, "--cache-bytes", "much", "--check"]);
    assert_eq!(ended.code, Some(2));
    assert_eq!(
        ended.stderr.replace(path, "FILE"),
        "error: FILE:2:1: unknown key 'idle-timeot': did you mean 'idle-timeout'?\n\
         error: FILE:3:9: grace: '15': has no unit: 500ms, 15s, 2m or 1h\n\
         error: --cache-bytes: 'much': is not a size: 8MiB, 512KiB, 1GiB, 64kB or plain bytes\n"
    );
    let ended = run(&["edge", "--idle-timeout", "5s", "--check"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("idle-timeout must be longer than heartbeat-interval"), "{}", ended.stderr);
    assert_eq!(run(&["edge", "--config", "/nonexistent.toml", "--check"]).code, Some(2));
    assert_eq!(run(&["edge", "--no-such-flag"]).code, Some(2));
}

#[test]
fn a_misnamed_variable_is_told_and_one_of_kubernetes_is_not() {
    let mut command = command(&["edge", "--check"]);
    command.env("RELAYCAST_LISTN", KEY).env("RELAYCAST_SERVICE_HOST", "10.0.0.1");
    let ended = Relaycast::spawn(command).wait();
    assert_eq!(ended.code, Some(0));
    let text = stdout(ended);
    assert!(text.contains("RELAYCAST_LISTN is not used: did you mean RELAYCAST_LISTEN?"), "{text}");
    assert!(!text.contains(KEY) && !text.contains("RELAYCAST_SERVICE_HOST"), "{text}");
}

#[test]
fn a_url_that_is_wrong_is_told_without_its_key() {
    for (args, says) in [
        (&["publish", "ws://h:1/cam/Secret-Key_42/watch"] as &[&str], "is not publish, receive"),
        (&["publish", "wss://h:1/cam/Secret-Key_42"], "wss:// is not supported"),
        (&["receive", "http://h:1/cam/Secret-Key_42"], "http:// is not a websocket"),
        (&["probe", "ws://h:1/cam/Secret-Key_42/probe/b"], "the path of the URL"),
        (&["probe", "ws://h:1/cam/Secret-Key_42", "ws://h:1/cam/Secret-Key_42"], "unexpected argument"),
        (
            &["receive", "ws://h:1/cam/Secret-Key_42", "-o", "x", "--cache", "ws://h/cam/Secret-Key_42"],
            "invalid value",
        ),
        (&["edge", "--listen", "ws://h:1/cam/Secret-Key_42"], "invalid socket address"),
        (&["probe", "ws://h:1/cam/Secret-Key_42?x=1"], "has a query"),
    ] {
        let ended = run(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(says), "{args:?}: {}", ended.stderr);
    }
}

#[test]
fn sigterm_ends_a_node_within_its_deadline() {
    let node = Node::at("127.0.0.1:0", &["--drain-deadline", "5s"]);
    assert!(node.admin_page("/healthz").starts_with("HTTP/1.1 200 "));
    assert!(node.admin_page("/readyz").starts_with("HTTP/1.1 200 "));
    let metrics = node.admin_page("/metrics");
    assert!(metrics.contains("relaycast_build_info{") && metrics.contains("process_open_fds "), "{metrics}");
    let receiver = receiver(&node, "cam1", &["--retry-for", "5s"]);
    let asked = Instant::now();
    node.process.signal("-TERM");
    let ended = node.process.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(asked.elapsed() < Duration::from_secs(5));
    let ended = receiver.wait();
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    assert!(ended.stderr.contains("The node is leaving service; trying again"), "{}", ended.stderr);
}
