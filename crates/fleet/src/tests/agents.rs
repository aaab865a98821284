use std::time::Duration;

use super::*;
use crate::{Kind, Presence, Speaks, Status};

async fn register(world: &World, url: &str) -> String {
    world.fleet.register_agent(agent("local-agent", url, &["local_x"]), here()).await.expect("it may join").node_id
}

#[tokio::test]
async fn an_agent_can_be_asked_at_once_at_its_own_endpoint() {
    let world = World::new().await;
    let server = Server::start(&list_of(&["local_x"])).await;
    let id = register(&world, &format!("{}/v1/", server.url())).await;
    let peer = world.fleet.view().candidates("local_x", ALL).remove(0).peer;
    assert_eq!(
        (peer.url.to_string(), peer.kind, peer.speaks, peer.id.to_string()),
        (server.url(), Kind::Agent, Speaks::OpenAi, id.clone())
    );
    let shown = world.fleet.get(&id).expect("it is listed");
    assert_eq!((shown.machine_name.as_str(), shown.ip_address.as_str(), shown.status), ("local-agent", "127.0.0.1", Status::Online));
    assert_eq!(register(&world, "http://127.0.0.1:9").await, id, "the name is its identity");
    assert_eq!(world.fleet.list().len(), 1);
}

#[tokio::test]
async fn the_older_protocol_is_found_out() {
    let world = World::new().await;
    let old = Server::answering("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    register(&world, &old.url()).await;
    assert_eq!(world.fleet.view().candidates("local_x", ALL)[0].peer.speaks, Speaks::Infer);
}

#[tokio::test]
async fn an_agent_that_does_not_listen_yet_is_asked_again() {
    let world = World::new().await;
    let port = Server::start("").await.stop().await;
    register(&world, &format!("http://127.0.0.1:{port}")).await;
    assert_eq!(world.fleet.view().candidates("local_x", ALL)[0].peer.speaks, Speaks::Unknown);
    let server = Server::start(&list_of(&[])).await;
    register(&world, &server.url()).await;
    world.fleet.agent_heartbeat("local-agent", None, here()).await.expect("it is known");
    assert_eq!(world.fleet.view().candidates("local_x", ALL)[0].peer.speaks, Speaks::OpenAi);
}

#[tokio::test]
async fn a_heartbeat_moves_last_seen_and_load() {
    let world = World::new().await;
    let server = Server::start(&list_of(&[])).await;
    let id = register(&world, &server.url()).await;
    let before = world.fleet.get(&id).expect("listed").last_seen;
    world.fleet.clock.advance(Duration::from_millis(5));
    world.fleet.agent_heartbeat("local-agent", Some(3), here()).await.expect("it is known");
    assert!(world.fleet.get(&id).expect("listed").last_seen > before);
    assert_eq!(world.fleet.metrics()[0]["active_requests"], 3);
    world.fleet.agent_heartbeat("local-agent", None, here()).await.expect("it is known");
    assert_eq!(world.fleet.metrics()[0]["active_requests"], 3, "it said nothing new");
}

#[tokio::test]
async fn strangers_and_silence() {
    let mut world = World::new().await;
    assert_eq!(world.fleet.agent_heartbeat("local-agent", None, here()).await.expect_err("never registered").status(), 404);
    let server = Server::start(&list_of(&[])).await;
    let id = register(&world, &server.url()).await;
    world.fleet.clock.advance(Duration::from_secs(61));
    assert_eq!((world.fleet.get(&id).expect("listed").status, world.fleet.view().presence("local_x")), (Status::Offline, Presence::Down));
    world.restart().await;
    world.fleet.agent_heartbeat("local-agent", None, here()).await.expect("still known");
    assert_eq!(world.order("local_x"), ["local-agent"]);
}

#[tokio::test]
async fn the_join_token_or_a_key() {
    let world = World::with(FleetSettings { join_token: Some("join-me".to_owned()), ..FleetSettings::default() }).await;
    let server = Server::start(&list_of(&[])).await;
    let url = server.url();
    let try_as = |origin| world.fleet.register_agent(agent("a", &url, &[]), origin);
    assert_eq!(try_as(here()).await.expect_err("no token").status(), 401);
    try_as(Origin { join_token: Some("join-me"), ..here() }).await.expect("the token");
    try_as(Origin { join_token: Some("sk_key"), keyed: true, ..here() }).await.expect("a key");
    assert_eq!(world.fleet.agent_heartbeat("a", None, here()).await.expect_err("no token").status(), 401);
    let public = from("8.8.8.8".parse().expect("an address"));
    let open = World::new().await;
    assert_eq!(open.fleet.register_agent(agent("a", &url, &[]), public).await.expect_err("far away").status(), 403);
}

#[tokio::test]
async fn bad_fields_are_named() {
    let world = World::new().await;
    let port = Server::start("").await.stop().await;
    let url = format!("http://127.0.0.1:{port}");
    for (field, name, endpoint, models) in
        [("name", "", url.as_str(), &[][..]), ("endpoint", "a", "nowhere", &[]), ("models", "a", url.as_str(), &[""])]
    {
        let failure = world.fleet.register_agent(agent(name, endpoint, models), here()).await.expect_err(field);
        assert_eq!((failure.status(), failure.param.as_deref()), (400, Some(field)));
    }
}

#[tokio::test]
async fn an_agent_that_is_gone_for_a_day_is_forgotten() {
    let mut world = World::new().await;
    let server = Server::start(&list_of(&["local_x"])).await;
    register(&world, &server.url()).await;
    world.fleet.clock.advance(Duration::from_hours(23));
    world.fleet.prune().await;
    assert_eq!(world.fleet.list().len(), 1);
    world.fleet.clock.advance(Duration::from_hours(2));
    world.fleet.prune().await;
    assert!(world.fleet.list().is_empty());
    world.restart().await;
    assert!(world.fleet.list().is_empty());
}
