use std::fs;

use tempfile::TempDir;
use tokio::time::timeout;
use wire::fleet::worker::{Prompt, Sampling, Submit};

use super::*;
use crate::{
    engine::{Event, Link, scripted::InProcess},
    memory::{Free, Measured},
    testing,
};

/// Counts how many engines were started.
struct Counting(Arc<std::sync::atomic::AtomicU32>);

impl Launch for Counting {
    fn launch(&self, id: &str) -> Result<Link, String> {
        self.0.fetch_add(1, Ordering::Relaxed);
        InProcess.launch(id)
    }
}

struct Test {
    dir: TempDir,
    pool: Pool,
    started: Arc<std::sync::atomic::AtomicU32>,
}

/// A machine that says nothing of its memory.
#[derive(Debug)]
struct Plenty;

impl Meter for Plenty {
    fn measure(&self) -> Measured {
        Measured::default()
    }
}

/// A machine with so many MiB, all of them free as far as the system knows.
#[derive(Debug)]
struct Small(u64);

impl Meter for Small {
    fn measure(&self) -> Measured {
        Measured { ram: Some(Free { total: self.0 << 20, free: self.0 << 20 }), vram: None }
    }
}

/// GPUs whose memory comes back some measurements after it was given up; (MiB, measurements).
#[derive(Debug)]
struct Slow(u64, std::sync::atomic::AtomicU64);

impl Meter for Slow {
    fn measure(&self) -> Measured {
        let asked = self.1.fetch_add(1, Ordering::Relaxed);
        let free = if asked == 0 || asked > 3 { self.0 } else { self.0 / 4 };
        Measured { ram: None, vram: Some(Free { total: self.0 << 20, free: free << 20 }) }
    }
}

fn options() -> Options {
    Options {
        slots: 2,
        context: 512,
        kv_cells: None,
        threads: 1,
        idle_timeout: None,
        loaded_max: None,
        memory_bytes_max: None,
        meter: Arc::new(Plenty),
        min_residency: Duration::ZERO,
        hang: Duration::from_secs(30),
    }
}

fn pool(files: &[&str], options: Options) -> Test {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        fs::write(dir.path().join(file), testing::gguf("", &[])).unwrap();
    }
    let started = Arc::default();
    let pool = Pool::new(Arc::new(Library::new(dir.path())), Counting(Arc::clone(&started)), options);
    Test { dir, pool, started }
}

impl Test {
    fn started(&self) -> u32 {
        self.started.load(Ordering::Relaxed)
    }

    fn loaded(&self) -> Vec<String> {
        self.pool.status().into_iter().map(|status| status.id).collect()
    }
}

fn submit(text: &str) -> Submit {
    Submit {
        id: 0,
        prompt: Prompt::plain(text),
        max_tokens: None,
        sampling: Sampling::default(),
        constraint: None,
        stop: Vec::new(),
        marks: Vec::new(),
        logprobs: None,
        ignore_eos: false,
        cache_prompt: true,
        salt: 0,
        queue_ms: 1000,
    }
}

async fn run(lease: &Lease, text: &str) -> Result<String, String> {
    let mut generation = lease.engine.submit(submit(text)).map_err(|e| e.to_string())?;
    let mut out = String::new();
    loop {
        match generation.next().await {
            Event::Accepted { .. } => {}
            Event::Text(bit) => out.push_str(&bit.text),
            Event::Done(done) => return Ok(out + &done.text),
            Event::Failed(error) => return Err(error.to_string()),
        }
    }
}

#[tokio::test]
async fn many_requests_load_a_model_once_and_all_are_answered() {
    let test = pool(&["a+load=50.gguf"], options());
    let all = join_all((0..8).map(|_| async { run(&test.pool.acquire("a+load=50").await.unwrap(), "one two").await.unwrap() })).await;
    assert_eq!((all, test.started()), (vec!["one two".to_owned(); 8], 1));
}

#[tokio::test]
async fn a_client_that_leaves_does_not_stop_a_load() {
    let test = pool(&["a+load=100.gguf"], options());
    assert!(timeout(Duration::from_millis(20), test.pool.acquire("a+load=100")).await.is_err());
    drop(test.pool.acquire("a+load=100").await.unwrap());
    assert_eq!(test.started(), 1);
}

#[tokio::test]
async fn a_model_that_refuses_is_an_error_in_words_and_not_tried_at_once_again() {
    let test = pool(&["a+refuse.gguf"], options());
    for _ in 0..3 {
        let failure = test.pool.acquire("a+refuse").await.err().unwrap();
        assert!(failure.code == Code::NoAvailableTarget && failure.message.contains("refuses to load"), "{failure}");
    }
    assert_eq!(test.started(), 1);
    assert_eq!(test.pool.acquire("nope").await.err().unwrap().code, Code::ModelNotFound);
}

