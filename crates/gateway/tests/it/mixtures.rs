//! Every target fails, each in a way of its own: what the client gets, and how often anybody was asked.

use serde_json::{Value, json};
use testkit::{FakeUpstream, Gate, Reply, Script};

use crate::{
    client::Answer,
    router::{Router, Setup, closed_port},
};

/// Attempts of one request.
const ATTEMPTS_MAX: usize = 3;

/// A way to fail: its name, and what it comes to where all targets fail in this way.
const KINDS: [(&str, u16); 9] = [
    ("refused", 502),
    ("closed", 502),
    ("silent", 504),
    ("limited", 429),
    ("broken-500", 502),
    ("busy-503", 503),
    ("busy-529", 503),
    ("truncated", 502),
    ("garbage", 502),
];

/// Faults that agree: an overload is one, whichever of its statuses says so.
fn class(kind: &str) -> &str {
    if kind.starts_with("busy") { "busy" } else { kind }
}

/// The status by which failures are compared; those without one of their own differ from those with one.
fn common(mixture: &[&str]) -> u16 {
    let all_alike = mixture.iter().all(|kind| class(kind) == class(mixture[0]));
    if all_alike { KINDS.iter().find(|(kind, _)| *kind == mixture[0]).unwrap().1 } else { 502 }
}

/// Three accounts of every kind, so that a kind can meet itself.
struct World {
    upstreams: Vec<FakeUpstream>,
    router: Router,
    _gate: Gate,
}

impl World {
    fn new() -> Self {
        let gate = Gate::new();
        let mut upstreams = Vec::new();
        let mut setup = Setup::new()
            .set("breaker", json!({"enabled": false}))
            .set("retry", json!({"max_attempts": ATTEMPTS_MAX, "backoff": "1ms..2ms", "retry_budget": "100%"}))
            .set("timeouts", json!({"first_byte": "50ms"}));
        for (kind, _) in KINDS {
            let reply = match kind {
                "closed" => Some(Reply::nothing()),
                "silent" => Some(Reply::ok().hold_head(&gate)),
                "limited" => Some(Reply::error(429)),
                "broken-500" => Some(Reply::error(500)),
                "busy-503" => Some(Reply::error(503)),
                "busy-529" => Some(Reply::error(529)),
                "truncated" => Some(Reply::ok().cut_after(20)),
                "garbage" => Some(Reply::whole("text/html", "<html>no</html>")),
                _ => None,
            };
            let address = match reply {
                Some(reply) => {
                    let upstream = FakeUpstream::start(Script::always(reply));
                    let address = upstream.base_url();
                    upstreams.push(upstream);
                    address
                }
                None => format!("http://{}/v1", closed_port()),
            };
            for number in 0..3 {
                setup = setup.account(&format!("{kind}-{number}"), &address, &["gpt-mock"], json!({}));
            }
        }
        Self { upstreams, router: setup.start(), _gate: gate }
    }

    /// Asks the accounts of a mixture in its order; what came back, and how often upstreams heard of it.
    async fn ask(&self, mixture: &[&str], stream: bool) -> (Answer, usize) {
        let names: Vec<String> = mixture.iter().enumerate().map(|(number, kind)| format!("{kind}-{number}")).collect();
        let id = format!("{}-{stream}", names.join("_"));
        let wanted = json!({"stream": stream, "provider": {"only": names, "order": names}});
        let answer = self.router.chat("gpt-mock", wanted).header("x-request-id", &id).send().await;
        let heard = self.upstreams.iter().flat_map(FakeUpstream::requests).filter(|r| r.header("x-request-id") == Some(&*id)).count();
        (answer, heard)
    }

    async fn check(&self, mixture: &[&str], stream: bool) {
        let (answer, heard) = self.ask(mixture, stream).await;
        let what = format!("{mixture:?}, stream {stream}: {} {}", answer.status, answer.text());
        assert_eq!(answer.status, common(mixture), "{what}");
        let error = &answer.json()["error"];
        let code = match answer.status {
            429 => "rate_limit_exceeded",
            503 => "no_available_target",
            504 => "upstream_timeout",
            _ => "upstream_error",
        };
        assert_eq!(error["code"], code, "{what}");
        assert_eq!(!answer.header("retry-after").is_empty(), matches!(answer.status, 429 | 503), "{what}");
        let attempts = error["attempts"].as_array().unwrap_or_else(|| panic!("{what}"));
        assert!(attempts.len() >= mixture.len().min(ATTEMPTS_MAX) && attempts.len() <= ATTEMPTS_MAX, "{what}");
        assert!(heard <= ATTEMPTS_MAX, "upstreams heard {heard} times of {what}");
        for (attempt, kind) in attempts.iter().zip(mixture) {
            assert!(attempt["target"].as_str().unwrap().starts_with(kind), "in the order that was wanted: {what}");
            let status = match *kind {
                "limited" => json!(429),
                "broken-500" => json!(500),
                "busy-503" => json!(503),
                "busy-529" => json!(529),
                "garbage" => json!(200),
                "truncated" => attempt["status"].clone(),
                _ => Value::Null,
            };
            assert_eq!(attempt["status"], status, "{what}");
        }
        assert!(!answer.text().contains("upstream-key-of") && !answer.text().contains("127.0.0.1"), "{what}");
    }
}

