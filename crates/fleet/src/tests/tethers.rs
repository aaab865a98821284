use std::time::Duration;

use super::*;
use crate::{Adoption, Status};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until a node is in this state; looks whenever the fleet changes.
async fn becomes(world: &World, id: &str, state: &str) {
    let mut changes = world.fleet.changes();
    let is_so = async {
        while world.fleet.get(id).is_none_or(|node| node.state != state) {
            changes.changed().await.expect("the fleet lives");
        }
    };
    tokio::time::timeout(PATIENCE, is_so).await.unwrap_or_else(|_| panic!("{:?} never became {state}", world.fleet.get(id)));
}

/// A port that takes connections and says nothing, until it is dropped.
fn silent(port: u16) -> std::net::TcpListener {
    std::net::TcpListener::bind((LOOPBACK, port)).expect("a port")
}

/// A node of these settings that listens and never speaks, and the one who looks after the fleet.
async fn silent_node(settings: FleetSettings) -> (World, std::net::TcpListener, Registered, tokio::task::JoinHandle<()>) {
    let world = World::with(FleetSettings { skip_health_check: true, ..settings }).await;
    let listener = silent(0);
    let port = listener.local_addr().expect("bound").port();
    let (registered, _) =
        world.fleet.register(Registration { tether: true, ..registration("a", port) }, here()).await.expect("it may join");
    let fleet = world.fleet.clone();
    let tending = tokio::spawn(async move { fleet.tend().await });
    (world, listener, registered, tending)
}

fn beat(registered: &Registered) -> Heartbeat {
    Heartbeat {
        node_id: registered.node_id.clone(),
        loaded_models: vec!["m".to_owned()],
        ready_models: Some((1, 1)),
        ..Heartbeat::default()
    }
}

#[tokio::test]
async fn a_node_is_suspect_as_soon_as_nobody_listens_there_and_well_as_soon_as_somebody_does() {
    let (world, listener, registered, tending) = silent_node(FleetSettings::default()).await;
    let beats = || world.fleet.heartbeat(Some(&registered.node_token), beat(&registered)).expect("its own token");
    beats();
    becomes(&world, &registered.node_id, "ready").await;
    // A second one with the model: what is cut off is passed over.
    let other = World::node(&world, "b", &["m"]).await;
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    becomes(&world, &registered.node_id, "suspect").await;
    assert_eq!(world.order("m"), ["b"]);
    beats();
    assert_eq!(
        (world.fleet.get(&registered.node_id).expect("known").state, world.order("m")),
        ("suspect", vec!["b".to_owned()]),
        "words prove nothing"
    );
    let _again = silent(port);
    beats();
    becomes(&world, &registered.node_id, "ready").await;
    assert_eq!(world.order("m").len(), 2);
    drop(other);
    tending.abort();
}

#[tokio::test]
async fn a_server_that_closes_what_is_idle_stays_well() {
    let (world, listener, registered, tending) = silent_node(FleetSettings::default()).await;
    world.fleet.heartbeat(Some(&registered.node_token), beat(&registered)).expect("its own token");
    listener.set_nonblocking(true).expect("it can be");
    let listener = TcpListener::from_std(listener).expect("a listener");
    for _ in 0..4 {
        drop(tokio::time::timeout(PATIENCE, listener.accept()).await.expect("it is connected to again and again").expect("a connection"));
        assert_eq!(world.fleet.get(&registered.node_id).expect("known").state, "ready");
    }
    tending.abort();
}

#[tokio::test]
async fn only_who_bears_it_is_held() {
    let world = World::new().await;
    let server = Server::start(&serde_json::json!({"data": [{"id": "m", "owned_by": "x"}]}).to_string()).await;
    let is_held = |id: &str| world.fleet.view().peer(id).expect("known").is_tethered;
    for (kind, held) in [("openai", false), ("vllm", true)] {
        let said = Adoption { endpoint: server.url(), kind: Some(kind.to_owned()), name: Some("box".to_owned()), api_key: None };
        let (view, _) = world.fleet.adopt(said).await.expect("it is there");
        assert_eq!(is_held(&view.id), held, "{kind}");
    }
    for tether in [false, true] {
        let said = Registration { tether, ..server.registration("node") };
        let (registered, _) = world.fleet.register(said, here()).await.expect("it may join");
        assert_eq!(is_held(&registered.node_id), tether);
        let said = AgentRegistration { tether, ..agent("agent", &server.url(), &["m"]) };
        let id = world.fleet.register_agent(said, here()).await.expect("it may join").node_id;
        assert_eq!(is_held(&id), tether);
        world.fleet.disconnect(&id).await.expect("known");
        assert_eq!((world.fleet.get(&id).expect("known").status, is_held(&id)), (Status::Offline, false));
    }
    assert!(!agent_of_old_time().tether, "who says nothing is spared");
}

fn agent_of_old_time() -> AgentRegistration {
    serde_json::from_str(r#"{"name": "a", "endpoint": "http://a:1"}"#).expect("an agent's words")
}
