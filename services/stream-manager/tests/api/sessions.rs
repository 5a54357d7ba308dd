//! `GET /v1/sessions`: merged from what the nodes tell.

use relay_proto::api::Session;
use relay_proto::api::manager::SessionPage;
use relay_proto::backbone::Request;

use super::commands::session;
use crate::support::{Cluster, Running, live};

async fn page(running: &Running, query: &str) -> (Vec<String>, Option<String>, Vec<String>) {
    let page: SessionPage = running.client.read(&format!("/v1/sessions?{query}")).await.json();
    (
        page.sessions.iter().map(|entry| format!("{}@{}", entry.session.session, entry.node)).collect(),
        page.next.map(|next| next.to_string()),
        page.missing.iter().map(ToString::to_string).collect(),
    )
}

#[tokio::test]
async fn sessions_of_all_nodes_are_merged_by_number_in_pages() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let mut nodes = Vec::new();
    let mut expected = Vec::new();
    for (index, name) in ["n1", "n2", "n3"].into_iter().enumerate() {
        let node = cluster.node(name, &running).await;
        // Odd shares, and fewer in an answer than a node has.
        let numbers =
            (0..70_u64).filter(|number| [0, 0, 1, 2, 2, 2, 2][(number % 7) as usize] == index as u64);
        let sessions: Vec<Session> = numbers.map(|number| session(number, "cam1")).collect();
        expected.extend(sessions.iter().map(|session| format!("{}@{name}", session.session)));
        {
            let mut state = node.state.lock().unwrap();
            (state.sessions, state.fits) = (sessions, 3 + index);
        }
        nodes.push(node);
    }
    expected.sort_unstable();
    for limit in [1, 7, 69, 70, 1000] {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let (sessions, next, missing) = page(&running, &format!("limit={limit}{after}")).await;
            assert!(missing.is_empty() && sessions.len() <= limit);
            all.extend(sessions);
            let Some(next) = next else { break };
            assert_eq!(all.len() % limit, 0, "only the last page is short");
            after = format!("&after={next}");
        }
        assert_eq!(all, expected, "limit {limit}");
    }
}

#[tokio::test]
async fn only_nodes_with_the_channel_are_asked_for_it() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let one = cluster.node("n1", &running).await;
    let two = cluster.node("n2", &running).await;
    two.carry(&running, [live("cam1")]).await;
    two.state.lock().unwrap().sessions = vec![session(1, "cam1"), session(2, "cam2")];
    let (sessions, ..) = page(&running, "channel=cam1").await;
    assert_eq!(sessions, ["0000000000000001@n2"]);
    assert!(one.state.lock().unwrap().asked.is_empty());
    assert!(matches!(two.state.lock().unwrap().asked[..], [Request::Sessions { max: 100, .. }]));
    assert_eq!(page(&running, "channel=nobody").await, (vec![], None, vec![]));
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_named() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let silent = cluster.node("n1", &running).await;
    let two = cluster.node("n2", &running).await;
    silent.state.lock().unwrap().answers = false;
    two.state.lock().unwrap().sessions = vec![session(1, "cam1")];
    let expected = (vec!["0000000000000001@n2".to_owned()], None, vec!["n1".to_owned()]);
    assert_eq!(page(&running, "").await, expected);
    drop(silent);
    assert_eq!(page(&running, "").await, expected);
    running.backbone.set_connected(false);
    assert_eq!(page(&running, "").await, (vec![], None, vec!["n1".to_owned(), "n2".to_owned()]));
}

#[tokio::test]
async fn a_node_that_goes_on_for_ever_is_named_too() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    let node = cluster.node("n1", &running).await;
    {
        // It says that there is more, and has nothing.
        let mut state = node.state.lock().unwrap();
        (state.sessions, state.fits) = (vec![session(1, "cam1")], 0);
    }
    assert_eq!(page(&running, "").await, (vec![], None, vec!["n1".to_owned()]));
}

#[tokio::test]
async fn bad_parameters_are_refused() {
    let cluster = Cluster::new();
    let running = cluster.manager().await;
    for bad in ["after=1", "limit=0", "limit=1001", "channel=!", "node=n1"] {
        let answer = running.client.read(&format!("/v1/sessions?{bad}")).await;
        assert_eq!(answer.problem(), (400, "bad-parameter".to_owned()), "{bad}");
    }
}
