//! Start and end.

use std::net::TcpStream;

use serde_json::json;
use testkit::{FakeUpstream, Gate, Reply, Script};

use crate::router::{KEY, MASTER, Setup, eventually};

fn held(gate: &Gate) -> FakeUpstream {
    FakeUpstream::start(Script::always(Reply::ok().words(["one", " two", " three"]).hold_pieces(gate)))
}

#[tokio::test]
async fn what_is_under_way_is_finished_before_the_end() {
    let gate = Gate::new();
    let upstream = held(&gate);
    let mut router = Setup::new().upstream("mock", &upstream).start();
    gate.pass(2);
    let mut stream = router.chat("gpt-mock", json!({"stream": true})).header("x-request-id", "last").open().await;
    stream.until("one").await;
    router.signal("TERM");
    let address = router.address();
    eventually("new connections are refused", || async { TcpStream::connect(address).is_err().then_some(()) }).await;
    gate.pass(10);
    let text = stream.rest().await;
    assert!(text.contains(" three") && text.ends_with("data: [DONE]\n\n"), "{text}");
    let status = router.ended();
    assert_eq!(status.code(), Some(0), "{}", router.said.all());
    assert_eq!(&*router.record("last").await.outcome, "success");
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let gate = Gate::new();
    let upstream = held(&gate);
    let mut router = Setup::new().upstream("mock", &upstream).env("LLM_ROUTER_SERVER_DRAIN_TIMEOUT", "10m").start();
    gate.pass(2);
    let mut stream = router.chat("gpt-mock", json!({"stream": true})).open().await;
    stream.until("one").await;
    router.signal("INT");
    router.said.wait(|line| line.contains("a second signal ends at once")).unwrap();
    router.signal("INT");
    assert_eq!(router.ended().code(), Some(130));
}

#[tokio::test]
async fn a_stream_without_end_does_not_keep_the_router_from_ending() {
    let gate = Gate::new();
    let upstream = held(&gate);
    let mut router = Setup::new().upstream("mock", &upstream).env("LLM_ROUTER_SERVER_DRAIN_TIMEOUT", "200ms").start();
    gate.pass(2);
    let mut stream = router.chat("gpt-mock", json!({"stream": true})).header("x-request-id", "cut").open().await;
    stream.until("one").await;
    router.signal("TERM");
    assert_eq!(router.ended().code(), Some(0), "{}", router.said.all());
    let row = router.record("cut").await;
    assert_eq!((&*row.outcome, row.status), ("cancelled", 200), "its record is written all the same");
}

#[tokio::test]
async fn an_idle_connection_does_not_keep_the_router_from_ending() {
    let mut router = Setup::new().env("LLM_ROUTER_SERVER_DRAIN_TIMEOUT", "10m").start();
    let idle = TcpStream::connect(router.address()).unwrap();
    router.stop();
    drop(idle);
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (status, said) = Setup::new().env("LLM_ROUTER_LISTEN", &address).fails();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("cannot listen on {address}")), "{said}");
    let router = Setup::new().start();
    let (status, said) = Setup::new().env("LLM_ROUTER_LISTEN", &router.address().to_string()).fails();
    assert_eq!(status.code(), Some(1), "beside another router: {said}");
}

#[tokio::test]
async fn two_routers_do_not_share_a_data_directory() {
    let mut router = Setup::new().start();
    let (status, said) = Setup::new().in_home_of(&router).fails();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("another router is already running") && said.contains(&router.data_dir().display().to_string()), "{said}");
    assert_eq!(router.chat("dummy", json!({})).send().await.status, 200, "the first is not disturbed");
    router.stop();
    Setup::new().in_home_of(&router).start().stop();
}

