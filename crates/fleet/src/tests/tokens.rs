use std::time::Duration;

use wire::Code;

use super::*;
use crate::{NewJoinToken, Presence, Status};

async fn token(world: &World, wanted: NewJoinToken) -> (String, String) {
    let (made, secret) = world.fleet.make_join_token(NewJoinToken { name: "t".to_owned(), ..wanted }, None).await.expect("it may be made");
    (made.id, secret)
}

fn far(secret: &str) -> Origin<'_> {
    Origin { join_token: Some(secret), ..from(IpAddr::from([203, 0, 113, 9])) }
}

#[tokio::test]
async fn a_token_admits_from_anywhere_so_many_times() {
    let world = World::new().await;
    let (id, secret) = token(&world, NewJoinToken { max_uses: Some(1), ..NewJoinToken::default() }).await;
    let (a, b) = (Server::start(&list_of(&["m"])).await, Server::start(&list_of(&["m"])).await);
    world.fleet.register(a.registration("a"), far(&secret)).await.expect("it has a token");
    let refused = world.fleet.register(b.registration("b"), far(&secret)).await.expect_err("it is used up");
    assert_eq!((refused.code, world.fleet.list().len()), (Code::InvalidApiKey, 1));
    let (again, is_new) = world.fleet.register(a.registration("a"), far(&secret)).await.expect("it came with this token");
    assert_eq!((again.status.as_str(), is_new), ("updated", false));
    let shown = world.fleet.join_tokens().await.expect("a list").remove(0);
    assert_eq!((shown.id.as_str(), shown.uses, shown.max_uses), (id.as_str(), 1, Some(1)));
    world.fleet.revoke_join_token(&id).await.expect("it is known");
    assert!(world.fleet.register(a.registration("a"), far(&secret)).await.is_err(), "revoked");
    assert_eq!(world.fleet.revoke_join_token("nobody").await.expect_err("unknown").code, Code::NotFound);
}

#[tokio::test]
async fn wrong_and_old_tokens_are_refused_also_from_this_machine() {
    let world = World::new().await;
    let server = Server::start(&list_of(&["m"])).await;
    let soon = (jiff::Timestamp::now() + Duration::from_mins(1)).to_string();
    let (_, secret) = token(&world, NewJoinToken { expires_at: Some(soon), ..NewJoinToken::default() }).await;
    world.fleet.clock.advance(Duration::from_mins(2));
    for shown in ["jt_wrong", &secret] {
        let origin = Origin { join_token: Some(shown), ..here() };
        assert_eq!(world.fleet.register(server.registration("a"), origin).await.expect_err(shown).status(), 401);
        assert_eq!(world.fleet.register_agent(agent("agent", &server.url(), &[]), origin).await.expect_err(shown).status(), 401);
    }
    assert!(world.fleet.list().is_empty() && server.asked().is_empty(), "nothing has changed and nobody was called");
    for bad in [
        NewJoinToken { name: " ".to_owned(), ..NewJoinToken::default() },
        NewJoinToken { name: "t".to_owned(), max_uses: Some(0), ..NewJoinToken::default() },
        NewJoinToken { name: "t".to_owned(), expires_at: Some("tomorrow".to_owned()), ..NewJoinToken::default() },
        NewJoinToken { name: "t".to_owned(), expires_at: Some("2020-01-01T00:00:00Z".to_owned()), ..NewJoinToken::default() },
    ] {
        assert_eq!(world.fleet.make_join_token(bad, None).await.expect_err("not a good one").status(), 400);
    }
}

#[tokio::test]
async fn a_token_stands_beside_the_one_of_the_settings() {
    let world = World::with(FleetSettings { join_token: Some("fixed".to_owned()), ..FleetSettings::default() }).await;
    let server = Server::start(&list_of(&["m"])).await;
    let (_, secret) = token(&world, NewJoinToken::default()).await;
    assert_eq!(world.fleet.register(server.registration("a"), here()).await.expect_err("none was shown").status(), 401);
    for shown in ["fixed", &secret] {
        world.fleet.register(server.registration(shown), Origin { join_token: Some(shown), ..here() }).await.expect(shown);
    }
}

#[tokio::test]
async fn a_node_that_waits_for_consent_gets_nothing() {
    let mut world = World::new().await;
    let (_, secret) = token(&world, NewJoinToken { require_approval: true, ..NewJoinToken::default() }).await;
    let server = Server::start(&list_of(&["m"])).await;
    let (registered, _) = world.fleet.register(server.registration("a"), far(&secret)).await.expect("it has a token");
    let node = Node { server, registered, models: vec!["m".to_owned()] };
    world.beat(&node, |_| {});
    let waits = |world: &World| {
        assert_eq!((world.seen(&node).status, world.seen(&node).state), (Status::Registering, "pending"));
        assert_eq!((world.fleet.view().presence("m"), world.fleet.view().models().len()), (Presence::Unknown, 0));
        assert!(world.fleet.node_of_token(&node.registered.node_token).is_none());
    };
    waits(&world);
    world.restart().await;
    waits(&world);
    let (registered, _) = world.fleet.register(node.server.registration("a"), far(&secret)).await.expect("it came with this token");
    let node = Node { registered, ..node };
    assert_eq!(world.seen(&node).state, "pending", "coming again is no consent");
    assert_eq!(world.fleet.approve(&node.registered.node_id).await.expect("it is known").state, "joining");
    world.beat(&node, |_| {});
    assert_eq!((world.order("m"), world.seen(&node).state), (vec!["a".to_owned()], "ready"));
    let (again, _) = world.fleet.register(node.server.registration("a"), far(&secret)).await.expect("it came with this token");
    assert_eq!(world.fleet.get(&again.node_id).expect("it is known").state, "joining", "consent is given once");
    assert_eq!(world.fleet.approve("nobody").await.expect_err("unknown").code, Code::NotFound);
}

#[tokio::test]
async fn consent_may_be_asked_for_every_node() {
    let world = World::with(FleetSettings { require_approval: true, ..FleetSettings::default() }).await;
    let server = Server::start(&list_of(&["m"])).await;
    world.fleet.register_agent(agent("agent", &server.url(), &["m"]), here()).await.expect("it may ask");
    assert_eq!((world.fleet.list()[0].state, world.order("m").len()), ("pending", 0));
}
