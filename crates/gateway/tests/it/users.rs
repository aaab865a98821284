//! People: who logs in, how a browser keeps its session, and what ends one.

use http::Method;
use serde_json::{Value, json};

use crate::{
    client::Answer,
    router::{MASTER, Router, Setup},
};

const PASSWORD: &str = "the-first-password";

fn setup() -> Setup {
    Setup::new().env("LLM_ROUTER_ADMIN_PASSWORD", PASSWORD)
}

async fn log_in(router: &Router, username: &str, password: &str) -> Answer {
    router.post("/api/auth/login", &json!({"username": username, "password": password})).nobody().send().await
}

async fn token(router: &Router, username: &str, password: &str) -> String {
    let answer = log_in(router, username, password).await;
    answer.json()["token"].as_str().unwrap_or_else(|| panic!("{}", answer.text())).to_owned()
}

async fn new_user(router: &Router, username: &str, role: &str) -> String {
    let body = json!({"username": username, "password": "a-password-of-theirs", "role": role});
    let made = router.post("/api/users", &body).key(MASTER).send().await;
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()["id"].as_str().unwrap().to_owned()
}

/// The cookies of an answer: `(name, value, attributes)`.
fn cookies(answer: &Answer) -> Vec<(String, String, String)> {
    let one = |text: &str| {
        let (pair, attributes) = text.split_once("; ").unwrap();
        let (name, value) = pair.split_once('=').unwrap();
        (name.to_owned(), value.to_owned(), attributes.to_owned())
    };
    answer.headers.get_all("set-cookie").iter().map(|v| one(v.to_str().unwrap())).collect()
}

async fn put(router: &Router, key: &str, id: &str, body: Value) -> Answer {
    router.ask(Method::PUT, &format!("/api/users/{id}")).key(key).json(&body).send().await
}

#[tokio::test]
async fn a_browser_keeps_its_session_in_a_cookie_and_says_a_word_to_change_something() {
    let router = setup().start();
    let given = cookies(&log_in(&router, "admin", PASSWORD).await);
    let [(session, token, of_session), (csrf, word, of_csrf)] = &given[..] else { panic!("{given:?}") };
    assert_eq!((session.as_str(), csrf.as_str()), ("session", "csrf"));
    assert!(of_session.contains("HttpOnly") && of_session.contains("SameSite=Strict"), "{of_session}");
    assert!(!of_csrf.contains("HttpOnly") && !of_session.contains("Secure"), "{of_csrf}");
    let cookie = format!("session={token}; csrf={word}");

    let me = router.get("/api/auth/me").nobody().header("cookie", &cookie).send().await;
    assert_eq!((me.status, &me.json()["username"]), (200, &json!("admin")));
    let make = |word: Option<&str>| {
        let ask = router.post("/api/api-keys", &json!({"name": "k"})).nobody().header("cookie", &cookie);
        match word {
            Some(word) => ask.header("x-csrf-token", word),
            None => ask,
        }
    };
    for wrong in [None, Some(""), Some("guess")] {
        let answer = make(wrong).send().await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "permission_denied"), "{wrong:?}");
    }
    assert_eq!(make(Some(word)).send().await.status, 201);
    // A word of the attacker's own, planted as a cookie, does not do: it belongs to the session.
    let planted = format!("session={token}; csrf=guess");
    let answer = router
        .post("/api/api-keys", &json!({"name": "k"}))
        .nobody()
        .header("cookie", &planted)
        .header("x-csrf-token", "guess")
        .send()
        .await;
    assert_eq!(answer.status, 403);
    // The playground talks to models with the same proof.
    let chat = || router.chat("dummy", json!({})).nobody().header("cookie", &cookie);
    assert_eq!((chat().send().await.status, chat().header("x-csrf-token", word).send().await.status), (403, 200));
    // A key that is shown counts alone: a wrong one is not made good by a cookie.
    assert_eq!(router.get("/api/users").key("sk_wrong").header("cookie", &cookie).send().await.status, 401);

    let gone = router.ask(Method::POST, "/api/auth/logout").nobody().header("cookie", &cookie).send().await;
    assert_eq!(gone.status, 204);
    assert!(
        cookies(&gone).iter().all(|(_, value, attributes)| value.is_empty() && attributes.contains("Max-Age=0")),
        "{:?}",
        cookies(&gone)
    );
}

