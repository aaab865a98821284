use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use proptest::prelude::*;
use testkit::RedisServer;

use super::*;
use crate::answer::Made;

const HOUR: Duration = Duration::from_hours(1);
const BYTES_MAX: u64 = 1 << 20;

fn ask(n: u8) -> Ask {
    Ask { key: Key::of_number(n), ttl: HOUR, age_max: HOUR, until: Some(Instant::now() + HOUR) }
}

fn answer(text: &str) -> Answer {
    Answer::new(200, None, Made::default(), text.as_bytes())
}

async fn found(answers: &Arc<Answers>, ask: &Ask) -> Option<String> {
    match answers.recall(ask).await.unwrap().0 {
        Recalled::Found(answer) => Some(String::from_utf8(answer.body.to_vec()).unwrap()),
        Recalled::Missing(lead) => {
            lead.fail();
            None
        }
    }
}

async fn lead(answers: &Arc<Answers>, ask: &Ask) -> Lead {
    match answers.recall(ask).await.unwrap().0 {
        Recalled::Missing(lead) => lead,
        Recalled::Found(_) => panic!("it was answered before"),
    }
}

#[tokio::test]
async fn what_was_remembered_is_found_until_it_is_forgotten() {
    let answers = Answers::new(Kind::Cache, BYTES_MAX, None);
    lead(&answers, &ask(1)).await.remember(answer("one")).await;
    assert_eq!(found(&answers, &ask(1)).await.as_deref(), Some("one"));
    assert_eq!(found(&answers, &Ask { until: None, ..ask(1) }).await.as_deref(), Some("one"));
    assert_eq!(found(&answers, &ask(2)).await, None);
    assert_eq!(found(&answers, &Ask { age_max: Duration::ZERO, ..ask(1) }).await, None);
    assert!(answers.bytes() > 0);
    assert_eq!((answers.flush().await, found(&answers, &ask(1)).await, answers.bytes()), (1, None, 0));
    assert_eq!(answers.flights.count(), 0);
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_shared_and_not_kept() {
    let answers = Answers::new(Kind::Cache, BYTES_MAX, None);
    let first = lead(&answers, &ask(1)).await;
    let large = "x".repeat(answers.answer_bytes_max());
    let also = ask(1);
    // The follower takes its seat first: it is polled first.
    let (followed, ()) = tokio::join!(found(&answers, &also), first.remember(answer(&large)));
    assert_eq!(followed, Some(large));
    assert_eq!(found(&answers, &ask(1)).await, None);
}

#[tokio::test]
async fn a_follower_waits_no_longer_than_it_may() {
    let answers = Answers::new(Kind::Cache, BYTES_MAX, None);
    let first = lead(&answers, &ask(1)).await;
    let short = Ask { until: Some(Instant::now()), ..ask(1) };
    assert!(matches!(answers.recall(&short).await, Err(Overdue)));
    drop(first);
    assert_eq!(answers.flights.count(), 0);
}

/// What each leader does, in order; after the last they all answer.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Goes,
    Fails,
    Answers,
}

/// So many equal requests at once: how often an upstream would have been asked, and how many got an answer.
async fn crowd(kind: Kind, count: usize, fates: Vec<Fate>) -> (usize, usize) {
    let answers = Answers::new(kind, BYTES_MAX, None);
    let (asked, fates) = (Arc::new(AtomicUsize::new(0)), Arc::new(fates));
    let all = (0..count).map(|_| {
        let (answers, asked, fates) = (answers.clone(), asked.clone(), fates.clone());
        tokio::spawn(async move {
            match answers.recall(&ask(1)).await.unwrap().0 {
                Recalled::Found(_) => true,
                Recalled::Missing(lead) => {
                    let turn = asked.fetch_add(1, SeqCst);
                    tokio::task::yield_now().await;
                    match fates.get(turn).copied().unwrap_or(Fate::Answers) {
                        Fate::Goes => false,
                        Fate::Fails => {
                            lead.fail();
                            false
                        }
                        Fate::Answers => {
                            lead.remember(answer("one")).await;
                            true
                        }
                    }
                }
            }
        })
    });
    let all: Vec<_> = all.collect();
    let mut answered = 0;
    for one in all {
        answered += usize::from(one.await.unwrap());
    }
    assert_eq!(answers.flights.count(), 0, "nothing is left flying");
    (asked.load(SeqCst), answered)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_asks() {
    assert_eq!(crowd(Kind::Cache, 50, vec![]).await, (1, 50));
    assert_eq!(crowd(Kind::Cache, 50, vec![Fate::Fails]).await, (2, 49), "one failure lets the next go");
    assert_eq!(crowd(Kind::Cache, 50, vec![Fate::Goes; 3]).await, (4, 47), "so does a caller that leaves");
}

#[tokio::test]
async fn failures_do_not_queue_up_in_the_cache_and_do_not_multiply_repeated_calls() {
    let failing = vec![Fate::Fails; 9];
    let (asked, _) = crowd(Kind::Cache, 9, failing.clone()).await;
    assert_eq!(asked, 9, "each gets its own failure");
    assert_eq!(crowd(Kind::Repeats, 9, vec![Fate::Fails; 4]).await, (5, 5), "one after the other until one succeeds");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_becomes_of_leaders_nobody_is_left_waiting(
        count in 1usize..30, repeats: bool, fates in prop::collection::vec(prop_oneof![Just(Fate::Goes), Just(Fate::Fails), Just(Fate::Answers)], 0..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let kind = if repeats { Kind::Repeats } else { Kind::Cache };
        let (asked, answered) = runtime.block_on(crowd(kind, count, fates));
        prop_assert!(asked >= 1 && asked <= count && answered <= count);
    }
}

#[tokio::test]
async fn redis_is_shared_and_may_go_and_come_back() {
    let Some(mut server) = RedisServer::start() else { return };
    let redis = Redis::open(&server.url()).unwrap();
    redis.connect().await;
    let tending = redis.clone();
    let tending = tokio::spawn(async move { tending.tend().await });
    let [one, two] = [1, 2].map(|_| Answers::new(Kind::Cache, BYTES_MAX, Some(redis.clone())));
    lead(&one, &ask(1)).await.remember(answer("shared")).await;
    assert_eq!((found(&two, &ask(1)).await.as_deref(), one.bytes()), (Some("shared"), 0));
    assert_eq!(found(&Answers::new(Kind::Repeats, BYTES_MAX, Some(redis.clone())), &ask(1)).await, None, "kinds are apart");
    server.kill();
    assert_eq!(found(&one, &ask(1)).await, None);
    lead(&one, &ask(2)).await.remember(answer("alone")).await;
    assert_eq!((found(&one, &ask(2)).await.as_deref(), found(&two, &ask(2)).await), (Some("alone"), None));
    server.start_again();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !redis.is_up() {
        assert!(Instant::now() < deadline, "Redis is not used again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    lead(&one, &ask(3)).await.remember(answer("again")).await;
    assert_eq!(found(&two, &ask(3)).await.as_deref(), Some("again"));
    assert_eq!((one.flush().await, found(&two, &ask(3)).await), (2, None), "here and there");
    tending.abort();
}
