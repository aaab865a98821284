use std::time::Duration;

use super::*;
use crate::{Balancer, End, Presence, live::Pass};

fn counted(names: &[String], name: &str) -> usize {
    names.iter().filter(|n| *n == name).count()
}

#[tokio::test]
async fn only_nodes_that_have_the_model() {
    let world = World::new().await;
    let _nodes = (world.node("a", &["x"]).await, world.node("b", &["y"]).await);
    assert_eq!((world.order("x"), world.order("y")), (vec!["a".to_owned()], vec!["b".to_owned()]));
    assert_eq!(world.fleet.view().presence("z"), Presence::Unknown);
    let listed: Vec<_> = world.fleet.view().models().iter().map(|l| (l.id.to_string(), l.nodes.len(), l.ready, l.loaded)).collect();
    assert_eq!(listed, [("x".to_owned(), 1, true, true), ("y".to_owned(), 1, true, true)]);
}

#[tokio::test]
async fn a_candidate_says_how_to_reach_it() {
    let world = World::new().await;
    let node = world.node("a", &["m"]).await;
    let peer = world.fleet.view().candidates("m", ALL).remove(0).peer;
    assert_eq!((peer.url.to_string(), Some(peer.router_secret.to_string())), (node.server.url(), node.registered.router_secret.clone()));
    assert_eq!((peer.kind, peer.speaks, peer.id.as_ref()), (crate::Kind::Node, crate::Speaks::OpenAi, node.registered.node_id.as_str()));
}

#[tokio::test]
async fn metrics_mode_counts_what_is_in_flight_here() {
    let world = World::with(FleetSettings { balancer: Balancer::Metrics, ..FleetSettings::default() }).await;
    let (a, b) = (world.node("a", &["m"]).await, world.node("b", &["m"]).await);
    world.beat(&a, |h| (h.cpu_usage, h.memory_usage) = (30.0, 30.0));
    world.beat(&b, |h| (h.cpu_usage, h.memory_usage) = (35.0, 30.0));
    assert_eq!(world.ask("m", 1), ["a"]);
    let held = world.begin(&a).expect("it is well");
    assert_eq!(world.ask("m", 2), ["b", "b"], "60 and 10 against 65");
    drop(held);
    assert_eq!(world.ask("m", 1), ["a"]);
}

#[tokio::test]
async fn round_robin_is_even_also_between_models() {
    let world = World::with(FleetSettings { balancer: Balancer::RoundRobin, ..FleetSettings::default() }).await;
    let _nodes = [world.node("a", &["m", "n"]).await, world.node("b", &["m", "n"]).await];
    let asked: Vec<_> = (0..6).map(|_| (world.ask("m", 1).remove(0), world.ask("n", 1).remove(0))).collect();
    let all: Vec<String> = asked.into_iter().flat_map(|(m, n)| [m, n]).collect();
    assert_eq!((counted(&all, "a"), counted(&all, "b")), (6, 6), "{all:?}");
}

#[tokio::test]
async fn looking_twice_does_not_use_up_a_turn() {
    let world = World::with(FleetSettings { balancer: Balancer::RoundRobin, ..FleetSettings::default() }).await;
    let _nodes = [world.node("a", &["m"]).await, world.node("b", &["m"]).await];
    let asked: Vec<String> = (0..8)
        .flat_map(|_| {
            world.order("m");
            world.ask("m", 1)
        })
        .collect();
    assert_eq!((counted(&asked, "a"), counted(&asked, "b")), (4, 4));
}

#[tokio::test]
async fn a_broken_connection_puts_a_node_last_until_it_beats() {
    let world = World::new().await;
    let (a, _b) = (world.node("a", &["m"]).await, world.node("b", &["m"]).await);
    world.begin(&a).expect("it is well").end(End::Broken);
    assert_eq!((world.order("m"), world.seen(&a).state), (vec!["b".to_owned()], "suspect"));
    world.beat(&a, |_| {});
    assert_eq!((world.order("m").len(), world.seen(&a).state), (2, "ready"));
}

