use wire::Code;

use super::*;
use crate::{Status, registry::NODES_MAX};

#[tokio::test]
async fn a_node_is_called_back_and_gets_its_identity() {
    let world = World::new().await;
    let server = Server::start(&list_of(&["m"])).await;
    let (made, created) = world.fleet.register(server.registration("a"), here()).await.expect("it may join");
    assert!(created && made.status == "registered" && made.node_api_port == server.port, "{made:?}");
    assert_eq!(uuid::Uuid::parse_str(&made.node_id).expect("a UUID").to_string(), made.node_id);
    assert!(uuid::Uuid::parse_str(made.node_token.strip_prefix("nt_").expect("nt_")).is_ok());
    assert!(made.router_secret.expect("a secret").len() > 30);
    assert!(matches!(server.asked().as_slice(), [only] if only.starts_with("GET /v1/models HTTP/1.1\r\n")));
    let rows = store::nodes::list(&world.fleet.store).await.expect("rows");
    assert_eq!(rows.len(), 1, "stored before it was acknowledged");
    assert!(!serde_json::to_string(&world.fleet.list()).expect("json").contains("nt_") && !rows[0].token_hash.contains("nt_"));
}

#[tokio::test]
async fn registering_again_keeps_the_id_and_ends_the_old_token() {
    let world = World::new().await;
    let node = world.node("a", &["m"]).await;
    let (again, created) = world.fleet.register(node.server.registration("a"), here()).await.expect("it may");
    assert!(
        !created && again.status == "updated" && again.node_id == node.registered.node_id && again.node_token != node.registered.node_token
    );
    assert_ne!(again.router_secret, node.registered.router_secret);
    assert_eq!(world.fleet.list().len(), 1);
    let old = world.fleet.heartbeat(Some(&node.registered.node_token), node.heartbeat()).expect_err("the old token");
    assert_eq!(old.code, Code::InvalidApiKey);
    world.fleet.heartbeat(Some(&again.node_token), node.heartbeat()).expect("the new token");
    assert_eq!(world.fleet.node_of_token(&again.node_token).expect("its node").id.as_ref(), again.node_id);
    assert!(world.fleet.node_of_token(&node.registered.node_token).is_none() && world.fleet.node_of_token("").is_none());
}

#[tokio::test]
async fn the_gpu_rule() {
    let world = World::new().await;
    let server = Server::start(&list_of(&[])).await;
    let device = |model: &str, count| vec![GpuDevice { model: model.to_owned(), count, memory: None }];
    let good = || server.registration("a");
    for (what, said) in [
        ("no gpu", Registration { gpu_available: false, ..good() }),
        ("no devices", Registration { gpu_devices: vec![], ..good() }),
        ("blank model", Registration { gpu_devices: device(" ", 1), ..good() }),
        ("count 0", Registration { gpu_devices: device("A", 0), ..good() }),
        ("another accelerator", Registration { gpu_available: false, accelerator: Some("tpu".to_owned()), ..good() }),
    ] {
        let failure = world.fleet.register(said, here()).await.expect_err(what);
        assert_eq!(failure.status(), 403, "{what}");
        assert!(failure.message.starts_with("Validation error: GPU hardware is required for node registration."), "{}", failure.message);
    }
    assert!(world.fleet.list().is_empty() && server.asked().is_empty());

    let cpu = || Registration { gpu_available: false, gpu_devices: vec![], gpu_count: None, accelerator: Some("CPU".to_owned()), ..good() };
    world.fleet.register(cpu(), here()).await.expect("it says that it has none");
    world.fleet.set_settings(FleetSettings { allow_cpu_nodes: false, ..FleetSettings::default() });
    assert_eq!(world.fleet.register(cpu(), here()).await.expect_err("not admitted here").status(), 403);
    world.fleet.register(good(), here()).await.expect("it has a GPU");
}

#[tokio::test]
async fn malformed_registrations_name_the_field() {
    let world = World::new().await;
    let good = || registration("a", 40_000);
    for (field, said) in [
        ("machine_name", Registration { machine_name: " ".to_owned(), ..good() }),
        ("machine_name", Registration { machine_name: "a\nb".to_owned(), ..good() }),
        ("machine_name", Registration { machine_name: "x".repeat(257), ..good() }),
        ("ip_address", Registration { ip_address: "not an address!".to_owned(), ..good() }),
        ("ip_address", Registration { ip_address: "0.0.0.0".to_owned(), ..good() }),
        ("runtime_port", Registration { runtime_port: 0, ..good() }),
        ("runtime_port", Registration { runtime_port: 65_535, ..good() }),
        ("gpu_devices", Registration { gpu_devices: vec![GpuDevice { model: "A".to_owned(), count: 1, memory: None }; 65], ..good() }),
        ("available_models", Registration { available_models: Some(vec![String::new()]), ..good() }),
    ] {
        let failure = world.fleet.register(said, here()).await.expect_err(field);
        assert_eq!((failure.status(), failure.param.as_deref()), (400, Some(field)));
        assert!(failure.message.contains(field), "{}", failure.message);
    }
    let mut much = good();
    much.rest.insert("x".to_owned(), "y".repeat(20_000).into());
    assert_eq!(world.fleet.register(much, here()).await.expect_err("too much").status(), 400);
}