#[tokio::test]
async fn cookies_are_for_tls_only_where_a_trusted_proxy_says_that_there_is_tls() {
    let log_in = async |router: &Router, proto: &str| {
        let ask = router.post("/api/auth/login", &json!({"username": "admin", "password": PASSWORD})).nobody();
        let given = cookies(&ask.header("x-forwarded-proto", proto).send().await);
        assert_eq!(given.len(), 2, "{given:?}");
        given.iter().all(|(_, _, attributes)| attributes.contains("; Secure"))
    };
    let router = setup().start();
    assert!(!log_in(&router, "https").await, "anybody can say so");
    let behind = setup().env("LLM_ROUTER_TRUSTED_PROXIES", "127.0.0.1").start();
    assert!(log_in(&behind, "https").await && log_in(&behind, "HTTPS, http").await);
    assert!(!log_in(&behind, "http").await);
}

#[tokio::test]
async fn whoever_logs_out_is_out_with_token_and_cookie_and_after_a_restart() {
    let router = setup().start();
    let reads = async |router: &Router, token: &str| router.get("/api/users").key(token).send().await.status;
    let by_cookie = async |router: &Router, token: &str| {
        router.get("/api/auth/me").nobody().header("cookie", &format!("session={token}")).send().await.status
    };
    let (first, second, third) =
        (token(&router, "admin", PASSWORD).await, token(&router, "admin", PASSWORD).await, token(&router, "admin", PASSWORD).await);
    assert_eq!(router.ask(Method::POST, "/api/auth/logout").key(&first).send().await.status, 204);
    let cookie = format!("session={second}");
    assert_eq!(router.ask(Method::POST, "/api/auth/logout").nobody().header("cookie", &cookie).send().await.status, 204);
    for ended in [&first, &second] {
        assert_eq!((reads(&router, ended).await, by_cookie(&router, ended).await), (401, 401));
        let chat = router.chat("dummy", json!({})).key(ended).send().await;
        assert_eq!(chat.status, 401, "models are asked with sessions too");
        let again = router.ask(Method::POST, "/api/auth/logout").key(ended).send().await;
        assert_eq!(again.status, 204, "said twice it is no failure");
    }
    assert_eq!((reads(&router, &third).await, by_cookie(&router, &third).await), (200, 200), "the others stay");

    let started_again = setup().in_home_of(&router);
    drop(router);
    let router = started_again.start();
    assert_eq!((reads(&router, &first).await, by_cookie(&router, &second).await, reads(&router, &third).await), (401, 401, 200));
}

#[tokio::test]
async fn a_log_out_without_a_session_is_no_failure() {
    let router = setup().start();
    for key in ["sk_wrong", MASTER, "eyJhbGciOiJIUzI1NiJ9.e30.c2ln"] {
        assert_eq!(router.ask(Method::POST, "/api/auth/logout").key(key).send().await.status, 204);
    }
    assert_eq!(router.get("/api/users").key(MASTER).send().await.status, 200, "a key does not end");
}

#[tokio::test]
async fn a_session_ends_with_its_user_its_password_and_its_role() {
    let router = setup().start();
    let id = new_user(&router, "vera", "admin").await;
    let reads = async |token: &str| router.get("/api/users").key(token).send().await.status;
    let first = token(&router, "vera", "a-password-of-theirs").await;
    assert_eq!(reads(&first).await, 200);
    assert_eq!(put(&router, MASTER, &id, json!({"role": "viewer"})).await.status, 200);
    assert_eq!(reads(&first).await, 403, "a role that was taken counts at once");
    assert_eq!(put(&router, MASTER, &id, json!({"password": "another-password"})).await.status, 200);
    assert_eq!(reads(&first).await, 401, "another password ends the sessions of the one before");
    assert_eq!(log_in(&router, "vera", "a-password-of-theirs").await.status, 401);
    let second = token(&router, "vera", "another-password").await;
    assert_eq!(router.get("/api/nodes").key(&second).send().await.status, 200);
    assert_eq!(router.ask(Method::DELETE, &format!("/api/users/{id}")).key(MASTER).send().await.status, 204);
    assert_eq!(router.get("/api/nodes").key(&second).send().await.status, 401);
    assert_eq!(router.ask(Method::DELETE, &format!("/api/users/{id}")).key(MASTER).send().await.status, 404);
}

