//! Secrets stay secret: planted everywhere, looked for everywhere.

use serde_json::json;
use testkit::{FakeUpstream, Reply, Script};

use crate::{
    client::Answer,
    router::{MASTER, Router, Setup, eventually},
};

/// What must be seen nowhere.
const PLANTED: [(&str, &str); 18] = [
    ("an account's key", "SECRETaccountkey"),
    ("an account's header", "SECRETheader"),
    ("a master key", MASTER),
    ("a static key", crate::router::KEY),
    ("a password", "SECRETpassword"),
    ("a join token", "SECRETjointoken"),
    ("a prompt", "SECRETprompt"),
    ("a wrong key", "SECRETwrongkey"),
    ("an account's access token", "SECRETaccess"),
    ("an account's refresh token", "SECRETrefresh"),
    ("an account's client secret", "SECRETclient"),
    ("a renewed access token", "SECRETrenewed"),
    ("a renewed refresh token", "SECRETrotated"),
    ("a caller's own credential", "SECRETlent"),
    ("the secret of an identity provider", "SECRETissuer"),
    ("a password of Redis", "SECRETredis"),
    ("a password of a database", "SECRETdatabase"),
    ("a password of a proxy", "SECRETproxy"),
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

pub(crate) fn assert_clean(place: &str, text: &str, more: &[&str]) {
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
        // Full bodies are prompts; that no credential is in those has a test of its own.
        .set("history", json!({"bodies": "none"}))
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

/// Every file that a router has left behind, its own configuration apart, and what it said.
fn assert_nothing_left_behind(router: &Router, more: &[&str]) {
    let mut folders = vec![router.data_dir()];
    let mut looked_at = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                looked_at += 1;
                assert_clean(&entry.path().display().to_string(), &String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()), more);
            }
        }
    }
    assert!(looked_at >= 3, "the database and two logs at least");
    assert_clean("the console", &router.said.all(), more);
}

/// A token of the identity provider that shares a secret with the router.
fn token(secret: &str) -> String {
    let claims = json!({"sub": "user-1", "iss": "https://issuer.test", "exp": jiff::Timestamp::now().as_second() + 600});
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &jsonwebtoken::EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

/// The secret of the identity provider.
const ISSUER: &str = "SECRETissuer-of-at-least-32-bytes-length";

/// Accounts that are opened in every way, at upstreams and token servers that fail in every way, and the upstreams.
pub(crate) fn opened_in_every_way() -> (Setup, Vec<FakeUpstream>) {
    let renewed = json!({"access_token": "SECRETrenewed", "refresh_token": "SECRETrotated", "expires_in": 3600});
    let tokens = FakeUpstream::start(Script::default().on("/token", Reply::json(&renewed)));
    // A token server that shows everything it was told.
    let chatty = json!({"error": "invalid_grant", "error_description": "SECRETrefresh SECRETclient"});
    let stingy = FakeUpstream::start(Script::default().on("/token", Reply::json(&chatty).status(400)));
    // An upstream that repeats what it heard, in every kind of failure.
    let echo = json!({"error": {"message": "you said SECRETprompt with SECRETaccountkey, SECRETheader and SECRETlent", "type": "x", "code": null}});
    let echoing = |status: u16| FakeUpstream::start(Script::always(Reply::json(&echo).status(status)));
    let (fine, broken, limited, inside, forbidden, picky) =
        (FakeUpstream::start(Script::default()), echoing(500), echoing(429), echoing(200), echoing(403), echoing(400));
    // And inside streams: as the first thing, and later.
    let word = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}\n\n".to_owned();
    let told = format!("data: {echo}\n\n").replace("\"x\"", "\"invalid_request_error\"");
    let telling = |pieces: &[&String]| FakeUpstream::start(Script::always(Reply::events(pieces.iter().map(|piece| (*piece).clone()))));
    let (torn, stillborn) = (telling(&[&word, &told]), telling(&[&told]));
    let oauth = |server: &FakeUpstream| {
        json!({"auth_mode": "oauth", "api_key": null, "oauth_access_token": "SECRETaccess", "oauth_refresh_token": "SECRETrefresh", "oauth_expires_at": 1000,
            "oauth_token_url": format!("{}/token", server.url()), "oauth_client_id": "client", "oauth_client_secret": "SECRETclient"})
    };
    let secret = || json!({"api_key": "SECRETaccountkey", "headers": {"x-secret": "SECRETheader"}});
    let lent = || json!({"auth_mode": "passthrough", "api_key": null});
    let setup = Setup::new()
        .account("sso", &fine.base_url(), &["sso"], oauth(&tokens))
        .account("ended", &fine.base_url(), &["ended"], oauth(&stingy))
        .account("lent", &fine.base_url(), &["lent"], lent())
        .account("lent-away", &format!("http://{}/v1", crate::router::closed_port()), &["lent-away"], lent())
        .account("broken", &broken.base_url(), &["broken"], secret())
        .account("limited", &limited.base_url(), &["limited"], secret())
        .account("inside", &inside.base_url(), &["inside"], secret())
        .account("forbidden", &forbidden.base_url(), &["forbidden"], secret())
        .account("picky", &picky.base_url(), &["picky"], secret())
        .account("torn", &torn.base_url(), &["torn"], secret())
        .account("stillborn", &stillborn.base_url(), &["stillborn"], secret())
        .set("retry", json!({"max_attempts": 1}))
        .set("history", json!({"bodies": "none"}))
        .env("OAUTH_ENABLED", "true")
        .env("OAUTH_ISSUER", "https://issuer.test")
        .env("OAUTH_JWT_SECRET", ISSUER)
        .env("REDIS_URL", &format!("redis://user:SECRETredis@{}/0", crate::router::closed_port()))
        .env("HTTP_PROXY", &format!("http://user:SECRETproxy@{}", crate::router::closed_port()))
        .env("NO_PROXY", "127.0.0.1")
        .env("LLM_ROUTER_LOG_LEVEL", "trace");
    (setup, vec![tokens, stingy, fine, broken, limited, inside, forbidden, picky, torn, stillborn])
}