#[tokio::test]
async fn three_failures_open_the_breaker_and_one_success_closes_it() {
    let world = World::new().await;
    let (a, _b) = (world.node("a", &["m"]).await, world.node("b", &["m"]).await);
    for _ in 0..3 {
        world.begin(&a).expect("it is well").end(End::Failed);
    }
    world.beat(&a, |_| {});
    assert_eq!((world.order("m"), world.seen(&a).state), (vec!["b".to_owned()], "degraded"), "a heartbeat says nothing about answers");
    assert!(world.begin(&a).is_none());
    world.fleet.clock.advance(Duration::from_secs(6));
    let view = world.fleet.view();
    let candidates = view.candidates("m", ALL);
    assert_eq!(candidates.len(), 2);
    let trial = candidates.iter().find(|c| &*c.peer.name == "a").expect("a may be tried");
    let tried = trial.begin().expect("the first");
    assert!(trial.begin().is_none(), "one at a time");
    assert_eq!(world.order("m"), ["b"]);
    tried.end(End::Success);
    assert_eq!((world.order("m").len(), world.seen(&a).state), (2, "ready"));
}

#[tokio::test]
async fn a_model_that_fails_on_a_node_leaves_its_others_there_alone() {
    let world = World::new().await;
    let (mut a, _b) = (world.node("a", &["broken", "m"]).await, world.node("b", &["broken", "m"]).await);
    (0..3).for_each(|_| world.begin(&a).expect("it is well").end(End::Failed));
    assert_eq!((world.order("broken"), world.order("m").len(), world.seen(&a).state), (vec!["b".to_owned()], 2, "degraded"));
    (a.registered, _) = world.fleet.register(a.server.registration("a"), here()).await.expect("it comes back");
    world.beat(&a, |_| {});
    assert_eq!((world.order("broken").len(), world.seen(&a).state), (2, "ready"), "a process that starts anew is judged anew");
}

#[tokio::test]
async fn when_all_have_failed_the_one_that_failed_first_is_tried() {
    let world = World::new().await;
    let nodes = [world.node("a", &["m"]).await, world.node("b", &["m"]).await];
    for node in nodes.iter().rev() {
        (0..3).for_each(|_| world.begin(node).expect("it is well").end(End::Failed));
        world.fleet.clock.advance(Duration::from_millis(10));
    }
    let candidates = world.fleet.view().candidates("m", ALL);
    assert_eq!(
        candidates.iter().map(|c| (c.peer.name.as_ref(), c.pass)).collect::<Vec<_>>(),
        [("b", Pass::Everything), ("a", Pass::Everything)]
    );
    candidates[0].begin().expect("the last resort is not refused").end(End::Success);
    assert_eq!(world.order("m"), ["b"], "and what works is used again");
}

#[tokio::test]
async fn breakers_never_leave_out_more_than_half_of_a_models_nodes() {
    let world = World::with(FleetSettings { balancer: Balancer::LeastBusy, ..FleetSettings::default() }).await;
    let mut nodes = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        nodes.push(world.node(name, &["m"]).await);
    }
    let sorted = || {
        let mut names = world.order("m");
        names.sort_unstable();
        names
    };
    let left: Vec<Vec<String>> = nodes[..4]
        .iter()
        .map(|node| {
            (0..3).for_each(|_| world.begin(node).expect("it is well").end(End::Failed));
            world.fleet.clock.advance(Duration::from_millis(10));
            sorted()
        })
        .collect();
    // Of five, two may be left out: the others stay, those first whose failures are the longest ago.
    assert_eq!(left, [vec!["b", "c", "d", "e"], vec!["c", "d", "e"], vec!["a", "d", "e"], vec!["a", "b", "e"]]);
    let kept = world.fleet.view().candidates("m", ALL).into_iter().find(|c| &*c.peer.name == "a").expect("it is kept");
    kept.begin().expect("its breaker does not keep it out").end(End::Failed);
    assert_eq!(sorted(), ["b", "c", "e"], "whoever failed last is left out");
    let kept = world.fleet.view().candidates("m", ALL).into_iter().find(|c| &*c.peer.name == "b").expect("it is kept");
    kept.begin().expect("its breaker does not keep it out").end(End::Success);
    assert_eq!(sorted(), ["b", "c", "e"], "one is well again, and one of three is kept");
    assert_eq!(world.seen(&nodes[1]).state, "ready");
}

