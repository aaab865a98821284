use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use super::*;
use crate::{Lost, Peer};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node that is there as long as it is told to be, and the one who looks after the fleet.
async fn fickle(world: &World, answers: &Arc<AtomicBool>) -> (Node, tokio::task::JoinHandle<()>) {
    let list = list_of(&["m"]);
    let said = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{list}", list.len());
    let answers = answers.clone();
    let server = Server::saying(move |_| if answers.load(Relaxed) { said.clone() } else { String::new() }).await;
    let (registered, _) = world.fleet.register(server.registration("fickle"), here()).await.expect("it may join");
    let node = Node { server, registered, models: vec!["m".to_owned()] };
    world.beat(&node, |_| {});
    let fleet = world.fleet.clone();
    (node, tokio::spawn(async move { fleet.tend().await }))
}

fn waiting(world: &World, peer: &Arc<Peer>, patience: Option<Duration>) -> tokio::task::JoinHandle<Lost> {
    let (fleet, peer) = (world.fleet.clone(), peer.clone());
    tokio::spawn(async move { fleet.lost(&peer, "m", false, patience).await })
}

/// Waits until the node is in this state; looks whenever the fleet changes.
async fn becomes(world: &World, node: &Node, state: &str) {
    let mut changes = world.fleet.changes();
    let is_so = async {
        while world.seen(node).state != state {
            changes.changed().await.expect("the fleet lives");
        }
    };
    tokio::time::timeout(PATIENCE, is_so).await.unwrap_or_else(|_| panic!("{:?} never became {state}", world.seen(node)));
}

#[tokio::test]
async fn who_does_not_even_say_that_it_is_there_is_left_for_another_and_comes_back_by_itself() {
    let (world, answers) = (World::new().await, Arc::new(AtomicBool::new(true)));
    let (node, tending) = fickle(&world, &answers).await;
    let peer = world.fleet.view().peer(&node.registered.node_id).expect("known").clone();
    answers.store(false, Relaxed);
    let request = waiting(&world, &peer, None);
    becomes(&world, &node, "suspect").await;
    assert!(!request.is_finished(), "nobody else could be asked");
    let _other = world.node("other", &["m"]).await;
    assert_eq!(tokio::time::timeout(PATIENCE, request).await.expect("it moves").expect("it ends"), Lost::Mute);
    assert_eq!(world.order("m"), ["other"]);
    answers.store(true, Relaxed);
    becomes(&world, &node, "ready").await;
    assert_eq!(world.order("m").len(), 2, "nobody waits for it, and still it was asked");
    tending.abort();
}

#[tokio::test]
async fn who_works_on_a_long_prompt_is_left_in_peace_for_its_time() {
    let (world, answers) = (World::new().await, Arc::new(AtomicBool::new(true)));
    let (node, tending) = fickle(&world, &answers).await;
    let _other = world.node("other", &["m"]).await;
    let peer = world.fleet.view().peer(&node.registered.node_id).expect("known").clone();
    let (patient, hasty) = (waiting(&world, &peer, None), waiting(&world, &peer, Some(Duration::ZERO)));
    let is_asked = async {
        while node.server.asked().iter().filter(|head| head.starts_with("GET /health ")).count() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, is_asked).await.expect("it is asked again and again");
    assert!(!patient.is_finished());
    assert_eq!(hasty.await.expect("it ends"), Lost::Late, "it has had its time");
    assert_eq!(world.seen(&node).state, "ready");
    patient.abort();
    tending.abort();
}
