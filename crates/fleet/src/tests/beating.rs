use std::time::Duration;

use serde_json::json;
use wire::Code;

use super::*;
use crate::{Presence, Status, record::HISTORY_POINTS_MAX};

#[tokio::test]
async fn a_heartbeat_needs_the_nodes_own_token() {
    let world = World::new().await;
    let (a, b) = (world.node("a", &["m"]).await, world.node("b", &["m"]).await);
    let beat = |token: Option<&str>, beat: Heartbeat| world.fleet.heartbeat(token, beat).map_err(|f| f.status());
    assert_eq!(beat(None, a.heartbeat()), Err(401));
    assert_eq!(beat(Some("nt_00000000-0000-0000-0000-000000000007"), a.heartbeat()), Err(401));
    assert_eq!(beat(Some(&b.registered.node_token), a.heartbeat()), Err(401));
    assert_eq!(beat(Some(""), a.heartbeat()), Err(401));
    assert_eq!(beat(Some(&a.registered.node_token), Heartbeat { node_id: "nobody".to_owned(), ..a.heartbeat() }), Err(404));
    assert_eq!(beat(Some(&a.registered.node_token), Heartbeat { loaded_models: vec![String::new()], ..a.heartbeat() }), Err(400));
    assert_eq!(beat(Some(&a.registered.node_token), a.heartbeat()), Ok(()));
}

#[tokio::test]
async fn registering_until_ready() {
    let world = World::new().await;
    let server = Server::start(&json!({"data": [{"id": "m"}], "ready_models": [0, 1], "initializing": true}).to_string()).await;
    let (registered, _) = world.fleet.register(server.registration("a"), here()).await.expect("it may join");
    let node = Node { server, registered, models: vec!["m".to_owned()] };
    assert_eq!(
        (world.seen(&node).status, world.fleet.view().presence("m")),
        (Status::Registering, Presence::Warming),
        "its own list names the model"
    );
    world.beat(&node, |b| (b.ready_models, b.initializing) = (Some((0, 1)), true));
    let shown = world.seen(&node);
    assert_eq!((shown.status, shown.state, shown.ready_models, shown.online_since), (Status::Registering, "joining", Some((0, 1)), None));
    assert!(world.order("m").is_empty());
    let sum = world.fleet.summary();
    assert_eq!((sum.total_nodes, sum.registering_nodes, sum.online_nodes), (1, 1, 0));
    world.beat(&node, |_| {});
    assert_eq!((world.seen(&node).status, world.order("m")), (Status::Online, vec!["a".to_owned()]));
    assert!(world.seen(&node).online_since.is_some());
    world.beat(&node, |b| b.ready_models = Some((1, 2)));
    assert_eq!(world.seen(&node).status, Status::Online, "loading one more model does not take the others away");
    world.beat(&node, |b| b.initializing = true);
    assert_eq!(world.fleet.view().presence("m"), Presence::Warming);
}

#[tokio::test]
async fn an_empty_list_means_none_and_a_missing_one_of_files_means_unchanged() {
    let world = World::new().await;
    let server = Server::start(&list_of(&["on-disk"])).await;
    let said = Registration { available_models: Some(vec!["on-disk".to_owned()]), ..server.registration("a") };
    let (registered, _) = world.fleet.register(said, here()).await.expect("it may join");
    let node = Node { server, registered, models: vec!["loaded".to_owned()] };
    assert!(world.seen(&node).loaded_models.is_empty());
    world.beat(&node, |b| b.loaded_embedding_models = vec!["e".to_owned()]);
    assert_eq!(["loaded", "e", "on-disk", "Loaded"].map(|m| world.order(m).len()), [1, 1, 1, 0], "names are exact");
    world.beat(&node, |b| b.loaded_models = vec![]);
    assert_eq!(world.seen(&node).loaded_models, Vec::<String>::new());
    assert_eq!(["loaded", "e", "on-disk"].map(|m| world.fleet.view().knows(m)), [false, false, true]);
    world.beat(&node, |b| (b.loaded_models, b.available_models) = (vec![], Some(vec![])));
    assert!(world.fleet.view().models().is_empty());
}

#[tokio::test]
async fn silence_is_noticed_without_a_sweep_and_a_heartbeat_ends_it() {
    let world = World::new().await;
    let node = world.node("a", &["m"]).await;
    let since = world.seen(&node).online_since;
    world.fleet.clock.advance(Duration::from_secs(50));
    assert_eq!(world.order("m"), ["a"], "just in time");
    world.fleet.clock.advance(Duration::from_secs(11));
    assert!(world.order("m").is_empty(), "not picked past its time-out");
    assert_eq!(
        (world.seen(&node).status, world.seen(&node).state, world.fleet.view().presence("m")),
        (Status::Offline, "gone", Presence::Down)
    );
    assert!(world.fleet.view().models().is_empty() && world.fleet.view().knows("m"), "unlisted, but known");
    world.fleet.sweep();
    assert_eq!((world.fleet.summary().offline_nodes, world.seen(&node).status), (1, Status::Offline));
    world.beat(&node, |b| (b.ready_models, b.initializing) = (Some((0, 1)), true));
    assert_eq!(world.seen(&node).status, Status::Registering, "it begins anew");
    world.beat(&node, |_| {});
    assert_eq!((world.seen(&node).status, world.order("m").len()), (Status::Online, 1));
    assert!(world.seen(&node).online_since > since);
}