#[tokio::test]
async fn a_request_that_comes_first_to_a_failed_node_says_why() {
    let world = World::with(FleetSettings { balancer: Balancer::RoundRobin, ..FleetSettings::default() }).await;
    let nodes = [world.node("a", &["m"]).await, world.node("b", &["m"]).await, world.node("c", &["m"]).await];
    nodes[..2].iter().for_each(|node| (0..3).for_each(|_| world.begin(node).expect("it is well").end(End::Failed)));
    let _held = world.ask("m", 1);
    let picks: Vec<_> = (0..2).map(|_| world.fleet.view().candidates("m", 1).remove(0)).collect();
    let said = picks.iter().find(|c| c.pass == Pass::Breaker).expect("of three, two may not be left out").picked.reason;
    assert!(said.contains("half of a model's nodes"), "{said}");
}

#[tokio::test]
async fn requests_are_counted_by_their_ends() {
    let world = World::new().await;
    let node = world.node("a", &["m"]).await;
    for end in [End::Success, End::Success, End::Success, End::Refused] {
        world.begin(&node).expect("it is well").end(end);
    }
    drop(world.begin(&node).expect("a caller that goes away"));
    let held = world.begin(&node).expect("it is well");
    let sum = world.fleet.summary();
    assert_eq!(
        (sum.total_requests, sum.successful_requests, sum.failed_requests, sum.cancelled_requests, sum.total_active_requests),
        (5, 3, 1, 1, 1)
    );
    assert!(sum.average_response_time_ms.is_some_and(|ms| ms >= 0.0));
    drop(held);
    assert_eq!(world.fleet.summary().total_active_requests, 0);
}

#[tokio::test]
async fn nodes_of_one_machine_are_counted_apart() {
    let world = World::new().await;
    let nodes = [world.node("a", &["m"]).await, world.node("a", &["m"]).await, world.node("b", &["m"]).await];
    world.begin(&nodes[1]).expect("it is well").end(End::Success);
    let counted: Vec<_> = world.fleet.instances().0.into_iter().map(|i| (i.node.to_string(), i.successful_requests)).collect();
    let [first, second] = [&nodes[0], &nodes[1]].map(|node| format!("a:{}", node.server.port - 1));
    assert_eq!(counted, [(first, 0), (second, 1), ("b".to_owned(), 0)]);
}

#[tokio::test]
async fn counters_outlive_a_registration() {
    let world = World::new().await;
    let node = world.node("a", &["m"]).await;
    let held = world.begin(&node).expect("it is well");
    world.fleet.register(node.server.registration("a"), here()).await.expect("it comes back");
    assert_eq!(world.seen(&node).active_requests, 1);
    held.end(End::Success);
    assert_eq!((world.seen(&node).active_requests, world.seen(&node).successful_requests), (0, 1));
}

#[tokio::test]
async fn a_ready_node_is_preferred_to_one_that_loads() {
    let world = World::new().await;
    let (a, b) = (world.node("a", &["m"]).await, world.node("b", &["m"]).await);
    world.beat(&a, |h| (h.cpu_usage, h.initializing) = (1.0, true));
    world.beat(&b, |h| h.cpu_usage = 70.0);
    assert_eq!(world.order("m"), ["b"]);
}

#[tokio::test]
async fn a_node_that_misses_heartbeats_is_asked_last_before_it_is_gone() {
    let world = World::new().await;
    let (_a, b) = (world.node("a", &["m"]).await, world.node("b", &["m"]).await);
    world.fleet.clock.advance(Duration::from_secs(30));
    world.beat(&b, |_| {});
    assert_eq!(world.order("m").len(), 2, "an agent's heartbeats may be half a minute apart");
    world.fleet.clock.advance(Duration::from_secs(11));
    assert_eq!((world.order("m"), world.fleet.list()[0].state), (vec!["b".to_owned()], "suspect"));
    world.fleet.clock.advance(Duration::from_secs(10));
    assert_eq!((world.fleet.list()[0].state, world.fleet.list()[1].state), ("suspect", "ready"));
    world.fleet.disconnect(&b.registered.node_id).await.expect("it is known");
    assert_eq!(world.order("m"), ["a"], "better than nobody");
}

