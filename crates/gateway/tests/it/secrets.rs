//! Secrets stay secret: planted everywhere, looked for everywhere.

use serde_json::json;
use testkit::{FakeUpstream, Reply, Script};

use crate::{
    client::Answer,
    router::{MASTER, Router, Setup, eventually},
};

/// What must be seen nowhere.
const PLANTED: [(&str, &str); 8] = [
    ("an account's key", "SECRETaccountkey"),
    ("an account's header", "SECRETheader"),
    ("a master key", MASTER),
    ("a static key", crate::router::KEY),
    ("a password", "SECRETpassword"),
    ("a join token", "SECRETjointoken"),
    ("a prompt", "SECRETprompt"),
    ("a wrong key", "SECRETwrongkey"),
];

/// What operators look at.
const OPERATING: [&str; 14] = [
    "/router/info",
    "/router/stats",
    "/router/health",
    "/router/rate-limits",
    "/backend/info",
    "/auth/status",
    "/auth/metrics",
    "/v1/router/policy",
    "/v1/router/live-metrics",
    "/config/sync/status",
    "/openapi.json",
    "/docs",
    "/redoc",
    "/docs/viewer.js",
];

fn assert_clean(place: &str, text: &str, more: &[&str]) {
    for (what, secret) in PLANTED.iter().copied().chain(more.iter().map(|s| ("a made secret", *s))) {
        assert!(!text.contains(secret), "{what} is in {place}: {text}");
    }
}

/// What operators are told, of the requests that were `answered` too.
async fn operated(router: &Router, answered: &[Answer]) -> Vec<Answer> {
    let mut answers = Vec::new();
    for path in OPERATING {
        let answer = router.get(path).key(MASTER).send().await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answers.push(answer);
    }
    for path in ["/router/reset-stats", "/auth/reset-metrics", "/auth/reload-keys", "/router/reload"] {
        answers.push(router.post(path, &json!({})).key(MASTER).send().await);
    }
    answers.push(router.post("/router/route", &json!({"query": "SECRETprompt", "model": "gpt-mock"})).key(MASTER).send().await);
    answers.push(router.post("/router/route", &json!({"query": 7, "x": "SECRETprompt"})).key(MASTER).send().await);
    let ids: Vec<String> = answered.iter().map(|answer| answer.header("x-request-id").to_owned()).take(12).collect();
    for id in &ids {
        let path = format!("/api/requests/{id}/explain");
        let explained = eventually(&path, || async { Some(router.get(&path).key(MASTER).send().await).filter(|a| a.status == 200) });
        answers.push(explained.await);
    }
    answers
}

#[tokio::test]
async fn no_secret_is_seen_anywhere() {
    let upstream = FakeUpstream::start(Script::default());
    let failing = FakeUpstream::start(Script::always(Reply::nothing()));
    let refusing = FakeUpstream::start(Script::always(Reply::error(401)));
    let secret = || json!({"api_key": "SECRETaccountkey", "headers": {"x-secret": "SECRETheader"}});
    let setup = Setup::new()
        .account("mock", &upstream.base_url(), &["gpt-mock"], secret())
        .account("failing", &failing.base_url(), &["failing"], secret())
        .account("refusing", &refusing.base_url(), &["refusing"], secret())
        .account("away", &format!("http://{}/v1", crate::router::closed_port()), &["away"], secret())
        .set("retry", json!({"max_attempts": 1}))
        .env("LLM_ROUTER_ADMIN_PASSWORD", "SECRETpassword")
        .env("LLM_ROUTER_JOIN_TOKEN", "SECRETjointoken")
        .env("LLM_ROUTER_LOG_LEVEL", "trace");
    let mut router = setup.start();
    let mut answers = Vec::new();
    for model in ["gpt-mock", "failing", "refusing", "away", "nobody", "dummy"] {
        for stream in [false, true] {
            let prompt = json!({"stream": stream, "messages": [{"role": "user", "content": "SECRETprompt"}], "user": "SECRETprompt"});
            answers.push(router.chat(model, prompt).header("x-router-debug", "1").send().await);
        }
    }
    answers.push(router.chat("dummy", json!({})).key("SECRETwrongkey").send().await);
    answers.push(router.chat("dummy", json!({})).body("{\"messages\":[{\"content\":\"SECRETprompt\"}], broken").send().await);
    answers.push(router.chat("dummy", json!({"messages": "SECRETprompt"})).send().await);
    answers.push(router.get("/v1/models?key=SECRETwrongkey").nobody().send().await);
    let (_, key) = router.new_key(json!({})).await;
    let login = |password: &str| router.post("/api/auth/login", &json!({"username": "admin", "password": password})).send();
    let token = login("SECRETpassword").await.json()["token"].as_str().unwrap().to_owned();
    answers.push(login("SECRETwrongkey").await);
    router.chat("gpt-mock", json!({"messages": [{"role": "user", "content": "SECRETprompt"}]})).key(&key).send().await;
    let made = [key.as_str(), token.as_str()];
    for path in ["/metrics", "/metrics/cloud", "/api/config", "/api/api-keys", "/api/nodes", "/health", "/v1/models", "/"] {
        answers.push(router.get(path).key(MASTER).send().await);
    }
    answers.extend(operated(&router, &answers).await);
    router.write_config("accounts: [{name: x, api_key: SECRETaccountkey, headers: 7, bad: SECRETheader}]");
    answers.push(router.ask(http::Method::POST, "/config/reload").key(MASTER).send().await);
    assert_eq!(answers.last().unwrap().status, 400);
    for answer in &answers {
        assert_clean("an answer", &format!("{:?} {}", answer.headers, answer.text()), &made);
    }
    let config = router.config().to_string();
    router.write_config(&config);
    for args in [&["config", "show"][..], &["config", "show", "--json"], &["config", "check"], &["key", "list", "--json"]] {
        let said = router.run(args, &[]);
        assert!(said.status.success());
        assert_clean(
            "a command's output",
            &format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr)),
            &made,
        );
    }
    router.stop();
    let log = std::fs::read_to_string(router.data_dir().join("logs/router.log")).unwrap();
    assert!(log.lines().filter(|line| line.contains("\"target\":\"request\"")).count() >= 10, "{log}");
    assert_clean("the log", &log, &made);
    let decisions = std::fs::read_to_string(router.data_dir().join("logs/router_decisions.jsonl")).unwrap();
    assert!(decisions.lines().filter(|line| line.contains("\"route_decision\"")).count() >= 10, "{decisions}");
    assert_clean("the decision log", &decisions, &made);
    assert_clean("the console", &router.said.all(), &made);
    for entry in std::fs::read_dir(router.data_dir()).unwrap().map(Result::unwrap).filter(|e| e.file_type().unwrap().is_file()) {
        let bytes = std::fs::read(entry.path()).unwrap();
        assert_clean(&entry.path().display().to_string(), &String::from_utf8_lossy(&bytes), &made);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn what_holds_secrets_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let router = Setup::new().start();
    let mode = |name: &str| std::fs::metadata(router.data_dir().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(""), 0o700);
    for file in ["router.db", "jwt_secret"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
}
