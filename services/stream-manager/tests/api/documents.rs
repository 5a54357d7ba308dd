//! `/openapi.json` and `/docs`, as they are served.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::Cluster;

#[tokio::test]
async fn every_path_says_by_itself_which_methods_it_has() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let answer = running.client.get("/openapi.json").await;
    let api: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(api["openapi"], "3.1.0");
    for (path, methods) in api["paths"].as_object().unwrap() {
        let (plain, verb) = match path.rsplit_once(':') {
            Some((plain, verb)) => (plain, format!(":{verb}")),
            None => (path.as_str(), String::new()),
        };
        let plain = plain.replace("{session}", "0000000000000001").replace(['{', '}'], "");
        let answer = running.client.send("PATCH", &format!("{plain}{verb}"), &[]).await;
        assert_eq!(answer.problem(), (405, "method-not-allowed".to_owned()), "{path}");
        let allow = answer.header("allow").unwrap().to_ascii_lowercase();
        let allow: BTreeSet<&str> = allow.split(',').map(str::trim).collect();
        let methods = methods.as_object().unwrap().keys().map(String::as_str);
        let mut expected: BTreeSet<&str> = methods.collect();
        if expected.contains("get") {
            expected.insert("head");
        }
        assert_eq!(allow, expected, "{path}");
    }
}

#[tokio::test]
async fn every_reading_operation_answers_as_it_is_described() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let _node = cluster.node("n1", &running).await;
    let api: Value = serde_json::from_slice(&running.client.get("/openapi.json").await.body).unwrap();
    for (path, methods) in api["paths"].as_object().unwrap() {
        let Some(get) = methods.get("get").filter(|_| path != "/v1/events") else { continue };
        let answer = running.client.read(&path.replace("{node}", "n1").replace("{channel}", "cam1")).await;
        let described = &get["responses"][answer.status.to_string()];
        assert!(described.is_object(), "{path} answers {}", answer.status);
        let media = answer.header("content-type").unwrap();
        assert!(described["content"][media].is_object(), "{path} answers {media}");
    }
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere_and_nothing_inline() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let page = running.client.get("/docs").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    for file in ["docs.js", "schema.js", "style.css"] {
        let answer = running.client.get(&format!("/docs/{file}")).await;
        assert_eq!(answer.status, 200, "{file}");
        assert!(!answer.text().contains("://"), "{file} names another place");
    }
    let text = page.text();
    assert!(!text.contains("://") && !text.contains("<style") && !text.contains(" onclick"));
    assert!(text.matches("<script").count() == 1 && text.contains("<script type=\"module\" src="));
    assert_eq!(running.client.get("/docs/index.html").await.problem(), (404, "no-such-path".to_owned()));
    assert_eq!(running.client.get("/docs/%ff").await.problem(), (404, "no-such-path".to_owned()));
}