#[tokio::test]
async fn open_access_to_the_world_is_refused() {
    for (name, value) in [("LLM_ROUTER_AUTH_MODE", "off"), ("LLM_ROUTER_MANAGEMENT_AUTH", "open")] {
        let (status, said) = Setup::new().env(name, value).env("LLM_ROUTER_LISTEN", "0.0.0.0:0").fails();
        assert_eq!(status.code(), Some(78), "{said}");
        assert!(said.contains("0.0.0.0:0") && said.contains("LLM_ROUTER_ALLOW_INSECURE"), "{said}");
    }
    let open =
        Setup::new().env("LLM_ROUTER_AUTH_MODE", "off").env("LLM_ROUTER_LISTEN", "0.0.0.0:0").env("LLM_ROUTER_ALLOW_INSECURE", "true");
    assert_eq!(open.start().chat("dummy", json!({})).nobody().send().await.status, 200);
}

#[tokio::test]
async fn with_auth_off_everything_is_open_on_loopback() {
    let router = Setup::new().env("LLM_ROUTER_AUTH_MODE", "off").start();
    for path in ["/v1/models", "/api/nodes", "/api/api-keys", "/api/config"] {
        assert_eq!(router.get(path).nobody().send().await.status, 200, "{path}");
    }
    for key in ["sk_anything", KEY] {
        assert_eq!(router.chat("dummy", json!({})).key(key).send().await.status, 200);
    }
}

#[tokio::test]
async fn a_fresh_router_shows_its_secrets_once() {
    let fresh = || Setup::new().env("LLM_ROUTER_API_KEYS", "").env("LLM_ROUTER_MASTER_KEY", "");
    let mut router = fresh().start();
    let line = router.said.wait(|line| line.starts_with("First start: an API key")).unwrap();
    let key = line.rsplit(' ').next().unwrap().to_owned();
    let line = router.said.wait(|line| line.starts_with("First start: the administrator")).unwrap();
    let password = line.split('`').nth(3).unwrap().to_owned();
    assert_eq!(router.chat("dummy", json!({})).key(&key).send().await.status, 200);
    let login = router.post("/api/auth/login", &json!({"username": "admin", "password": password})).nobody().send().await;
    let token = login.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(login.json()["user"]["must_change_password"], true);
    let me = router.get("/api/auth/me").key(&token).send().await.json();
    assert_eq!((&me["username"], &me["role"]), (&json!("admin"), &json!("admin")));
    assert_eq!(router.get("/api/api-keys").key(&token).send().await.status, 403, "a password that was made has to be changed first");
    let own = format!("/api/users/{}", me["user_id"].as_str().unwrap());
    let changed = router.ask(http::Method::PUT, &own).key(&token).json(&json!({"password": "chosen by myself"})).send().await;
    let token = changed.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(router.get("/api/api-keys").key(&token).send().await.status, 200);
    assert_eq!(router.chat("dummy", json!({})).key(&token).send().await.status, 200, "a session's token counts as a key");
    router.stop();

    let mut again = fresh().in_home_of(&router).start();
    assert_eq!(again.chat("dummy", json!({})).key(&key).send().await.status, 200);
    assert_eq!(again.get("/api/auth/me").key(&token).send().await.status, 200, "sessions outlive a restart");
    again.stop();
    assert!(!again.said.all().contains("First start"), "{}", again.said.all());
}

#[tokio::test]
async fn wrong_passwords_are_counted() {
    let router = Setup::new().env("LLM_ROUTER_ADMIN_PASSWORD", "right-password").start();
    let login = |password: &str| router.post("/api/auth/login", &json!({"username": "admin", "password": password})).nobody().send();
    assert_eq!(login("right-password").await.status, 200);
    for _ in 0..10 {
        let wrong = login("wrong").await;
        assert_eq!((wrong.status, wrong.code().as_str()), (401, "invalid_api_key"));
    }
    for password in ["wrong", "right-password"] {
        let locked = login(password).await;
        assert_eq!((locked.status, locked.code().as_str()), (429, "rate_limit_exceeded"));
        assert!(locked.header("retry-after").parse::<u64>().unwrap() > 0);
    }
    let other = router.post("/api/auth/login", &json!({"username": "nobody", "password": "x"})).nobody().send().await;
    assert_eq!(other.status, 401, "another user is not locked out");
    assert_eq!(router.get("/api/api-keys").key(MASTER).send().await.status, 200, "nor is a key");
}

