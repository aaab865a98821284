use serde_json::json;

use super::*;
use crate::{NodeSettings, Presence, Status};

fn settings(json: serde_json::Value) -> NodeSettings {
    serde_json::from_value(json).expect("settings")
}

#[tokio::test]
async fn settings_are_trimmed_and_kept() {
    let mut world = World::new().await;
    let node = world.node("a", &["m"]).await;
    let id = node.registered.node_id.as_str();
    let shown = world
        .fleet
        .update_settings(id, settings(json!({"custom_name": " x ", "tags": [" a", "b", "", "a"], "notes": "  "})))
        .await
        .expect("known");
    assert_eq!((shown.custom_name.as_deref(), shown.tags, shown.notes), (Some("x"), vec!["a".to_owned(), "b".to_owned()], None));
    assert_eq!(world.order("m"), ["x"], "what people call it");
    world.beat(&node, |_| {});
    world.restart().await;
    world.fleet.register(node.server.registration("a"), here()).await.expect("it comes back");
    let shown = world.fleet.update_settings(id, settings(json!({"notes": "by the window"}))).await.expect("known");
    assert_eq!(
        (shown.custom_name.as_deref(), shown.notes.as_deref(), shown.tags.len()),
        (Some("x"), Some("by the window"), 2),
        "missing is unchanged"
    );
    let shown = world.fleet.update_settings(id, settings(json!({"custom_name": null, "tags": []}))).await.expect("known");
    assert_eq!((shown.custom_name, shown.tags.len()), (None, 0));
    for (field, bad) in [
        ("custom_name", json!({"custom_name": "x".repeat(300)})),
        ("notes", json!({"notes": "x".repeat(9000)})),
        ("tags", json!({"tags": ["x".repeat(65)]})),
        ("tags", json!({"tags": (0..33).map(|n| n.to_string()).collect::<Vec<_>>()})),
    ] {
        let failure = world.fleet.update_settings(id, settings(bad)).await.expect_err(field);
        assert_eq!((failure.status(), failure.param.as_deref()), (400, Some(field)));
    }
    assert_eq!(world.fleet.update_settings("nobody", NodeSettings::default()).await.expect_err("unknown").status(), 404);
}

#[tokio::test]
async fn disconnect_lasts_until_the_next_heartbeat_and_delete_for_ever() {
    let world = World::new().await;
    let node = world.node("a", &["m"]).await;
    let id = node.registered.node_id.as_str();
    world.fleet.disconnect(id).await.expect("known");
    assert_eq!((world.seen(&node).status, world.fleet.view().presence("m")), (Status::Offline, Presence::Down));
    let view = world.fleet.view();
    assert!(!view.is_there(view.peer(id).expect("known")));
    world.beat(&node, |_| {});
    assert_eq!(world.seen(&node).status, Status::Online);
    let view = world.fleet.view();
    assert!(view.is_there(view.peer(id).expect("known")));
    world.fleet.delete(id).await.expect("known");
    assert!(world.fleet.list().is_empty() && world.fleet.view().presence("m") == Presence::Unknown);
    assert_eq!(world.fleet.heartbeat(Some(&node.registered.node_token), node.heartbeat()).expect_err("gone").status(), 404);
    for status in [world.fleet.delete(id).await, world.fleet.disconnect(id).await, world.fleet.drain(id, true).await]
        .map(|r| r.expect_err("gone").status())
    {
        assert_eq!(status, 404);
    }
    assert!(store::nodes::list(&world.fleet.store).await.expect("rows").is_empty());
}

#[tokio::test]
async fn a_draining_node_gets_nothing_new_and_finishes_what_it_has() {
    let mut world = World::new().await;
    let (a, _b) = (world.node("a", &["m", "only-a"]).await, world.node("b", &["m"]).await);
    let held = world.begin(&a).expect("it is well");
    world.fleet.drain(&a.registered.node_id, true).await.expect("known");
    assert_eq!((world.seen(&a).status, world.seen(&a).state, world.seen(&a).active_requests), (Status::Draining, "draining", 1));
    assert_eq!((world.order("m"), world.fleet.view().presence("only-a")), (vec!["b".to_owned()], Presence::Down));
    held.end(crate::End::Success);
    world.beat(&a, |_| {});
    world.restart().await;
    assert_eq!(
        (world.seen(&a).status, world.fleet.summary().draining_nodes),
        (Status::Draining, 1),
        "neither a heartbeat nor a restart ends it"
    );
    let (again, _) = world.fleet.register(a.server.registration("a"), here()).await.expect("it starts anew");
    world.fleet.heartbeat(Some(&again.node_token), a.heartbeat()).expect("its own token");
    assert_eq!((world.seen(&a).status, world.order("m").len()), (Status::Online, 2));
}

#[tokio::test]
async fn the_node_object_has_the_documented_fields() {
    let world = World::new().await;
    let node = world.node("a", &["m"]).await;
    let shown = serde_json::to_value(world.seen(&node)).expect("json");
    for field in [
        "id",
        "machine_name",
        "ip_address",
        "runtime_version",
        "runtime_port",
        "status",
        "registered_at",
        "last_seen",
        "online_since",
        "custom_name",
        "tags",
        "notes",
        "loaded_models",
        "loaded_embedding_models",
        "gpu_devices",
        "gpu_available",
        "gpu_count",
        "gpu_model",
        "gpu_model_name",
        "gpu_compute_capability",
        "gpu_capability_score",
        "node_api_port",
        "initializing",
        "ready_models",
        "state",
        "kind",
        "available_models",
    ] {
        assert!(shown.get(field).is_some(), "{field} is missing");
    }
    let port = node.server.port;
    for (field, value) in [
        ("status", json!("online")),
        ("kind", json!("node")),
        ("runtime_port", json!(port - 1)),
        ("node_api_port", json!(port)),
        ("ready_models", json!([1, 1])),
        ("tags", json!([])),
        ("notes", json!(null)),
        ("gpu_devices", json!([{"model": "NVIDIA RTX", "count": 1}])),
    ] {
        assert_eq!(shown[field], value, "{field}");
    }
}
