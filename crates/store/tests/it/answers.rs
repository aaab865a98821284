//! Remembered answers on a Redis.

use std::time::Duration;

use store::{
    answers,
    redis::{Redis, Unreachable},
};
use testkit::RedisServer;

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn values_are_kept_and_flushed_by_the_beginnings_of_their_keys() {
    let Some(mut server) = RedisServer::start() else { return };
    let redis = Redis::open(&server.url()).expect("an address");
    assert_eq!(answers::get(&redis, "a:1").await, Err(Unreachable), "nothing is connected yet");
    redis.connect().await;
    for n in 0..1500 {
        answers::put(&redis, &format!("a:{n}"), &[0, 255, 10], HOUR).await.expect("kept");
    }
    answers::put(&redis, "b:1", b"", HOUR).await.expect("kept");
    assert_eq!(answers::get(&redis, "a:1").await, Ok(Some(vec![0, 255, 10])));
    assert_eq!(answers::get(&redis, "a:none").await, Ok(None));
    assert_eq!(answers::flush(&redis, "a:").await, Ok(1500));
    assert_eq!((answers::get(&redis, "a:1").await, answers::get(&redis, "b:1").await), (Ok(None), Ok(Some(Vec::new()))));
    server.start_again();
    assert_eq!(answers::get(&redis, "b:1").await, Ok(None), "a line that was only cut is renewed at once");
    server.kill();
    assert_eq!(answers::put(&redis, "b:1", b"x", HOUR).await, Err(Unreachable));
    assert!(!redis.is_up());
}

#[tokio::test]
async fn a_redis_that_refuses_is_not_taken_for_dead() {
    let Some(server) = RedisServer::start() else { return };
    let redis = Redis::open(&server.url()).expect("an address");
    redis.connect().await;
    server.say("CONFIG SET maxmemory 1");
    assert_eq!(answers::put(&redis, "a", b"x", HOUR).await, Err(Unreachable), "its memory is full");
    assert!(redis.is_up() && redis.failures() == 1);
    assert_eq!(answers::get(&redis, "a").await, Ok(None));
}
