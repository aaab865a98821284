use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use journey::{Attempt, AttemptOutcome, KeyRef, Operation, Outcome, Receipt};
use wire::{Dialect, ir::Usage};

use super::*;
use crate::{Budget, Purse, Terms, budget, limit::Window};

#[derive(Default)]
struct Sink(Mutex<Vec<Arc<Receipt>>>);

impl Settle for Sink {
    fn settle(&self, receipt: Arc<Receipt>) {
        self.0.lock().unwrap().push(receipt);
    }
}

fn call(body: &str) -> Call {
    Call {
        operation: Operation::Generate(Dialect::Chat),
        in_path: None,
        deployment: None,
        upload: None,
        forwarded: None,
        query_key: None,
        request_id: "r".into(),
        path: "/v1/chat/completions".into(),
        headers: http::HeaderMap::new(),
        body: body.to_owned().into(),
        client: "192.0.2.7".parse().unwrap(),
        received: Instant::now(),
        received_at: jiff::Timestamp::UNIX_EPOCH,
    }
}

/// Everything costs a dollar.
struct Dear;

impl Prices for Dear {
    fn cost_usd(&self, _: &Receipt) -> Option<f64> {
        Some(1.0)
    }
}

/// A desk where the key `k` and every address are bounded.
struct House {
    limits: Limits,
    counters: Arc<Counters>,
    seen: Arc<Sink>,
    sink: Arc<dyn Settle>,
    caller: Caller,
}

impl House {
    fn new(key: Bounds, address: Option<Bounds>) -> Self {
        let seen = Arc::new(Sink::default());
        Self {
            limits: Limits { address, keys: HashMap::from([("k".into(), key.into())]), accounts: HashMap::new(), subjects: None },
            counters: Counters::new(None, Duration::ZERO),
            sink: seen.clone(),
            seen,
            caller: Caller { key: Some(KeyRef { id: "k".into(), name: "k".into() }), ..Caller::anyone() },
        }
    }

    fn desk(&self) -> Admission<'_> {
        Admission { limits: &self.limits, counters: &self.counters, sink: &self.sink, prices: &|| Arc::new(Dear) as Arc<dyn Prices> }
    }

    async fn admit(&self, body: &str) -> (Result<Permit, Failure>, Standing) {
        let call = call(body);
        let mut said = None;
        let request = Request::read(&call).unwrap();
        let admitted = admit(&self.desk(), &self.caller, &call, &request, &mut said).await;
        (admitted, said.unwrap_or_default())
    }

    async fn tokens_used(&self) -> u64 {
        let bounds = self.limits.keys["k"].bounds;
        self.counters.look(&Subject::Key("k".into()), &bounds).await.tokens.unwrap().used
    }
}

/// What a request comes to.
type End = fn(&mut Receipt);

const CHAT: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":100}"#;