#[tokio::test]
async fn guesses_sent_all_at_once_are_counted_too() {
    let router = Setup::new().env("LLM_ROUTER_ADMIN_PASSWORD", "right-password").start();
    let guess = json!({"username": "admin", "password": "wrong"});
    let guesses: Vec<_> = (0..40).map(|_| tokio::spawn(router.post("/api/auth/login", &guess).nobody().send())).collect();
    let mut judged = 0;
    for guess in guesses {
        let status = guess.await.unwrap().status;
        assert!([401, 429].contains(&status), "{status}");
        judged += usize::from(status == 401);
    }
    assert!((10..=12).contains(&judged), "{judged} guesses were judged");
}

#[tokio::test]
async fn a_key_that_cannot_exist_is_asked_for() {
    let setup = Setup::new().env("LLM_ROUTER_API_KEYS", "").env("LLM_ROUTER_MASTER_KEY", "").env("LLM_ROUTER_AUTH_MODE", "required");
    let (status, said) = setup.fails();
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(said.contains("llm-router key create"), "{said}");
}

#[tokio::test]
async fn probes_say_what_is_missing() {
    let router = Setup::new().start();
    for path in ["/health", "/_health/live", "/health/liveliness", "/"] {
        assert_eq!(router.get(path).nobody().send().await.status, 200, "{path}");
    }
    let ready = router.get("/_health/ready").nobody().send().await;
    assert_eq!(
        (ready.status, &ready.json()["checks"]["targets"], &ready.json()["checks"]["store"]),
        (503, &json!("missing"), &json!("ok"))
    );
    let router = Setup::new().account("one", "http://127.0.0.1:1", &["m"], json!({})).start();
    for path in ["/_health/ready", "/health/readiness"] {
        assert_eq!(router.get(path).nobody().send().await.json()["status"], "ready");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_is_behind_the_path_has_less_of_a_claim_to_a_core() {
    let router = Setup::new().start();
    let is_behind = |name: &str| ["ledger", "chronicle", "log-file"].contains(&name) || name.starts_with("store-");
    eventually("threads step back", || async {
        let threads = router.niceness();
        let claims =
            |wanted: &dyn Fn(&str) -> bool| threads.iter().filter(|(name, _)| wanted(name)).map(|(_, nice)| *nice).collect::<Vec<_>>();
        let (path, behind) = (claims(&|name| name.starts_with("serve-")), claims(&is_behind));
        assert!(!path.is_empty() && behind.len() >= 3, "{threads:?}");
        // Nothing is nicer than 19.
        behind.iter().all(|nice| *nice == 19 || path.iter().all(|path| nice > path)).then_some(())
    })
    .await;
}

/// Linux makes it larger when it is full, and who opens the file that does not fit waits for that.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_table_of_open_files_has_its_size_from_the_start() {
    let router = Setup::new().start();
    let limit = router.proc("limits", "Max open files").unwrap();
    let most = limit.split_whitespace().next().unwrap().parse().map_or(65_536, |most: usize| most.min(65_536));
    let size: usize = router.proc("status", "FDSize:").unwrap().parse().unwrap();
    assert!(size >= most, "{size} of {most}");
}

/// Whoever makes it write where it should not finds no place from which that is run.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn nothing_in_memory_is_both_written_and_run() {
    let router = Setup::new().start();
    let maps = router.proc_text("maps").unwrap();
    let rights = |line: &&str| line.split(' ').nth(1).is_some_and(|rights| rights.contains('w') && rights.contains('x'));
    assert!(maps.lines().count() > 10, "{maps}");
    assert_eq!(maps.lines().find(rights), None);
}