#[tokio::test]
async fn an_offline_nodes_model_is_forgotten_after_a_day() {
    let mut world = World::new().await;
    world.node("a", &["m"]).await;
    world.fleet.clock.advance(Duration::from_hours(23));
    assert_eq!(world.fleet.view().presence("m"), Presence::Down);
    world.fleet.sweep();
    world.fleet.clock.advance(Duration::from_mins(61));
    assert_eq!((world.fleet.view().presence("m"), world.fleet.list().len()), (Presence::Unknown, 1));
    world.restart().await;
    assert_eq!(world.fleet.list().len(), 1, "what people wrote about it is still there");
}

#[tokio::test]
async fn reports_are_shown_with_what_nobody_knows() {
    let world = World::new().await;
    let node = world.node("a", &["m"]).await;
    world.beat(&node, |b| {
        (b.cpu_usage, b.memory_usage, b.active_requests, b.gpu_usage, b.gpu_memory_usage) = (20.0, 30.5, 2, Some(40.0), Some(60.0));
        b.gpu_capability_score = Some(7.5);
        b.rest.insert("x_fan_rpm".to_owned(), json!(4321));
    });
    let other = world.node("b", &["m"]).await;
    world.beat(&other, |b| (b.gpu_usage, b.gpu_memory_usage) = (Some(80.0), Some(20.0)));
    let shown = &world.fleet.metrics()[0];
    for (field, value) in [
        ("cpu_usage", json!(20.0)),
        ("memory_usage", json!(30.5)),
        ("active_requests", json!(2)),
        ("is_stale", json!(false)),
        ("x_fan_rpm", json!(4321)),
    ] {
        assert_eq!(shown[field], value, "{field}");
    }
    assert_eq!(world.seen(&node).gpu_capability_score, Some(7.5));
    let sum = world.fleet.summary();
    assert_eq!((sum.average_gpu_usage, sum.average_gpu_memory_usage, sum.total_active_requests), (Some(60.0), Some(40.0), 2));
    assert!(sum.last_metrics_updated_at.is_some());
    world.fleet.clock.advance(Duration::from_secs(121));
    assert_eq!(world.fleet.metrics()[0]["is_stale"], true);
}

#[tokio::test]
async fn the_history_is_bounded() {
    let world = World::new().await;
    let node = world.node("a", &["m"]).await;
    (0..HISTORY_POINTS_MAX + 10).for_each(|n| world.beat(&node, |b| b.active_requests = u32::try_from(n).expect("small")));
    let history = world.fleet.history(&node.registered.node_id).expect("its history");
    assert_eq!((history.len(), history.back().map(|p| p.active_requests)), (HISTORY_POINTS_MAX, Some(369)));
    let point = serde_json::to_value(&history[0]).expect("json");
    assert!(point["timestamp"].as_str().expect("text").ends_with('Z'), "{point}");
    assert!(world.fleet.history("nobody").is_none());
}

#[tokio::test]
async fn heartbeats_are_stored_together() {
    let world = World::new().await;
    let node = world.node("a", &["m"]).await;
    let stored = || async { store::nodes::list(&world.fleet.store).await.expect("rows").remove(0) };
    assert_eq!(stored().await.status, "registering", "a heartbeat writes nothing by itself");
    let mut changes = world.fleet.store.changes();
    changes.mark_unchanged();
    world.fleet.save().await;
    assert_eq!((stored().await.status.as_str(), stored().await.models["loaded"].clone()), ("online", json!(["m"])));
    assert!(!changes.has_changed().expect("the store lives"));
    let before = stored().await.last_seen_ms;
    world.fleet.clock.advance(Duration::from_secs(3));
    world.beat(&node, |_| {});
    world.fleet.save().await;
    assert!(stored().await.last_seen_ms >= before + 3000);
}

#[tokio::test]
async fn a_node_that_stopped_reporting_nonsense_is_taken_at_face_value() {
    let world = World::new().await;
    let node = world.node("a", &["m"]).await;
    world.beat(&node, |b| (b.cpu_usage, b.memory_usage, b.gpu_usage) = (1e300, -5.0, Some(f64::NAN)));
    let history = world.fleet.history(&node.registered.node_id).expect("it is known");
    let last = history.back().expect("it has reported");
    assert_eq!((last.cpu_usage, last.memory_usage, last.gpu_usage), (100.0, 0.0, Some(0.0)));
}

#[tokio::test]
async fn an_unknown_node_is_not_told_more_than_that() {
    let world = World::new().await;
    let failure = world.fleet.heartbeat(Some("nt_x"), Heartbeat { node_id: "n".to_owned(), ..Heartbeat::default() }).expect_err("unknown");
    assert_eq!(failure.code, Code::NotFound);
}