#[tokio::test]
async fn a_pick_says_why() {
    let world = World::new().await;
    let (a, b) = (world.node("a", &["m"]).await, world.node("b", &["m"]).await);
    world.beat(&a, |h| h.cpu_usage = 70.0);
    world.beat(&b, |h| h.active_requests = 3);
    let picked = world.fleet.view().candidates("m", 1)[0].picked;
    assert_eq!((picked.policy, picked.candidates, picked.active), ("auto", 2, 0));
    let all = world.fleet.view().candidates("m", ALL);
    assert_eq!((all[0].picked.reason, &*all[0].peer.name), ("fewest requests", "a"));
}

#[tokio::test]
async fn whoever_waits_for_a_node_hears_when_it_is_gone() {
    let world = World::new().await;
    let node = world.node("a", &["m"]).await;
    let peer = world.fleet.view().candidates("m", 1).remove(0).peer;
    let fleet = world.fleet.clone();
    let waiting = tokio::spawn(async move { fleet.lost(&peer, "m", true, None).await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    world.fleet.disconnect(&node.registered.node_id).await.expect("it is known");
    assert_eq!(waiting.await.expect("it ends"), crate::Lost::Gone);
}

#[tokio::test]
async fn reports_that_lie_do_not_hide_what_is_in_flight_here() {
    let world = World::with(FleetSettings { balancer: Balancer::LeastBusy, ..FleetSettings::default() }).await;
    let (liar, _honest) = (world.node("liar", &["m"]).await, world.node("honest", &["m"]).await);
    let mut held = Vec::new();
    for _ in 0..10 {
        let first = world.fleet.view().candidates("m", 1).remove(0);
        held.push((first.peer.name.to_string(), first.begin().expect("it is well")));
        world.beat(&liar, |h| h.active_requests = 0);
    }
    assert_eq!(held.iter().filter(|(name, _)| name == "liar").count(), 5);
}

#[tokio::test]
async fn a_node_that_comes_back_gets_its_share_little_by_little() {
    let world =
        World::with(FleetSettings { balancer: Balancer::RoundRobin, node_timeout: Duration::from_hours(1), ..FleetSettings::default() })
            .await;
    let (old, _older) = (world.node("old", &["m"]).await, world.node("older", &["m"]).await);
    let hold = |held: &mut Vec<(String, crate::InFlight)>, n: usize| {
        for _ in 0..n {
            let first = world.fleet.view().candidates("m", 1).remove(0);
            held.push((first.peer.name.to_string(), first.begin().expect("it is well")));
        }
    };
    let of = |held: &[(String, crate::InFlight)], name: &str| held.iter().filter(|(n, _)| n == name).count();
    let mut held = Vec::new();
    hold(&mut held, 14);
    assert_eq!((of(&held, "old"), of(&held, "older")), (7, 7), "both are new: nobody is held back");
    world.fleet.clock.advance(Duration::from_secs(20));
    let _new = world.node("new", &["m"]).await;
    hold(&mut held, 24);
    let first = of(&held, "new");
    assert!((3..=5).contains(&first), "{first}: a quarter of what the others have, where its turn alone would be eight");
    world.fleet.clock.advance(Duration::from_secs(10));
    hold(&mut held, 9);
    assert!(of(&held, "new") >= first + 3, "its turn as any other's");
    // One that was gone begins anew.
    world.fleet.disconnect(&old.registered.node_id).await.expect("it is known");
    world.fleet.clock.advance(Duration::from_secs(20));
    world.beat(&old, |_| {});
    held.retain(|(name, _)| name != "old");
    hold(&mut held, 12);
    assert!(of(&held, "old") <= 5, "{}", of(&held, "old"));
}
