//! Callers that hang up: ten thousand streams, of which a random half is left before its end. `HANGUP_STREAMS=1000000` makes it a million.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use serde_json::json;
use store::{
    Store,
    requests::{self, Filter},
};
use testkit::{FakeUpstream, Reply, Script};

use crate::router::{Router, Setup, eventually};

const CALLERS: usize = 200;
/// Streams of all callers, unless the environment says otherwise.
const STREAMS: usize = 10_000;
const PIECES: [&str; 4] = ["one", "two", "three", "four"];

fn piece(word: &str) -> String {
    format!("data: {{\"id\":\"c\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{word}\"}},\"finish_reason\":null}}]}}\n\n")
}

fn end() -> String {
    let last = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let usage = "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}}\n\n";
    [last, usage, "data: [DONE]\n\n"].concat()
}

/// Numbers that look random and are the same in every run (xorshift; Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Most that the memory may grow by after that. A few kilobytes that stay behind a stream are more.
const GROWTH_BYTES_MAX: u64 = 48 << 20;

/// What all callers count together.
struct Count {
    /// Streams of each caller.
    each: usize,
    /// Streams after which all that is made once has been made.
    warm: usize,
    ended: AtomicUsize,
    warm_bytes: AtomicU64,
}

impl Count {
    fn of(streams: usize) -> Self {
        let each = streams.div_ceil(CALLERS);
        Self { each, warm: CALLERS * each / 4, ended: AtomicUsize::new(0), warm_bytes: AtomicU64::new(0) }
    }

    fn one(&self, router: &Router) {
        if self.ended.fetch_add(1, Ordering::Relaxed) + 1 == self.warm {
            self.warm_bytes.store(router.rss_bytes().unwrap_or(0), Ordering::Relaxed);
        }
    }
}

/// One caller's streams; how many it left.
async fn call(router: Arc<Router>, caller: usize, count: Arc<Count>) -> usize {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (caller as u64 + 1));
    let mut left = 0;
    for _ in 0..count.each {
        let leaves = dice.below(2) == 0;
        let body = json!({
            "model": if leaves { "endless" } else { "steady" }, "stream": true, "max_tokens": 9,
            "messages": [{"role": "user", "content": "Count."}],
        });
        // Half of them come through a translation.
        let path = ["/v1/chat/completions", "/v1/messages"][dice.below(2)];
        let mut stream = router.post(path, &body).open().await;
        assert_eq!(stream.status, 200);
        if leaves {
            stream.until(PIECES[dice.below(PIECES.len())]).await;
            left += 1;
        } else {
            let said = stream.rest().await;
            assert!(said.contains("four") && (said.contains("[DONE]") || said.contains("message_stop")), "{said}");
        }
        count.one(&router);
    }
    left
}

/// How many streams there are this time.
#[expect(clippy::disallowed_methods, reason = "a longer run is asked for from without")]
fn streams() -> usize {
    std::env::var("HANGUP_STREAMS").map_or(STREAMS, |named| named.parse().expect("HANGUP_STREAMS is a number"))
}

/// All rows of an outcome, page by page.
async fn rows(store: &Store, outcome: &str) -> Vec<requests::Row> {
    let mut rows = Vec::new();
    let mut filter = Filter { limit: requests::ROWS_MAX, outcome: Some(outcome.to_owned()), ..Filter::default() };
    loop {
        let page = requests::recent(store, &filter).await.unwrap();
        let Some(last) = page.last() else { return rows };
        filter.before_seq = Some(last.seq);
        rows.extend(page.into_iter().map(|stored| stored.row));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_streams_leave_one_record_each_and_nothing_else() {
    let streams = streams();
    let began = Instant::now();
    let words = PIECES.map(piece);
    let all: usize = words.iter().map(String::len).sum();
    let pieces = || words.iter().cloned().chain([end()]);
    let steady = FakeUpstream::start(Script::always(Reply::events(pieces())));
    let endless = FakeUpstream::start(Script::always(Reply::events(pieces()).stall_after(all)));
    // With all texts kept.
    let setup = Setup::new().set("history", json!({"bodies": "full"})).account("steady", &steady.base_url(), &["steady"], json!({}));
    let router = Arc::new(setup.account("endless", &endless.base_url(), &["endless"], json!({})).start());

    let count = Arc::new(Count::of(streams));
    let callers: Vec<_> = (0..CALLERS).map(|caller| tokio::spawn(call(router.clone(), caller, count.clone()))).collect();
    let counting = async {
        let mut left = 0;
        for caller in callers {
            left += caller.await.unwrap();
        }
        left
    };
    // The upstream remembers a bounded number of hang-ups, so they are counted while they come.
    let (counted, mut seen) = (tokio::sync::watch::channel(None), 0);
    let hangups = async {
        let mut wanted = counted.1.clone();
        loop {
            let missing = *wanted.borrow() != Some(seen);
            if !missing {
                return seen;
            }
            tokio::select! {
                _ = endless.hangup() => seen += 1,
                changed = wanted.changed() => changed.unwrap(),
            }
        }
    };
    let (left, cancelled) = tokio::join!(
        async {
            let left = counting.await;
            counted.0.send(Some(left)).unwrap();
            left
        },
        async {
            tokio::time::timeout(crate::router::PATIENCE * 10 * streams.div_ceil(STREAMS) as u32, hangups)
                .await
                .expect("every stream that was left is left upstream too")
        }
    );
    assert_eq!(left, cancelled);

    for name in ["router_open_streams", "router_active_requests"] {
        eventually(name, || async { (router.metric(name).await as usize == 0).then_some(()) }).await;
    }
    let store = router.store().await;
    let total = CALLERS * count.each;
    eventually("all records", || async { (requests::count(&store).await.unwrap() as usize == total).then_some(()) }).await;
    let (cancelled, success) = (rows(&store, "cancelled").await, rows(&store, "success").await);
    assert_eq!((cancelled.len(), success.len()), (left, total - left));
    for stored in &cancelled {
        let flowed = stored.completion_tokens;
        assert!(flowed.is_some_and(|n| (1..=PIECES.len() as u64).contains(&n)), "{stored:?}");
        assert!(stored.prompt_tokens.is_some_and(|n| n > 0), "{stored:?}");
    }
    assert!(success.iter().all(|row| (row.prompt_tokens, row.completion_tokens) == (Some(3), Some(4))));
    if let Some(bytes) = router.rss_bytes() {
        let warm = count.warm_bytes.load(Ordering::Relaxed);
        println!(
            "{total} streams, {left} left, {:.0} s; {warm} bytes after {}, {bytes} at the end",
            began.elapsed().as_secs_f64(),
            count.warm
        );
        assert!(bytes < warm + GROWTH_BYTES_MAX, "{bytes} bytes after {total} streams, {warm} after {}", count.warm);
    }
}