#[tokio::test]
async fn a_dead_engine_is_replaced() {
    let test = pool(&["a+crash=1+once.gguf"], options());
    let lease = test.pool.acquire("a+crash=1+once").await.unwrap();
    assert!(run(&lease, "one two").await.unwrap_err().contains("ended unexpectedly"));
    let lease = test.pool.acquire("a+crash=1+once").await.unwrap();
    assert_eq!((run(&lease, "one two").await.unwrap().as_str(), test.started()), ("one two", 2));
}

#[tokio::test]
async fn an_engine_that_hangs_is_ended_whether_its_heart_beats_or_not() {
    for name in ["a+hang=1", "a+mute=1"] {
        let test = pool(&[&format!("{name}.gguf")], Options { hang: Duration::from_millis(600), ..options() });
        let lease = test.pool.acquire(name).await.unwrap();
        let said = timeout(Duration::from_secs(20), run(&lease, "one two")).await.unwrap().unwrap_err();
        assert!(said.contains("no step") || said.contains("no heartbeat"), "{name}: {said}");
    }
}

#[tokio::test]
async fn an_idle_engine_with_a_beating_heart_lives_on() {
    let test = pool(&["a.gguf"], Options { hang: Duration::from_millis(500), ..options() });
    let lease = test.pool.acquire("a").await.unwrap();
    assert!(timeout(Duration::from_secs(2), lease.engine.ended()).await.is_err());
    assert_eq!(run(&lease, "still here").await.unwrap(), "still here");
}

#[tokio::test]
async fn the_longest_unused_model_makes_room_and_one_in_use_never() {
    let test = pool(&["a.gguf", "b.gguf", "c.gguf"], Options { loaded_max: Some(2), ..options() });
    let a = test.pool.acquire("a").await.unwrap();
    drop(test.pool.acquire("b").await.unwrap());
    drop(test.pool.acquire("c").await.unwrap());
    assert_eq!(test.loaded(), ["a", "c"]);
    assert_eq!(run(&a, "still here").await.unwrap(), "still here");
    let c = test.pool.acquire("c").await.unwrap();
    let pool = test.pool.clone();
    let waiting = tokio::spawn(async move { pool.acquire("b").await.map(|lease| lease.model.id.clone()) });
    tokio::task::yield_now().await;
    drop(a);
    assert_eq!(waiting.await.unwrap().unwrap(), "b");
    assert_eq!(test.loaded(), ["b", "c"]);
    drop(c);
}

#[tokio::test]
async fn a_model_stays_for_its_least_time_before_another_one_takes_its_place() {
    let least = Duration::from_millis(300);
    let test = pool(&["a.gguf", "b.gguf"], Options { loaded_max: Some(1), min_residency: least, ..options() });
    let before = Instant::now();
    drop(test.pool.acquire("a").await.unwrap());
    drop(test.pool.acquire("b").await.unwrap());
    assert!(before.elapsed() >= least, "it went after {:?}", before.elapsed());
    assert_eq!(test.loaded(), ["b"]);
}

#[tokio::test]
async fn a_model_that_its_least_time_keeps_goes_when_it_is_told_to() {
    let test = pool(&["a.gguf", "b.gguf"], Options { loaded_max: Some(1), min_residency: Duration::from_hours(1), ..options() });
    drop(test.pool.acquire("a").await.unwrap());
    let mut waiting = Box::pin(test.pool.acquire("b"));
    assert!(timeout(Duration::from_millis(100), &mut waiting).await.is_err());
    assert_eq!(test.started(), 1);
    assert!(test.pool.unload("a").await.unwrap());
    assert_eq!(waiting.await.unwrap().model.id, "b");
    assert_eq!(test.loaded(), ["b"]);
}

#[tokio::test]
async fn what_can_never_fit_is_said_at_once() {
    let test = pool(&["a.gguf"], Options { memory_bytes_max: Some(1 << 20), ..options() });
    assert_eq!(test.pool.acquire("a").await.err().unwrap().code, Code::InsufficientStorage);
}

#[tokio::test]
async fn where_no_bound_is_set_the_memory_that_is_free_bounds() {
    // Each model needs about 60 MiB.
    let test = pool(&["a.gguf", "b.gguf", "c.gguf"], Options { meter: Arc::new(Small(150)), ..options() });
    let a = test.pool.acquire("a").await.unwrap();
    drop(test.pool.acquire("b").await.unwrap());
    drop(test.pool.acquire("c").await.unwrap());
    assert_eq!(test.loaded(), ["a", "c"], "the pages of loaded files are not free, and what is in use stays");
    drop(a);
    let none = pool(&["a.gguf"], Options { meter: Arc::new(Small(50)), ..options() });
    let failure = none.pool.acquire("a").await.err().unwrap();
    assert_eq!(failure.code, Code::InsufficientStorage);
    assert!(failure.message.contains("needs about 61 MiB") && failure.message.contains("50 MiB of 50 MiB are free"), "{failure}");
    assert_eq!(none.started(), 0);
    let bound = pool(&["a.gguf"], Options { meter: Arc::new(Small(50)), memory_bytes_max: Some(1 << 30), ..options() });
    bound.pool.acquire("a").await.expect("a bound that is set is the operator's word");
}