#[tokio::test]
async fn a_generated_password_opens_nothing_until_it_is_another() {
    let router = Setup::new().start();
    let said = router.said.wait(|line| line.contains("with the password `")).unwrap_or_else(|text| panic!("{text}"));
    let generated = said.split("with the password `").nth(1).and_then(|rest| rest.split('`').next()).unwrap();
    let answer = log_in(&router, "admin", generated).await;
    let (token, id) = (answer.json()["token"].as_str().unwrap().to_owned(), answer.json()["user"]["id"].as_str().unwrap().to_owned());
    assert_eq!(answer.json()["user"]["must_change_password"], json!(true));
    for path in ["/api/users", "/api/nodes", "/v1/models", "/router/info"] {
        let refused = router.get(path).key(&token).send().await;
        assert_eq!(refused.status, 403, "{path}");
        assert!(refused.text().contains("password"), "{}", refused.text());
    }
    assert_eq!(router.chat("dummy", json!({})).key(&token).send().await.status, 403);
    assert_eq!(router.get("/api/auth/me").key(&token).send().await.json()["must_change_password"], json!(true));
    for (body, status) in [
        (json!({"password": generated}), 400),
        (json!({"password": "only-eleven"}), 400),
        (json!({"password": "this-is-admin"}), 400),
        (json!({"password": "a-good-password", "username": "root"}), 403),
        (json!({"must_change_password": false}), 403),
    ] {
        assert_eq!(put(&router, &token, &id, body.clone()).await.status, status, "{body}");
    }
    let changed = put(&router, &token, &id, json!({"password": "a-good-password"})).await;
    assert_eq!((changed.status, &changed.json()["must_change_password"]), (200, &Value::Null), "{}", changed.text());
    let fresh = changed.json()["token"].as_str().unwrap().to_owned();
    assert_eq!((router.get("/api/users").key(&fresh).send().await.status, cookies(&changed).len()), (200, 2));
    assert_eq!(router.get("/api/auth/me").key(&token).send().await.status, 401);
}

#[tokio::test]
async fn viewers_change_their_own_password_and_nothing_else() {
    let router = setup().start();
    let (vera, other) = (new_user(&router, "vera", "viewer").await, new_user(&router, "otto", "viewer").await);
    let session = token(&router, "vera", "a-password-of-theirs").await;
    for (id, body) in [
        (&vera, json!({"role": "admin"})),
        (&vera, json!({"password": "a-new-password", "role": "admin"})),
        (&vera, json!({})),
        (&other, json!({"password": "a-new-password"})),
    ] {
        assert_eq!(put(&router, &session, id, body.clone()).await.status, 403, "{body}");
    }
    assert_eq!(put(&router, &session, &vera, json!({"password": "a-new-password"})).await.status, 200);
    assert_eq!(log_in(&router, "vera", "a-new-password").await.status, 200);
    assert_eq!(log_in(&router, "otto", "a-password-of-theirs").await.status, 200);
}

#[tokio::test]
async fn names_are_unique_and_somebody_who_administers_stays() {
    let router = setup().start();
    let vera = new_user(&router, "vera", "viewer").await;
    let twice =
        router.post("/api/users", &json!({"username": " vera ", "password": "twelve-chars", "role": "viewer"})).key(MASTER).send().await;
    assert_eq!((twice.status, twice.code().as_str()), (409, "conflict"));
    assert_eq!(put(&router, MASTER, &vera, json!({"username": "admin"})).await.status, 409);
    let admin = router.get("/api/users").key(MASTER).send().await.json()["users"][0]["id"].as_str().unwrap().to_owned();
    let delete = async |id: &str| router.ask(Method::DELETE, &format!("/api/users/{id}")).key(MASTER).send().await.status;
    assert_eq!((put(&router, MASTER, &admin, json!({"role": "viewer"})).await.status, delete(&admin).await), (409, 409));
    assert_eq!(put(&router, MASTER, &vera, json!({"role": "admin"})).await.status, 200);
    // Of two who give it up at once one must keep it.
    let (one, two) =
        tokio::join!(put(&router, MASTER, &admin, json!({"role": "viewer"})), put(&router, MASTER, &vera, json!({"role": "viewer"})));
    assert_eq!(one.status.min(two.status) + one.status.max(two.status), 200 + 409, "{} {}", one.text(), two.text());
}

#[tokio::test]
async fn guesses_are_stopped_and_the_right_password_waits_too() {
    let router = setup().start();
    for _ in 0..10 {
        assert_eq!(log_in(&router, "admin", "a-guess").await.status, 401);
    }
    let answer = log_in(&router, "admin", PASSWORD).await;
    assert_eq!((answer.status, answer.header("retry-after").is_empty()), (429, false), "{}", answer.text());
    new_user(&router, "vera", "viewer").await;
    assert_eq!(log_in(&router, "vera", "a-password-of-theirs").await.status, 200, "others are not shut out");
    assert_eq!(router.get("/api/users").key(MASTER).send().await.status, 200);
}