#[tokio::test]
async fn a_full_key_is_refused_without_a_receipt_and_hears_how_it_stands() {
    let house = House::new(Bounds { rpm: Some(1), ..Bounds::default() }, None);
    let (first, said) = house.admit(CHAT).await;
    assert_eq!(said.requests().unwrap().remaining(), 0);
    drop(first.unwrap());
    let (second, said) = house.admit(CHAT).await;
    assert_eq!(second.unwrap_err().code, Code::RateLimitExceeded);
    assert_eq!(said.requests().unwrap().remaining(), 0);
    assert_eq!(house.seen.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_permit_settles_what_flowed_and_once() {
    let bounds = Bounds { tpm: Some(10_000), concurrency: Some(1), ..Bounds::default() };
    let ends: [(&str, End, u64); 4] = [
        ("usage", |r| r.usage = Some(Usage { in_fresh: Some(30), out_text: Some(5), ..Usage::default() }), 35),
        ("more than was held", |r| r.usage = Some(Usage { out_text: Some(900), ..Usage::default() }), 900),
        ("a failure", |r| r.outcome = Outcome::Error, 0),
        ("nobody knows", |_| {}, (CHAT.len() as u64).div_ceil(4) + 100),
    ];
    for (what, end, used) in ends {
        let house = House::new(bounds, None);
        let mut permit = house.admit(CHAT).await.0.unwrap();
        assert!(house.admit(CHAT).await.0.is_err(), "{what}: one at once");
        end(permit.receipt());
        drop(permit);
        assert_eq!(house.tokens_used().await, used, "{what}");
        assert!(house.admit(CHAT).await.0.is_ok(), "{what}: it does not run any more");
    }
}

#[tokio::test]
async fn a_spent_budget_refuses_for_good_and_takes_no_place() {
    let mut house = House::new(Bounds { rpm: Some(3), ..Bounds::default() }, None);
    let purse = Purse::new("k".into(), Budget { dollars: 2.0, window: budget::Window::Total }, 0, None);
    house.limits.keys.insert("k".into(), Terms { purse: Some(purse.clone()), ..house.limits.keys["k"].clone() });
    for _ in 0..2 {
        drop(house.admit(CHAT).await.0.unwrap());
    }
    assert!((purse.spent(0).dollars - 2.0).abs() < 1e-9);
    let (refused, said) = house.admit(CHAT).await;
    assert_eq!(refused.unwrap_err().code, Code::BudgetExceeded);
    assert_eq!(said.requests().unwrap().remaining(), 0, "as it stood with the place");
    assert!(purse.serves(Budget { dollars: 9.0, window: budget::Window::Total }));
    assert!(house.admit(CHAT).await.0.is_ok(), "its place was given back");
}

async fn arrived(house: &House, call: &Call, said: &mut Option<Standing>) -> Result<(), Failure> {
    arrive(&house.limits, &house.counters, call.client, call.received, said).await
}

#[tokio::test]
async fn an_address_is_counted_before_anybody_is_known() {
    let window = Window { requests: 2, span: Duration::from_mins(10) };
    let house = House::new(Bounds::default(), Some(Bounds { window: Some(window), ..Bounds::default() }));
    let mut said = None;
    for left in [1, 0] {
        arrived(&house, &call("{}"), &mut said).await.unwrap();
        assert_eq!(said.take().unwrap().requests().unwrap().remaining(), left);
    }
    let refused = arrived(&house, &call("{}"), &mut said).await.unwrap_err();
    assert_eq!(refused.message, "rate limit reached: this address may have 2 requests in 600 s");
    let elsewhere = Call { client: "192.0.2.8".parse().unwrap(), ..call("{}") };
    assert!(arrived(&house, &elsewhere, &mut said).await.is_ok());
}

#[test]
fn what_a_request_may_come_to_is_read_in_every_dialect() {
    let of = |operation, body: &str| {
        let call = Call { operation, ..call(body) };
        estimate(&Request::read(&call).unwrap()) - (body.len() as u64).div_ceil(4) * u64::from(!matches!(operation, Operation::Count(_)))
    };
    let generate = Operation::Generate;
    assert_eq!(of(generate(Dialect::Chat), r#"{"model":"m","max_completion_tokens":7}"#), 7);
    assert_eq!(of(generate(Dialect::Messages), r#"{"model":"m","max_tokens":8}"#), 8);
    assert_eq!(of(generate(Dialect::Responses), r#"{"model":"m","max_output_tokens":9}"#), 9);
    assert_eq!(of(generate(Dialect::Gemini), r#"{"generationConfig":{"maxOutputTokens":10}}"#), 10);
    assert_eq!(of(generate(Dialect::Chat), r#"{"model":"m"}"#), 256, "where nothing is said");
    assert_eq!(of(generate(Dialect::Chat), r#"{"model":"m","max_tokens":"many"}"#), 256, "the provider says what is wrong");
    assert_eq!(of(generate(Dialect::Chat), r#"{"model":"m","max_tokens":-3}"#), 0);
    assert_eq!(of(Operation::Embeddings, r#"{"model":"m","input":"a"}"#), 0);
    assert_eq!(of(Operation::Count(Dialect::Messages), r#"{"model":"m"}"#), 0);
}

#[test]
fn what_was_passed_over_is_no_try() {
    let mut permit = Permit::new(&call(CHAT), &Request::read(&call(CHAT)).unwrap(), &Caller::anyone(), Arc::new(Sink::default()));
    for outcome in [AttemptOutcome::Limited, AttemptOutcome::Skipped, AttemptOutcome::Refused, AttemptOutcome::Served] {
        permit.receipt().attempts.push(Attempt {
            pick: None,
            target: "t".into(),
            provider: "p".into(),
            model: "m".into(),
            outcome,
            status: None,
            error: None,
            started_ms: 0.0,
            duration_ms: 0.0,
        });
    }
    assert_eq!(permit.receipt().tries(), 2);
}
