//! The description of the API against the API itself.

use std::path::Path;

use relay_tests::cluster::Cluster;
use relay_tests::manager::{Manager, OPERATOR_TOKEN};
use relay_tests::numbered::{Camera, Viewer, flows};
use relay_tests::until;
use tokio::process::Command;

/// Installed by `deploy/setup.sh test`.
const SCHEMATHESIS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.venv/bin/schemathesis");

/// Requests made up for each operation.
const EXAMPLES: &str = "8";

/// Errors of the server that are answers: what is documented as not there, and nodes that cannot take a client or do not answer.
const SETTINGS: &str =
    "[checks.not_a_server_error]\nexpected-statuses = [\"2xx\", \"3xx\", \"4xx\", 501, 503, 504]\n";

#[tokio::test]
async fn the_server_does_what_its_description_says() {
    assert!(Path::new(SCHEMATHESIS).is_file(), "schemathesis is missing: deploy/setup.sh test installs it");
    let Cluster { members: [first, second], redis, nats } = Cluster::start(&[]).await;
    let manager = Manager::start(redis.address(), nats.address(), &[]).await;
    manager.until_nodes(2).await;
    let camera = Camera::start(&first.node, "cam/key", "camera").await;
    let viewer = Viewer::start(&second.node, "cam/key").await;
    flows(&camera, &[&viewer]).await;
    until("the channel is known", async || manager.channel("cam").await).await;
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("schemathesis.toml");
    std::fs::write(&settings, SETTINGS).unwrap();
    let output = Command::new(SCHEMATHESIS)
        .arg("--config-file")
        .arg(&settings)
        .args(["run", &format!("http://{}/openapi.json", manager.address())])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--checks", "all", "--max-examples", EXAMPLES, "--generation-deterministic"])
        // Without end.
        .args(["--exclude-path", "/v1/events"])
        // It would leave nothing to ask about.
        .args(["--exclude-path-regex", ":drain$"])
        .args(["--header", &format!("Authorization: Bearer {OPERATOR_TOKEN}")])
        .args(["--request-timeout", "40", "--max-response-time", "40", "--workers", "4", "--no-color"])
        .current_dir(folder.path())
        .env("HYPOTHESIS_STORAGE_DIRECTORY", folder.path())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    eprintln!("{said}");
}