/// What a command prints, wherever.
pub(crate) fn printed(router: &Router, args: &[&str]) -> String {
    let said = router.run(args, &[]);
    format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr))
}

#[tokio::test]
async fn credentials_of_all_kinds_are_seen_nowhere() {
    let (setup, _upstreams) = opened_in_every_way();
    let mut router = setup.start();
    let (good, bad) = (token(ISSUER), token("another secret that is as long as it has to be"));
    let prompt = |stream: bool| json!({"stream": stream, "messages": [{"role": "user", "content": "SECRETprompt"}]});
    let mut answers = Vec::new();
    for model in ["sso", "ended", "lent", "lent-away", "broken", "limited", "inside", "forbidden", "picky", "torn", "stillborn"] {
        for (path, stream) in [("/v1/chat/completions", false), ("/v1/chat/completions", true), ("/v1/messages", true)] {
            let mut body = prompt(stream);
            (body["model"], body["max_tokens"]) = (json!(model), json!(9));
            let ask = router.post(path, &body).key("SECRETlent").header("x-litellm-api-key", crate::router::KEY);
            answers.push((model, ask.header("x-router-debug", "1").send().await));
        }
    }
    for model in ["torn", "stillborn"] {
        let streams = answers.iter().filter(|(of, answer)| *of == model && answer.status == 200);
        assert_eq!(streams.filter(|(_, answer)| answer.text().contains("with ***, *** and")).count(), 2, "{model}: {answers:?}");
    }
    assert_eq!(answers.iter().filter(|(model, answer)| ["sso", "lent"].contains(model) && answer.status == 200).count(), 6);
    for key in [&good, &bad] {
        answers.push(("token", router.chat("dummy", prompt(false)).key(key).send().await));
    }
    assert_eq!(answers.iter().rev().take(2).map(|(_, answer)| answer.status).collect::<Vec<_>>(), [401, 200]);
    let made = [good.as_str(), bad.as_str()];
    for (model, answer) in &answers {
        let mut text = format!("{:?} {}", answer.headers, answer.text());
        if ["broken", "limited", "inside", "picky", "torn", "stillborn"].contains(model) {
            // The caller may hear its own words again.
            text = text.replace("SECRETprompt", "").replace("SECRETlent", "");
        }
        assert_clean(model, &text, &made);
    }
    let asked: Vec<Answer> = answers.into_iter().map(|(_, answer)| answer).collect();
    let mut told = operated(&router, &asked).await;
    for path in ["/metrics", "/metrics/cloud", "/api/config", "/api/api-keys", "/_health/ready", "/health", "/v1/models", "/"] {
        told.push(router.get(path).key(MASTER).send().await);
    }
    for answer in &told {
        assert_clean("what operators are told", &format!("{:?} {}", answer.headers, answer.text()), &made);
    }
    let edit = ["config", "add-account", "--name", "sso", "--oauth-access-token", "SECRETaccess", "--dry-run"];
    for args in [&edit[..], &["config", "show"], &["config", "summary"], &["config", "list-accounts", "--json"], &["config", "check"]] {
        assert_clean("a command's output", &printed(&router, args), &made);
    }
    router.stop();
    assert_nothing_left_behind(&router, &made);
}

#[test]
fn a_start_that_fails_shows_no_secret() {
    let unreachable = format!("postgres://user:SECRETdatabase@{}/db?connect_timeout=1", crate::router::closed_port());
    for (name, value) in [
        ("LLM_ROUTER_DATABASE_URL", unreachable.as_str()),
        ("LLM_ROUTER_DATABASE_URL", "mysql://user:SECRETdatabase@h/db"),
        ("LLM_ROUTER_DATABASE_URL", "postgres://user:SECRETdatabase@h:notaport/db"),
        ("REDIS_URL", "http://user:SECRETredis@h"),
        ("OAUTH_ALGORITHMS", "none"),
        ("ROUTER_SERVICES", "[{\"name\": \"x\", \"api_key\": \"SECRETaccountkey\", \"base_url\": 7}]"),
    ] {
        let setup = Setup::new().env(name, value).env("OAUTH_ENABLED", "true").env("OAUTH_JWT_SECRET", "SECRETissuer");
        let (status, said) = setup.fails();
        assert!(!status.success(), "{name}={value}");
        assert_clean(&format!("what is said of {name}"), &said, &[]);
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
