use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use proptest::prelude::*;

use super::*;

/// In memory nothing ever waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("counting in memory waited"),
    }
}

fn counters() -> (Arc<Counters>, Instant) {
    (Counters::new(None, Duration::ZERO), Instant::now())
}

fn key(name: &str) -> Subject {
    Subject::Key(name.into())
}

fn window(requests: u32, ms: u64) -> Bounds {
    Bounds { window: Some(Window { requests, span: Duration::from_millis(ms) }), ..Bounds::default() }
}

#[test]
fn a_window_counts_down_refuses_and_slides() {
    let (counters, start) = counters();
    let ask = |ms| now(counters.take(key("k"), window(2, 1000), 0, start + Duration::from_millis(ms)));
    let remaining = |ms| ask(ms).map(|(_, standing)| standing.requests().unwrap().remaining());
    assert_eq!((remaining(0), remaining(400)), (Ok(1), Ok(0)));
    let full = ask(500).unwrap_err();
    assert_eq!((full.retry_after, full.standing.requests().unwrap().used), (Duration::from_millis(500), 2));
    assert_eq!((remaining(1000), remaining(1399).is_err(), remaining(1400)), (Ok(0), true, Ok(0)));
    let heard = full.failure("this key");
    assert_eq!((heard.status(), heard.code, heard.retry_after), (429, Code::RateLimitExceeded, Some(full.retry_after)));
    assert_eq!(heard.message, "rate limit reached: this key may have 2 requests in 1 s");
}

#[test]
fn all_bounds_are_taken_together_or_none() {
    let (counters, start) = counters();
    let bounds = Bounds { concurrency: Some(1), tpm: Some(100), ..window(5, 1000) };
    let (first, standing) = now(counters.take(key("k"), bounds, 60, start)).unwrap();
    assert_eq!((standing.window.unwrap().used, standing.tokens.unwrap().used), (1, 60));
    let full = now(counters.take(key("k"), bounds, 60, start)).unwrap_err();
    assert_eq!(full.what, What::Tokens(100), "the one that is full for longest");
    first.settle(Some(10));
    let standing = now(counters.look(&key("k"), &bounds));
    assert_eq!((standing.window.unwrap().used, standing.tokens.unwrap().used), (1, 10), "the refused one took nothing");
    let (second, _) = now(counters.take(key("k"), bounds, 60, start)).unwrap();
    second.give_back();
    let standing = now(counters.look(&key("k"), &bounds));
    assert_eq!((standing.window.unwrap().used, standing.tokens.unwrap().used), (1, 10), "as if it had never been");
}

#[test]
fn a_run_is_over_however_it_ends() {
    let (counters, start) = counters();
    let bounds = Bounds { concurrency: Some(1), ..Bounds::default() };
    let ask = || now(counters.take(key("k"), bounds, 0, start)).map(|(hold, _)| hold);
    for end in [|hold: Hold| hold.settle(Some(5)), |hold: Hold| hold.settle(None), Hold::give_back, drop] {
        let hold = ask().unwrap();
        assert_eq!(ask().unwrap_err().what, What::Running(1));
        end(hold);
    }
    assert!(ask().is_ok());
}

#[test]
fn more_tokens_than_were_held_are_owed() {
    let (counters, start) = counters();
    let bounds = Bounds { tpm: Some(1000), ..Bounds::default() };
    let ask = |tokens| now(counters.take(key("k"), bounds, tokens, start)).map(|(hold, _)| hold);
    ask(100).unwrap().settle(Some(700));
    ask(100).unwrap().settle(Some(700));
    assert_eq!(ask(1).unwrap_err().what, What::Tokens(1000));
    assert_eq!(now(counters.look(&key("k"), &bounds)).tokens.unwrap().remaining(), 0);
}

#[test]
fn a_request_that_may_be_larger_than_the_limit_waits_for_an_empty_window() {
    let (counters, start) = counters();
    let bounds = Bounds { tpm: Some(100), ..Bounds::default() };
    let ask = |at| now(counters.take(key("k"), bounds, 5000, at)).map(|(hold, _)| hold);
    ask(start).unwrap().settle(Some(40));
    assert!(ask(start + Duration::from_secs(59)).is_err());
    assert!(ask(start + MINUTE).is_ok());
}

#[test]
fn subjects_do_not_share() {
    let (counters, start) = counters();
    let subjects = [key("a"), key("b"), Subject::Account("a".into()), Subject::address("10.0.0.1".parse().unwrap())];
    for subject in &subjects {
        assert!(now(counters.take(subject.clone(), window(1, 1000), 0, start)).is_ok());
    }
    for subject in subjects {
        assert!(now(counters.take(subject, window(1, 1000), 0, start)).is_err());
    }
    let of = |text: &str| Subject::address(text.parse().unwrap());
    assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"), "one network");
    assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
}

#[test]
fn the_table_is_bounded_and_the_running_stay() {
    let (counters, start) = counters();
    let running = Bounds { concurrency: Some(1), ..window(1, 1) };
    let kept: Vec<Hold> = (0..100).map(|n| now(counters.take(key(&format!("r{n}")), running, 0, start)).unwrap().0).collect();
    for n in 0..70_000_u32 {
        let address = Subject::address(IpAddr::from(n.to_be_bytes()));
        drop(now(counters.take(address, window(1, 60_000), 0, start + Duration::from_secs(1))));
    }
    assert!(counters.memory.len() <= 64 * 1024, "{}", counters.memory.len());
    for n in 0..100 {
        let full = now(counters.take(key(&format!("r{n}")), running, 0, start + Duration::from_secs(2))).unwrap_err();
        assert_eq!(full.what, What::Running(1));
    }
    drop(kept);
}

#[test]
fn threads_share_one_window_exactly() {
    let (counters, start) = counters();
    let admitted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let counters = &counters;
                scope.spawn(move || (0..200).filter(|_| now(counters.take(key("k"), window(50, 60_000), 0, start)).is_ok()).count())
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(admitted, 50);
}

proptest! {
    #[test]
    fn settling_leaves_exactly_what_flowed(
        requests in prop::collection::vec((0_u64..300, prop::option::of(0_u64..600), 0_u8..3), 1..60),
    ) {
        let (counters, start) = counters();
        let bounds = Bounds { tpm: Some(1 << 40), rpm: Some(1000), concurrency: Some(1000), ..Bounds::default() };
        let (mut tokens, mut places) = (0, 0);
        let mut open = Vec::new();
        for (held, used, end) in requests {
            let (hold, _) = now(counters.take(key("k"), bounds, held, start)).unwrap();
            match end {
                0 => hold.give_back(),
                1 => open.push((hold, used)),
                _ => hold.settle(used),
            }
            if end > 0 {
                places += 1;
                tokens += used.unwrap_or(held);
            }
        }
        for (hold, used) in open {
            hold.settle(used);
        }
        let standing = now(counters.look(&key("k"), &bounds));
        prop_assert_eq!((standing.tokens.unwrap().used, standing.minute.unwrap().used), (tokens, places));
        let all = Bounds { concurrency: Some(1), ..bounds };
        prop_assert!(now(counters.take(key("k"), all, 0, start)).is_ok(), "nothing runs any more");
    }
}
