//! Shared counters on a real Redis.

#![allow(clippy::unwrap_used, reason = "in a test it is the assertion")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use store::{
    counters::{Bound, Change, Kind, Shared, Unit, Verdict},
    redis::Redis,
};
use testkit::RedisServer;

const PATIENCE: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_hours(1);

/// One router's side.
async fn router(server: &RedisServer) -> (Arc<Redis>, Arc<Shared>) {
    let redis = Redis::open(&server.url()).unwrap();
    redis.connect().await;
    assert!(redis.is_up());
    (redis.clone(), Shared::new(redis))
}

fn window(key: &str, limit: u64, span: Duration, amount: u64) -> Bound {
    Bound { key: key.to_owned(), kind: Kind::Window { span }, unit: Unit::Requests, limit, amount }
}

fn running(key: &str, limit: u64, lease: Duration) -> Bound {
    Bound { key: key.to_owned(), kind: Kind::Running { lease }, unit: Unit::Requests, limit, amount: 1 }
}

async fn used(shared: &Shared, bound: &Bound) -> u64 {
    shared.look(std::slice::from_ref(bound)).await.unwrap()[0].used
}

fn is_taken(verdict: Option<Verdict>) -> bool {
    matches!(verdict, Some(Verdict::Taken(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routers_on_one_redis_have_one_limit() {
    let Some(server) = RedisServer::start() else { return };
    let mut asking = Vec::new();
    for _ in 0..2 {
        let (_, shared) = router(&server).await;
        for _ in 0..8 {
            let shared = shared.clone();
            asking.push(tokio::spawn(async move {
                let mut taken = 0;
                for _ in 0..25 {
                    taken += usize::from(is_taken(shared.take(shared.id(), &[window("w", 50, HOUR, 1)]).await));
                }
                taken
            }));
        }
    }
    let mut taken = 0;
    for one in asking {
        taken += one.await.unwrap();
    }
    assert_eq!(taken, 50);
}

#[tokio::test]
async fn a_window_slides_and_never_holds_more_than_its_limit() {
    let Some(server) = RedisServer::start() else { return };
    let (_, shared) = router(&server).await;
    let (limit, span) = (3, Duration::from_millis(150));
    let mut admitted: Vec<(Instant, Instant)> = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while admitted.len() < 12 {
        assert!(Instant::now() < deadline, "places must become free again");
        let before = Instant::now();
        match shared.take(0, &[window("w", limit, span, 1)]).await.unwrap() {
            Verdict::Taken(counted) => {
                assert!(counted[0].used <= limit);
                admitted.push((before, Instant::now()));
            }
            Verdict::Full { which, wait, counted } => {
                assert_eq!((which, counted[0].used), (0, limit));
                assert!(!wait.is_zero() && wait <= span + span / 8, "{wait:?}");
                tokio::time::sleep(wait).await;
            }
        }
    }
    for pair in admitted.windows(limit as usize + 1) {
        let longest = pair[limit as usize].1.duration_since(pair[0].0);
        assert!(longest >= span, "{} in {longest:?}", limit + 1);
    }
}

#[tokio::test]
async fn all_bounds_are_taken_together_and_settled_apart() {
    let Some(server) = RedisServer::start() else { return };
    let (_, shared) = router(&server).await;
    let (requests, tokens, runs) = (window("r", 10, HOUR, 1), window("t", 100, HOUR, 60), running("c", 1, HOUR));
    let all = [requests.clone(), tokens.clone(), runs.clone()];
    let id = shared.id();
    let Some(Verdict::Taken(counted)) = shared.take(id, &all).await else { panic!("there is place") };
    assert_eq!(counted.iter().map(|c| c.used).collect::<Vec<_>>(), [1, 60, 1]);
    let Some(Verdict::Full { which, wait, .. }) = shared.take(shared.id(), &all).await else { panic!("there is none") };
    assert_eq!(which, 1, "tokens are full for longest");
    assert!(wait > HOUR / 2);
    let add = |bound: &Bound, place, delta| Change::Add { key: bound.key.clone(), span: HOUR, place, delta };
    shared.settle(vec![add(&requests, counted[0].place, -1), add(&tokens, counted[1].place, -50), Change::Leave { key: "c".into(), id }]);
    shared.finish().await;
    assert_eq!((used(&shared, &requests).await, used(&shared, &tokens).await, used(&shared, &runs).await), (0, 10, 0));
    shared.settle(vec![add(&tokens, 0, 85)]);
    shared.finish().await;
    assert_eq!(used(&shared, &tokens).await, 95, "more flowed than was held");
    assert!(!is_taken(shared.take(shared.id(), &[window("t", 100, HOUR, 6)]).await));
    assert!(is_taken(shared.take(shared.id(), &[window("t", 100, HOUR, 5)]).await));
}

#[tokio::test]
async fn what_is_kept_ends_by_itself() {
    let Some(server) = RedisServer::start() else { return };
    let (_, shared) = router(&server).await;
    let short = Duration::from_millis(50);
    let all = [window("w", 1, short, 1), running("c", 1, short)];
    assert!(is_taken(shared.take(shared.id(), &all).await));
    let deadline = Instant::now() + PATIENCE;
    // A router that died gives nothing back: the lease does.
    while !is_taken(shared.take(shared.id(), &all).await) {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_dead_redis_is_left_alone_and_found_again() {
    let Some(mut server) = RedisServer::start() else { return };
    let (redis, shared) = router(&server).await;
    let tended = redis.clone();
    let tending = tokio::spawn(async move { tended.tend().await });
    let bounds = [window("w", 10, HOUR, 1)];
    let back = || async {
        let deadline = Instant::now() + PATIENCE;
        while !is_taken(shared.take(0, &bounds).await) {
            assert!(Instant::now() < deadline, "it is used again");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(is_taken(shared.take(0, &bounds).await));
    server.kill();
    assert_eq!(shared.take(0, &bounds).await, None);
    assert!(!redis.is_up() && redis.failures() > 0);
    server.start_again();
    back().await;
    assert_eq!(used(&shared, &bounds[0]).await, 1, "it came back empty");
    server.start_again();
    assert!(is_taken(shared.take(0, &bounds).await), "a line that is only old is renewed");
    server.freeze();
    assert_eq!(shared.take(0, &bounds).await, None, "an answer that does not come is none");
    assert!(!redis.is_up());
    server.thaw();
    back().await;
    tending.abort();
}

#[tokio::test]
async fn an_address_that_is_none_is_said_without_showing_it() {
    let said = Redis::open("http://user:secret@host").err().unwrap().to_string();
    assert!(said.contains("redis://") && !said.contains("secret"), "{said}");
    let nobody = Redis::open("redis://127.0.0.1:1/0").unwrap();
    nobody.connect().await;
    assert!(!nobody.is_up());
    assert_eq!(Shared::new(nobody).take(0, &[window("w", 1, HOUR, 1)]).await, None);
}