#[tokio::test]
async fn memory_of_a_gpu_is_waited_for_after_a_model_has_gone() {
    let test = pool(&["a.gguf", "b.gguf"], Options { meter: Arc::new(Slow(100, 0.into())), ..options() });
    test.pool.0.on_gpu.set(true).unwrap();
    drop(test.pool.acquire("a").await.unwrap());
    drop(test.pool.acquire("b").await.unwrap());
    assert_eq!(test.loaded(), ["b"]);
}

#[tokio::test]
async fn a_model_is_retired_when_nobody_uses_it_and_not_before() {
    let test = pool(&["a.gguf"], options());
    let file = test.dir.path().join("a.gguf");
    let remove = |file: &std::path::Path| {
        let file = file.to_owned();
        move || fs::remove_file(file).is_ok()
    };
    let lease = test.pool.acquire("a").await.unwrap();
    assert_eq!(test.pool.retire("a", remove(&file)).await, None);
    assert_eq!(run(&lease, "still here").await.unwrap(), "still here");
    drop(lease);
    assert_eq!(test.pool.retire("a", remove(&file)).await, Some(true));
    assert!(test.loaded().is_empty());
    assert_eq!(test.pool.acquire("a").await.err().unwrap().code, Code::ModelNotFound, "it is forgotten at once");
}

#[tokio::test]
async fn unloading_waits_for_what_runs_and_idle_models_go_by_themselves() {
    let test = pool(&["a+delay=5.gguf"], Options { idle_timeout: Some(Duration::from_millis(200)), ..options() });
    let name = "a+delay=5";
    let lease = test.pool.acquire(name).await.unwrap();
    let (answer, was_loaded) = tokio::join!(run(&lease, "one two three four"), test.pool.unload(name));
    assert_eq!((answer.unwrap().as_str(), was_loaded.unwrap()), ("one two three four", true));
    drop(lease);
    assert!(!test.pool.unload(name).await.unwrap());
    let lease = test.pool.acquire(name).await.unwrap();
    let ended = lease.engine.ended();
    drop(lease);
    timeout(Duration::from_secs(20), ended).await.unwrap();
    assert!(test.loaded().is_empty());
}

#[tokio::test]
async fn a_request_may_say_how_long_its_model_stays() {
    let test =
        pool(&["a.gguf", "b.gguf", "c.gguf"], Options { idle_timeout: Some(Duration::from_millis(100)), loaded_max: Some(2), ..options() });
    for (name, stay) in [("a", Some(Stay::ForEver)), ("b", Some(Stay::For(Duration::from_hours(1))))] {
        test.pool.acquire(name).await.unwrap().stay(stay);
    }
    let kept =
        |name: &str| test.pool.0.all().iter().find(|slot| slot.status().is_some_and(|s| s.id == name)).and_then(|s| s.unused_since());
    assert!(["a", "b"].iter().all(|name| !kept(name).unwrap().is_over(Some(Duration::ZERO))), "longer than the settings say");
    let lease = test.pool.acquire("c").await.unwrap();
    assert_eq!(test.loaded().iter().filter(|id| *id == "a" || *id == "b").collect::<Vec<_>>(), ["a"], "b was used last, and a stays");
    let ended = lease.engine.ended();
    lease.stay(Some(Stay::For(Duration::ZERO)));
    drop(lease);
    timeout(Duration::from_secs(20), ended).await.unwrap();
    let lease = test.pool.acquire("a").await.unwrap();
    let ended = lease.engine.ended();
    lease.stay(None);
    drop(lease);
    timeout(Duration::from_secs(20), ended).await.expect("a request that says nothing leaves it to the settings");
}

#[tokio::test]
async fn dropping_a_generation_frees_its_place() {
    let test = pool(&["a+delay=5.gguf"], Options { slots: 1, ..options() });
    let lease = test.pool.acquire("a+delay=5").await.unwrap();
    let mut endless = lease.engine.submit(Submit { ignore_eos: true, ..submit("again and") }).unwrap();
    while !matches!(endless.next().await, Event::Text(_)) {}
    drop(endless);
    let answer = timeout(Duration::from_secs(2), run(&lease, "my turn")).await.unwrap();
    assert_eq!(answer.unwrap(), "my turn");
}