#[tokio::test]
async fn pairs_of_failures_come_to_what_they_have_in_common() {
    let world = World::new();
    for (first, _) in KINDS {
        world.check(&[first], false).await;
        for (second, _) in KINDS {
            for stream in [false, true] {
                world.check(&[first, second], stream).await;
            }
        }
    }
}

#[tokio::test]
async fn triples_of_failures_come_to_what_they_have_in_common() {
    let world = World::new();
    for (i, (first, _)) in KINDS.iter().enumerate() {
        for (j, (second, _)) in KINDS.iter().enumerate().skip(i) {
            for (third, _) in KINDS.iter().skip(j) {
                world.check(&[first, second, third], false).await;
            }
        }
    }
}

#[tokio::test]
async fn the_time_budget_ends_a_mixture_and_says_who_was_asked() {
    let gate = Gate::new();
    let silent = FakeUpstream::start(Script::always(Reply::ok().hold_head(&gate)));
    let failing = FakeUpstream::start(Script::always(Reply::error(500)));
    let router = Setup::new().upstream("failing", &failing).upstream("silent", &silent).start();
    let answer = router.chat("gpt-mock", json!({"timeout_ms": 200})).header("x-request-id", "late").send().await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (504, &json!("upstream_timeout")), "{}", answer.text());
    let said = answer.json()["error"]["attempts"].clone();
    assert_eq!((&said[0]["target"], &said[0]["status"], &said[1]["target"]), (&json!("failing"), &json!(500), &json!("silent")), "{said}");
    let decision: Value = serde_json::from_str(&router.record("late").await.decision.unwrap()).unwrap();
    let outcomes: Vec<&str> = decision["attempts"].as_array().unwrap().iter().filter_map(|a| a["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["refused", "timed_out"], "{decision}");
}

#[tokio::test]
async fn retries_stay_a_share_of_requests() {
    let failing = FakeUpstream::start(Script::always(Reply::error(500)));
    let router = Setup::new()
        .upstream("failing", &failing)
        .set("breaker", json!({"enabled": false}))
        .set("retry", json!({"max_attempts": 5, "backoff": "1ms..2ms", "retry_budget": "20%"}))
        .start();
    for _ in 0..100 {
        assert_eq!(router.chat("gpt-mock", json!({})).send().await.status, 502);
    }
    let hits = failing.requests().len();
    // Ten are free at the start, and a fifth of a hundred is earned.
    assert!((100..=130).contains(&hits), "{hits} for 100 requests");
}

#[tokio::test]
async fn mixtures_of_failures_make_no_storm_of_retries() {
    const REQUESTS: usize = 60;
    let gate = Gate::new();
    let replies = || {
        let silent = Reply::ok().hold_head(&gate);
        vec![Reply::nothing(), Reply::error(500), Reply::error(503), Reply::ok().cut_after(20), silent]
    };
    let kinds = replies().len();
    for first in 0..kinds {
        let upstreams: Vec<FakeUpstream> =
            [first, (first + 1) % kinds].map(|at| FakeUpstream::start(Script::always(replies().swap_remove(at)))).into();
        // The shares that are set where nobody sets any.
        let router = Setup::new()
            .upstream("one", &upstreams[0])
            .upstream("two", &upstreams[1])
            .set("breaker", json!({"enabled": false}))
            .set("retry", json!({"max_attempts": 5, "backoff": "1ms..2ms"}))
            .set("timeouts", json!({"first_byte": "20ms"}))
            .start();
        for _ in 0..REQUESTS {
            let answer = router.chat("gpt-mock", json!({})).send().await;
            assert!(matches!(answer.status, 502..=504), "{}", answer.text());
            assert!(answer.json()["error"]["attempts"].as_array().unwrap().len() <= 5, "{}", answer.text());
        }
        // Both are asked once for every request; more than that is a fifth of the requests, and ten that are free at the start.
        for (upstream, which) in upstreams.iter().zip(["one", "two"]) {
            let heard = upstream.requests().len();
            assert!((REQUESTS..=REQUESTS + 10 + REQUESTS / 5).contains(&heard), "{which} of mixture {first} heard {heard} times");
        }
    }
}

#[tokio::test]
async fn an_account_whose_key_is_refused_stands_back_and_the_request_goes_on() {
    let (locked, open) = (FakeUpstream::start(Script::always(Reply::error(401))), FakeUpstream::start(Script::default()));
    let router = Setup::new().upstream("locked", &locked).upstream("open", &open).start();
    for _ in 0..3 {
        assert_eq!(router.chat("gpt-mock", json!({})).header("x-request-id", "r").send().await.header("x-llm-router-target"), "open");
    }
    assert_eq!((locked.requests().len(), open.requests().len()), (1, 3), "its key does not get better by asking");
    open.set_script(Script::always(Reply::error(403)));
    let alone = router.chat("gpt-mock", json!({"provider": {"only": ["locked"]}})).send().await;
    assert_eq!((alone.status, &alone.json()["error"]["code"]), (502, &json!("upstream_credentials")), "{}", alone.text());
    assert_eq!(locked.requests().len(), 2, "where nobody else is left it is asked all the same");
}