#[tokio::test]
async fn a_node_that_cannot_be_reached_is_not_listed() {
    let world = World::new().await;
    let port = Server::start("").await.stop().await;
    let failure = world.fleet.register(registration("a", port), here()).await.expect_err("nobody listens");
    assert_eq!(failure.code, Code::UpstreamError);
    let redirect = Server::answering("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n").await;
    let large = Server::start(&list_of(&vec!["m"; 5000])).await;
    let page = Server::start("<html>").await;
    for server in [redirect, large, page] {
        let failure = world.fleet.register(server.registration("a"), here()).await.expect_err("no list of models");
        assert_eq!((failure.status(), server.asked().len()), (502, 1), "{}", failure.message);
    }
    assert!(world.fleet.list().is_empty());
    world.fleet.set_settings(FleetSettings { skip_health_check: true, ..FleetSettings::default() });
    world.fleet.register(registration("a", port), here()).await.expect("not called back");
}

#[tokio::test]
async fn who_may_join() {
    let server = Server::start(&list_of(&[])).await;
    let at = |ip: &str| ip.parse::<IpAddr>().expect("an address");
    let open = FleetSettings::default();
    let closed = FleetSettings { join_token: Some("let me in".to_owned()), ..FleetSettings::default() };
    let forwarded = |trusted| Origin { forwarded: true, trusted, ..here() };
    let with = |token| Origin { join_token: Some(token), ..here() };
    for (what, settings, origin, wanted) in [
        ("loopback", &open, here(), None),
        ("loopback in v6 clothes", &open, from(at("::ffff:127.0.0.1")), None),
        ("a public address", &open, from(at("8.8.8.8")), Some(403)),
        ("forwarded by anybody", &open, forwarded(false), Some(403)),
        ("forwarded by a proxy we trust", &open, forwarded(true), None),
        ("another private address than it says", &open, from(at("10.1.2.3")), Some(403)),
        ("a token where none is asked for", &open, with("whatever"), None),
        ("no token", &closed, here(), Some(401)),
        ("a wrong token", &closed, with("let me"), Some(401)),
        ("a key in its place", &closed, Origin { keyed: true, ..here() }, Some(401)),
        ("a key from elsewhere", &open, Origin { keyed: true, ..from(at("8.8.8.8")) }, Some(403)),
        ("the token", &closed, with("let me in"), None),
        ("the token from elsewhere", &closed, Origin { addr: at("8.8.8.8"), ..with("let me in") }, None),
    ] {
        let world = World::with(settings.clone()).await;
        let got = world.fleet.register(server.registration("a"), origin).await;
        assert_eq!(got.err().map(|f| f.status()), wanted, "{what}");
        assert_eq!(world.fleet.list().len(), usize::from(wanted.is_none()), "{what}");
    }
}

#[tokio::test]
async fn a_second_machine_of_the_same_name_does_not_take_the_place_of_a_living_one() {
    let world = World::with(FleetSettings { join_token: Some("t".to_owned()), skip_health_check: true, ..FleetSettings::default() }).await;
    let origin = || Origin { join_token: Some("t"), ..here() };
    let elsewhere = || Registration { ip_address: "10.0.0.9".to_owned(), ..registration("ubuntu", 11_435) };
    let (first, _) = world.fleet.register(registration("ubuntu", 11_435), origin()).await.expect("the first");
    let failure = world.fleet.register(elsewhere(), origin()).await.expect_err("the name is taken");
    assert_eq!((failure.status(), failure.param.as_deref()), (409, Some("machine_name")));
    world.fleet.clock.advance(std::time::Duration::from_secs(61));
    let (moved, created) = world.fleet.register(elsewhere(), origin()).await.expect("the old one is gone: it has moved");
    assert!(!created && moved.node_id == first.node_id);
}

#[tokio::test]
async fn nodes_are_known_after_a_restart() {
    let mut world = World::new().await;
    let node = world.node("a", &["m"]).await;
    world.restart().await;
    let shown = world.seen(&node);
    assert_eq!((shown.status, shown.loaded_models.as_slice()), (Status::Online, ["m".to_owned()].as_slice()), "it beat a moment ago");
    assert_eq!(world.order("m"), ["a"]);
    world.beat(&node, |_| {});
}

#[tokio::test]
async fn the_registry_is_bounded() {
    let world = World::with(FleetSettings { skip_health_check: true, ..FleetSettings::default() }).await;
    let port = |n: usize| u16::try_from(1000 + n).expect("small");
    let mut first = None;
    for n in 0..NODES_MAX {
        let (made, _) = world.fleet.register(registration("a", port(n)), here()).await.expect("there is room");
        first.get_or_insert(made.node_id);
    }
    assert_eq!(world.fleet.register(registration("a", port(NODES_MAX)), here()).await.expect_err("full").status(), 409);
    world.fleet.clock.advance(std::time::Duration::from_secs(61));
    world.fleet.register(registration("a", port(NODES_MAX)), here()).await.expect("it takes the place of one that is gone");
    assert_eq!(world.fleet.list().len(), NODES_MAX);
    assert!(world.fleet.get(&first.expect("many")).is_none(), "the one that was gone longest");
}

#[tokio::test]
async fn two_registrations_at_once_are_one_node() {
    let world = World::new().await;
    let server = Server::start(&list_of(&[])).await;
    let (a, b) =
        tokio::join!(world.fleet.register(server.registration("a"), here()), world.fleet.register(server.registration("a"), here()));
    let (a, b) = (a.expect("one"), b.expect("the other"));
    assert_eq!(a.0.node_id, b.0.node_id);
    assert!(a.1 != b.1, "one of them is new");
    assert_eq!(world.fleet.list().len(), 1);
}
