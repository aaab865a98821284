use std::time::Duration;

use tokio::time::Instant;
use wire::{Code, fleet::node::InstanceReport};

use super::*;
use crate::{End, InFlight, Queued, Turn, Wanted};

const LONG: Duration = Duration::from_mins(10);

async fn admit(fleet: &Fleet, caller: &str, may_queue: bool) -> Result<Turn, wire::Failure> {
    let wanted = Wanted { model: "m", caller: Some(&caller.into()), deadline: Instant::now() + LONG, places: 3, may_queue };
    fleet.admit(&wanted).await
}

fn wait(world: &World, caller: &'static str) -> tokio::task::JoinHandle<Result<(InFlight, Option<Queued>), wire::Failure>> {
    let fleet = world.fleet.clone();
    tokio::spawn(async move { admit(&fleet, caller, true).await.map(|turn| (turn.guard, turn.queued)) })
}

async fn until_waiting(world: &World, n: usize) {
    while world.fleet.waiting() != n {
        tokio::task::yield_now().await;
    }
}

fn slots(n: u32) -> impl FnOnce(&mut Heartbeat) {
    move |beat| beat.instances = vec![InstanceReport { model: "m".to_owned(), slots_total: n, ..InstanceReport::default() }]
}

#[tokio::test]
async fn a_request_waits_for_a_node_that_warms_up() {
    let world = World::new().await;
    let node = world.node("a", &["m"]).await;
    assert_eq!(admit(&world.fleet, "k", true).await.expect("it is ready").queued, None);
    world.beat(&node, |h| h.initializing = true);
    assert_eq!(admit(&world.fleet, "k", false).await.expect_err("there are others to ask").code, Code::QueueFull);
    let waiting = wait(&world, "k");
    until_waiting(&world, 1).await;
    assert!(!waiting.is_finished());
    world.beat(&node, |_| {});
    let (guard, queued) = waiting.await.expect("no panic").expect("it is ready now");
    assert!(queued.is_some_and(|q| q.position == 1 && q.wait_ms >= 0.0));
    assert_eq!((world.fleet.waiting(), world.seen(&node).active_requests), (0, 1));
    drop(guard);
    assert_eq!(world.seen(&node).active_requests, 0);
}

#[tokio::test]
async fn busy_places_are_given_in_order_of_arrival() {
    let world = World::new().await;
    let node = world.node("a", &["m"]).await;
    world.beat(&node, slots(1));
    let mut held: Vec<InFlight> = Vec::new();
    for _ in 0..2 {
        held.push(admit(&world.fleet, "k", true).await.expect("one place, and one ahead").guard);
    }
    let mut waiting = Vec::new();
    for n in 1..=3 {
        waiting.push(wait(&world, "k"));
        until_waiting(&world, n).await;
    }
    for (position, one) in (1..).zip(waiting) {
        held.remove(0).end(End::Success);
        let (guard, queued) = one.await.expect("no panic").expect("its turn");
        assert_eq!(queued.map(|q| q.position), Some(position));
        held.push(guard);
    }
    assert_eq!((world.fleet.waiting(), world.seen(&node).active_requests), (0, 2));
    drop(held);
    let (instances, waiting) = world.fleet.instances();
    assert_eq!((instances[0].active_requests, instances[0].slots, instances[0].successful_requests), (0, Some(1), 3));
    assert_eq!(waiting.iter().map(|(model, n)| (&**model, *n)).collect::<Vec<_>>(), [("m", 0)]);
}

#[tokio::test]
async fn whoever_leaves_the_line_makes_room_for_the_next() {
    let world = World::new().await;
    let node = world.node("a", &["m"]).await;
    world.beat(&node, slots(1));
    let held = [admit(&world.fleet, "k", true).await.expect("free").guard, admit(&world.fleet, "k", true).await.expect("ahead").guard];
    let (first, second) = (wait(&world, "k"), wait(&world, "k"));
    until_waiting(&world, 2).await;
    first.abort();
    until_waiting(&world, 1).await;
    drop(held);
    drop(second.await.expect("no panic").expect("its turn"));
    assert_eq!((world.fleet.waiting(), world.seen(&node).active_requests), (0, 0));
}

#[tokio::test]
async fn a_second_node_takes_what_the_first_has_no_place_for() {
    let world = World::new().await;
    let (a, b) = (world.node("a", &["m"]).await, world.node("b", &["m"]).await);
    world.beat(&a, slots(1));
    world.beat(&b, slots(1));
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(admit(&world.fleet, "k", true).await.expect("two places each").guard);
    }
    assert_eq!((world.seen(&a).active_requests, world.seen(&b).active_requests), (2, 2));
    assert_eq!(admit(&world.fleet, "k", false).await.expect_err("all are busy").code, Code::QueueFull);
}

#[tokio::test]
async fn waiting_is_bounded_in_number_and_time() {
    let world = World::with(FleetSettings { max_waiters: 3, max_waiters_per_key: 2, ..FleetSettings::default() }).await;
    let node = world.node("a", &["m"]).await;
    world.beat(&node, |h| h.initializing = true);
    let waiting = [wait(&world, "k"), wait(&world, "k")];
    until_waiting(&world, 2).await;
    let own = admit(&world.fleet, "k", true).await.expect_err("two of this key wait");
    assert!(own.code == Code::RateLimitExceeded && own.retry_after.is_some());
    let last = wait(&world, "l");
    until_waiting(&world, 3).await;
    let refused = admit(&world.fleet, "l", true).await.expect_err("full");
    assert!(refused.code == Code::QueueFull && refused.retry_after.is_some());
    world.fleet.disconnect(&node.registered.node_id).await.expect("it is known");
    for one in waiting.into_iter().chain([last]) {
        assert_eq!(one.await.expect("no panic").expect_err("nobody is left to wait for").code, Code::NoAvailableTarget);
    }
    world.beat(&node, |h| (h.ready_models, h.initializing) = (Some((0, 1)), true));
    let caller = "k".into();
    let wanted = Wanted { model: "m", caller: Some(&caller), deadline: Instant::now(), places: 1, may_queue: true };
    let late = world.fleet.admit(&wanted).await.expect_err("no time");
    assert!(late.code == Code::QueueTimeout && late.retry_after.is_some());
    let other = world.fleet.admit(&Wanted { model: "other", ..wanted }).await;
    assert_eq!(other.expect_err("unknown").code, Code::ModelNotFound);
    assert_eq!(world.fleet.waiting(), 0, "whoever leaves gives the place back");
}

#[tokio::test]
async fn a_wait_that_would_be_too_long_is_refused_at_once() {
    let world = World::with(FleetSettings { queue_timeout: Duration::from_millis(1), ..FleetSettings::default() }).await;
    let node = world.node("a", &["m"]).await;
    world.beat(&node, slots(1));
    let first = admit(&world.fleet, "k", true).await.expect("free");
    // Long enough to be measured.
    tokio::time::sleep(Duration::from_millis(20)).await;
    first.guard.end(End::Success);
    let _held = [admit(&world.fleet, "k", true).await.expect("free"), admit(&world.fleet, "k", true).await.expect("ahead")];
    let refused = admit(&world.fleet, "k", true).await.expect_err("its turn would come after 20 ms");
    assert_eq!((refused.code, refused.message.contains("too late")), (Code::QueueTimeout, true));
    assert!(refused.retry_after.is_some_and(|wait| wait.as_secs() == 1));
}
